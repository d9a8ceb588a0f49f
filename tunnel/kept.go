// SPDX-License-Identifier: MIT

package tunnel

import (
	"cmp"
	"context"
	"slices"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
)

// A kill switch outlives its tunnel where that is to come back: between a stop
// and a start that belong together, and when a killed run or a dead device is
// cleared away for the next one. What stands then is a Spec too, with nothing
// but the kill switch, so that a run that fails leads back to it.

// kept returns what stands of a tunnel that is to come back; nil if it has no
// kill switch.
func kept(last *Spec) *Spec {
	if last == nil || last.Firewall.KillSwitch.IsZero() {
		return nil
	}
	k := &Spec{
		Name: last.Name, Kept: true, Backend: last.Backend, MarkChosen: last.MarkChosen, Device: Device{FwMark: last.Device.FwMark},
		Firewall: firewall.Ruleset{Interface: last.Name, KillSwitch: last.Firewall.KillSwitch},
	}
	// Names can't be looked up behind it: the endpoints are those of last.
	for _, p := range last.Device.Peers {
		k.Device.Peers = append(k.Device.Peers, Peer{PublicKey: p.PublicKey, Configured: p.Configured, Endpoint: p.Endpoint})
	}
	return k
}

// Clearing returns the steps that make way for a new tunnel. A kill switch
// stands until the new one has its own.
func (s *State) Clearing() []Step { return WithoutHooks(Plan(kept(s.Last()), s)) }

// clearedFirewall returns what stands after Clearing.
func (s *State) clearedFirewall() (firewall.Installed, *Record) {
	k := kept(s.Last())
	if k == nil {
		return firewall.Installed{}, nil
	}
	found := firewall.Installed{Digest: k.Firewall.Digest(), Mark: k.Firewall.KillSwitch.Mark, KillSwitch: true}
	return found, &Record{Phase: PhaseKept, Spec: k}
}

// goneDeadEnds removes those that were last applied: no link takes them along.
func (p *planner) goneDeadEnds() {
	for _, r := range slices.Backward(p.last.Routes) {
		if slices.Contains(p.have.DeadEnds, netlinkx.InstalledRoute{Route: r, Protocol: netlinkx.Protocol, Plain: true}) {
			p.add(routeDel{link: p.name, route: r})
		}
	}
}

// previousFile remembers what resolv.conf held before the first tunnel by what
// was known of it, where the file that keeps that is gone: the last Spec of this
// tunnel may be the only one that says so, or that of another.
func (r *resolver) previousFile(context.Context) error {
	d := &r.spec.DNS
	if d.Backend != dns.BackendFile || d.Previous != "" {
		return nil
	}
	if r.last != nil {
		d.Previous = r.last.DNS.Previous
	}
	for _, o := range r.have.Others {
		if o.Spec != nil && o.Spec.DNS.Backend == dns.BackendFile {
			d.Previous = cmp.Or(d.Previous, o.Spec.DNS.Previous)
		}
	}
	return nil
}
