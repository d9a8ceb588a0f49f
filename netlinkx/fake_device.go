// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// KernelHasWireGuard is the opposite of NoWireGuard.
func (f *Fake) KernelHasWireGuard(ctx context.Context) (bool, error) {
	return !f.NoWireGuard, ctx.Err()
}

// Device returns a copy of the device.
func (f *Fake) Device(ctx context.Context, name string) (Device, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return Device{}, err
	}
	defer unlock()
	d, err := f.device(name)
	if err != nil {
		return Device{}, err
	}
	out := *d
	out.Peers = slices.Clone(d.Peers)
	for i := range out.Peers {
		out.Peers[i].AllowedIPs = slices.Clone(out.Peers[i].AllowedIPs)
	}
	return out, nil
}

// DeviceNames returns the names of the devices, sorted.
func (f *Fake) DeviceNames(ctx context.Context) ([]string, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var out []string
	for _, l := range f.links {
		if l.device != nil {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

func (f *Fake) device(name string) (*Device, error) {
	l := f.find(name)
	if l == nil {
		return nil, missingError{unix.ENODEV}
	}
	if l.device == nil {
		return nil, missingError{unix.EOPNOTSUPP}
	}
	return l.device, nil
}

// Configure changes a device.
func (f *Fake) Configure(ctx context.Context, name string, c DeviceChange) error {
	unlock, half, fault := f.change(ctx, "Configure")
	if fault != nil && !half {
		return fault
	}
	defer unlock()
	d, err := f.device(name)
	if err != nil {
		return err
	}
	if half {
		c.Peers = c.Peers[:len(c.Peers)/2]
	}
	f.find(name).edits++
	f.find(name).told++
	if err := f.configure(f.find(name), d, c); err != nil {
		return err
	}
	return fault
}

// Generation counts the changes of an embedded device, those by hand included.
func (f *Fake) Generation(ctx context.Context, name string) (generation string, own bool, err error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return "", false, err
	}
	defer unlock()
	d, err := f.device(name)
	if err != nil || d.Backend != BackendUserspace {
		return "", false, err
	}
	l := f.find(name)
	return fmt.Sprintf("%d-%d", l.Index, l.edits), l.edits == l.told, nil
}

func (f *Fake) configure(l *fakeLink, d *Device, c DeviceChange) error {
	if c.FwMark != nil {
		d.FwMark = *c.FwMark
	}
	if c.ListenPort != nil && *c.ListenPort != d.ListenPort {
		if !l.Up {
			d.ListenPort = *c.ListenPort
		} else if err := f.bind(l, *c.ListenPort); err != nil {
			return err
		}
	}
	if c.PrivateKey != nil {
		d.PrivateKey = c.PrivateKey.Clamped()
		d.PublicKey = d.PrivateKey.PublicKey()
		d.remove(d.PublicKey) // nobody is a peer of himself
	}
	if c.ReplacePeers {
		d.Peers = nil
	}
	table := newPeerTable(d)
	for _, p := range c.Peers {
		table.change(p)
	}
	table.close()
	return nil
}

// bind gives the device of a link that goes up, or is up, its port; 0 takes a
// free one, which the device keeps when it goes down.
func (f *Fake) bind(l *fakeLink, port uint16) error {
	taken := func(port uint16) bool {
		return slices.ContainsFunc(f.links, func(o *fakeLink) bool {
			return o != l && o.Up && o.device != nil && o.device.ListenPort == port
		})
	}
	if port != 0 && taken(port) {
		return unix.EADDRINUSE
	}
	for port == 0 || taken(port) {
		f.lastPort++
		port = f.lastPort
	}
	l.device.ListenPort = port
	return nil
}

func (d *Device) remove(k Key) {
	d.Peers = slices.DeleteFunc(d.Peers, func(p Peer) bool { return p.PublicKey == k })
}

// A peerTable is the peers of a device while they are changed: of many, none
// is searched for.
type peerTable struct {
	d     *Device
	at    map[Key]int          // where a peer is
	owner map[netip.Prefix]int // where the peer is that has an allowed IP
}

func newPeerTable(d *Device) peerTable {
	t := peerTable{d, make(map[Key]int, len(d.Peers)), make(map[netip.Prefix]int)}
	for i, p := range d.Peers {
		t.at[p.PublicKey] = i
		for _, a := range p.AllowedIPs {
			t.owner[a] = i
		}
	}
	return t
}

// close takes out the peers that were removed.
func (t peerTable) close() {
	i := -1
	t.d.Peers = slices.DeleteFunc(t.d.Peers, func(p Peer) bool {
		i++
		at, there := t.at[p.PublicKey]
		return !there || at != i
	})
}

func (t peerTable) change(c PeerChange) {
	d := t.d
	i, there := t.at[c.PublicKey]
	if c.Remove {
		if there {
			t.disown(i)
			delete(t.at, c.PublicKey)
		}
		return
	}
	if !there {
		if c.UpdateOnly || c.PublicKey == d.PublicKey && !d.PrivateKey.IsZero() {
			return
		}
		i = len(d.Peers)
		t.at[c.PublicKey] = i
		d.Peers = append(d.Peers, Peer{PublicKey: c.PublicKey})
	}
	p := &d.Peers[i]
	if c.PresharedKey != nil {
		p.PresharedKey = *c.PresharedKey
	}
	if c.Endpoint.IsValid() {
		p.Endpoint = c.Endpoint
	}
	if c.PersistentKeepalive != nil {
		p.PersistentKeepalive = *c.PersistentKeepalive
	}
	if c.ReplaceAllowedIPs {
		t.disown(i)
	}
	for _, a := range c.AllowedIPs {
		t.allow(i, a.Masked())
	}
	for _, a := range c.RemoveAllowedIPs {
		t.disallow(i, a.Masked())
	}
}

// disown takes all allowed IPs from a peer.
func (t peerTable) disown(i int) {
	for _, a := range t.d.Peers[i].AllowedIPs {
		delete(t.owner, a)
	}
	t.d.Peers[i].AllowedIPs = nil
}

// allow gives an allowed IP to a peer, whosever it was.
func (t peerTable) allow(i int, a netip.Prefix) {
	if o, ok := t.owner[a]; ok {
		t.disallow(o, a)
	}
	t.owner[a] = i
	t.d.Peers[i].AllowedIPs = append(t.d.Peers[i].AllowedIPs, a)
}

// disallow takes an allowed IP from a peer if it has it.
func (t peerTable) disallow(i int, a netip.Prefix) {
	if o, ok := t.owner[a]; !ok || o != i {
		return
	}
	delete(t.owner, a)
	p := &t.d.Peers[i]
	p.AllowedIPs = slices.DeleteFunc(p.AllowedIPs, func(b netip.Prefix) bool { return a == b })
}
