// SPDX-License-Identifier: MIT

package userspace

import (
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// How many messages one call of recvmmsg takes. One that the kernel joined of
// many packets is long, so few are many; with one packet each, it takes more.
const (
	joinedMessages = 8
	singleMessages = batchSize
	maxMessage     = 1 << 16
)

// A receiver receives from one socket. It belongs to one goroutine.
type receiver struct {
	s        *udpSocket
	msgs     []mmsghdr
	packets  []unix.Iovec
	from     []sockaddr
	controls []byte
	data     []byte // where the messages are, maxMessage each; the kernel touches little of it

	next, n int     // the message to hand out next, of so many
	rest    []byte  // what is left of the message before it
	at      arrival // and what is known of that
	ep      *endpoint

	meet func() // is called with packets; nil: nobody cares

	// The system call, in the form that syscall.RawConn wants.
	read  func(fd uintptr) bool
	errno unix.Errno
}

func newReceiver(s *udpSocket) *receiver {
	n := singleMessages
	if s.coalesces {
		n = joinedMessages
	}
	r := &receiver{
		s: s, msgs: make([]mmsghdr, n), packets: make([]unix.Iovec, n), from: make([]sockaddr, n),
		controls: make([]byte, n*controlSize), data: make([]byte, n*maxMessage),
	}
	r.read = r.recvmmsg
	for i := range r.packets {
		r.packets[i].Base = &r.data[i*maxMessage]
		r.packets[i].SetLen(maxMessage)
	}
	return r
}

// function returns what a device calls. It logs the end of the function's
// name.
func (r *receiver) function() conn.ReceiveFunc {
	if r.s.family == unix.AF_INET6 {
		return r.receiveIPv6
	}
	return r.receiveIPv4
}

func (r *receiver) receiveIPv4(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	return r.receive(packets, sizes, eps)
}

func (r *receiver) receiveIPv6(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	return r.receive(packets, sizes, eps)
}

// receive waits for at least one packet. What it has beyond the room that it
// is given, it keeps for the next call.
func (r *receiver) receive(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
	n := 0
	for n == 0 {
		if len(r.rest) == 0 && r.next == r.n {
			if err := r.fetch(); err != nil {
				return 0, err
			}
		}
		n = r.hand(packets, sizes, eps)
	}
	if r.meet != nil {
		r.meet()
	}
	return n, nil
}

// hand copies out packets, as long as there are some and there is room. It may
// be none: an empty or damaged message is no packet.
func (r *receiver) hand(packets [][]byte, sizes []int, eps []conn.Endpoint) int {
	for n := range packets {
		for len(r.rest) == 0 {
			if r.next == r.n {
				return n
			}
			r.open(r.next)
			r.next++
		}
		size := len(r.rest)
		if r.at.segment > 0 {
			size = min(size, r.at.segment)
		}
		sizes[n] = copy(packets[n], r.rest[:size])
		eps[n] = r.ep
		r.rest = r.rest[size:]
	}
	return len(packets)
}

// open begins to hand out a message.
func (r *receiver) open(i int) {
	m := &r.msgs[i]
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		return
	}
	r.at = readControl(r.controls[i*controlSize:][:m.hdr.Controllen])
	r.rest = r.data[i*maxMessage:][:m.len]
	r.ep = r.endpoint(&r.from[i], r.at)
}

// endpoint returns the one of the last message if it came the same way, as
// most do: not to allocate one a packet.
func (r *receiver) endpoint(from *sockaddr, at arrival) *endpoint {
	dst, scope := from.get()
	if scope != 0 {
		dst = netip.AddrPortFrom(dst.Addr().WithZone(r.s.zone(scope)), dst.Port())
	}
	if r.ep != nil && r.ep.dst == dst {
		if s := r.ep.src.Load(); s != nil && s.addr == at.addr && s.link == at.link {
			return r.ep
		}
	}
	e := &endpoint{dst: dst}
	if at.addr.IsValid() {
		e.received.addr, e.received.link = at.addr, at.link
		e.src.Store(&e.received)
	}
	return e
}

// fetch gets messages from the kernel, and waits for the first.
func (r *receiver) fetch() error {
	for i := range r.msgs {
		h := &r.msgs[i].hdr
		*h = unix.Msghdr{
			Name: (*byte)(unsafe.Pointer(&r.from[i])), Namelen: unix.SizeofSockaddrInet6,
			Iov: &r.packets[i], Control: &r.controls[i*controlSize],
		}
		h.SetIovlen(1)
		h.SetControllen(controlSize)
	}
	r.next, r.n, r.errno = 0, 0, 0
	if err := r.s.raw.Read(r.read); err != nil {
		return err // net.ErrClosed
	}
	if r.errno != 0 {
		return os.NewSyscallError("recvmmsg", r.errno)
	}
	return nil
}

// recvmmsg reports whether there were messages, or an error.
func (r *receiver) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(&r.msgs[0])), uintptr(len(r.msgs)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			r.n = int(n)
			return true
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			r.errno = errno
			return true
		}
	}
}
