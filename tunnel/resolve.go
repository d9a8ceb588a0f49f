// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// Options change what a file says.
type Options struct {
	Backend    config.Backend    // "": as the file says
	DNSBackend config.DNSBackend // "": as the file says
	// Quick leaves out what wg-quick doesn't do: rules for a tunnel without a
	// default route, and to take hooks for anything but shell.
	Quick bool
	// Ordinary is for a plan that is only shown: what is refused to who asks
	// for it, and wouldn't be to root, counts as possible.
	Ordinary bool

	starts Userspace // of a run that is to start a device if it takes one; else nil
}

// refused reports whether something isn't known because an ordinary user asks.
func (o Options) refused(err error) bool { return o.Ordinary && errors.Is(err, os.ErrPermission) }

// Resolve works out what the host should look like: it reads the host where
// the file leaves a choice (backend, table, mark, priorities, MTU), and writes
// nothing. What was chosen the last time is kept. Choices that other tunnels
// could make too are only valid while the caller holds LockHost and until it
// saves the record.
func Resolve(ctx context.Context, h *Host, cfg *config.Config, endpoints []netip.AddrPort, have *State, o Options) (*Spec, error) {
	s := &Spec{
		Name:      have.Name,
		Addresses: cfg.Interface.Addresses,
		DNS:       resolverSettings(cfg, have.Name, o),
		Hooks:     HooksOf(cfg, have.Name),
	}
	s.Outside = h.Underlay != nil
	if last := have.Last(); have.Up() && last != nil {
		s.Outside = last.Outside // sockets stay where they are
	}
	r := resolver{h: h, cfg: cfg, have: have, last: have.Last(), spec: s, options: o}
	steps := []func(context.Context) error{
		func(ctx context.Context) error { return r.backend(ctx, o.Backend) },
		r.ipv6,
		func(ctx context.Context) error { return r.device(ctx, endpoints) },
		r.routes,
		r.mtu,
		r.firewall,
		r.lift,
		r.passage,
		r.sysctls,
		r.dns,
		r.previousFile,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

type resolver struct {
	h    *Host
	cfg  *config.Config
	have *State
	last *Spec
	spec *Spec

	options Options
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
		if f.Userspace = r.h.Userspace.Available(ctx); r.options.refused(f.Userspace) {
			f.Userspace = nil
		}
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
	if b == netlinkx.BackendUserspace && r.options.starts != nil {
		_ = r.options.starts.Prepare(r.spec.Name) // else Start does it, and tells why it can't
	}
	return nil
}

// prepare begins to start an embedded device where a tunnel without a record will
// take one, as far as can be told before anything is looked at; else Resolve does.
func prepare(ctx context.Context, h *Host, name string, cfg *config.Config, o Options) {
	if r, err := h.Records.Head(name); err != nil || r != nil {
		return // it may be up
	}
	f := backendFacts{File: cfg.Interface.Backend, Forced: o.Backend}
	var err error
	if f.Module, err = h.Devices.KernelHasWireGuard(ctx); err != nil {
		return // Resolve says so
	}
	if b, _, err := chooseBackend(f); err == nil && b == netlinkx.BackendUserspace {
		_ = h.Userspace.Prepare(name)
	}
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
	case v == "0" && (r.cfg.Interface.MTU == 0 || r.cfg.Interface.MTU >= routes.MinIPv6MTU):
		return nil
	case v == "0":
		why = fmt.Sprintf("an MTU of %d is less than the %d bytes that IPv6 takes", r.cfg.Interface.MTU, routes.MinIPv6MTU)
	default:
		why = fmt.Sprintf("IPv6 is disabled here (sysctl %s=%s)", key, v)
	}
	if r.have.sealed.uses(routes.V6) {
		return errUnsealed // the peers are needed, to say which
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
	for i, f := range r.cfg.Interface.PortForwards {
		if f.To.Is6() {
			errs = append(errs, r.cfg.Errorf(config.InInterface, "PortForward", i, "%s is an IPv6 address, and %s", f.To, why))
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
