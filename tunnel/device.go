// SPDX-License-Identifier: MIT

package tunnel

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/netlinkx"
)

// A deviceDiff leads from a device to what it should be: first what comes and
// changes, and when all else is done what goes, as a session that ended can't
// be given back. Each part has its inverse, which is right even if only some of
// the part was made.
type deviceDiff struct {
	set, setBack   netlinkx.DeviceChange
	drop, dropBack netlinkx.DeviceChange
}

// diffDevice returns the smallest change from have to want.
func diffDevice(want Device, have netlinkx.Device, last Device) deviceDiff {
	var out deviceDiff
	next, prev := &out.set, &out.setBack
	switch {
	case want.PrivateKey != nil && !want.PrivateKey.Is(have.PrivateKey):
		next.PrivateKey, prev.PrivateKey = want.PrivateKey.value(), &have.PrivateKey
	case want.PrivateKey == nil && last.PrivateKey != nil && last.PrivateKey.Is(have.PrivateKey):
		next.PrivateKey, prev.PrivateKey = new(netlinkx.Secret), &have.PrivateKey
	}
	if want.ListenPort != nil && *want.ListenPort != 0 && *want.ListenPort != have.ListenPort {
		next.ListenPort, prev.ListenPort = want.ListenPort, &have.ListenPort
	}
	switch {
	case want.FwMark != nil && *want.FwMark != have.FwMark:
		next.FwMark, prev.FwMark = want.FwMark, &have.FwMark
	case want.FwMark == nil && last.FwMark != nil && have.FwMark != 0:
		next.FwMark, prev.FwMark = new(uint32), &have.FwMark
	}
	d := newPeerDiff(want, have, last)
	for _, p := range want.Peers {
		d.want(p)
	}
	next.Peers, prev.Peers = d.next, append(d.prev, d.returned()...)
	out.drop.Peers, out.dropBack.Peers = d.gone(want, last)
	return out
}

type peerDiff struct {
	isNew  bool // the device goes with its link on undo
	have   map[netlinkx.Key]*netlinkx.Peer
	last   map[netlinkx.Key]*Peer
	owner  map[netip.Prefix]*netlinkx.Peer // who has an allowed IP now
	wanted map[netip.Prefix]bool           // somebody is to have it

	next, prev []netlinkx.PeerChange
	restored   map[netlinkx.Key]bool // peers that get all their allowed IPs back on undo
	taken      []netip.Prefix        // allowed IPs that move here from another peer
}

func newPeerDiff(want Device, have netlinkx.Device, last Device) *peerDiff {
	d := &peerDiff{isNew: have.Backend == "", restored: map[netlinkx.Key]bool{}}
	if len(have.Peers) == 0 {
		return d // nothing is there to compare with
	}
	d.have = make(map[netlinkx.Key]*netlinkx.Peer, len(have.Peers))
	d.owner = make(map[netip.Prefix]*netlinkx.Peer, len(have.Peers))
	for i := range have.Peers {
		p := &have.Peers[i]
		d.have[p.PublicKey] = p
		for _, a := range p.AllowedIPs {
			d.owner[a] = p
		}
	}
	d.last = make(map[netlinkx.Key]*Peer, len(last.Peers))
	for i := range last.Peers {
		d.last[last.Peers[i].PublicKey] = &last.Peers[i]
	}
	d.wanted = make(map[netip.Prefix]bool, len(want.Peers))
	for _, p := range want.Peers {
		for _, a := range p.AllowedIPs {
			d.wanted[a] = true
		}
	}
	return d
}

