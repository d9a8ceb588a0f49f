// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// defaultMetric6 is IP6_RT_PRIO_USER of the kernel's net/ip6_route.h: the
// metric of an IPv6 route that was added without one.
const defaultMetric6 = 1024

var bothFamilies = [...]int{netlink.FAMILY_V4, netlink.FAMILY_V6}

// Routes returns the routes through the link, one of several next hops
// included, of all tables but the local one.
func (k *Kernel) Routes(ctx context.Context, link string) ([]InstalledRoute, error) {
	index, err := k.index(ctx, link)
	if err != nil {
		return nil, err
	}
	var out []InstalledRoute
	for _, family := range bothFamilies {
		list, err := k.routeList(ctx, family, netlink.Route{LinkIndex: index})
		if err != nil {
			return nil, missing(err, unix.ENODEV)
		}
		for _, r := range list {
			if !through(r, index) || r.Table == unix.RT_TABLE_LOCAL {
				continue
			}
			if ir, ok := installedRoute(r); ok {
				out = append(out, ir)
			}
		}
	}
	return out, nil
}

// routeList dumps the routes of a family, of all tables or of f.Table. The
// kernel filters by link and table only where it checks strictly, so callers
// look again.
func (k *Kernel) routeList(ctx context.Context, family int, f netlink.Route) ([]netlink.Route, error) {
	var out []netlink.Route
	err := k.dump(ctx, func() error {
		out = nil
		return k.handle.RouteListFilteredIter(family, &f, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			out = append(out, r)
			return true
		})
	})
	return out, err
}

func through(r netlink.Route, index int) bool {
	if r.LinkIndex == index {
		return true
	}
	for _, hop := range r.MultiPath {
		if hop.LinkIndex == index {
			return true
		}
	}
	return false
}

// installedRoute normalises: an IPv6 route without a metric reads as 1024.
func installedRoute(r netlink.Route) (InstalledRoute, bool) {
	dst, ok := prefixOf(r.Dst)
	if !ok {
		return InstalledRoute{}, false // of another protocol, as MPLS
	}
	metric := uint32(r.Priority)
	if dst.Addr().Is6() && metric == defaultMetric6 {
		metric = 0
	}
	table := uint32(r.Table)
	if table == unix.RT_TABLE_UNSPEC {
		table = routes.TableMain
	}
	kind := routes.Unicast
	for k, t := range deadEnds {
		if r.Type == int(t) {
			kind = k
		}
	}
	return InstalledRoute{
		Route:    routes.Route{Dst: dst.Masked(), Table: table, Metric: metric, Kind: kind},
		Protocol: int(r.Protocol),
		Plain:    plainRoute(r),
	}, true
}

func plainRoute(r netlink.Route) bool {
	known := r.Type == unix.RTN_UNICAST || r.Type == unix.RTN_THROW || r.Type == unix.RTN_UNREACHABLE
	return known && r.Gw == nil && r.Via == nil && r.Src == nil && r.Tos == 0 &&
		len(r.MultiPath) == 0 && r.Encap == nil && r.NHID == 0
}

// DeadEnds returns our routes that lead through no link, of all tables.
func (k *Kernel) DeadEnds(ctx context.Context) ([]InstalledRoute, error) {
	var out []InstalledRoute
	for _, family := range bothFamilies {
		var list []netlink.Route
		f := netlink.Route{Protocol: Protocol}
		err := k.dump(ctx, func() error {
			list = nil
			return k.handle.RouteListFilteredIter(family, &f, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL, func(r netlink.Route) bool {
				list = append(list, r)
				return true
			})
		})
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if ir, ok := installedRoute(r); ok && ir.Kind != routes.Unicast {
				out = append(out, ir)
			}
		}
	}
	return out, nil
}

// RouteOwner returns the link that the route's place is taken by; a route
// without a link, as a blackhole route, gives "".
func (k *Kernel) RouteOwner(ctx context.Context, r routes.Route) (string, error) {
	family := netlink.FAMILY_V6
	if r.Dst.Addr().Is4() {
		family = netlink.FAMILY_V4
	}
	list, err := k.routeList(ctx, family, netlink.Route{Table: int(r.Table)})
	if err != nil {
		return "", err // ENOENT: no such table
	}
	for _, c := range list {
		ir, ok := installedRoute(c)
		place := r
		place.Kind = ir.Kind // one of another kind is in the way too
		if !ok || ir.Route != place {
			continue
		}
		index := outLink(c)
		if index == 0 || ir.Kind != routes.Unicast {
			return "", nil
		}
		l, err := k.linkByIndex(ctx, index)
		return l.Name, err
	}
	return "", missingError{unix.ESRCH}
}

