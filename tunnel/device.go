// SPDX-License-Identifier: MIT

package tunnel

import (
	"net/netip"

	"github.com/wgctl/wgctl/netlinkx"
)

// deviceChange returns the smallest change from have to want, and its
// inverse, which is right even if only some of the change was made.
func deviceChange(want Device, have netlinkx.Device, last Device) (next, prev netlinkx.DeviceChange) {
	switch {
	case want.PrivateKey != nil && !want.PrivateKey.Is(have.PrivateKey):
		next.PrivateKey, prev.PrivateKey = &want.PrivateKey.key, &have.PrivateKey
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
	d := newPeerDiff(have, last)
	for _, p := range want.Peers {
		d.want(p)
	}
	d.remove(want, last)
	next.Peers, prev.Peers = d.next, append(d.prev, d.returned()...)
	return next, prev
}

type peerDiff struct {
	have  map[netlinkx.Key]netlinkx.Peer
	last  map[netlinkx.Key]Peer
	owner map[netip.Prefix]netlinkx.Key // who has an allowed IP now

	next, prev []netlinkx.PeerChange
	restored   map[netlinkx.Key]bool // peers that get all their allowed IPs back on undo
	taken      []netip.Prefix        // allowed IPs that move here from another peer
}

func newPeerDiff(have netlinkx.Device, last Device) *peerDiff {
	d := &peerDiff{
		have:     make(map[netlinkx.Key]netlinkx.Peer, len(have.Peers)),
		last:     make(map[netlinkx.Key]Peer, len(last.Peers)),
		owner:    map[netip.Prefix]netlinkx.Key{},
		restored: map[netlinkx.Key]bool{},
	}
	for _, p := range have.Peers {
		d.have[p.PublicKey] = p
		for _, a := range p.AllowedIPs {
			d.owner[a] = p.PublicKey
		}
	}
	for _, p := range last.Peers {
		d.last[p.PublicKey] = p
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
		d.prev = append(d.prev, netlinkx.PeerChange{PublicKey: p.PublicKey, Remove: true})
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
	// A peer may have roamed: its endpoint is set only when the file's value
	// changed.
	gained := false
	if p.Endpoint.IsValid() && p.Endpoint != q.Endpoint && (!q.Endpoint.IsValid() || known && p.Configured != last.Configured) {
		next.Endpoint, prev.Endpoint, changed = p.Endpoint, q.Endpoint, true
		gained = !q.Endpoint.IsValid()
	}
	added, removed := prefixDiff(p.AllowedIPs, q.AllowedIPs)
	if len(added) > 0 || removed {
		next.AllowedIPs, changed = added, true
		if removed {
			next.ReplaceAllowedIPs, next.AllowedIPs = true, p.AllowedIPs
		}
		prev.ReplaceAllowedIPs, prev.AllowedIPs = true, q.AllowedIPs
		d.restored[p.PublicKey] = true
		d.take(p.PublicKey, added)
	}
	if !changed {
		return
	}
	d.next = append(d.next, next)
	if gained {
		// A device can't forget an endpoint; it can forget the peer, which
		// without an endpoint had no session yet.
		d.prev = append(d.prev, netlinkx.PeerChange{PublicKey: p.PublicKey, Remove: true}, asIs(q))
		d.restored[p.PublicKey] = true
		return
	}
	d.prev = append(d.prev, prev)
}

// remove takes away the peers that were last applied and aren't wanted.
func (d *peerDiff) remove(want, last Device) {
	wanted := make(map[netlinkx.Key]bool, len(want.Peers))
	for _, p := range want.Peers {
		wanted[p.PublicKey] = true
	}
	for _, p := range last.Peers {
		q, exists := d.have[p.PublicKey]
		if !exists || wanted[p.PublicKey] {
			continue
		}
		d.next = append(d.next, netlinkx.PeerChange{PublicKey: p.PublicKey, Remove: true})
		d.prev = append(d.prev, asIs(q))
		d.restored[p.PublicKey] = true
	}
}

func (d *peerDiff) take(by netlinkx.Key, prefixes []netip.Prefix) {
	for _, a := range prefixes {
		if had, ok := d.owner[a]; ok && had != by {
			d.taken = append(d.taken, a)
		}
	}
}

// returned gives back, on undo, what was taken from peers that don't change
// otherwise.
func (d *peerDiff) returned() (out []netlinkx.PeerChange) {
	for _, a := range d.taken {
		if had := d.owner[a]; !d.restored[had] {
			out = append(out, netlinkx.PeerChange{PublicKey: had, UpdateOnly: true, AllowedIPs: []netip.Prefix{a}})
		}
	}
	return out
}

// asIs makes a peer again as it is.
func asIs(q netlinkx.Peer) netlinkx.PeerChange {
	return netlinkx.PeerChange{
		PublicKey: q.PublicKey, PresharedKey: &q.PresharedKey, Endpoint: q.Endpoint,
		PersistentKeepalive: &q.PersistentKeepalive, ReplaceAllowedIPs: true, AllowedIPs: q.AllowedIPs,
	}
}

// prefixDiff returns what want has and have hasn't, and whether there is
// anything the other way round.
func prefixDiff(want, have []netip.Prefix) (added []netip.Prefix, removed bool) {
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
	return added, len(there) > 0
}

// value returns the key, nil for no Secret.
func (s *Secret) value() *netlinkx.Secret {
	if s == nil {
		return nil
	}
	return &s.key
}
