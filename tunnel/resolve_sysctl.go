// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/wgctl/wgctl/routes"
)

// SrcValidMark is the parameter that makes reverse path filtering look at the
// mark, without which replies to marked packets are dropped.
const SrcValidMark = "net.ipv4.conf.all.src_valid_mark"

// Parameters that the keys of forwarding and of the kill switch need.
const (
	forward4  = "net.ipv4.ip_forward"
	forward6  = "net.ipv6.conf.all.forwarding"
	arpIgnore = "net.ipv4.conf.all.arp_ignore"
)

// acceptRA is what comes before and after the link in that parameter's name.
var acceptRA = [2]string{"net/ipv6/conf/", "/accept_ra"}

// SharedSysctls are the parameters that tunnels may need: those to observe
// before it is known which one does.
var SharedSysctls = []string{SrcValidMark, forward4, forward6, arpIgnore}

func (r *resolver) sysctls(ctx context.Context) error {
	for _, rule := range r.spec.ownRules() {
		if rule.Family == routes.V4 {
			if err := r.needSysctl(ctx, SrcValidMark, "1"); err != nil {
				return err
			}
			break
		}
	}
	if r.forwards() {
		if err := r.forwarding(ctx); err != nil {
			return err
		}
	}
	if r.cfg.Interface.KillSwitch && r.uses(routes.V4) {
		// 1: a request is answered only on the link that has the address, so
		// that nobody on another one learns which address the tunnel has. 2
		// and 8 are stricter (arp_ignore of net/ipv4/arp.c).
		return r.needSysctl(ctx, arpIgnore, "1", "2", "8")
	}
	return nil
}

// forwarding turns it on for the families of the tunnel. A host that forwards
// IPv6 takes no more router advertisements where accept_ra is 1, and would lose
// its default route (Documentation/networking/ip-sysctl.rst): so it becomes 2
// on the link of that route.
func (r *resolver) forwarding(ctx context.Context) error {
	if r.uses(routes.V4) {
		if err := r.needSysctl(ctx, forward4, "1"); err != nil {
			return err
		}
	}
	if !r.uses(routes.V6) {
		return nil
	}
	path, ok, err := r.pathTo(ctx, netip.IPv6Unspecified(), 0)
	if err != nil {
		return err
	}
	if ok && path.Link != r.spec.Name {
		if err := r.needSysctl(ctx, acceptRA[0]+path.Link+acceptRA[1], "2", "0"); err != nil {
			return err
		}
	}
	return r.needSysctl(ctx, forward6, "1")
}

// uses reports whether packets of the family go through the tunnel.
func (r *resolver) uses(f routes.Family) bool {
	of := func(p netip.Prefix) bool { return routes.FamilyOf(p) == f }
	return r.have.sealed.uses(f) || slices.ContainsFunc(r.spec.Addresses, of) || slices.ContainsFunc(r.spec.Device.allowedIPs(), of)
}

// needSysctl asks for a parameter to have a value. If it has that already, or
// one that will do as well, and no tunnel made it so, it is the administrator's
// and stays out of the Spec.
func (r *resolver) needSysctl(ctx context.Context, key, value string, asWell ...string) error {
	if slices.ContainsFunc(r.spec.Sysctls, func(s Sysctl) bool { return s.Key == key }) {
		return nil // a hook asks for it too
	}
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
		if now == value || slices.Contains(asWell, now) {
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
