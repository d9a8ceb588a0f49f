// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// defaultMetric6 is IP6_RT_PRIO_USER of the kernel's net/ip6_route.h: the
// metric of an IPv6 route that was added without one.
const defaultMetric6 = 1024

var bothFamilies = [...]int{unix.AF_INET, unix.AF_INET6}

// Routes returns the routes through the link, one of several next hops
// included, of all tables but the local one.
func (k *Kernel) Routes(ctx context.Context, link string) ([]InstalledRoute, error) {
	var lists [len(bothFamilies)][]InstalledRoute
	err := k.linkRoutes(ctx, link,
		func(family int) { lists[family] = lists[family][:0] },
		func(family int, r InstalledRoute) { lists[family] = append(lists[family], r) })
	if err != nil {
		return nil, err
	}
	return append(lists[0], lists[1]...), nil
}

// linkRoutes calls each with the routes through a link, but for those of the
// local table, and start before the first of a family, again if they have to be
// read again. Families are indexes of bothFamilies.
func (k *Kernel) linkRoutes(ctx context.Context, link string, start func(family int), each func(family int, r InstalledRoute)) error {
	index, err := k.index(ctx, link)
	if err != nil {
		return err
	}
	for n, family := range bothFamilies {
		err := k.eachRoute(ctx, routeFilter{family: family, link: index}, func() { start(n) }, func(r *routeMessage) {
			if r.through(index) && r.table != unix.RT_TABLE_LOCAL {
				each(n, r.installed())
			}
		})
		if err != nil {
			return missing(err, unix.ENODEV)
		}
	}
	return nil
}

// installed normalises: an IPv6 route without a metric reads as 1024.
func (r *routeMessage) installed() InstalledRoute {
	metric := r.metric
	if r.dst.Addr().Is6() && metric == defaultMetric6 {
		metric = 0
	}
	kind, dead := routes.Unicast, false
	for k, t := range deadEnds {
		if r.kind == t {
			kind, dead = k, true
		}
	}
	return InstalledRoute{
		Route:    routes.Route{Dst: r.dst, Table: r.table, Metric: metric, Kind: kind},
		Protocol: int(r.protocol),
		Plain:    (dead || r.kind == unix.RTN_UNICAST) && !r.odd,
	}
}

// DeadEnds returns our routes that lead through no link, of all tables.
func (k *Kernel) DeadEnds(ctx context.Context) ([]InstalledRoute, error) {
	var out, of []InstalledRoute
	for _, family := range bothFamilies {
		err := k.eachRoute(ctx, routeFilter{family: family}, func() { of = nil }, func(r *routeMessage) {
			if ir := r.installed(); ir.Protocol == Protocol && ir.Kind != routes.Unicast {
				of = append(of, ir)
			}
		})
		if err != nil {
			return nil, err
		}
		out = append(out, of...)
	}
	return out, nil
}

// RouteOwner returns the link that the route's place is taken by; a route
// without a link, as a blackhole route, gives "".
func (k *Kernel) RouteOwner(ctx context.Context, r routes.Route) (string, error) {
	family := unix.AF_INET6
	if r.Dst.Addr().Is4() {
		family = unix.AF_INET
	}
	found, index := false, 0
	err := k.eachRoute(ctx, routeFilter{family: family, table: r.Table}, func() { found = false }, func(c *routeMessage) {
		installed := c.installed()
		place := r
		place.Kind = installed.Kind // one of another kind is in the way too
		if found || installed.Route != place {
			return
		}
		found = true
		if place.Kind == routes.Unicast {
			index = c.link
		}
	})
	switch {
	case err != nil:
		return "", err // ENOENT: no such table
	case !found:
		return "", missingError{unix.ESRCH}
	case index == 0:
		return "", nil
	}
	l, err := k.linkByIndex(ctx, index)
	return l.Name, err
}

// TablesInUse returns the tables of both families that hold a route, the
// kernel's own among them.
func (k *Kernel) TablesInUse(ctx context.Context) (map[uint32]bool, error) {
	out := make(map[uint32]bool)
	for _, family := range bothFamilies {
		err := k.eachRoute(ctx, routeFilter{family: family}, func() {}, func(r *routeMessage) { out[r.table] = true })
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Elsewhere returns the prefixes that a table routes another way than through
// the link.
func (k *Kernel) Elsewhere(ctx context.Context, link string, table uint32) ([]netip.Prefix, error) {
	index, err := k.index(ctx, link)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var out, of []netip.Prefix
	for _, family := range bothFamilies {
		err := k.eachRoute(ctx, routeFilter{family: family, table: table}, func() { of = nil }, func(r *routeMessage) {
			if index == 0 || r.link != index || len(r.more) > 0 {
				of = append(of, r.dst)
			}
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) { // there is no such table
			return nil, err
		}
		out = append(out, of...)
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
		return k.defaultPath(ctx, unix.AF_INET)
	case a == netip.IPv6Unspecified():
		return k.defaultPath(ctx, unix.AF_INET6)
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
	var r routeMessage
	if !r.decode(msgs[0]) {
		return RoutePath{}, unix.EBADMSG
	}
	return k.path(ctx, r.link, r.mtu)
}

// defaultPath takes the default route with the lowest metric of the main
// table, as "ip route show default" lists it first, of the first family that
// has one.
func (k *Kernel) defaultPath(ctx context.Context, families ...int) (RoutePath, error) {
	for _, family := range families {
		found, best := false, routeMessage{}
		err := k.eachRoute(ctx, routeFilter{family: family, table: unix.RT_TABLE_MAIN}, func() { found = false }, func(r *routeMessage) {
			if r.dst.Bits() == 0 && r.kind == unix.RTN_UNICAST && (!found || r.metric < best.metric) {
				found, best = true, *r
			}
		})
		if err != nil {
			return RoutePath{}, err
		}
		if found {
			return k.path(ctx, best.link, best.mtu)
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
