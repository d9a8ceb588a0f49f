// SPDX-License-Identifier: MIT

package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// SrcValidMark is the parameter that makes reverse path filtering look at the
// mark, without which replies to marked packets are dropped.
const SrcValidMark = "net.ipv4.conf.all.src_valid_mark"

// Options change what a file says.
type Options struct {
	Backend config.Backend // "": as the file says
}

// Resolve works out what the host should look like: it reads the host where
// the file leaves a choice (backend, table, mark, priorities, MTU), and writes
// nothing. What was chosen the last time is kept. Choices that other tunnels
// could make too are only valid while the caller holds LockHost and until it
// saves the record.
func Resolve(ctx context.Context, h *Host, cfg *config.Config, endpoints []netip.AddrPort, have *State, o Options) (*Spec, error) {
	s := &Spec{
		Name:      have.Name,
		Addresses: cfg.Interface.Addresses,
		DNS:       resolverSettings(cfg, have.Name),
		Hooks:     HooksOf(cfg, have.Name),
	}
	r := resolver{h: h, cfg: cfg, have: have, last: have.Last(), spec: s}
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return r.backend(ctx, o.Backend) },
		r.ipv6,
		func(ctx context.Context) error { return r.device(ctx, endpoints) },
		r.routes,
		r.mtu,
		r.firewall,
		r.sysctls,
		r.dns,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// resolverSettings leaves search domains without a nameserver out, as
// wg-quick's set_dns does: settings are exclusive, so that they alone would
// leave the host without any.
func resolverSettings(cfg *config.Config, name string) dns.Settings {
	s := dns.Settings{Interface: name}
	if len(cfg.Interface.DNS) > 0 {
		s.Servers, s.Search = cfg.Interface.DNS, cfg.Interface.DNSSearch
	}
	return s
}

type resolver struct {
	h    *Host
	cfg  *config.Config
	have *State
	last *Spec
	spec *Spec
}

// trace keeps how a choice was made; there is none where nothing was wanted.
func (r *resolver) trace(s string) {
	if s != "" {
		r.spec.Trace = append(r.spec.Trace, s)
	}
}

func (r *resolver) backend(ctx context.Context, forced config.Backend) error {
	f := backendFacts{File: r.cfg.Interface.Backend, Forced: forced}
	var err error
	if f.Module, err = r.h.Devices.KernelHasWireGuard(ctx); err != nil {
		return fmt.Errorf("asking the kernel for WireGuard: %w", err)
	}
	if !f.Module || f.File == config.BackendUserspace || forced == config.BackendUserspace {
		f.Userspace = r.h.Userspace.Available(ctx)
	}
	if r.have.Link != nil {
		f.Running = r.have.Link.Backend
	}
	b, trace, err := chooseBackend(f)
	if err != nil {
		return err
	}
	r.spec.Backend = b
	r.trace(trace)
	return nil
}

// ipv6 refuses what needs IPv6 where the kernel would, before anything is
// done: each place in the file by itself.
func (r *resolver) ipv6(ctx context.Context) error {
	const key = "net.ipv6.conf.default.disable_ipv6" // what a new link will have
	why := ""
	switch v, err := r.h.Sysctls.Sysctl(ctx, key); {
	case errors.Is(err, os.ErrNotExist):
		why = "this kernel has no IPv6"
	case err != nil:
		return fmt.Errorf("reading sysctl %s: %w", key, err)
	case v == "0":
		return nil
	default:
		why = fmt.Sprintf("IPv6 is disabled here (sysctl %s=%s)", key, v)
	}
	var errs []error
	for i, a := range r.cfg.Interface.Addresses {
		if a.Addr().Is6() {
			errs = append(errs, r.cfg.Errorf(config.InInterface, "Address", i, "%s is an IPv6 address, and %s", a, why))
		}
	}
	for n, p := range r.cfg.Peers {
		for i, a := range p.AllowedIPs {
			if a.Prefix.Addr().Is6() && a.Sign != config.Minus && r.cfg.Interface.Table.Mode != config.TableOff {
				errs = append(errs, r.cfg.Errorf(n, "AllowedIPs", i, "%s needs an IPv6 route, and %s", a.Prefix, why))
			}
		}
	}
	return errors.Join(errs...)
}

func (r *resolver) device(ctx context.Context, endpoints []netip.AddrPort) error {
	in, d := r.cfg.Interface, &r.spec.Device
	if in.PrivateKey != nil {
		key := netlinkx.Secret(*in.PrivateKey).Clamped()
		pub := key.PublicKey()
		d.PrivateKey, d.PublicKey = NewSecret(key), &pub
	}
	if in.ListenPort != nil {
		port, err := lookupPort(ctx, r.h.Names, *in.ListenPort)
		if err != nil {
			return r.cfg.Errorf(config.InInterface, "ListenPort", 0, "%v", err)
		}
		d.ListenPort = &port
	}
	d.FwMark = in.FwMark
	d.Peers = peersOf(r.cfg.Peers, endpoints)
	return nil
}

