// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// settle looks at the host after a run that failed and was undone, and takes
// back what is still there: a step that failed may have been taken all the
// same, as when only the kernel's answer was lost; undoing may have failed in
// a way that passes; and another tunnel may have gone down meanwhile and left
// what both shared to this one. Each ends its claim before it looks, so that of
// two one sees it. The record stays if it is needed to know what to take away.
func (s *Session) settle(ctx context.Context, r Record, before *Record, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	failed := (*StepError)(nil)
	if !errors.As(err, &failed) {
		failed = &StepError{Err: err}
	}
	var want *Spec
	if before != nil {
		want = before.Spec.asSeen(s.was)
	}
	r.Releasing = true
	left := s.host.Records.Save(&r)
	if left == nil {
		left = s.retake(ctx, want)
	}
	if left == nil {
		left = s.forget(before)
	}
	failed.Left = nil
	if left != nil {
		failed.Left = []error{left}
	}
	return failed
}

// retake takes what still separates the host from want, and looks whether that
// was all. The error says what does in the end.
func (s *Session) retake(ctx context.Context, want *Spec) error {
	if err := s.observe(ctx); err != nil {
		return err
	}
	steps := s.remaining(want)
	if len(steps) == 0 {
		return nil
	}
	err := ApplyAll(ctx, s.host, steps, s.report)
	if obs := s.observe(ctx); obs != nil {
		return errors.Join(err, obs)
	}
	switch steps = s.remaining(want); {
	case len(steps) == 0:
		return nil
	case err == nil:
		return fmt.Errorf("%s is not as it was: still to do: %s", s.name, texts(steps))
	}
	return err
}

// remaining are the steps from what was observed to want, without hooks, and
// without those that were missing before the run; but the device of a change
// that was undone is to be as it was seen, whatever was missing there. Of two tunnels
// that go down at once each may find here a parameter that neither had to put
// back when it was planned; that both do then does no harm.
func (s *Session) remaining(want *Spec) []Step {
	steps := slices.DeleteFunc(Plan(want, s.Have), func(step Step) bool {
		return isHook(step) || s.drift[step.String()] && (s.was == nil || !isDevice(step))
	})
	if peers := s.gainedEndpoints(want); len(peers) > 0 {
		steps = append(steps, deviceSet{name: s.name, verb: "set", next: netlinkx.DeviceChange{Peers: peers}})
	}
	return append(s.asDown(steps), s.promoted()...)
}

// asDown makes a link down again that was so before the run, where the steps would
// have it up, as a Spec says of any.
func (s *Session) asDown(steps []Step) []Step {
	if s.was == nil || s.was.Link == nil || s.was.Link.Up || s.Have.Link == nil {
		return steps
	}
	steps = slices.DeleteFunc(steps, func(step Step) bool {
		_, ok := step.(linkSet)
		return ok
	})
	if was, now := s.was.Link, s.Have.Link; now.Up || now.MTU != was.MTU {
		steps = append(steps, linkSet{name: s.name, mtu: was.MTU, prevMTU: now.MTU, prevUp: now.Up})
	}
	return steps
}

// promoted puts back the parameter that bracketed changes of addresses, which no
// Spec knows of.
func (s *Session) promoted() []Step {
	if s.was == nil || s.Have.Record == nil || !s.Have.Record.Promotes {
		return nil
	}
	key := promoteSecondaries(s.name)
	was, known := s.was.sysctl(key)
	if now, there := s.Have.sysctl(key); known && there && now != was {
		return []Step{sysctlSet{key: key, value: was, previous: now}}
	}
	return nil
}

// gainedEndpoints makes those peers anew that the run gave an endpoint and that
// had none: a device can't forget one, and there was no session yet.
func (s *Session) gainedEndpoints(want *Spec) (out []netlinkx.PeerChange) {
	if want == nil || s.was == nil {
		return nil
	}
	silent := map[netlinkx.Key]netlinkx.Peer{}
	for _, p := range s.was.Device.Peers {
		if !p.Endpoint.IsValid() {
			silent[p.PublicKey] = p
		}
	}
	if len(silent) == 0 {
		return nil
	}
	given := map[netlinkx.Key]Peer{}
	if last := s.Have.Last(); last != nil {
		for _, p := range last.Device.Peers {
			given[p.PublicKey] = p
		}
	}
	for _, p := range s.Have.Device.Peers {
		if q, ok := silent[p.PublicKey]; ok && p.Endpoint.IsValid() && p.Endpoint == given[p.PublicKey].Endpoint {
			out = append(out, netlinkx.PeerChange{PublicKey: p.PublicKey, Remove: true}, asIs(q))
		}
	}
	return out
}

func isDevice(s Step) bool {
	_, ok := s.(deviceSet)
	return ok
}

// asSeen returns s with what was seen, if something was, in place of what was
// applied: what a change that fails goes back to is what stood there, also what
// somebody else had set or taken away, and a Spec that was read back has no keys.
func (s *Spec) asSeen(was *State) *Spec {
	if was == nil || was.Link == nil || was.Link.Backend == "" || s.Kept {
		return s
	}
	u := *s
	u.Device, u.MTU = s.Device.asSeen(was.Device), was.Link.MTU
	u.Addresses = among(s.Addresses, was.Addresses)
	u.Routes = among(s.Routes, ours(slices.Concat(was.DeadEnds, was.Routes), func(r netlinkx.InstalledRoute) (routes.Route, bool) {
		return r.Route, r.Plain
	}))
	u.Rules = among(s.Rules, ours(was.Rules, func(r netlinkx.InstalledRule) (routes.Rule, bool) {
		return r.Rule, r.Plain && r.Protocol == netlinkx.Protocol
	}))
	if was.Firewall.Digest == "" {
		u.Firewall = firewall.Ruleset{Interface: s.Name}
	}
	u.Sysctls = slices.Clone(s.Sysctls)
	for i := range u.Sysctls {
		if now, ok := was.sysctl(u.Sysctls[i].Key); ok {
			u.Sysctls[i].Value = now
		}
	}
	return &u
}

// among returns those of a that are in b too.
func among[T comparable](a, b []T) []T {
	there := make(map[T]bool, len(b))
	for _, x := range b {
		there[x] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(x T) bool { return !there[x] })
}

// ours returns what is meant by those that are ours.
func ours[T, U any](list []T, meant func(T) (U, bool)) (out []U) {
	for _, x := range list {
		if u, ok := meant(x); ok {
			out = append(out, u)
		}
	}
	return out
}

// asSeen is the device that was seen, with the endpoints as the file has them.
func (d Device) asSeen(was netlinkx.Device) Device {
	configured := make(map[netlinkx.Key]string, len(d.Peers))
	for _, p := range d.Peers {
		configured[p.PublicKey] = p.Configured
	}
	u := Device{
		PrivateKey: NewSecret(was.PrivateKey), PublicKey: &was.PublicKey, ListenPort: &was.ListenPort, FwMark: &was.FwMark,
		Peers: make(Peers, 0, len(was.Peers)),
	}
	for i := range was.Peers {
		p := &was.Peers[i]
		u.Peers = append(u.Peers, Peer{
			PublicKey: p.PublicKey, PresharedKey: NewSecret(p.PresharedKey), Configured: configured[p.PublicKey],
			Endpoint: p.Endpoint, AllowedIPs: p.AllowedIPs, PersistentKeepalive: &p.PersistentKeepalive,
		})
	}
	return u
}
