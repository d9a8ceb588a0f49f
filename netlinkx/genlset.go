// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Changes of the kernel's devices. A device's own fields go through wgctrl.
// Its peers don't: it sends a message for each where they are many, with all
// that the device has, it drops the zone of an endpoint, and takes
// ::ffff:10.0.0.0/104 for IPv4.

// kernelConfigure sends a change to a device of the kernel, but for
// RemoveAllowedIPs.
func (k *Kernel) kernelConfigure(ctx context.Context, name string, c DeviceChange) error {
	own := c
	own.Peers = nil
	if !own.empty() || len(c.Peers) == 0 {
		if err := k.setOwn(ctx, name, own); err != nil {
			return err
		}
	}
	return k.setPeers(ctx, name, parts(DeviceChange{Peers: c.Peers}, kernelPeers, kernelIPs))
}

// setOwn changes a device's own fields and removes its peers, by wgctrl.
func (k *Kernel) setOwn(ctx context.Context, name string, c DeviceChange) error {
	if _, err := k.family(ctx); err != nil {
		return err
	}
	conn, err := k.wgctrl()
	if err != nil {
		return err
	}
	cfg := wgtypes.Config{ReplacePeers: c.ReplacePeers, PrivateKey: (*wgtypes.Key)(c.PrivateKey)}
	if c.ListenPort != nil {
		port := int(*c.ListenPort)
		cfg.ListenPort = &port
	}
	if c.FwMark != nil {
		mark := int(*c.FwMark)
		cfg.FirewallMark = &mark
	}
	if err = conn.ConfigureDevice(name, cfg); err != nil {
		k.forgetWgctrl(conn)
	}
	if errors.Is(err, os.ErrNotExist) { // all that wgctrl says
		err = k.whyNoDevice(ctx, name)
	}
	return err
}

// wgctrl opens the library's connection on first use: one that was made before
// the module was loaded doesn't know the kernel's devices.
func (k *Kernel) wgctrl() (*wgctrl.Client, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wg == nil {
		if err := k.inside(func() (err error) {
			k.wg, err = wgctrl.New()
			return err
		}); err != nil {
			return nil, err
		}
	}
	return k.wg, nil
}

// forgetWgctrl has the next change made by another connection: to one that failed
// the answer may still come, in the place of the next one. Others may be at work
// with it, so it isn't closed: the runtime does that when nobody has it any more.
func (k *Kernel) forgetWgctrl(failed *wgctrl.Client) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wg == failed {
		k.wg = nil
	}
}

// whyNoDevice returns the errno that the kernel has for a name that is no
// device.
func (k *Kernel) whyNoDevice(ctx context.Context, name string) error {
	if _, err := k.Link(ctx, name); err != nil {
		return err
	}
	return missingError{unix.EOPNOTSUPP}
}

// setPeers sends changes of peers, a message each. Those in one datagram with
// a message that the kernel refuses are made for all that; later ones aren't.
// changes may be gone through more than once.
func (k *Kernel) setPeers(ctx context.Context, name string, changes iter.Seq[DeviceChange]) error {
	refused, err := k.sendPeers(ctx, name, changes)
	if len(refused) == 0 {
		return err
	}
	all, n := &PeersError{}, 0
	for c := range changes {
		if slices.Contains(refused, n) {
			one := (*PeersError)(nil)
			blamed := blame(c.Peers, err, func(c DeviceChange) error {
				_, err := k.sendPeers(ctx, name, func(yield func(DeviceChange) bool) { yield(c) })
				return err
			})
			if !errors.As(blamed, &one) {
				return blamed
			}
			all.Failed = append(all.Failed, one.Failed...)
		}
		if n++; n > slices.Max(refused) {
			break
		}
	}
	return all
}