func (r *resolver) routes(ctx context.Context) error {
	f := routes.Facts{AllowedIPs: r.spec.Device.allowedIPs(), OnLink: routes.Connected(r.spec.Addresses)}
	if r.spec.Backend == netlinkx.BackendUserspace {
		f.OnLink = append(f.OnLink, netip.MustParsePrefix("fe80::/64")) // the kernel gives a TUN a link-local address
	}
	switch t := r.cfg.Interface.Table; t.Mode {
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
	if f.InUse, err = r.h.Routes.TablesInUse(ctx); err != nil {
		return fmt.Errorf("reading routing tables: %w", err)
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
		f.Last = r.last.Rules
	}
	d, err := routes.Plan(f)
	if err != nil {
		return fmt.Errorf("choosing routes of %s: %w", r.spec.Name, err)
	}
	r.spec.Routes, r.spec.Rules = d.Routes, d.Rules
	if d.FwMark != 0 {
		r.spec.MarkChosen = d.FwMark != f.FwMark
		r.spec.Device.FwMark = &d.FwMark
	}
	r.trace(d.Trace)
	return nil
}

func (r *resolver) mtu(ctx context.Context) error {
	if r.spec.MTU = r.cfg.Interface.MTU; r.spec.MTU != 0 {
		return nil
	}
	r.spec.MTUChosen = true
	// With the tunnel up, the way to an endpoint may lead through the tunnel.
	if r.have.Link != nil && r.last != nil && r.last.MTUChosen && sameEndpoints(r.last, r.spec) {
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
		path, err := r.h.Routes.PathTo(ctx, a, mark)
		if err != nil {
			continue // no way to it now: it says nothing of the MTU
		}
		paths = append(paths, path.MTU)
	}
	internet := 0
	if len(paths) == 0 {
		if path, err := r.h.Routes.PathTo(ctx, netip.Addr{}, mark); err == nil {
			internet = path.MTU
		}
	}
	ipv6 := false
	for _, a := range r.spec.Addresses {
		ipv6 = ipv6 || a.Addr().Is6()
	}
	mtu, trace := routes.MTU(paths, internet, ipv6)
	r.spec.MTU = mtu
	r.trace(trace)
	return nil
}

func (r *resolver) firewall(ctx context.Context) error {
	s := r.spec
	s.Firewall = firewall.Ruleset{Interface: s.Name}
	if s.takesDefault() {
		s.Firewall.RestoreMark = *s.Device.FwMark
		for _, a := range s.Addresses {
			s.Firewall.AntiSpoof = append(s.Firewall.AntiSpoof, a.Addr())
		}
	}
	trace, err := r.h.Firewall.Choose(ctx, s.Firewall)
	if err != nil {
		return fmt.Errorf("a default route needs firewall rules: %w", err)
	}
	r.trace(trace)
	return nil
}

func (r *resolver) sysctls(ctx context.Context) error {
	for _, rule := range r.spec.Rules {
		if rule.Family == routes.V4 {
			return r.needSysctl(ctx, SrcValidMark, "1")
		}
	}
	return nil
}

// needSysctl asks for a parameter to have a value. If it has that already and
// no tunnel made it so, it is the administrator's and stays out of the Spec.
func (r *resolver) needSysctl(ctx context.Context, key, value string) error {
	now, ok := r.have.sysctl(key)
	if !ok {
		var err error
		now, err = r.h.Sysctls.Sysctl(ctx, key)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading sysctl %s: %w", key, err)
		}
	}
	previous, claimed := r.claimed(key)
	if !claimed {
		if now == value {
			return nil
		}
		previous = now
	}
	r.spec.Sysctls = append(r.spec.Sysctls, Sysctl{Key: key, Value: value, Previous: previous})
	return nil
}

// claimed returns the value that a parameter had before the first tunnel. One
// that is going down counts: it may not have put the parameter back yet, and
// leaves that to whoever claims it then.
func (r *resolver) claimed(key string) (previous string, ok bool) {
	specs := []*Spec{r.last}
	for _, o := range r.have.Others {
		specs = append(specs, o.Spec)
	}
	for _, s := range specs {
		if s == nil {
			continue
		}
		for _, c := range s.Sysctls {
			if c.Key == key {
				return c.Previous, true
			}
		}
	}
	return "", false
}

func (r *resolver) dns(ctx context.Context) error {
	trace, err := r.h.DNS.Choose(ctx, r.spec.DNS)
	if err != nil {
		return r.cfg.Errorf(config.InInterface, "DNS", 0, "%v", err)
	}
	r.trace(trace)
	return nil
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