// TablesInUse returns the tables of both families that hold a route, the
// kernel's own among them.
func (k *Kernel) TablesInUse(ctx context.Context) (map[uint32]bool, error) {
	out := make(map[uint32]bool)
	for _, family := range bothFamilies {
		list, err := k.routeList(ctx, family, netlink.Route{})
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			out[uint32(r.Table)] = true
		}
	}
	return out, nil
}

// PathTo does what "ip route get A mark M" does. Where no route leads there, it is
// unix.ENETUNREACH. A path MTU that the kernel has learned counts as the
// route's own.
//
// The library's RouteGet isn't used: on a socket that checks strictly, the
// kernel refuses it for IPv6 because of a flag that only IPv4 knows.
func (k *Kernel) PathTo(ctx context.Context, a netip.Addr, mark uint32) (RoutePath, error) {
	if err := ctx.Err(); err != nil {
		return RoutePath{}, err
	}
	switch {
	case !a.IsValid():
		return k.defaultPath(ctx, bothFamilies[:]...)
	case a == netip.IPv4Unspecified():
		return k.defaultPath(ctx, netlink.FAMILY_V4)
	case a == netip.IPv6Unspecified():
		return k.defaultPath(ctx, netlink.FAMILY_V6)
	}
	msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: uint8(a.BitLen())}}
	if a.Is4() {
		msg.Family = unix.AF_INET
	}
	req := k.request(unix.RTM_GETROUTE, 0)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.RTA_DST, a.AsSlice()))
	if mark != 0 {
		req.AddData(nl.NewRtAttr(unix.RTA_MARK, nl.Uint32Attr(mark)))
	}
	if a.Zone() != "" {
		scope, err := k.scopeID(ctx, a.Zone())
		if err != nil {
			return RoutePath{}, err
		}
		req.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(scope)))
	}
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE)
	if err != nil {
		return RoutePath{}, err
	}
	if len(msgs) == 0 {
		return RoutePath{}, unix.ENETUNREACH
	}
	index, mtu, err := parsePath(msgs[0])
	if err != nil {
		return RoutePath{}, err
	}
	return k.path(ctx, index, mtu)
}

// parsePath returns the outgoing link and the mtu attribute of a route message.
func parsePath(m []byte) (index, mtu int, err error) {
	if len(m) < unix.SizeofRtMsg {
		return 0, 0, unix.EBADMSG
	}
	attrs, err := nl.ParseRouteAttr(m[unix.SizeofRtMsg:])
	if err != nil {
		return 0, 0, err
	}
	native := nl.NativeEndian()
	for _, a := range attrs {
		switch a.Attr.Type {
		case unix.RTA_OIF:
			index = int(u32(native, a.Value))
		case unix.RTA_METRICS:
			metrics, err := nl.ParseRouteAttr(a.Value)
			if err != nil {
				return 0, 0, err
			}
			for _, metric := range metrics {
				if metric.Attr.Type == unix.RTAX_MTU {
					mtu = int(u32(native, metric.Value))
				}
			}
		}
	}
	return index, mtu, nil
}

// defaultPath takes the default route with the lowest metric of the main
// table, as "ip route show default" lists it first, of the first family that
// has one.
func (k *Kernel) defaultPath(ctx context.Context, families ...int) (RoutePath, error) {
	for _, family := range families {
		list, err := k.routeList(ctx, family, netlink.Route{Table: unix.RT_TABLE_MAIN})
		if err != nil {
			return RoutePath{}, err
		}
		var best *netlink.Route
		for i, r := range list {
			dst, ok := prefixOf(r.Dst)
			if ok && dst.Bits() == 0 && r.Type == unix.RTN_UNICAST && (best == nil || r.Priority < best.Priority) {
				best = &list[i]
			}
		}
		if best != nil {
			return k.path(ctx, outLink(*best), best.MTU)
		}
	}
	return RoutePath{}, unix.ENETUNREACH
}

func (k *Kernel) path(ctx context.Context, index, mtu int) (RoutePath, error) {
	l, err := k.linkByIndex(ctx, index)
	if err != nil {
		return RoutePath{}, err
	}
	if mtu == 0 {
		mtu = l.MTU
	}
	return RoutePath{Link: l.Name, MTU: mtu}, nil
}

// outLink returns the link of a route, or of the first of its next hops; 0 if
// it has none.
func outLink(r netlink.Route) int {
	if r.LinkIndex == 0 && len(r.MultiPath) > 0 {
		return r.MultiPath[0].LinkIndex
	}
	return r.LinkIndex
}
