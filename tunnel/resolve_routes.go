// SPDX-License-Identifier: MIT

package tunnel

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

func (r *resolver) routes(ctx context.Context) error {
	if r.have.sealed != nil {
		// The same allowed IPs need the same; what was chosen is kept.
		s := r.spec
		s.Routes, s.Rules, s.MarkChosen = r.last.Routes, slices.Clone(r.last.ownRules()), r.last.MarkChosen
		s.Device.FwMark = r.last.Device.FwMark
		return nil
	}
	in := r.cfg.Interface
	f := routes.Facts{
		AllowedIPs: r.spec.Device.allowedIPs(), OnLink: routes.Connected(r.spec.Addresses),
		Metric: in.RouteMetric, Aggregate: in.RouteAggregation, Excluded: in.ExcludedIPs, NeedMark: in.KillSwitch, FailClosed: in.KillSwitch,
	}
	if r.spec.Backend == netlinkx.BackendUserspace {
		f.OnLink = append(f.OnLink, netip.MustParsePrefix("fe80::/64")) // the kernel gives a TUN a link-local address
	}
	if r.spec.Outside {
		f.Outside, f.DefaultTaken = true, r.defaultsTaken(ctx)
	}
	switch t := in.Table; t.Mode {
	case config.TableOff:
		f.Off = true
	case config.TableNumber:
		f.Table = t.Number
	case config.TableName:
		n, err := tableNumber(t.Name)
		if err != nil {
			return r.cfg.Errorf(config.InInterface, "Table", 0, "%v", err)
		}
		f.Table = n
	}
	if m := r.spec.Device.FwMark; m != nil {
		f.FwMark = *m
	} else if r.last != nil && r.last.MarkChosen {
		f.LastMark = *r.last.Device.FwMark
	}
	var err error
	if f.InUse, err = r.h.Tables.TablesInUse(ctx); err != nil {
		return fmt.Errorf("reading routing tables: %w", err)
	}
	if f.Aggregate {
		table := cmp.Or(f.Table, routes.TableMain)
		elsewhere, err := r.h.Tables.Elsewhere(ctx, r.spec.Name, table)
		if err != nil {
			return fmt.Errorf("reading routing table %d: %w", table, err)
		}
		f.Elsewhere = map[uint32][]netip.Prefix{table: elsewhere}
	}
	for _, rule := range r.have.Rules {
		f.Rules = append(f.Rules, rule.Rule)
		f.InUse[rule.Mark] = true
	}
	for _, o := range r.have.Others {
		for _, rule := range o.rules() {
			f.Rules = append(f.Rules, rule)
			f.InUse[rule.Table] = true
		}
		if o.Spec.Device.FwMark != nil {
			f.InUse[*o.Spec.Device.FwMark] = true
		}
	}
	if r.last != nil {
		f.Last = r.last.ownRules()
	}
	d, err := routes.Plan(f)
	if err != nil {
		return fmt.Errorf("choosing routes of %s: %w", r.spec.Name, err)
	}
	if err := r.policyRouting(ctx, d); err != nil {
		return err
	}
	r.spec.Routes, r.spec.Rules = d.Routes, d.Rules
	if d.FwMark != 0 {
		r.spec.MarkChosen = d.FwMark != f.FwMark
		r.spec.Device.FwMark = &d.FwMark
	}
	r.trace(d.Trace)
	return nil
}

// policyRouting refuses tables and rules where the kernel has none: it would put
// the tunnel's default route into the main table.
func (r *resolver) policyRouting(ctx context.Context, d routes.Decision) error {
	takes := map[routes.Family]bool{}
	for _, route := range d.Routes {
		if route.Table != routes.TableMain && route.Table != routes.TableLocal {
			takes[routes.FamilyOf(route.Dst)] = true
		}
	}
	for _, f := range []routes.Family{routes.V4, routes.V6} {
		if !takes[f] {
			continue
		}
		err := r.h.Rules.PolicyRouting(ctx, f)
		missing := netlinkx.NoPolicyRoutingError{}
		switch {
		case err == nil:
		case !errors.As(err, &missing):
			return fmt.Errorf("asking for policy routing: %w", err)
		case r.cfg.Interface.Table.Mode != config.TableAuto:
			return r.cfg.Errorf(config.InInterface, "Table", 0, "another table than the main one is of no use: %v", err)
		default:
			for n, p := range r.cfg.Peers {
				for i, a := range p.AllowedIPs {
					if a.Prefix.Bits() == 0 && routes.FamilyOf(a.Prefix) == f {
						return r.cfg.Errorf(n, "AllowedIPs", i, "%s takes a table and rules of its own: %v", a.Prefix, err)
					}
				}
			}
			return err
		}
	}
	return nil
}

