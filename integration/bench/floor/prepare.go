// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// What isn't known before the run stands for itself.
var indexMark = []byte{0x77, 0x69, 0x78, 0x7f}

const familyMark = 0x7777

// As many as wgctl sends.
const (
	peersAMessage  = 32
	peersADatagram = 8 * peersAMessage
	routesAtOnce   = 128
	peersARequest  = 1024
)

// A tunnel is what a file of the benchmark says.
type tunnel struct {
	name, private, port string
	addresses           []netip.Prefix
	peers               []peer
}

type peer struct {
	public, psk string
	endpoint    netip.AddrPort
	allowed     []netip.Prefix
}

func prepare(kernel bool, path, out string) error {
	t, err := read(path)
	if err != nil {
		return err
	}
	f := &file{}
	f.add(named, []byte(t.name))
	if kernel {
		f.messages(route, link(t.name))
		f.messages(generic, t.ownFields())
		for part := range slices.Chunk(t.peers, peersADatagram) {
			f.messages(generic, t.setPeers(part)...)
		}
	} else {
		t.requests(f)
	}
	for _, a := range t.addresses {
		f.messages(route, address(a))
	}
	f.messages(route, up())
	var routes []netlink.Message
	for _, p := range t.peers {
		for _, a := range p.allowed {
			routes = append(routes, addRoute(a))
		}
	}
	for part := range slices.Chunk(routes, routesAtOnce) {
		f.messages(route, part...)
	}
	if f.err != nil {
		return f.err
	}
	return os.WriteFile(out, f.Bytes(), 0o600)
}

// read reads the lines of a file, which has no others than the benchmark
// writes.
func read(path string) (*tunnel, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &tunnel{name: strings.TrimSuffix(filepath.Base(path), ".conf")}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		var p *peer
		if n := len(t.peers); n > 0 {
			p = &t.peers[n-1]
		}
		switch key {
		case "PrivateKey":
			t.private = value
		case "ListenPort":
			t.port = value
		case "Address":
			t.addresses = append(t.addresses, netip.MustParsePrefix(value))
		case "[Peer]":
			t.peers = append(t.peers, peer{})
		case "PublicKey":
			p.public = value
		case "PresharedKey":
			p.psk = value
		case "Endpoint":
			p.endpoint = netip.MustParseAddrPort(value)
		case "AllowedIPs":
			p.allowed = append(p.allowed, netip.MustParsePrefix(value))
		}
	}
	return t, nil
}

// A file is the prepared one.
type file struct {
	bytes.Buffer
	err error
}

func (f *file) add(kind byte, payload []byte) {
	f.WriteByte(kind)
	f.Write(binary.NativeEndian.AppendUint32(nil, uint32(len(payload))))
	f.Write(payload)
}

func (f *file) messages(kind byte, msgs ...netlink.Message) {
	b, err := marshal(msgs)
	if err != nil {
		f.err = err
	}
	f.add(kind, b)
}

func message(kind uint16, flags netlink.HeaderFlags, head []byte, attrs func(*netlink.AttributeEncoder)) netlink.Message {
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	b, err := ae.Encode()
	if err != nil {
		panic(err) // of attributes that are too long
	}
	return netlink.Message{Header: netlink.Header{Type: netlink.HeaderType(kind), Flags: flags}, Data: append(head, b...)}
}

func link(name string) netlink.Message {
	head := make([]byte, unix.SizeofIfInfomsg)
	return message(unix.RTM_NEWLINK, netlink.Create|netlink.Excl, head, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.IFLA_IFNAME, name)
		ae.Nested(unix.IFLA_LINKINFO, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.IFLA_INFO_KIND, "wireguard")
			return nil
		})
	})
}

func up() netlink.Message {
	head := make([]byte, unix.SizeofIfInfomsg)
	copy(head[4:], indexMark)
	head[8], head[12] = unix.IFF_UP, unix.IFF_UP
	return message(unix.RTM_NEWLINK, 0, head, func(ae *netlink.AttributeEncoder) { ae.Uint32(unix.IFLA_MTU, 1420) })
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func address(p netip.Prefix) netlink.Message {
	head := append([]byte{family(p.Addr()), byte(p.Bits()), 0, 0}, indexMark...)
	return message(unix.RTM_NEWADDR, netlink.Create|netlink.Excl, head, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFA_LOCAL, p.Addr().AsSlice())
		ae.Bytes(unix.IFA_ADDRESS, p.Addr().AsSlice())
	})
}

