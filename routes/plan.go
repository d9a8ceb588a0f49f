// SPDX-License-Identifier: MIT

package routes

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Facts are all that Plan looks at.
type Facts struct {
	AllowedIPs []netip.Prefix // of all peers together, masked, no two equal
	OnLink     []netip.Prefix // what the link's own addresses make reachable; see Connected

	Off    bool   // Table = off: no route, no rule
	Table  uint32 // Table = N: every route goes there; 0 is auto
	FwMark uint32 // the file's; 0 if it has none
	Metric uint32 // for each route; 0 leaves it to the kernel

	Excluded   []netip.Prefix // masked; what they hold isn't routed
	NeedMark   bool           // a mark is chosen even if no route needs one
	FailClosed bool           // what the tunnel can't take any more must not go elsewhere

	// Outside says that the device's own packets leave by another network
	// namespace: no route can lead them into the tunnel, and a default route
	// that nobody else has needs no rules.
	Outside      bool
	DefaultTaken []Family // families that have a default route through another link

	Aggregate bool // merge routes where every packet still goes the same way
	// Elsewhere are the prefixes that tables route another way than through
	// the link; only looked at to aggregate.
	Elsewhere map[uint32][]netip.Prefix

	// InUse are the tables that hold a route or that another tunnel has
	// claimed, and the marks of other tunnels.
	InUse map[uint32]bool
	// Rules are the policy rules of the host and those that other tunnels
	// have claimed.
	Rules []Rule
	// Last are the rules that this tunnel has now, and LastMark the mark that
	// was chosen for them, 0 if the file gave it: what was chosen is kept.
	Last     []Rule
	LastMark uint32
}

// A Decision is what a tunnel needs.
type Decision struct {
	Routes []Route // in the order of adding: longest prefix first
	Rules  []Rule  // in the order of adding
	FwMark uint32  // what the device must put on its packets; 0 if there is no default route and no mark was given
	Trace  string
}

// firstMark is where the search for a free table and mark begins, as in
// wg-quick's add_default.
const firstMark = 51820

// firstMarkOutside is the same where the packets that get the mark leave by
// another namespace, whose tunnels count from firstMark: rules there that keep
// marked packets out of a tunnel are not about these.
const firstMarkOutside = 151820

// mainPriority is the priority of the kernel's own rule for the main table.
const mainPriority = 32766

// ErrNoPriority says that other rules leave no room above them.
var ErrNoPriority = errors.New("no rule priority is free: another rule already has priority 1 or 2")

// Plan decides as wg-quick's add_route and add_default do. Default routes go
// by a table of their own, the mark of the same number and two rules a
// family; other prefixes go to the main table unless the link's own addresses
// cover them already. With an explicit table all routes go there and there is
// no rule.
func Plan(f Facts) (Decision, error) {
	d := Decision{FwMark: f.FwMark}
	if f.NeedMark && d.FwMark == 0 {
		d.FwMark = chooseMark(f)
	}
	if f.Off {
		d.Trace = "routes: [table=off ret=none]"
		return d, nil
	}
	prefixes := slices.Clone(f.AllowedIPs)
	slices.SortFunc(prefixes, byLength)
	if f.Table != 0 {
		for _, p := range prefixes {
			d.Routes = append(d.Routes, Route{Dst: p, Table: f.Table, Metric: f.metricOf(p)})
		}
		d.Routes = withoutConnected(aggregate(exclude(d.Routes, f), f), f.OnLink)
		d.Trace = fmt.Sprintf("routes: [table=%d ret=%d]", f.Table, len(d.Routes))
		return d, nil
	}
	covered := newCover(f.OnLink)
	var defaults []Family
	for _, p := range prefixes {
		switch {
		case p.Bits() == 0 && !f.plainDefault(FamilyOf(p)):
			defaults = append(defaults, FamilyOf(p))
			if d.FwMark == 0 {
				d.FwMark = chooseMark(f)
			}
			d.Routes = append(d.Routes, Route{Dst: p, Table: d.FwMark, Metric: f.metricOf(p)})
		case !covered.contains(p):
			d.Routes = append(d.Routes, Route{Dst: p, Table: TableMain, Metric: f.metricOf(p)})
		}
	}
	wanted := len(d.Routes)
	d.Routes = withoutConnected(aggregate(exclude(d.Routes, f), f), f.OnLink)
	for _, fam := range defaults {
		if f.FailClosed {
			d.Routes = append(d.Routes, Route{Dst: defaultOf(fam), Table: d.FwMark, Metric: MetricLast, Kind: Unreachable})
		}
		rules, err := defaultRules(fam, d.FwMark, f)
		if err != nil {
			return Decision{}, err
		}
		d.Rules = append(d.Rules, rules...)
	}
	d.Trace = fmt.Sprintf("routes: [table=auto covered=%d default=%d fwmark=%s ret=%d]",
		len(prefixes)-wanted, len(defaults), markSource(f, d.FwMark), len(d.Routes))
	return d, nil
}

