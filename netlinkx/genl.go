// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/mdlayher/genetlink"
	"golang.org/x/sys/unix"
)

// The generic netlink family of the kernel's devices, linux/wireguard.h, as it
// is read. wgctrl doesn't see that a dump was interrupted, and so may miss
// peers, and it drops the zone of an endpoint.

// KernelHasWireGuard asks for the family, and so makes the kernel load the
// module where it can.
func (k *Kernel) KernelHasWireGuard(ctx context.Context) (bool, error) {
	_, err := k.family(ctx)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// familyHolds is how long an answer about the family is good: the module may be
// loaded anew, and has another number then.
const familyHolds = time.Second

// family returns the family, or an os.ErrNotExist.
func (k *Kernel) family(ctx context.Context) (genetlink.Family, error) {
	if err := ctx.Err(); err != nil {
		return genetlink.Family{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gl != nil && time.Since(k.asked) < familyHolds {
		return k.known, nil
	}
	if k.gl == nil {
		if err := k.inside(func() (err error) {
			k.gl, err = genetlink.Dial(nil)
			return err
		}); err != nil {
			return genetlink.Family{}, err
		}
	}
	f, err := k.gl.GetFamily(unix.WG_GENL_NAME)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = k.gl.Close() // the answer may still come, in the place of the next one
		k.gl = nil
	}
	if err == nil {
		k.asked, k.known = time.Now(), f
	}
	return f, err
}

// kernelDevice reads a device of the kernel.
func (k *Kernel) kernelDevice(ctx context.Context, name string) (Device, error) {
	var peers *peerList
	d, err := k.kernelDeviceInto(ctx, name, func() peerSink { peers = new(peerList); return peers })
	if err != nil {
		return Device{}, err
	}
	d.Peers = peers.all()
	k.nameZones(ctx, &d)
	return d, nil
}

// kernelDeviceInto reads the peers into a sink, a new one for each try.
func (k *Kernel) kernelDeviceInto(ctx context.Context, name string, sink func() peerSink) (Device, error) {
	family, err := k.family(ctx)
	if err != nil {
		return Device{}, err
	}
	var d Device
	err = k.dump(ctx, func() error {
		s, err := k.newBatchSocket(unix.NETLINK_GENERIC)
		if err != nil {
			return err
		}
		defer func() { _ = s.close() }()
		d = Device{Name: name, Backend: BackendKernel}
		peers := sink()
		return s.dump(family.ID, func(b []byte) []byte {
			return appendDevice(b, unix.WG_CMD_GET_DEVICE, name)
		}, func(m []byte) error { return d.merge(m, peers) })
	})
	if err != nil {
		return Device{}, missing(err, unix.ENODEV, unix.EOPNOTSUPP)
	}
	return d, nil
}

// appendDevice appends a struct genlmsghdr and the name of a device.
func appendDevice(b []byte, command byte, name string) []byte {
	b = append(b, command, unix.WG_GENL_VERSION, 0, 0)
	var zeroTerminated [unix.IFNAMSIZ]byte
	n := copy(zeroTerminated[:unix.IFNAMSIZ-1], name)
	return appendAttribute(b, unix.WGDEVICE_A_IFNAME, zeroTerminated[:n+1]...)
}

// merge reads a message of a dump, whose peers go to a sink. A peer whose
// allowed IPs don't fit into one message goes on at the head of the next.
func (d *Device) merge(m []byte, peers peerSink) error {
	if len(m) < unix.GENL_HDRLEN {
		return unix.EBADMSG
	}
	for kind, v := range attributes(m[unix.GENL_HDRLEN:]) {
		switch kind {
		case unix.WGDEVICE_A_PRIVATE_KEY:
			copy(d.PrivateKey[:], v)
		case unix.WGDEVICE_A_PUBLIC_KEY:
			copy(d.PublicKey[:], v)
		case unix.WGDEVICE_A_LISTEN_PORT:
			d.ListenPort = uint16(uintOf(v))
		case unix.WGDEVICE_A_FWMARK:
			d.FwMark = uint32(uintOf(v))
		case unix.WGDEVICE_A_PEERS:
			for _, peer := range attributes(v) {
				mergePeer(peers, peer)
			}
		}
	}
	return nil
}

func mergePeer(peers peerSink, attrs []byte) {
	var key Key
	for kind, v := range attributes(attrs) {
		if kind == unix.WGPEER_A_PUBLIC_KEY {
			copy(key[:], v)
			break
		}
	}
	p := peers.newest()
	if p == nil || p.PublicKey != key {
		p = peers.add()
	}
	p.decode(attrs)
}

func (p *Peer) decode(attrs []byte) {
	for kind, v := range attributes(attrs) {
		switch kind {
		case unix.WGPEER_A_PUBLIC_KEY:
			copy(p.PublicKey[:], v)
		case unix.WGPEER_A_PRESHARED_KEY:
			copy(p.PresharedKey[:], v)
		case unix.WGPEER_A_ENDPOINT:
			p.Endpoint = endpointOf(v)
		case unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
			p.PersistentKeepalive = uint16(uintOf(v))
		case unix.WGPEER_A_LAST_HANDSHAKE_TIME:
			p.LatestHandshake = timeOf(v)
		case unix.WGPEER_A_RX_BYTES:
			p.ReceiveBytes = int64(uintOf(v))
		case unix.WGPEER_A_TX_BYTES:
			p.TransmitBytes = int64(uintOf(v))
		case unix.WGPEER_A_ALLOWEDIPS:
			p.decodeAllowedIPs(v)
		}
	}
}

func (p *Peer) decodeAllowedIPs(list []byte) {
	n := 0
	for range attributes(list) {
		n++
	}
	p.AllowedIPs = slices.Grow(p.AllowedIPs, n)
	for _, attrs := range attributes(list) {
		var a netip.Addr
		var bits int
		for kind, v := range attributes(attrs) {
			switch kind {
			case unix.WGALLOWEDIP_A_IPADDR:
				a, _ = netip.AddrFromSlice(v)
			case unix.WGALLOWEDIP_A_CIDR_MASK:
				bits = int(uintOf(v))
			}
		}
		if prefix := netip.PrefixFrom(a, bits); prefix.IsValid() {
			p.AllowedIPs = append(p.AllowedIPs, prefix)
		}
	}
}

// endpointOf reads a struct sockaddr_in or sockaddr_in6. The zone, if there is
// one, is the number of a link here.
func endpointOf(b []byte) netip.AddrPort {
	switch len(b) {
	case unix.SizeofSockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), binary.BigEndian.Uint16(b[2:]))
	case unix.SizeofSockaddrInet6:
		a := netip.AddrFrom16([16]byte(b[8:24]))
		if scope := binary.NativeEndian.Uint32(b[24:28]); scope != 0 {
			a = a.WithZone(strconv.FormatUint(uint64(scope), 10))
		}
		return netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[2:]))
	}
	return netip.AddrPort{}
}

// timeOf reads a struct __kernel_timespec.
func timeOf(b []byte) time.Time {
	if len(b) != 16 {
		return time.Time{}
	}
	sec, nsec := int64(binary.NativeEndian.Uint64(b[:8])), int64(binary.NativeEndian.Uint64(b[8:]))
	if sec == 0 && nsec == 0 {
		return time.Time{}
	}
	return time.Unix(sec, nsec)
}

// nameZones replaces link numbers by names in the endpoints of d. A link that
// is gone keeps its number.
func (k *Kernel) nameZones(ctx context.Context, d *Device) {
	if k.outer != nil {
		k = k.outer
	}
	for i, p := range d.Peers {
		zone := p.Endpoint.Addr().Zone()
		if zone == "" {
			continue
		}
		index, err := strconv.Atoi(zone)
		if err != nil {
			continue
		}
		if l, err := k.linkByIndex(ctx, index); err == nil {
			d.Peers[i].Endpoint = netip.AddrPortFrom(p.Endpoint.Addr().WithZone(l.Name), p.Endpoint.Port())
		}
	}
}
