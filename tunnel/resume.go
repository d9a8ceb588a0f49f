// SPDX-License-Identifier: MIT

package tunnel

import "github.com/wgctl/wgctl/netlinkx"

// Resumed returns the state of a tunnel whose reload was cut short as one that
// is up and drifted: its link and its sessions are there, and the next reload
// goes on from what it finds. ok is false where there is no such tunnel.
func (s *State) Resumed() (up *State, ok bool) {
	switch r := s.Record; {
	case s.Link == nil, !s.Link.Ours, s.Link.Backend == "", r == nil:
		return nil, false
	case r.Phase != PhaseChanging, r.Before == nil, r.Before.Kept:
		return nil, false // an up, of which nobody knows what its hooks did
	}
	r := *s.Record
	r.Phase, r.Spec, r.Before, r.Promotes = PhaseUp, s.Record.Spec.between(s.Record.Before), nil, false
	before := s.Record.Before
	if s.Firewall.Digest == before.Firewall.Digest() {
		r.Spec.Firewall = before.Firewall
	}
	if key := before.Device.PrivateKey; key != nil && key.Is(s.Device.PrivateKey) {
		r.Spec.Device.PrivateKey, r.Spec.Device.PublicKey = key, before.Device.PublicKey
	}
	resumed := *s
	resumed.Record, resumed.cut = &r, s.Record
	return &resumed, true
}

// applied are what was last applied, and what else was where it is unknown how
// far that came.
func (s *State) applied() []*Spec {
	if s.cut != nil {
		return []*Spec{s.cut.Spec, s.cut.Before}
	}
	return []*Spec{s.Last()}
}

// Resume makes the rest of the session start from Resumed, where it can.
func (s *Session) Resume() bool {
	up, ok := s.Have.Resumed()
	if ok {
		s.cut, s.Have = up.cut, up
	}
	return ok
}

// between is with, and where both have a setting that differs, it is unknown
// which of them the device got: it counts as one that was applied, and an
// endpoint as one that the file no longer says.
func (s *Spec) between(before *Spec) *Spec {
	u := s.with(before)
	d, b := &u.Device, before.Device
	if d.PrivateKey == nil {
		d.PrivateKey, d.PublicKey = b.PrivateKey, b.PublicKey
	}
	if d.FwMark == nil || before.MarkChosen && !u.MarkChosen {
		d.FwMark, u.MarkChosen = b.FwMark, before.MarkChosen // a choice is kept while it stands
	}
	u.Lifted.Rules = united(u.Lifted.Rules, before.Lifted.Rules)
	had := make(map[netlinkx.Key]Peer, len(b.Peers))
	for _, p := range b.Peers {
		had[p.PublicKey] = p
	}
	peers := make(Peers, 0, len(d.Peers))
	for _, p := range d.Peers {
		if q, known := had[p.PublicKey]; known {
			if p.PresharedKey == nil {
				p.PresharedKey = q.PresharedKey
			}
			if p.PersistentKeepalive == nil {
				p.PersistentKeepalive = q.PersistentKeepalive
			}
			if p.Configured != q.Configured {
				p.Configured = ""
			}
		}
		peers = append(peers, p)
	}
	d.Peers = peers
	return u
}
