// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

// firewall works out the rules of the tunnel's own table.
func (r *resolver) firewall(ctx context.Context) error {
	s, in := r.spec, r.cfg.Interface
	s.Firewall = firewall.Ruleset{Interface: s.Name, Forward: r.forwards() && (in.Forward != nil || !in.Masquerade.IsZero())}
	if s.takesDefault() {
		s.Firewall.RestoreMark = *s.Device.FwMark
	}
	if in.KillSwitch {
		s.Firewall.KillSwitch = firewall.KillSwitch{Mark: *s.Device.FwMark, Excluded: in.ExcludedIPs}
		r.closeNameservers()
	}
	if err := r.masquerade(ctx); err != nil {
		return err
	}
	if err := r.portForwards(); err != nil {
		return err
	}
	if c := in.ClampMSS; !c.Off && (c.Size != 0 || r.forwards()) {
		s.Firewall.Clamp = firewall.Clamp{On: true, Size: uint16(c.Size)}
	}
	needed := !s.Firewall.Empty()
	if err := r.antiSpoof(ctx); err != nil {
		return err
	}
	trace, err := r.h.Firewall.Choose(ctx, s.Firewall)
	r.trace(trace)
	switch {
	case err == nil:
		return nil
	case !needed && (errors.Is(err, firewall.ErrNoBackend) || errors.Is(err, unix.EPERM)):
		s.Firewall.AntiSpoof = nil // it goes without, as with wg-quick
		return nil
	}
	return fmt.Errorf("%s needs firewall rules: %w", r.reason(), err)
}

// closeNameservers lets no look-up go to what is excluded, where all are the
// tunnel's and all else that isn't excluded goes into it. A nameserver of the
// tunnel's may be excluded itself.
func (r *resolver) closeNameservers() {
	s, k := r.spec, &r.spec.Firewall.KillSwitch
	if len(k.Excluded) == 0 || !s.DNS.Exclusive() || s.DNS.Backend == dns.BackendOff || !s.takesDefault() {
		return
	}
	k.Resolver = true
	for _, a := range s.DNS.Servers {
		a = a.Unmap().WithZone("")
		if slices.ContainsFunc(k.Excluded, func(p netip.Prefix) bool { return p.Contains(a) }) {
			k.Nameservers = append(k.Nameservers, a)
		}
	}
}

// reason says what rules are needed for.
func (r *resolver) reason() string {
	in := r.cfg.Interface
	switch {
	case r.spec.takesDefault():
		return "a default route"
	case in.KillSwitch:
		return "KillSwitch"
	case len(in.PortForwards) > 0:
		return "PortForward"
	case !in.Masquerade.IsZero():
		return "Masquerade"
	}
	return "the file"
}

// forwards reports whether the host is to forward for the tunnel.
func (r *resolver) forwards() bool {
	in := r.cfg.Interface
	if in.Forward != nil {
		return *in.Forward
	}
	return !in.Masquerade.IsZero() || len(in.PortForwards) > 0
}

// antiSpoof protects the tunnel's addresses from other links. Without a default
// route that is more than wg-quick does, and leaves out an address that another
// link has too.
func (r *resolver) antiSpoof(ctx context.Context) error {
	s := r.spec
	if !s.takesDefault() && r.options.Quick {
		return nil
	}
	for _, p := range s.Addresses {
		elsewhere := false
		if !s.takesDefault() {
			var err error
			if elsewhere, err = r.elsewhere(ctx, p); err != nil {
				return err
			}
		}
		if !elsewhere {
			s.Firewall.AntiSpoof = append(s.Firewall.AntiSpoof, p.Addr())
		}
	}
	return nil
}