// want adds what one peer needs.
func (d *peerDiff) want(p Peer) {
	q, exists := d.have[p.PublicKey]
	if !exists {
		d.next = append(d.next, netlinkx.PeerChange{
			PublicKey: p.PublicKey, PresharedKey: p.PresharedKey.value(), Endpoint: p.Endpoint,
			PersistentKeepalive: p.PersistentKeepalive, ReplaceAllowedIPs: true, AllowedIPs: p.AllowedIPs,
		})
		if !d.isNew {
			d.prev = append(d.prev, netlinkx.PeerChange{PublicKey: p.PublicKey, Remove: true})
		}
		d.take(p.PublicKey, p.AllowedIPs)
		return
	}
	last, known := d.last[p.PublicKey]
	next := netlinkx.PeerChange{PublicKey: p.PublicKey, UpdateOnly: true}
	prev := next
	changed := false
	switch {
	case p.PresharedKey != nil && !p.PresharedKey.Is(q.PresharedKey):
		next.PresharedKey, changed = p.PresharedKey.value(), true
	case p.PresharedKey == nil && known && last.PresharedKey != nil && !q.PresharedKey.IsZero():
		next.PresharedKey, changed = new(netlinkx.Secret), true
	}
	if next.PresharedKey != nil {
		prev.PresharedKey = &q.PresharedKey
	}
	switch {
	case p.PersistentKeepalive != nil && *p.PersistentKeepalive != q.PersistentKeepalive:
		next.PersistentKeepalive, changed = p.PersistentKeepalive, true
	case p.PersistentKeepalive == nil && known && last.PersistentKeepalive != nil && q.PersistentKeepalive != 0:
		next.PersistentKeepalive, changed = new(uint16), true
	}
	if next.PersistentKeepalive != nil {
		prev.PersistentKeepalive = &q.PersistentKeepalive
	}
	gained := false
	if p.Endpoint.IsValid() && p.Endpoint != q.Endpoint && !d.keepsEndpoint(p, q) {
		next.Endpoint, prev.Endpoint, changed = p.Endpoint, q.Endpoint, true
		gained = !q.Endpoint.IsValid()
	}
	added, lost := prefixDiff(p.AllowedIPs, q.AllowedIPs)
	// Whoever gets one takes it from here.
	lost = slices.DeleteFunc(lost, func(a netip.Prefix) bool { return d.wanted[a] })
	if len(added) > 0 || len(lost) > 0 {
		next.AllowedIPs, next.RemoveAllowedIPs, changed = added, lost, true
		prev.AllowedIPs, prev.RemoveAllowedIPs = lost, d.unowned(added)
		d.take(p.PublicKey, added)
	}
	if !changed {
		return
	}
	d.next = append(d.next, next)
	if gained {
		// A device can't forget an endpoint; it can forget the peer, which
		// without an endpoint had no session yet.
		d.prev = append(d.prev, netlinkx.PeerChange{PublicKey: p.PublicKey, Remove: true}, asIs(*q))
		d.restored[p.PublicKey] = true
		return
	}
	d.prev = append(d.prev, prev)
}

// keepsEndpoint reports whether a peer stays where it is, as it may have
// roamed: its endpoint is set only when the file's value changed.
func (d *peerDiff) keepsEndpoint(p Peer, q *netlinkx.Peer) bool {
	last, known := d.last[p.PublicKey]
	return q.Endpoint.IsValid() && (!known || p.Configured == last.Configured)
}

// gone takes away the peers that were last applied and aren't wanted.
func (d *peerDiff) gone(want, last Device) (drop, back []netlinkx.PeerChange) {
	if len(d.have) == 0 {
		return nil, nil
	}
	wanted := make(map[netlinkx.Key]bool, len(want.Peers))
	for _, p := range want.Peers {
		wanted[p.PublicKey] = true
	}
	for _, p := range last.Peers {
		if q, exists := d.have[p.PublicKey]; exists && !wanted[p.PublicKey] {
			drop = append(drop, netlinkx.PeerChange{PublicKey: p.PublicKey, Remove: true})
			back = append(back, asIs(d.left(*q)))
		}
	}
	return drop, back
}

// left is a peer without the allowed IPs that others will have taken from it.
func (d *peerDiff) left(q netlinkx.Peer) netlinkx.Peer {
	q.AllowedIPs = slices.DeleteFunc(slices.Clone(q.AllowedIPs), func(a netip.Prefix) bool { return d.wanted[a] })
	return q
}

