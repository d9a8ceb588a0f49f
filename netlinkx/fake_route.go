// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// Routes returns the routes through a link.
func (f *Fake) Routes(ctx context.Context, link string) ([]InstalledRoute, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l := f.find(link)
	if l == nil {
		return nil, missingError{unix.ENODEV}
	}
	return slices.DeleteFunc(slices.Clone(l.routes), func(r InstalledRoute) bool {
		return r.Table == routes.TableLocal
	}), nil
}

// RouteAdd adds a route of ours.
func (f *Fake) RouteAdd(ctx context.Context, link string, r routes.Route) error {
	unlock, err := f.begin(ctx, "RouteAdd")
	if err != nil {
		return err
	}
	defer unlock()
	if r.Kind != routes.Unicast {
		return f.deadEndAdd(normal(r))
	}
	l := f.find(link)
	switch {
	case l == nil:
		return missingError{unix.ENODEV}
	case r.Dst.Addr().Is6() && l.MTU < minMTU6:
		return missingError{unix.ENODEV} // for IPv6, it is none
	case r.Dst.Addr().Is6() && f.either("ipv6", link, "disable_ipv6"):
		return unix.EACCES
	case !l.Up:
		return unix.ENETDOWN
	}
	r = normal(r)
	if f.owner(r) != nil || f.deadEndAt(r) {
		return unix.EEXIST
	}
	l.routes = append(l.routes, InstalledRoute{Route: r, Protocol: Protocol, Plain: true})
	return nil
}

// RoutesAdd calls RouteAdd for each route.
func (f *Fake) RoutesAdd(ctx context.Context, link string, rs []routes.Route) error {
	return f.eachRoute(ctx, link, rs, func(r routes.Route) error { return f.RouteAdd(ctx, link, r) })
}

// RoutesDel calls RouteDel for each route.
func (f *Fake) RoutesDel(ctx context.Context, link string, rs []routes.Route) error {
	return f.eachRoute(ctx, link, rs, func(r routes.Route) error { return f.RouteDel(ctx, link, r) })
}

func (f *Fake) eachRoute(ctx context.Context, link string, rs []routes.Route, do func(routes.Route) error) error {
	if slices.ContainsFunc(rs, func(r routes.Route) bool { return r.Kind == routes.Unicast }) {
		if _, err := f.Link(ctx, link); err != nil {
			return err
		}
	}
	failed := &RoutesError{}
	for i, r := range rs {
		if err := do(r); err != nil {
			failed.Failed = append(failed.Failed, RouteFailure{i, err})
		}
	}
	return failed.orNil()
}

// normal is r as it reads back.
func normal(r routes.Route) routes.Route {
	if r.Dst.Addr().Is6() && r.Metric == defaultMetric6 {
		r.Metric = 0
	}
	return r
}

func (f *Fake) owner(r routes.Route) *fakeLink {
	for _, l := range f.links {
		if slices.ContainsFunc(l.routes, func(h InstalledRoute) bool { return h.Route == r }) {
			return l
		}
	}
	return nil
}

// RouteDel removes a route of ours.
func (f *Fake) RouteDel(ctx context.Context, link string, r routes.Route) error {
	unlock, err := f.begin(ctx, "RouteDel")
	if err != nil {
		return err
	}
	defer unlock()
	if r.Kind != routes.Unicast {
		return f.deadEndDel(normal(r))
	}
	l := f.find(link)
	if l == nil {
		return missingError{unix.ENODEV}
	}
	r = normal(r)
	best := -1
	for i, h := range l.routes {
		same := h.Protocol == Protocol && h.Plain && h.Dst == r.Dst && h.Table == r.Table
		// See Kernel.RouteDel for IPv4 and metric 0.
		anyMetric := r.Dst.Addr().Is4() && r.Metric == 0
		if same && (h.Metric == r.Metric || anyMetric) && (best < 0 || h.Metric < l.routes[best].Metric) {
			best = i
		}
	}
	if best < 0 {
		return missingError{unix.ESRCH}
	}
	l.routes = slices.Delete(l.routes, best, best+1)
	return nil
}

// RouteOwner returns the link that the route's place is taken by.
func (f *Fake) RouteOwner(ctx context.Context, r routes.Route) (string, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	l := f.owner(normal(r))
	if l == nil && f.deadEndAt(normal(r)) {
		return "", nil
	}
	if l == nil {
		return "", missingError{unix.ESRCH}
	}
	return l.Name, nil
}

// TablesInUse returns the tables that hold a route.
func (f *Fake) TablesInUse(ctx context.Context) (map[uint32]bool, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	out := make(map[uint32]bool)
	for _, l := range f.links {
		if l.Up && len(l.addrs) > 0 {
			out[routes.TableLocal] = true
		}
		for _, r := range l.routes {
			out[r.Table] = true
		}
	}
	for _, r := range f.deadEnds {
		out[r.Table] = true
	}
	return out, nil
}

// Elsewhere returns the prefixes that a table routes another way than through
// the link.
func (f *Fake) Elsewhere(ctx context.Context, link string, table uint32) ([]netip.Prefix, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var out []netip.Prefix
	for _, l := range f.links {
		for _, r := range l.routes {
			if l.Name != link && r.Table == table {
				out = append(out, r.Dst)
			}
		}
	}
	for _, r := range f.deadEnds {
		if r.Table == table {
			out = append(out, r.Dst)
		}
	}
	return out, nil
}