// elsewhere reports whether another link has the address. Once the tunnel has
// it too the host can't tell, and what was decided then counts.
func (r *resolver) elsewhere(ctx context.Context, p netip.Prefix) (bool, error) {
	ours := slices.ContainsFunc(r.have.Addresses, func(h netip.Prefix) bool { return h.Addr() == p.Addr() })
	if ours && r.last != nil {
		return !slices.ContainsFunc(r.have.applied(), func(s *Spec) bool { return slices.Contains(s.Firewall.AntiSpoof, p.Addr()) }), nil
	}
	path, ok, err := r.pathTo(ctx, p.Addr(), 0)
	return ok && path.Link == "lo", err
}

// masquerade finds the links, and for iptables where packets come from.
func (r *resolver) masquerade(ctx context.Context) error {
	in, f := r.cfg.Interface.Masquerade, &r.spec.Firewall
	if in.IsZero() {
		return nil
	}
	if r.have.sealed != nil {
		f.Sources = r.last.Firewall.Sources
	} else {
		for _, a := range r.spec.Addresses {
			f.Sources = append(f.Sources, a.Masked())
		}
		f.Sources = append(f.Sources, r.spec.Device.allowedIPs()...)
	}
	if in.Auto {
		if err := r.masqueradeAuto(ctx); err != nil {
			return err
		}
	}
	for _, link := range in.Links {
		if link == r.spec.Name {
			return r.cfg.Errorf(config.InInterface, "Masquerade", 0, "%s is the tunnel itself", link)
		}
		f.Masquerade = slices.DeleteFunc(f.Masquerade, func(m firewall.Masquerade) bool { return m.Out == link })
		f.Masquerade = append(f.Masquerade, firewall.Masquerade{Out: link})
	}
	return nil
}

// masqueradeAuto follows the default route of each family of the tunnel.
func (r *resolver) masqueradeAuto(ctx context.Context) error {
	f := &r.spec.Firewall
	var words []string
	for _, to := range []struct {
		family routes.Family
		any    netip.Addr
	}{{routes.V4, netip.IPv4Unspecified()}, {routes.V6, netip.IPv6Unspecified()}} {
		if !r.uses(to.family) {
			continue
		}
		path, ok, err := r.pathTo(ctx, to.any, 0)
		if err != nil {
			return err
		}
		if !ok || path.Link == r.spec.Name {
			words = append(words, fmt.Sprintf("v%d=-", to.family))
			continue
		}
		words = append(words, fmt.Sprintf("v%d=%s", to.family, path.Link))
		f.Masquerade = append(f.Masquerade, firewall.Masquerade{Out: path.Link, Family: firewall.Family(to.family)})
	}
	r.trace(fmt.Sprintf("masquerade: [auto %s ret=%d]", strings.Join(words, " "), len(f.Masquerade)))
	if len(f.Masquerade) == 0 {
		return r.cfg.Errorf(config.InInterface, "Masquerade", 0,
			"auto follows the default route, and this host has none outside of the tunnel: name the interface")
	}
	if m := f.Masquerade; len(m) == 2 && m[0].Out == m[1].Out {
		f.Masquerade = []firewall.Masquerade{{Out: m[0].Out}}
	}
	return nil
}

// portForwards takes the file's, unless another tunnel forwards the same.
func (r *resolver) portForwards() error {
	for i, f := range r.cfg.Interface.PortForwards {
		own := portForward(f)
		for _, o := range r.have.Others {
			for _, other := range o.Spec.Firewall.PortForwards {
				if own.Overlaps(other) {
					return r.cfg.Errorf(config.InInterface, "PortForward", i, "%s/%d is forwarded by %s", other.Protocol, other.First, o.Spec.Name)
				}
			}
		}
		r.spec.Firewall.PortForwards = append(r.spec.Firewall.PortForwards, own)
	}
	return nil
}

func portForward(f config.PortForward) firewall.PortForward {
	out := firewall.PortForward{
		Protocol: firewall.TCP, First: f.First, Count: f.Count, To: f.To, ToFirst: f.ToFirst, On: f.On, KeepSource: f.KeepSource,
	}
	if f.Protocol == config.UDP {
		out.Protocol = firewall.UDP
	}
	return out
}
