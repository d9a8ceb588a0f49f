// SPDX-License-Identifier: MIT

package main

import (
	"net/netip"

	"github.com/wgctl/wgctl/netlinkx"
)

// synced turns a change that replaces all peers into one that leaves the
// device the same, but removes only the peers that aren't wanted. As wg's
// syncconf it resets what a file doesn't mention of a peer, and sets every
// endpoint that a file gives: a peer that roamed comes back.
//
// wg sends all the peers of the file again, and for a moment each has no
// allowed IPs. Those that are as wanted are left out here, which changes
// nothing, as long as the order doesn't matter: no key and no prefix comes
// twice.
func synced(c netlinkx.DeviceChange, have netlinkx.Device) netlinkx.DeviceChange {
	if len(have.Peers) == 0 {
		return c
	}
	there := make(map[netlinkx.Key]*netlinkx.Peer, len(have.Peers))
	for i := range have.Peers {
		there[have.Peers[i].PublicKey] = &have.Peers[i]
	}
	wanted := make(map[netlinkx.Key]bool, len(c.Peers))
	for _, p := range c.Peers {
		wanted[p.PublicKey] = true
	}
	orderly := !claimedTwice(c.Peers)
	peers := make([]netlinkx.PeerChange, 0, len(c.Peers))
	for _, p := range have.Peers {
		if !wanted[p.PublicKey] {
			peers = append(peers, netlinkx.PeerChange{PublicKey: p.PublicKey, Remove: true})
		}
	}
	for _, p := range c.Peers {
		had := there[p.PublicKey]
		if had != nil {
			if p.PresharedKey == nil && !had.PresharedKey.IsZero() {
				p.PresharedKey = new(netlinkx.Secret)
			}
			if p.PersistentKeepalive == nil && had.PersistentKeepalive != 0 {
				p.PersistentKeepalive = new(uint16)
			}
		}
		if had == nil || !orderly || !is(p, had) {
			peers = append(peers, p)
		}
	}
	c.ReplacePeers, c.Peers = false, peers
	return c
}

// is reports whether a peer is what it should become.
func is(want netlinkx.PeerChange, have *netlinkx.Peer) bool {
	switch {
	case want.PresharedKey != nil && *want.PresharedKey != have.PresharedKey,
		want.PersistentKeepalive != nil && *want.PersistentKeepalive != have.PersistentKeepalive,
		want.Endpoint.IsValid() && want.Endpoint != have.Endpoint,
		!want.ReplaceAllowedIPs,
		len(want.AllowedIPs) != len(have.AllowedIPs):
		return false
	}
	there := make(map[netip.Prefix]bool, len(have.AllowedIPs))
	for _, a := range have.AllowedIPs {
		there[a] = true
	}
	for _, a := range want.AllowedIPs {
		if !there[a] {
			return false
		}
	}
	return true
}

// claimedTwice reports whether a key or a prefix comes twice.
func claimedTwice(peers []netlinkx.PeerChange) bool {
	keys := make(map[netlinkx.Key]bool, len(peers))
	prefixes := make(map[netip.Prefix]bool, len(peers))
	for _, p := range peers {
		if keys[p.PublicKey] {
			return true
		}
		keys[p.PublicKey] = true
		for _, a := range p.AllowedIPs {
			if prefixes[a] {
				return true
			}
			prefixes[a] = true
		}
	}
	return false
}
