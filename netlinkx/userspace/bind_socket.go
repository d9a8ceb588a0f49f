// SPDX-License-Identifier: MIT

package userspace

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketBuffer is how many bytes a socket holds each way: some milliseconds
// of a fast link.
const socketBuffer = 7 << 20

// A udpSocket is one of the two of a bind.
type udpSocket struct {
	family int // AF_INET or AF_INET6
	conn   *net.UDPConn
	raw    syscall.RawConn
	port   uint16

	segments  atomic.Bool // the kernel cuts a long packet into many (UDP_SEGMENT)
	coalesces bool        // and joins many into a long one (UDP_GRO)
}

// openSocket opens a socket on a port, for all addresses of one family. A
// family that the kernel lacks is unix.EAFNOSUPPORT.
func openSocket(family int, port uint16) (*udpSocket, error) {
	s := &udpSocket{family: family}
	network := "udp4"
	if family == unix.AF_INET6 {
		network = "udp6"
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) { err = s.setOptions(int(fd)) })
		if err == nil {
			err = cerr
		}
		return err
	}}
	c, err := config.ListenPacket(context.Background(), network, ":"+strconv.Itoa(int(port)))
	if err != nil {
		return nil, err
	}
	s.conn = c.(*net.UDPConn)
	s.port = s.conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	if s.raw, err = s.conn.SyscallConn(); err != nil {
		_ = s.conn.Close()
		return nil, err
	}
	return s, nil
}

// setOptions sets what the socket needs, and asks for what makes it fast.
func (s *udpSocket) setOptions(fd int) error {
	for _, o := range []struct{ limited, forced int }{
		{unix.SO_RCVBUF, unix.SO_RCVBUFFORCE},
		{unix.SO_SNDBUF, unix.SO_SNDBUFFORCE},
	} {
		// The first obeys net.core.[rw]mem_max, the second takes
		// CAP_NET_ADMIN. Less than asked for is only slower.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.limited, socketBuffer)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.forced, socketBuffer)
	}
	_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
	s.segments.Store(err == nil)
	s.coalesces = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	if s.family == unix.AF_INET {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	} else if err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1); err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err != nil {
		return fmt.Errorf("asking for the addresses of packets: %w", err)
	}
	return nil
}

func (s *udpSocket) setMark(mark uint32) error {
	return s.control(func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark))
	})
}

// control calls f with the descriptor.
func (s *udpSocket) control(f func(fd int) error) error {
	var err error
	if cerr := s.raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// linkIndex returns the number of the link that a zone names. The socket is
// asked, as it knows the links of its own network namespace.
func (s *udpSocket) linkIndex(zone string) (uint32, error) {
	ifr, err := unix.NewIfreq(zone)
	if err == nil {
		err = s.control(func(fd int) error { return unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr) })
	}
	if err == nil {
		return ifr.Uint32(), nil
	}
	if n, nerr := strconv.ParseUint(zone, 10, 31); nerr == nil {
		return uint32(n), nil
	}
	return 0, fmt.Errorf("looking for link %s: %w", zone, err)
}

// zone returns the name of a link, or its number where it has gone.
func (s *udpSocket) zone(index uint32) string {
	ifr, err := unix.NewIfreq("")
	if err == nil {
		ifr.SetUint32(index)
		err = s.control(func(fd int) error { return unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifr) })
	}
	if err != nil {
		return strconv.FormatUint(uint64(index), 10)
	}
	return ifr.Name()
}

// A sockaddr has room for the address of either family, as the kernel takes
// and gives it: sockaddr_in or sockaddr_in6.
type sockaddr unix.RawSockaddrInet6

// set writes an address and returns the length of what it wrote. The scope is
// the number of the link of a link-local address.
func (sa *sockaddr) set(a netip.AddrPort, scope uint32) uint32 {
	*sa = sockaddr{}
	if a.Addr().Is4() {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		in.Family = unix.AF_INET
		binary.BigEndian.PutUint16(bytesOf(&in.Port), a.Port())
		in.Addr = a.Addr().As4()
		return unix.SizeofSockaddrInet4
	}
	sa.Family = unix.AF_INET6
	binary.BigEndian.PutUint16(bytesOf(&sa.Port), a.Port())
	sa.Addr = a.Addr().As16()
	sa.Scope_id = scope
	return unix.SizeofSockaddrInet6
}

// get reads an address, without its zone, and the scope.
func (sa *sockaddr) get() (a netip.AddrPort, scope uint32) {
	switch sa.Family {
	case unix.AF_INET:
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(in.Addr), binary.BigEndian.Uint16(bytesOf(&in.Port))), 0
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), binary.BigEndian.Uint16(bytesOf(&sa.Port))), sa.Scope_id
	}
	return netip.AddrPort{}, 0
}

func bytesOf(n *uint16) []byte { return (*[2]byte)(unsafe.Pointer(n))[:] }
