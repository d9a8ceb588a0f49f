// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// The generic netlink family of the kernel's devices, linux/wireguard.h.
// Configurations go out through wgctrl. Two things that it leaves out are here:
// it doesn't see that a dump was interrupted, and so may miss peers, and it
// drops the zone of an endpoint, in both directions.

// KernelHasWireGuard asks for the family, and so makes the kernel load the
// module where it can.
func (k *Kernel) KernelHasWireGuard(ctx context.Context) (bool, error) {
	_, _, err := k.family(ctx)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// family returns a connection and the family, or an os.ErrNotExist.
func (k *Kernel) family(ctx context.Context) (*genetlink.Conn, genetlink.Family, error) {
	if err := ctx.Err(); err != nil {
		return nil, genetlink.Family{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gl == nil {
		if err := k.inside(func() (err error) {
			k.gl, err = genetlink.Dial(nil)
			return err
		}); err != nil {
			return nil, genetlink.Family{}, err
		}
	}
	f, err := k.gl.GetFamily(unix.WG_GENL_NAME)
	return k.gl, f, err
}

// kernelDevice reads a device of the kernel.
func (k *Kernel) kernelDevice(ctx context.Context, name string) (Device, error) {
	conn, family, err := k.family(ctx)
	if err != nil {
		return Device{}, err
	}
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.WGDEVICE_A_IFNAME, name)
	attrs, err := ae.Encode()
	if err != nil {
		return Device{}, err
	}
	var d Device
	err = k.dump(ctx, func() error {
		msgs, err := k.deviceDump(conn, family.ID, attrs)
		if err != nil {
			return err
		}
		d = Device{Name: name, Backend: BackendKernel}
		return d.merge(msgs)
	})
	if err != nil {
		return Device{}, missing(err, unix.ENODEV, unix.EOPNOTSUPP)
	}
	k.nameZones(ctx, &d)
	return d, nil
}

// deviceDump is genetlink's Execute, but sees the flags of the replies.
func (k *Kernel) deviceDump(conn *genetlink.Conn, family uint16, attrs []byte) ([]genetlink.Message, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	req := genetlink.Message{
		Header: genetlink.Header{Command: unix.WG_CMD_GET_DEVICE, Version: unix.WG_GENL_VERSION},
		Data:   attrs,
	}
	sent, err := conn.Send(req, family, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, err
	}
	msgs, raw, err := conn.Receive()
	if err != nil {
		return nil, err
	}
	if err := netlink.Validate(sent, raw); err != nil {
		return nil, err
	}
	for _, m := range raw {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, unix.EINTR
		}
	}
	return msgs, nil
}

// merge reads the messages of a dump. A peer whose allowed IPs don't fit into
// one message goes on at the head of the next.
func (d *Device) merge(msgs []genetlink.Message) error {
	for _, m := range msgs {
		ad, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return err
		}
		for ad.Next() {
			switch ad.Type() {
			case unix.WGDEVICE_A_PRIVATE_KEY:
				copy(d.PrivateKey[:], ad.Bytes())
			case unix.WGDEVICE_A_PUBLIC_KEY:
				copy(d.PublicKey[:], ad.Bytes())
			case unix.WGDEVICE_A_LISTEN_PORT:
				d.ListenPort = ad.Uint16()
			case unix.WGDEVICE_A_FWMARK:
				d.FwMark = ad.Uint32()
			case unix.WGDEVICE_A_PEERS:
				ad.Nested(d.mergePeers)
			}
		}
		if err := ad.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) mergePeers(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		var p Peer
		ad.Nested(p.decode)
		if n := len(d.Peers); n > 0 && d.Peers[n-1].PublicKey == p.PublicKey {
			d.Peers[n-1].AllowedIPs = append(d.Peers[n-1].AllowedIPs, p.AllowedIPs...)
			continue
		}
		d.Peers = append(d.Peers, p)
	}
	return nil
}

