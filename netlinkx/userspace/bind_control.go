// SPDX-License-Identifier: MIT

package userspace

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control messages, cmsg(3), ip(7), ipv6(7) and udp(7): the addresses of a
// packet, and the length of the segments of a long one.

// controlSize has room for IPV6_PKTINFO, the larger of the two, and UDP_GRO or
// UDP_SEGMENT.
var controlSize = unix.CmsgSpace(unix.SizeofInet6Pktinfo) + unix.CmsgSpace(4)

// appendSource appends the address to send from. The link is left to routing,
// which may have changed since the peer's packet came; only a link-local
// address means nothing without it.
func appendSource(b []byte, s *source) []byte {
	if s.addr.Is4() {
		info := unix.Inet4Pktinfo{Spec_dst: s.addr.As4()}
		return appendControl(b, unix.IPPROTO_IP, unix.IP_PKTINFO, (*[unix.SizeofInet4Pktinfo]byte)(unsafe.Pointer(&info))[:])
	}
	info := unix.Inet6Pktinfo{Addr: s.addr.As16()}
	if s.addr.IsLinkLocalUnicast() {
		info.Ifindex = s.link
	}
	return appendControl(b, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, (*[unix.SizeofInet6Pktinfo]byte)(unsafe.Pointer(&info))[:])
}

// appendSegmentSize appends the length at which to cut a packet.
func appendSegmentSize(b []byte, size int) []byte {
	return appendControl(b, unix.SOL_UDP, unix.UDP_SEGMENT, binary.NativeEndian.AppendUint16(nil, uint16(size)))
}

func appendControl(b []byte, level, kind int, data []byte) []byte {
	start := len(b)
	b = append(b, make([]byte, unix.CmsgSpace(len(data)))...)
	h := unix.Cmsghdr{Level: int32(level), Type: int32(kind)}
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[start:], (*[unix.SizeofCmsghdr]byte)(unsafe.Pointer(&h))[:])
	copy(b[start+unix.CmsgLen(0):], data)
	return b
}

// arrival is what the control messages of a packet say.
type arrival struct {
	addr    netip.Addr // to which it came; invalid: unknown
	link    uint32     // number of the link on which it did
	segment int        // length of each of the packets that it joins, but the last; 0: it is one
}

// readControl reads the control messages of a packet.
func readControl(b []byte) (a arrival) {
	for len(b) > unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(b)
		if err != nil {
			return a
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			a.link = binary.NativeEndian.Uint32(data)
			a.addr = netip.AddrFrom4([4]byte(data[4:8])) // ipi_spec_dst
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			a.addr = netip.AddrFrom16([16]byte(data[:16]))
			a.link = binary.NativeEndian.Uint32(data[16:])
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			a.segment = int(int32(binary.NativeEndian.Uint32(data)))
		}
		b = rest
	}
	return a
}