func (d *peerDiff) take(by netlinkx.Key, prefixes []netip.Prefix) {
	for _, a := range prefixes {
		if had := d.owner[a]; had != nil && had.PublicKey != by {
			d.taken = append(d.taken, a)
		}
	}
}

// unowned returns those that no peer has now.
func (d *peerDiff) unowned(prefixes []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(prefixes), func(a netip.Prefix) bool {
		return d.owner[a] != nil
	})
}

// returned gives back, on undo, what was taken from other peers.
func (d *peerDiff) returned() (out []netlinkx.PeerChange) {
	for _, a := range d.taken {
		if had := d.owner[a].PublicKey; !d.restored[had] {
			out = append(out, netlinkx.PeerChange{PublicKey: had, UpdateOnly: true, AllowedIPs: []netip.Prefix{a}})
		}
	}
	return out
}

// ifMade returns s if all that its device will have is known from it, once the steps
// to it from have were taken; else nil.
func (s *Spec) ifMade(have *State) *Spec {
	d := &s.Device
	known := have.Link == nil && s.Backend == netlinkx.BackendUserspace &&
		d.PrivateKey != nil && !d.PrivateKey.back && d.ListenPort != nil && *d.ListenPort != 0 &&
		!slices.ContainsFunc(d.Peers, func(p Peer) bool { return p.PublicKey == *d.PublicKey }) // which no device takes
	if !known {
		return nil
	}
	return s
}

// madeDevice returns the device that ifMade promises.
func (s *Spec) madeDevice() netlinkx.Device {
	d := &s.Device
	made := netlinkx.Device{
		Name: s.Name, Backend: s.Backend, PrivateKey: *d.PrivateKey.value(), PublicKey: *d.PublicKey, ListenPort: *d.ListenPort,
		Peers: make([]netlinkx.Peer, len(d.Peers)),
	}
	if d.FwMark != nil {
		made.FwMark = *d.FwMark
	}
	for i, p := range d.Peers {
		q := &made.Peers[i]
		q.PublicKey, q.Endpoint, q.AllowedIPs = p.PublicKey, p.Endpoint, p.AllowedIPs
		if p.PresharedKey != nil {
			q.PresharedKey = *p.PresharedKey.value()
		}
		if p.PersistentKeepalive != nil {
			q.PersistentKeepalive = *p.PersistentKeepalive
		}
	}
	return made
}

// asIs makes a peer again as it is.
func asIs(q netlinkx.Peer) netlinkx.PeerChange {
	return netlinkx.PeerChange{
		PublicKey: q.PublicKey, PresharedKey: &q.PresharedKey, Endpoint: q.Endpoint,
		PersistentKeepalive: &q.PersistentKeepalive, ReplaceAllowedIPs: true, AllowedIPs: q.AllowedIPs,
	}
}

// prefixDiff returns what want has and have hasn't, and the other way round.
func prefixDiff(want, have []netip.Prefix) (added, lost []netip.Prefix) {
	if slices.Equal(want, have) {
		return nil, nil
	}
	there := make(map[netip.Prefix]bool, len(have))
	for _, a := range have {
		there[a] = true
	}
	for _, a := range want {
		if !there[a] {
			added = append(added, a)
		}
		delete(there, a)
	}
	for _, a := range have {
		if there[a] {
			lost = append(lost, a)
		}
	}
	return added, lost
}

// unknownKey stands in a change for a key of which only the digest is known:
// such a change can be shown, and not made.
var unknownKey netlinkx.Secret

var errUnknownKey = errors.New("the record has only the digest of the key: its file has it")

// value returns the key, nil for no Secret.
func (s *Secret) value() *netlinkx.Secret {
	switch {
	case s == nil:
		return nil
	case s.back:
		return &unknownKey
	}
	return &s.key
}

// keysKnown reports whether a change has all the keys that it sets.
func keysKnown(c netlinkx.DeviceChange) bool {
	return c.PrivateKey != &unknownKey &&
		!slices.ContainsFunc(c.Peers, func(p netlinkx.PeerChange) bool { return p.PresharedKey == &unknownKey })
}