func addRoute(p netip.Prefix) netlink.Message {
	scope := byte(unix.RT_SCOPE_LINK)
	if p.Addr().Is6() {
		scope = unix.RT_SCOPE_UNIVERSE
	}
	head := []byte{family(p.Addr()), byte(p.Bits()), 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, scope, unix.RTN_UNICAST, 0, 0, 0, 0}
	return message(unix.RTM_NEWROUTE, netlink.Create|netlink.Excl, head, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.RTA_DST, p.Addr().AsSlice())
		ae.Bytes(unix.RTA_OIF, indexMark)
	})
}

func key(text string) []byte {
	k, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		panic(err) // the benchmark writes none like that
	}
	return k
}

func (t *tunnel) setDevice(attrs func(*netlink.AttributeEncoder)) netlink.Message {
	head := []byte{unix.WG_CMD_SET_DEVICE, unix.WG_GENL_VERSION, 0, 0}
	return message(familyMark, 0, head, func(ae *netlink.AttributeEncoder) {
		ae.String(unix.WGDEVICE_A_IFNAME, t.name)
		attrs(ae)
	})
}

func (t *tunnel) ownFields() netlink.Message {
	return t.setDevice(func(ae *netlink.AttributeEncoder) {
		var port uint16
		_, _ = fmt.Sscan(t.port, &port)
		ae.Bytes(unix.WGDEVICE_A_PRIVATE_KEY, key(t.private))
		ae.Uint16(unix.WGDEVICE_A_LISTEN_PORT, port)
	})
}

func (t *tunnel) setPeers(peers []peer) (out []netlink.Message) {
	for part := range slices.Chunk(peers, peersAMessage) {
		out = append(out, t.setDevice(func(ae *netlink.AttributeEncoder) {
			ae.Nested(unix.WGDEVICE_A_PEERS, func(ae *netlink.AttributeEncoder) error {
				for _, p := range part {
					ae.Nested(0, p.encode)
				}
				return nil
			})
		}))
	}
	return out
}

func (p peer) encode(ae *netlink.AttributeEncoder) error {
	ae.Bytes(unix.WGPEER_A_PUBLIC_KEY, key(p.public))
	ae.Bytes(unix.WGPEER_A_PRESHARED_KEY, key(p.psk))
	if p.endpoint.IsValid() {
		raw := make([]byte, unix.SizeofSockaddrInet4)
		binary.NativeEndian.PutUint16(raw, unix.AF_INET)
		binary.BigEndian.PutUint16(raw[2:], p.endpoint.Port())
		copy(raw[4:], p.endpoint.Addr().AsSlice())
		ae.Bytes(unix.WGPEER_A_ENDPOINT, raw)
	}
	ae.Nested(unix.WGPEER_A_ALLOWEDIPS, func(ae *netlink.AttributeEncoder) error {
		for _, a := range p.allowed {
			ae.Nested(0, func(ae *netlink.AttributeEncoder) error {
				ae.Uint16(unix.WGALLOWEDIP_A_FAMILY, uint16(family(a.Addr())))
				ae.Bytes(unix.WGALLOWEDIP_A_IPADDR, a.Addr().AsSlice())
				ae.Uint8(unix.WGALLOWEDIP_A_CIDR_MASK, uint8(a.Bits()))
				return nil
			})
		}
		return nil
	})
	return nil
}

// requests writes what a userspace device is told.
func (t *tunnel) requests(f *file) {
	f.add(toDevice, fmt.Appendf(nil, "set=1\nprivate_key=%x\nlisten_port=%s\n\n", key(t.private), t.port))
	for part := range slices.Chunk(t.peers, peersARequest) {
		b := []byte("set=1\n")
		for _, p := range part {
			b = fmt.Appendf(b, "public_key=%x\npreshared_key=%x\n", key(p.public), key(p.psk))
			if p.endpoint.IsValid() {
				b = fmt.Appendf(b, "endpoint=%s\n", p.endpoint)
			}
			for _, a := range p.allowed {
				b = fmt.Appendf(b, "allowed_ip=%s\n", a)
			}
		}
		f.add(toDevice, append(b, '\n'))
	}
}
