// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
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
	return k.uapiConfigure(ctx, name, c)
}

func (k *Kernel) uapiConfigure(ctx context.Context, name string, c DeviceChange) error {
	u := uapiDevice{k.uapiPath(name), name}
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

// Limits of one message. The kernel's: wgctrl falls back to one message a peer
// above them. The UAPI's: a process shouldn't hold the device's lock for long.
const (
	kernelPeers, kernelIPs = 32, 256
	uapiPeers, uapiIPs     = 1024, 8192
)

// chunks cuts a change into configurations of at most so many peers and
// allowed IPs, in order, the device's own fields in one before the peers. Of a
// peer with more allowed IPs than that, the first part says all, and those
// after it only add to a peer that must exist.
func chunks(c DeviceChange, peers, ips int) []wgtypes.Config {
	var out []wgtypes.Config
	if c.PrivateKey != nil || c.ListenPort != nil || c.FwMark != nil || c.ReplacePeers {
		out = append(out, deviceConfig(c))
	}
	var chunk wgtypes.Config
	room := ips
	flush := func() {
		if len(chunk.Peers) > 0 {
			out = append(out, chunk)
		}
		chunk, room = wgtypes.Config{}, ips
	}
	for _, p := range c.Peers {
		cfg := peerConfig(p)
		rest := cfg.AllowedIPs
		for first := true; first || len(rest) > 0; first = false {
			if len(chunk.Peers) == peers || room == 0 || first && len(rest) > room && len(rest) <= ips {
				flush()
			}
			n := min(len(rest), room)
			part := wgtypes.PeerConfig{PublicKey: cfg.PublicKey, UpdateOnly: true}
			if first {
				part = cfg
			}
			part.AllowedIPs, rest = rest[:n:n], rest[n:]
			chunk.Peers = append(chunk.Peers, part)
			room -= n
		}
	}
	flush()
	return out
}

func deviceConfig(c DeviceChange) wgtypes.Config {
	out := wgtypes.Config{ReplacePeers: c.ReplacePeers}
	if c.PrivateKey != nil {
		key := wgtypes.Key(*c.PrivateKey)
		out.PrivateKey = &key
	}
	if c.ListenPort != nil {
		port := int(*c.ListenPort)
		out.ListenPort = &port
	}
	if c.FwMark != nil {
		mark := int(*c.FwMark)
		out.FirewallMark = &mark
	}
	return out
}

func peerConfig(p PeerChange) wgtypes.PeerConfig {
	out := wgtypes.PeerConfig{PublicKey: wgtypes.Key(p.PublicKey), Remove: p.Remove, UpdateOnly: p.UpdateOnly}
	if p.Remove {
		return out
	}
	out.ReplaceAllowedIPs = p.ReplaceAllowedIPs
	if p.PresharedKey != nil {
		key := wgtypes.Key(*p.PresharedKey)
		out.PresharedKey = &key
	}
	if p.Endpoint.IsValid() {
		out.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
	}
	if p.PersistentKeepalive != nil {
		d := time.Duration(*p.PersistentKeepalive) * time.Second
		out.PersistentKeepaliveInterval = &d
	}
	out.AllowedIPs = make([]net.IPNet, len(p.AllowedIPs))
	for i, a := range p.AllowedIPs {
		out.AllowedIPs[i] = *ipNetOf(a)
	}
	return out
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