// defaultsTaken are the families whose default route leads through another link.
func (r *resolver) defaultsTaken(ctx context.Context) (taken []routes.Family) {
	for family, any := range map[routes.Family]netip.Addr{routes.V4: netip.IPv4Unspecified(), routes.V6: netip.IPv6Unspecified()} {
		path, err := r.h.Routes.PathTo(ctx, any, 0)
		if err == nil && path.Link != r.spec.Name {
			taken = append(taken, family)
		}
	}
	return taken
}

func (r *resolver) mtu(ctx context.Context) error {
	if r.spec.MTU = r.cfg.Interface.MTU; r.spec.MTU != 0 {
		return nil
	}
	r.spec.MTUChosen = true
	// With the tunnel up, the way to an endpoint may lead through the tunnel.
	ipv6 := r.spec.hasIPv6() || r.have.sealed.uses(routes.V6)
	if r.have.Link != nil && r.last != nil && r.last.MTUChosen && sameEndpoints(r.last, r.spec) && !(ipv6 && r.last.MTU < routes.MinIPv6MTU) {
		r.spec.MTU = r.last.MTU
		return nil
	}
	// The device's own packets carry its mark, which keeps them out of the
	// tunnel.
	mark := uint32(0)
	if r.spec.Device.FwMark != nil {
		mark = *r.spec.Device.FwMark
	}
	var paths []int
	asked := map[netip.Addr]bool{}
	for _, p := range r.spec.Device.Peers {
		a := p.Endpoint.Addr()
		if !a.IsValid() || asked[a] {
			continue
		}
		asked[a] = true
		path, ok, err := pathFrom(ctx, r.h.underlay(), a, mark)
		if err != nil {
			return err
		}
		if ok { // else it says nothing of the MTU
			paths = append(paths, path.MTU)
		}
	}
	internet := 0
	if len(paths) == 0 {
		path, ok, err := pathFrom(ctx, r.h.underlay(), netip.Addr{}, mark)
		if err != nil {
			return err
		}
		if ok {
			internet = path.MTU
		}
	}
	mtu, trace := routes.MTU(paths, internet, ipv6)
	r.spec.MTU = mtu
	r.trace(trace)
	return nil
}

// hasIPv6 reports whether the link has anything of IPv6: of a route alone the
// kernel asks the same MTU as of an address.
func (s *Spec) hasIPv6() bool {
	return slices.ContainsFunc(s.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() }) ||
		slices.ContainsFunc(s.Routes, func(r routes.Route) bool { return r.Dst.Addr().Is6() && r.Kind == routes.Unicast })
}

// pathTo asks for the way to an address. ok is false where the kernel says that
// there is none; that it couldn't tell, as when memory runs out, is an error.
func (r *resolver) pathTo(ctx context.Context, a netip.Addr, mark uint32) (path netlinkx.RoutePath, ok bool, err error) {
	return pathFrom(ctx, r.h.Routes, a, mark)
}

// pathFrom is pathTo by whoever's routing.
func pathFrom(ctx context.Context, u Underlay, a netip.Addr, mark uint32) (path netlinkx.RoutePath, ok bool, err error) {
	path, err = u.PathTo(ctx, a, mark)
	if err == nil {
		return path, true, nil
	}
	for _, none := range []error{
		unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EACCES, unix.EINVAL, // fib_props in net/ipv4/fib_semantics.c
		unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, // no IPv6
		os.ErrNotExist, unix.ENODEV, unix.ENXIO, unix.ESRCH, unix.EADDRNOTAVAIL,
	} {
		if errors.Is(err, none) {
			return path, false, nil
		}
	}
	return path, false, fmt.Errorf("asking for the way to %s: %w", a, err)
}

func sameEndpoints(a, b *Spec) bool {
	if len(a.Device.Peers) != len(b.Device.Peers) {
		return false
	}
	for i, p := range a.Device.Peers {
		if p.PublicKey != b.Device.Peers[i].PublicKey || p.Configured != b.Device.Peers[i].Configured {
			return false
		}
	}
	return true
}

// tableNumber looks a table's name up as ip(8) does.
func tableNumber(name string) (uint32, error) {
	switch name {
	case "default":
		return routes.TableDefault, nil
	case "main":
		return routes.TableMain, nil
	case "local":
		return routes.TableLocal, nil
	}
	var files []string
	for _, dir := range []string{"/usr/share/iproute2", "/usr/lib/iproute2", "/etc/iproute2"} {
		more, _ := filepath.Glob(filepath.Join(dir, "rt_tables.d", "*.conf"))
		files = append(append(files, filepath.Join(dir, "rt_tables")), more...)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				return 0, fmt.Errorf("reading table names: %w", err)
			}
			continue
		}
		n, ok := tableIn(f, name)
		_ = f.Close()
		if ok {
			return n, nil
		}
	}
	return 0, fmt.Errorf("no table is called %q in /etc/iproute2/rt_tables", name)
}

func tableIn(f *os.File, name string) (uint32, bool) {
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 || fields[1] != name {
			continue
		}
		if n, err := strconv.ParseUint(fields[0], 0, 32); err == nil {
			return uint32(n), true
		}
	}
	return 0, false
}