func (p *Peer) decode(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.WGPEER_A_PUBLIC_KEY:
			copy(p.PublicKey[:], ad.Bytes())
		case unix.WGPEER_A_PRESHARED_KEY:
			copy(p.PresharedKey[:], ad.Bytes())
		case unix.WGPEER_A_ENDPOINT:
			p.Endpoint = endpointOf(ad.Bytes())
		case unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
			p.PersistentKeepalive = ad.Uint16()
		case unix.WGPEER_A_LAST_HANDSHAKE_TIME:
			p.LatestHandshake = timeOf(ad.Bytes())
		case unix.WGPEER_A_RX_BYTES:
			p.ReceiveBytes = int64(ad.Uint64())
		case unix.WGPEER_A_TX_BYTES:
			p.TransmitBytes = int64(ad.Uint64())
		case unix.WGPEER_A_ALLOWEDIPS:
			ad.Nested(p.decodeAllowedIPs)
		}
	}
	return nil
}

func (p *Peer) decodeAllowedIPs(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		var a netip.Addr
		var bits int
		ad.Nested(func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				switch ad.Type() {
				case unix.WGALLOWEDIP_A_IPADDR:
					a, _ = netip.AddrFromSlice(ad.Bytes())
				case unix.WGALLOWEDIP_A_CIDR_MASK:
					bits = int(ad.Uint8())
				}
			}
			return nil
		})
		if prefix := netip.PrefixFrom(a, bits); prefix.IsValid() {
			p.AllowedIPs = append(p.AllowedIPs, prefix)
		}
	}
	return nil
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

// sockaddr6 is the inverse of endpointOf for an address with a zone.
func sockaddr6(a netip.AddrPort, scope uint32) []byte {
	b := make([]byte, unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint16(b[0:2], unix.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], a.Port())
	copy(b[8:24], a.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[24:28], scope)
	return b
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

// kernelConfigure sends a change to a device of the kernel, by wgctrl.
func (k *Kernel) kernelConfigure(ctx context.Context, name string, c DeviceChange) error {
	if _, _, err := k.family(ctx); err != nil {
		return err
	}
	client, err := k.wgctrl()
	if err != nil {
		return err
	}
	for _, cfg := range chunks(c, kernelPeers, kernelIPs) {
		for i := range cfg.Peers {
			p := &cfg.Peers[i]
			if p.Endpoint == nil || p.Endpoint.Zone == "" {
				continue
			}
			if err := k.setZoned(ctx, name, p); err != nil {
				return err
			}
			p.Endpoint = nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		mapped := withoutMapped(&cfg)
		err := client.ConfigureDevice(name, cfg)
		if errors.Is(err, os.ErrNotExist) { // all that wgctrl says
			err = k.whyNoDevice(ctx, name)
		}
		if err != nil {
			return err
		}
		for _, p := range mapped {
			if err := k.setDevice(ctx, name, p.encode); err != nil {
				return err
			}
		}
	}
	return nil
}

// whyNoDevice returns the errno that the kernel has for a name that is no
// device.
func (k *Kernel) whyNoDevice(ctx context.Context, name string) error {
	if _, err := k.Link(ctx, name); err != nil {
		return err
	}
	return missingError{unix.EOPNOTSUPP}
}

// withoutMapped takes prefixes such as ::ffff:10.0.0.0/104 out of a
// configuration: in wgctrl they are IPv4, with a mask that is too long.
func withoutMapped(cfg *wgtypes.Config) (out []moreAllowedIPs) {
	for i := range cfg.Peers {
		p := &cfg.Peers[i]
		more := moreAllowedIPs{peer: Key(p.PublicKey)}
		for _, a := range p.AllowedIPs {
			if prefix, ok := prefixOf(&a); ok && prefix.Addr().Is4In6() {
				more.prefixes = append(more.prefixes, prefix)
			}
		}
		if len(more.prefixes) == 0 {
			continue
		}
		p.AllowedIPs = slices.DeleteFunc(slices.Clone(p.AllowedIPs), func(a net.IPNet) bool {
			prefix, ok := prefixOf(&a)
			return ok && prefix.Addr().Is4In6()
		})
		out = append(out, more)
	}
	return out
}

// moreAllowedIPs are for a peer that exists.
type moreAllowedIPs struct {
	peer     Key
	prefixes []netip.Prefix // masked
	flags    uint32         // of each
}

// encode writes what goes into the message, after the name of the device.
func (m moreAllowedIPs) encode(ae *netlink.AttributeEncoder) error {
	return encodePeer(ae, m.peer, true, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(unix.WGPEER_A_ALLOWEDIPS, func(ae *netlink.AttributeEncoder) error {
			for i, p := range m.prefixes {
				ae.Nested(uint16(i), func(ae *netlink.AttributeEncoder) error { return m.encodeOne(ae, p) })
			}
			return nil
		})
		return nil
	})
}

func (m moreAllowedIPs) encodeOne(ae *netlink.AttributeEncoder, p netip.Prefix) error {
	family := uint16(unix.AF_INET)
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	ae.Uint16(unix.WGALLOWEDIP_A_FAMILY, family)
	ae.Bytes(unix.WGALLOWEDIP_A_IPADDR, p.Addr().AsSlice())
	ae.Uint8(unix.WGALLOWEDIP_A_CIDR_MASK, uint8(p.Bits()))
	if m.flags != 0 {
		ae.Uint32(wgAllowedIPFlags, m.flags)
	}
	return nil
}

// wgctrl opens the library's client on first use: one that was made before the
// module was loaded doesn't know the kernel's devices.
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

// setZoned sends the endpoint of one peer whose address needs a zone, ahead
// of the rest of the peer: one that is new must not try a handshake before.
func (k *Kernel) setZoned(ctx context.Context, name string, p *wgtypes.PeerConfig) error {
	scope, err := k.scopeID(ctx, p.Endpoint.Zone)
	if err != nil {
		return err
	}
	return k.setDevice(ctx, name, func(ae *netlink.AttributeEncoder) error {
		return encodePeer(ae, Key(p.PublicKey), p.UpdateOnly, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(unix.WGPEER_A_ENDPOINT, sockaddr6(p.Endpoint.AddrPort(), scope))
			return nil
		})
	})
}

