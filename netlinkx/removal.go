// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Single allowed IPs are taken from a peer by a flag of theirs, in Linux 6.16
// and later (WGALLOWEDIP_F_REMOVE_ME) and wireguard-go of 2025 and later
// (allowed_ip=-...). Others refuse it with EINVAL, before anything is done.
// They get one message that gives the allowed IPs to a peer that nobody knows,
// and then removes that peer: so the peers that matter never lack any of their
// other allowed IPs, as they would while all of them are replaced.

// From linux/wireguard.h of 6.16.
const (
	wgAllowedIPFlags    = 4 // WGALLOWEDIP_A_FLAGS
	wgAllowedIPRemoveMe = 1 // WGALLOWEDIP_F_REMOVE_ME
)

// A removal is what a peer loses.
type removal struct {
	peer     Key
	prefixes []netip.Prefix // masked
}

// A changer is how one device is changed.
type changer struct {
	device func() (Device, error)
	// configure changes it, but for RemoveAllowedIPs. A change of two peers
	// with at most removalIPs between them goes in one message.
	configure func(DeviceChange) error
	// byFlag removes by the flag, in one message, or is refused.
	byFlag func(removal) error
}

// removalIPs is how many allowed IPs are taken in one message.
const removalIPs = kernelIPs

// kernelChange is kernelConfigure with removals of allowed IPs.
func (k *Kernel) kernelChange(ctx context.Context, name string, c DeviceChange) error {
	return changer{
		device:    func() (Device, error) { return k.kernelDevice(ctx, name) },
		configure: func(c DeviceChange) error { return k.kernelConfigure(ctx, name, c) },
		byFlag:    func(r removal) error { return k.kernelRemove(ctx, name, r) },
	}.apply(c)
}

// apply makes a change in its order: what a peer loses goes after what it
// gets, and before the change that names the same peer next.
func (h changer) apply(c DeviceChange) error {
	rest := c.Peers
	c.Peers = nil
	var losses []removal
	for first := true; first || len(rest) > 0; first = false {
		c.Peers, losses, rest = untilAgain(rest)
		if err := h.configure(c); err != nil {
			return err
		}
		if err := h.remove(losses); err != nil {
			return err
		}
		c = DeviceChange{}
	}
	return nil
}

// untilAgain returns changes without their removals, the removals, and the
// rest of the changes, from the first that names a peer with a removal again.
func untilAgain(peers []PeerChange) (now []PeerChange, losses []removal, rest []PeerChange) {
	if !slices.ContainsFunc(peers, func(p PeerChange) bool { return len(p.RemoveAllowedIPs) > 0 }) {
		return peers, nil, nil
	}
	losing := make(map[Key]bool)
	now = make([]PeerChange, 0, len(peers))
	for i, p := range peers {
		if losing[p.PublicKey] {
			return now, losses, peers[i:]
		}
		gone := masked(p.RemoveAllowedIPs)
		p.RemoveAllowedIPs = nil
		switch {
		case len(gone) == 0 || p.Remove:
		case p.ReplaceAllowedIPs:
			p.AllowedIPs = slices.DeleteFunc(slices.Clone(p.AllowedIPs), func(a netip.Prefix) bool {
				return slices.Contains(gone, a.Masked())
			})
		default:
			losing[p.PublicKey] = true
			losses = append(losses, removal{p.PublicKey, gone})
		}
		now = append(now, p)
	}
	return now, losses, nil
}

func masked(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		out[i] = p.Masked()
	}
	return out
}

// remove takes allowed IPs from those that have them, and makes sure of it: a
// device that heeds the allowed IP but not the flag would have done nothing,
// as the peer has it already.
func (h changer) remove(losses []removal) error {
	flag := true
	for try := 0; len(losses) > 0; try++ {
		d, err := h.device()
		if err != nil {
			return err
		}
		if losses = d.owned(losses); try > 0 && len(losses) > 0 {
			if !flag {
				return fmt.Errorf("removing allowed IPs of peer %v: the device keeps them", losses[0].peer)
			}
			flag = false
		}
		for _, r := range losses {
			err := error(unix.EINVAL)
			if flag {
				err = h.byFlag(r)
				flag = err == nil
			}
			if errors.Is(err, unix.EINVAL) {
				err = h.byStranger(r.prefixes)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// byStranger gives allowed IPs to a peer that it makes and removes.
func (h changer) byStranger(prefixes []netip.Prefix) error {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	stranger := Key(key.PublicKey().Bytes())
	return h.configure(DeviceChange{Peers: []PeerChange{
		{PublicKey: stranger, AllowedIPs: prefixes},
		{PublicKey: stranger, Remove: true},
	}})
}

// owned returns what of the losses the peers have, in parts of at most
// removalIPs allowed IPs.
func (d *Device) owned(losses []removal) (out []removal) {
	has := make(map[Key]int, len(d.Peers))
	for i, p := range d.Peers {
		has[p.PublicKey] = i
	}
	for _, r := range losses {
		i, ok := has[r.peer]
		if !ok {
			continue
		}
		gone := make(map[netip.Prefix]bool, len(r.prefixes))
		for _, a := range r.prefixes {
			gone[a] = true
		}
		found := slices.DeleteFunc(slices.Clone(d.Peers[i].AllowedIPs), func(a netip.Prefix) bool { return !gone[a] })
		for part := range slices.Chunk(found, removalIPs) {
			out = append(out, removal{r.peer, part})
		}
	}
	return out
}

// kernelRemove asks a device of the kernel to remove by the flag.
func (k *Kernel) kernelRemove(ctx context.Context, name string, r removal) error {
	_, err := k.sendPeers(ctx, name, func(yield func(DeviceChange) bool) { yield(r.change()) })
	return err
}

// change is the removal as a change by the flag.
func (r removal) change() DeviceChange {
	return DeviceChange{Peers: []PeerChange{{PublicKey: r.peer, UpdateOnly: true, RemoveAllowedIPs: r.prefixes}}}
}