// sendPeers is setPeers that tells which messages were refused, by number.
func (k *Kernel) sendPeers(ctx context.Context, name string, changes iter.Seq[DeviceChange]) (refused []int, failed error) {
	family, err := k.family(ctx)
	if err != nil {
		return nil, err
	}
	s, err := k.batchSocket(unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	b := s.batch(ctx, func(i int, err error) {
		refused = append(refused, i)
		if failed == nil {
			failed = missing(err, unix.ENODEV, unix.EOPNOTSUPP)
		}
	})
	defer b.close()
	zones := zones{k: k, ctx: ctx}
	for c := range changes {
		if err := zones.find(c.Peers); err != nil {
			return nil, err
		}
		b.begin(family.ID, 0)
		b.buf = zones.appendPeers(appendDevice(b.buf, unix.WG_CMD_SET_DEVICE, name), c.Peers)
		if b.end(); failed != nil {
			return refused, failed
		}
	}
	b.flush()
	return refused, failed
}

// removePeers removes the peers of a device, so few at a time that others get
// their turn with the locks of the kernel. A device of a few is left alone.
func (k *Kernel) removePeers(ctx context.Context, l Link) error {
	d, err := k.kernelDevice(ctx, l.Name)
	if err != nil || len(d.Peers) <= kernelPeers {
		return err
	}
	family, err := k.family(ctx)
	if err != nil {
		return err
	}
	s, err := k.batchSocket(unix.NETLINK_GENERIC)
	if err != nil {
		return err
	}
	b := s.batch(ctx, func(_ int, refused error) { err = refused })
	defer b.close()
	for part := range slices.Chunk(d.Peers, kernelPeers) {
		gone := make([]PeerChange, len(part))
		for i, p := range part {
			gone[i] = PeerChange{PublicKey: p.PublicKey, Remove: true}
		}
		b.begin(family.ID, 0)
		b.buf = append(b.buf, unix.WG_CMD_SET_DEVICE, unix.WG_GENL_VERSION, 0, 0)
		b.buf = appendUint32(b.buf, unix.WGDEVICE_A_IFINDEX, uint32(l.Index))
		b.buf = new(zones).appendPeers(b.buf, gone)
		b.end()
		if b.flush(); err != nil {
			return err
		}
	}
	return nil
}

// zones knows the numbers of the links that endpoints name.
type zones struct {
	k     *Kernel
	ctx   context.Context
	scope map[string]uint32
}

// find looks the zones of peers up.
func (z *zones) find(peers []PeerChange) error {
	for i := range peers {
		zone := peers[i].Endpoint.Addr().Zone()
		if _, known := z.scope[zone]; zone == "" || known {
			continue
		}
		scope, err := z.k.scopeID(z.ctx, zone)
		if err != nil {
			return err
		}
		if z.scope == nil {
			z.scope = make(map[string]uint32)
		}
		z.scope[zone] = scope
	}
	return nil
}

// scopeID returns the number of the link that a zone names.
func (k *Kernel) scopeID(ctx context.Context, zone string) (uint32, error) {
	if k.outer != nil { // the links of endpoints are those that packets leave by
		k = k.outer
	}
	l, err := k.Link(ctx, zone)
	if err == nil {
		return uint32(l.Index), nil
	}
	if n, perr := strconv.ParseUint(zone, 10, 31); perr == nil {
		return uint32(n), nil
	}
	return 0, &net.AddrError{Err: "no link for the zone", Addr: zone}
}

// appendPeers appends WGDEVICE_A_PEERS.
func (z *zones) appendPeers(b []byte, peers []PeerChange) []byte {
	b, list := openNested(b, unix.WGDEVICE_A_PEERS)
	for i := range peers {
		var start int
		b, start = openNested(b, 0)
		b = z.appendPeer(b, &peers[i])
		closeNested(b, start)
	}
	closeNested(b, list)
	return b
}

func (z *zones) appendPeer(b []byte, p *PeerChange) []byte {
	b = appendAttribute(b, unix.WGPEER_A_PUBLIC_KEY, p.PublicKey[:]...)
	if flags := peerFlags(p); flags != 0 {
		b = appendUint32(b, unix.WGPEER_A_FLAGS, flags)
	}
	if p.PresharedKey != nil {
		b = appendAttribute(b, unix.WGPEER_A_PRESHARED_KEY, p.PresharedKey[:]...)
	}
	if p.Endpoint.IsValid() {
		b = appendEndpoint(b, p.Endpoint, z.scope[p.Endpoint.Addr().Zone()])
	}
	if p.PersistentKeepalive != nil {
		b = appendUint16(b, unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, *p.PersistentKeepalive)
	}
	if len(p.AllowedIPs)+len(p.RemoveAllowedIPs) == 0 {
		return b
	}
	b, list := openNested(b, unix.WGPEER_A_ALLOWEDIPS)
	for _, a := range p.AllowedIPs {
		b = appendAllowedIP(b, a, 0)
	}
	for _, a := range p.RemoveAllowedIPs {
		b = appendAllowedIP(b, a, wgAllowedIPRemoveMe)
	}
	closeNested(b, list)
	return b
}

func peerFlags(p *PeerChange) (flags uint32) {
	if p.Remove {
		flags |= unix.WGPEER_F_REMOVE_ME
	}
	if p.UpdateOnly {
		flags |= unix.WGPEER_F_UPDATE_ONLY
	}
	if p.ReplaceAllowedIPs {
		flags |= unix.WGPEER_F_REPLACE_ALLOWEDIPS
	}
	return flags
}

// appendEndpoint appends a struct sockaddr_in or sockaddr_in6; see endpointOf.
func appendEndpoint(b []byte, e netip.AddrPort, scope uint32) []byte {
	var raw [unix.SizeofSockaddrInet6]byte
	binary.BigEndian.PutUint16(raw[2:], e.Port())
	if a := e.Addr().Unmap(); a.Is4() {
		binary.NativeEndian.PutUint16(raw[:], unix.AF_INET)
		v4 := a.As4()
		copy(raw[4:], v4[:])
		return appendAttribute(b, unix.WGPEER_A_ENDPOINT, raw[:unix.SizeofSockaddrInet4]...)
	}
	binary.NativeEndian.PutUint16(raw[:], unix.AF_INET6)
	v6 := e.Addr().As16()
	copy(raw[8:], v6[:])
	binary.NativeEndian.PutUint32(raw[24:], scope)
	return appendAttribute(b, unix.WGPEER_A_ENDPOINT, raw[:]...)
}

func appendAllowedIP(b []byte, p netip.Prefix, flags uint32) []byte {
	b, start := openNested(b, 0)
	if a := p.Addr(); a.Is4() {
		raw := a.As4()
		b = appendUint16(b, unix.WGALLOWEDIP_A_FAMILY, unix.AF_INET)
		b = appendAttribute(b, unix.WGALLOWEDIP_A_IPADDR, raw[:]...)
	} else {
		raw := a.As16()
		b = appendUint16(b, unix.WGALLOWEDIP_A_FAMILY, unix.AF_INET6)
		b = appendAttribute(b, unix.WGALLOWEDIP_A_IPADDR, raw[:]...)
	}
	b = appendAttribute(b, unix.WGALLOWEDIP_A_CIDR_MASK, byte(p.Bits()))
	if flags != 0 {
		b = appendUint32(b, wgAllowedIPFlags, flags)
	}
	closeNested(b, start)
	return b
}
