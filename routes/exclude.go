// SPDX-License-Identifier: MIT

package routes

import (
	"net/netip"
	"slices"

	"go4.org/netipx"
)

// exclude leaves the excluded prefixes out of routes of one kind, longest
// prefix first. In the main table, where nothing comes after it, each route is
// cut into those around them. In a table of its own that takes more routes, as
// a rule, than to send what is excluded on to the next table.
func exclude(routes []Route, f Facts) []Route {
	if len(f.Excluded) == 0 {
		return routes
	}
	var b netipx.IPSetBuilder
	for _, p := range f.Excluded {
		b.AddPrefix(p)
	}
	set, err := b.IPSet()
	if err != nil {
		return routes // only of a prefix that isn't one
	}
	var out []Route
	for _, table := range tablesOf(routes) {
		of := slices.DeleteFunc(slices.Clone(routes), func(r Route) bool { return r.Table != table || set.ContainsPrefix(r.Dst) })
		cut, thrown := cutRoutes(of, set), throwRoutes(of, set)
		if table == TableMain || len(cut) <= len(thrown) && !f.FailClosed {
			out = append(out, cut...)
		} else {
			out = append(out, thrown...)
		}
	}
	slices.SortStableFunc(out, func(a, b Route) int { return byLength(a.Dst, b.Dst) })
	return out
}

func tablesOf(routes []Route) (out []uint32) {
	for _, r := range routes {
		if !slices.Contains(out, r.Table) {
			out = append(out, r.Table)
		}
	}
	return out
}

// cutRoutes returns routes to what of each isn't in the set.
func cutRoutes(routes []Route, set *netipx.IPSet) (out []Route) {
	there := map[netip.Prefix]bool{}
	add := func(r Route) {
		if !there[r.Dst] {
			there[r.Dst] = true
			out = append(out, r)
		}
	}
	for _, r := range routes {
		if !set.OverlapsPrefix(r.Dst) {
			add(r)
			continue
		}
		var b netipx.IPSetBuilder
		b.AddPrefix(r.Dst)
		b.RemoveSet(set)
		rest, _ := b.IPSet() // of valid prefixes there is always one
		for _, p := range rest.Prefixes() {
			r.Dst = p
			add(r)
		}
	}
	return out
}

// throwRoutes returns the routes, and one that throws for each prefix of the set
// that lies within one of them.
func throwRoutes(routes []Route, set *netipx.IPSet) []Route {
	out := slices.Clone(routes)
	for _, p := range set.Prefixes() {
		i := slices.IndexFunc(routes, func(r Route) bool { return r.Dst.Overlaps(p) })
		if i >= 0 {
			out = append(out, Route{Dst: p, Table: routes[i].Table, Metric: routes[i].Metric, Kind: Throw})
		}
	}
	return out
}

func defaultOf(f Family) netip.Prefix {
	if f == V4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
