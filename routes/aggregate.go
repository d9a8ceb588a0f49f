// SPDX-License-Identifier: MIT

package routes

import (
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// aggregate merges routes of one kind that lie within each other or side by
// side, where every packet still goes the same way: where no route elsewhere
// would get packets that one of them gets now, or lose some.
func aggregate(routes []Route, f Facts) []Route {
	if !f.Aggregate {
		return routes
	}
	var out []Route
	for _, table := range tablesOf(routes) {
		elsewhere := elsewhereIn(table, f)
		var of []Route
		for _, r := range routes {
			switch {
			case r.Table != table:
			case r.Kind != Unicast: // a hole, which stays one
				elsewhere, out = append(elsewhere, r.Dst), append(out, r)
			default:
				of = append(of, r)
			}
		}
		slices.SortFunc(elsewhere, netip.Prefix.Compare)
		out = append(out, merge(of, elsewhere)...)
	}
	slices.SortStableFunc(out, func(a, b Route) int { return byLength(a.Dst, b.Dst) })
	return out
}

// elsewhereIn are the prefixes that a table routes another way.
func elsewhereIn(table uint32, f Facts) []netip.Prefix {
	list := slices.Clone(f.Elsewhere[table])
	if table == TableMain {
		list = append(list, f.OnLink...)
	}
	return list
}

// merge merges the routes of one table.
func merge(routes []Route, elsewhere []netip.Prefix) []Route {
	var b netipx.IPSetBuilder
	for _, r := range routes {
		b.AddPrefix(r.Dst)
	}
	set, err := b.IPSet()
	if err != nil {
		return routes // only of a prefix that isn't one
	}
	var out []Route
	within := make(map[netip.Prefix][]Route, len(routes))
	whole := set.Prefixes()
	lengths := newCover(whole)
	for _, r := range routes {
		p, _ := lengths.widest(r.Dst)
		within[p] = append(within[p], r)
	}
	for _, p := range whole {
		if p.Bits() == 0 || disturbed(p, elsewhere) { // a default route is what people look for
			out = append(out, within[p]...)
		} else {
			merged := within[p][0]
			merged.Dst = p
			out = append(out, merged)
		}
	}
	return out
}

// disturbed reports whether something within a prefix, or just it, is routed
// another way.
func disturbed(p netip.Prefix, elsewhere []netip.Prefix) bool {
	i, _ := slices.BinarySearchFunc(elsewhere, p, func(e, p netip.Prefix) int { return e.Addr().Compare(p.Addr()) })
	for ; i < len(elsewhere) && p.Contains(elsewhere[i].Addr()); i++ {
		if elsewhere[i].Bits() >= p.Bits() {
			return true
		}
	}
	return false
}
