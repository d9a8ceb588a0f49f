// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"iter"
	"slices"

	"golang.org/x/sys/unix"
)

// Device returns the WireGuard device behind the link: the kernel's, or for
// another kind of link the process that answers on its UAPI socket. A link
// without either is unix.EOPNOTSUPP, no link unix.ENODEV, and both are an
// os.ErrNotExist.
func (k *Kernel) Device(ctx context.Context, name string) (Device, error) {
	l, err := k.Link(ctx, name)
	if err != nil {
		return Device{}, err
	}
	if l.Kind == kindWireGuard {
		return k.kernelDevice(ctx, name)
	}
	return uapiGet(ctx, k.uapiPath(name), name)
}

// Generation asks the process of an embedded device.
func (k *Kernel) Generation(ctx context.Context, name string) (generation string, own bool, err error) {
	path := k.uapiPath(name)
	generation, err = uapiGeneration(ctx, path)
	if index, all := k.told.all(path, generation); all {
		l, err := k.Link(ctx, name)
		own = err == nil && l.Index == index
	}
	return generation, own, err
}

// Configure changes a device: first its own fields, then its peers, in as many
// messages as they need. A listen port that is taken is unix.EADDRINUSE.
func (k *Kernel) Configure(ctx context.Context, name string, c DeviceChange) error {
	l, err := k.Link(ctx, name)
	if err != nil {
		return err
	}
	if l.Kind == kindWireGuard {
		return k.kernelChange(ctx, name, c)
	}
	return k.uapiConfigure(ctx, name, l.Index, c)
}

// uapiConfigure changes a device by its socket; link is the number of its link, or 0.
func (k *Kernel) uapiConfigure(ctx context.Context, name string, link int, c DeviceChange) error {
	u := uapiDevice{path: k.uapiPath(name), name: name}
	u.tell = func() { k.told.add(u.path, link) }
	return changer{
		device:    func() (Device, error) { return uapiGet(ctx, u.path, u.name) },
		configure: func(c DeviceChange) error { return u.configure(ctx, c) },
		byFlag:    func(r removal) error { return u.remove(ctx, r) },
	}.apply(c)
}

// DeviceNames returns the names of the namespace's WireGuard devices, sorted:
// links of the kernel's kind, and links whose UAPI socket somebody answers. A
// socket alone doesn't count: its directory is shared by all namespaces, and
// dead processes leave sockets behind.
func (k *Kernel) DeviceNames(ctx context.Context) ([]string, error) {
	links, err := k.links(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, l := range links {
		if l.Kind == kindWireGuard || uapiAnswers(ctx, k.uapiPath(l.Name)) {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out, ctx.Err()
}

// Limits of one message, as wg has them for the kernel's, which holds the lock
// of all links for that long. For a process it is its device's lock.
const (
	kernelPeers, kernelIPs = 32, 256
	uapiPeers, uapiIPs     = 1024, 8192
)

// parts cuts a change into changes of at most so many peers and allowed IPs,
// in order, the device's own fields in one before the peers. Of a peer with
// more allowed IPs than that, the first part says all, and those after it only
// add to a peer that must exist. A part is good until the next.
func parts(c DeviceChange, peers, ips int) iter.Seq[DeviceChange] {
	return func(yield func(DeviceChange) bool) {
		if own := (DeviceChange{c.PrivateKey, c.ListenPort, c.FwMark, c.ReplacePeers, nil}); !own.empty() && !yield(own) {
			return
		}
		chunk := make([]PeerChange, 0, min(peers, len(c.Peers)))
		room := ips
		flush := func() bool {
			ok := len(chunk) == 0 || yield(DeviceChange{Peers: chunk})
			chunk, room = chunk[:0], ips
			return ok
		}
		for i := range c.Peers {
			p := &c.Peers[i]
			rest := p.AllowedIPs
			if p.Remove {
				rest = nil
			}
			for first := true; first || len(rest) > 0; first = false {
				full := len(chunk) == peers || room == 0 || first && len(rest) > room && len(rest) <= ips
				if full && !flush() {
					return
				}
				n := min(len(rest), room)
				part := PeerChange{PublicKey: p.PublicKey, UpdateOnly: true}
				switch {
				case p.Remove:
					part = PeerChange{PublicKey: p.PublicKey, Remove: true, UpdateOnly: p.UpdateOnly}
				case first:
					part = *p
				}
				part.AllowedIPs, rest = rest[:n:n], rest[n:]
				chunk = append(chunk, part)
				room -= n
			}
		}
		flush()
	}
}

// empty reports whether nothing changes.
func (c *DeviceChange) empty() bool {
	return c.PrivateKey == nil && c.ListenPort == nil && c.FwMark == nil && !c.ReplacePeers && len(c.Peers) == 0
}

// errnoOf turns the number of a UAPI reply ("errno=-98") into an errno.
func errnoOf(n int64) error {
	if n == 0 {
		return nil
	}
	if n < 0 {
		n = -n
	}
	return unix.Errno(n)
}
