// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
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
	if err := f.configure(f.find(name), d, c); err != nil {
		return err
	}
	return fault
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
		d.PrivateKey = *c.PrivateKey
		d.PublicKey = d.PrivateKey.PublicKey()
		d.remove(d.PublicKey) // nobody is a peer of himself
	}
	for _, p := range c.Peers {
		d.change(p)
	}
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

func (d *Device) change(c PeerChange) {
	if c.Remove {
		d.remove(c.PublicKey)
		return
	}
	i := slices.IndexFunc(d.Peers, func(p Peer) bool { return p.PublicKey == c.PublicKey })
	if i < 0 {
		if c.UpdateOnly || c.PublicKey == d.PublicKey && !d.PrivateKey.IsZero() {
			return
		}
		i = len(d.Peers)
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
		p.AllowedIPs = nil
	}
	for _, a := range c.AllowedIPs {
		d.allow(p, a.Masked())
	}
}

// allow gives an allowed IP to p, whosever it was.
func (d *Device) allow(p *Peer, a netip.Prefix) {
	for i := range d.Peers {
		o := &d.Peers[i]
		o.AllowedIPs = slices.DeleteFunc(o.AllowedIPs, func(b netip.Prefix) bool { return a == b })
	}
	p.AllowedIPs = append(p.AllowedIPs, a)
}