// PathTo walks the policy rules and the tables for a packet with that mark.
func (f *Fake) PathTo(ctx context.Context, a netip.Addr, mark uint32) (RoutePath, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return RoutePath{}, err
	}
	defer unlock()
	if !a.IsValid() || a.IsUnspecified() {
		families := []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
		if a.IsValid() {
			families = []netip.Addr{a}
		}
		for _, any := range families {
			if l, bits := f.lookup(any, routes.TableMain); l != nil && bits == 0 {
				return RoutePath{Link: l.Name, MTU: l.MTU}, nil
			}
		}
		return RoutePath{}, unix.ENETUNREACH
	}
	if l := f.find(a.Zone()); l != nil {
		return RoutePath{Link: l.Name, MTU: l.MTU}, nil
	}
	if lo := f.find("lo"); lo != nil && f.isLocal(a) {
		return RoutePath{Link: lo.Name, MTU: lo.MTU}, nil
	}
	for _, r := range f.rules {
		// A rule without a mark matches every packet, so "not" alone none.
		// The packet has no source address yet.
		matches := (r.Mark == 0 || r.Mark == mark) && !r.From.IsValid() && (!r.To.IsValid() || r.To.Contains(a))
		if r.Family != routes.FamilyOf(netip.PrefixFrom(a, a.BitLen())) || matches == r.Invert || !r.Plain {
			continue
		}
		l, bits := f.lookup(a, r.Table)
		if end, ok := f.deadEnd(a, r.Table); ok && (l == nil || end.Dst.Bits() > bits) {
			if end.Kind == routes.Unreachable {
				return RoutePath{}, unix.EHOSTUNREACH
			}
			continue
		}
		if l != nil && !(r.Suppress && bits == 0) {
			return RoutePath{Link: l.Name, MTU: l.MTU}, nil
		}
	}
	return RoutePath{}, unix.ENETUNREACH
}

// lookup returns the link and the prefix length of the best route in a table.
func (f *Fake) lookup(a netip.Addr, table uint32) (best *fakeLink, bits int) {
	var metric uint32
	for _, l := range f.links {
		for _, r := range l.routes {
			if r.Table != table || !r.Dst.Contains(a.WithZone("")) {
				continue
			}
			m := r.Metric
			if m == 0 && r.Dst.Addr().Is6() {
				m = defaultMetric6
			}
			if best == nil || r.Dst.Bits() > bits || r.Dst.Bits() == bits && m < metric {
				best, bits, metric = l, r.Dst.Bits(), m
			}
		}
	}
	return best, bits
}

func (f *Fake) isLocal(a netip.Addr) bool {
	for _, l := range f.links {
		if slices.ContainsFunc(l.addrs, func(b fakeAddress) bool { return l.Up && b.Prefix.Addr() == a }) {
			return true
		}
	}
	return false
}

// Rules returns the policy rules, IPv4 first, by priority.
func (f *Fake) Rules(ctx context.Context) ([]InstalledRule, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.DeleteFunc(slices.Clone(f.rules), func(r InstalledRule) bool { return slices.Contains(f.NoPolicyRouting, r.Family) }), nil
}

// PolicyRouting is nil but for the families of NoPolicyRouting.
func (f *Fake) PolicyRouting(ctx context.Context, family routes.Family) error {
	unlock, err := f.read(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if slices.Contains(f.NoPolicyRouting, family) {
		return NoPolicyRoutingError{family}
	}
	return nil
}

// RuleAdd adds a rule of ours.
func (f *Fake) RuleAdd(ctx context.Context, r routes.Rule) error {
	unlock, err := f.begin(ctx, "RuleAdd")
	if err != nil {
		return err
	}
	defer unlock()
	if r.Priority == 0 || !known(r.Family) || !of(r.Family, r.From) || !of(r.Family, r.To) {
		return unix.EINVAL
	}
	if slices.Contains(f.NoPolicyRouting, r.Family) {
		return unix.EOPNOTSUPP
	}
	for _, h := range f.rules {
		// The kernel's own comparison passes over Invert, not over the protocol.
		flipped := h.Rule
		flipped.Invert = r.Invert
		if h.Plain && (h.Rule == r || flipped == r && h.Protocol == Protocol) {
			return unix.EEXIST
		}
	}
	f.insertRule(InstalledRule{Rule: r, Protocol: Protocol, Plain: true})
	return nil
}

func (f *Fake) insertRule(r InstalledRule) {
	at := slices.IndexFunc(f.rules, func(h InstalledRule) bool {
		return h.Family > r.Family || h.Family == r.Family && h.Priority > r.Priority
	})
	if at < 0 {
		at = len(f.rules)
	}
	f.rules = slices.Insert(f.rules, at, r)
}

// RuleDel removes a rule of ours.
func (f *Fake) RuleDel(ctx context.Context, r routes.Rule) error {
	unlock, err := f.begin(ctx, "RuleDel")
	if err != nil {
		return err
	}
	defer unlock()
	i := slices.Index(f.rules, InstalledRule{Rule: r, Protocol: Protocol, Plain: true})
	if i < 0 {
		return unix.ENOENT
	}
	f.rules = slices.Delete(f.rules, i, i+1)
	return nil
}