// withoutConnected leaves out the routes that the kernel makes itself of the
// link's addresses: there can't be another that differs in nothing.
func withoutConnected(list []Route, onLink []netip.Prefix) []Route {
	const kernel6 = 256 // IP6_RT_PRIO_ADDRCONF; of IPv4 it is 0
	return slices.DeleteFunc(list, func(r Route) bool {
		metric, host := uint32(0), 32 // of which IPv4 has none (fib_add_ifaddr)
		if r.Dst.Addr().Is6() {
			metric, host = kernel6, 0
		}
		return r.Kind == Unicast && r.Table == TableMain && r.Metric == metric && r.Dst.Bits() != host && r.Dst.Bits() > 0 &&
			slices.Contains(onLink, r.Dst)
	})
}

// plainDefault reports whether a default route can go to the main table.
func (f Facts) plainDefault(fam Family) bool {
	return f.Outside && !f.FailClosed && !slices.Contains(f.DefaultTaken, fam) && lastRule(fam, f.Last) == 0
}

// lastRule is the priority of a rule that the family has already, 0 if none.
func lastRule(fam Family, last []Rule) uint32 {
	for _, r := range last {
		if r.Family == fam {
			return r.Priority
		}
	}
	return 0
}

// metricOf returns the metric of a prefix' route. The kernel's own for IPv6 is
// written as none.
func (f Facts) metricOf(p netip.Prefix) uint32 {
	const own6 = 1024 // IP6_RT_PRIO_USER
	if p.Addr().Is6() && f.Metric == own6 {
		return 0
	}
	return f.Metric
}

func markSource(f Facts, mark uint32) string {
	switch mark {
	case 0:
		return "none"
	case f.FwMark:
		return fmt.Sprintf("%#x(file)", mark)
	case f.LastMark:
		return fmt.Sprintf("%#x(kept)", mark)
	}
	return fmt.Sprintf("%#x(free)", mark)
}

// defaultRules returns the two rules of a family's default route. The one
// that keeps more specific routes of the main table in force comes first, so
// that at no moment is the local network diverted into the tunnel.
func defaultRules(fam Family, mark uint32, f Facts) ([]Rule, error) {
	suppress := Rule{Family: fam, Table: TableMain, Suppress: true}
	divert := Rule{Family: fam, Table: mark, Mark: mark, Invert: true}
	if s, d, ok := lastPriorities(fam, f.Last); ok {
		suppress.Priority, divert.Priority = s, d
		return []Rule{suppress, divert}, nil
	}
	lowest := uint32(mainPriority)
	for _, r := range f.Rules {
		if r.Family == fam && r.Priority != 0 && r.Priority < lowest {
			lowest = r.Priority
		}
	}
	if lowest < 3 {
		return nil, ErrNoPriority
	}
	suppress.Priority, divert.Priority = lowest-2, lowest-1
	return []Rule{suppress, divert}, nil
}

// lastPriorities finds those of the pair that the family has already; with
// another mark the pair keeps its place.
func lastPriorities(fam Family, last []Rule) (suppress, divert uint32, ok bool) {
	for _, r := range last {
		switch {
		case r.Family != fam:
		case r.Suppress:
			suppress = r.Priority
		case r.Invert:
			divert = r.Priority
		}
	}
	return suppress, divert, suppress != 0 && divert != 0
}

func chooseMark(f Facts) uint32 {
	if f.LastMark != 0 {
		return f.LastMark
	}
	m := uint32(firstMark)
	if f.Outside {
		m = firstMarkOutside
	}
	for f.InUse[m] {
		m++
	}
	return m
}

// byLength sorts longest prefix first and equal lengths in descending order of
// their text, which is what wg-quick's "sort -nr -k 2 -t /" does.
func byLength(a, b netip.Prefix) int {
	if c := cmp.Compare(b.Bits(), a.Bits()); c != 0 {
		return c
	}
	var x, y [64]byte // of 10,000, a string for each comparison would take most of the time
	return bytes.Compare(b.AppendTo(x[:0]), a.AppendTo(y[:0]))
}

// Connected returns the prefixes that the kernel itself routes to a link with
// these addresses (fib_add_ifaddr, addrconf_prefix_route): the network of each,
// but nothing for a single IPv4 address.
func Connected(addresses []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addresses {
		if a.Addr().Is4() && a.IsSingleIP() {
			continue
		}
		out = append(out, a.Masked())
	}
	return out
}

// cover answers whether a prefix lies within one of a set: one map look-up for
// each length in the set.
type cover struct {
	lengths []int
	set     map[netip.Prefix]bool
}

func newCover(prefixes []netip.Prefix) cover {
	c := cover{set: make(map[netip.Prefix]bool, len(prefixes))}
	for _, p := range prefixes {
		c.set[p] = true
		c.lengths = append(c.lengths, p.Bits())
	}
	slices.Sort(c.lengths)
	c.lengths = slices.Compact(c.lengths)
	return c
}

func (c cover) contains(p netip.Prefix) bool {
	_, ok := c.widest(p)
	return ok
}

// widest returns the shortest prefix of the set that p lies within.
func (c cover) widest(p netip.Prefix) (netip.Prefix, bool) {
	for _, bits := range c.lengths {
		if bits > p.Bits() {
			break
		}
		if wider, err := p.Addr().Prefix(bits); err == nil && c.set[wider] {
			return wider, true
		}
	}
	return netip.Prefix{}, false
}