// setDevice sends a change of one's own making to a device of the kernel.
func (k *Kernel) setDevice(ctx context.Context, name string, encode func(*netlink.AttributeEncoder) error) error {
	conn, family, err := k.family(ctx)
	if err != nil {
		return err
	}
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.WGDEVICE_A_IFNAME, name)
	if err := encode(ae); err != nil {
		return err
	}
	attrs, err := ae.Encode()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	_, err = conn.Execute(genetlink.Message{
		Header: genetlink.Header{Command: unix.WG_CMD_SET_DEVICE, Version: unix.WG_GENL_VERSION},
		Data:   attrs,
	}, family.ID, netlink.Request|netlink.Acknowledge)
	return missing(err, unix.ENODEV, unix.EOPNOTSUPP)
}

// encodePeer writes a list of one peer, with what rest adds to it.
func encodePeer(ae *netlink.AttributeEncoder, key Key, updateOnly bool, rest func(*netlink.AttributeEncoder) error) error {
	ae.Nested(unix.WGDEVICE_A_PEERS, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(0, func(ae *netlink.AttributeEncoder) error {
			ae.Bytes(unix.WGPEER_A_PUBLIC_KEY, key[:])
			if updateOnly {
				ae.Uint32(unix.WGPEER_A_FLAGS, unix.WGPEER_F_UPDATE_ONLY)
			}
			return rest(ae)
		})
		return nil
	})
	return nil
}

// scopeID returns the number of the link that a zone names.
func (k *Kernel) scopeID(ctx context.Context, zone string) (uint32, error) {
	l, err := k.Link(ctx, zone)
	if err == nil {
		return uint32(l.Index), nil
	}
	if n, perr := strconv.ParseUint(zone, 10, 31); perr == nil {
		return uint32(n), nil
	}
	return 0, &net.AddrError{Err: "no link for the zone", Addr: zone}
}
