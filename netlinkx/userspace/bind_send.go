// SPDX-License-Identifier: MIT

package userspace

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the kernel takes as one long packet: udp(7), and UDP_MAX_SEGMENTS in
// linux/udp.h.
const (
	maxSegments = 64
	maxPayload4 = 1<<16 - 1 - 20 - 8
	maxPayload6 = 1<<16 - 1 - 8 // the length of an IPv6 payload is without its header
)

// mmsghdr is struct mmsghdr of sendmmsg(2) and recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// An outgoing is what one call of sendmmsg takes: messages to one address,
// each of one packet or of many that the kernel is to cut apart. The packets
// aren't copied to join them: a message points to each.
type outgoing struct {
	to      sockaddr
	toLen   uint32
	packets [batchSize]unix.Iovec
	msgs    [batchSize]mmsghdr
	counts  [batchSize]int // packets of each message
	n       int            // messages
	control []byte         // of all messages, one after another

	// The system call, in the form that syscall.RawConn wants.
	write func(fd uintptr) bool
	sent  int // messages
	errno unix.Errno
}

// outgoings keeps what was allocated for the next Send.
var outgoings = sync.Pool{New: func() any {
	o := &outgoing{control: make([]byte, 0, batchSize*controlSize)}
	o.write = o.sendmmsg
	return o
}}

// release gives the messages back, without holding on to packets.
func (o *outgoing) release() {
	clear(o.packets[:])
	outgoings.Put(o)
}

// address says where the messages go.
func (o *outgoing) address(s *udpSocket, e *endpoint) error {
	var scope uint32
	if zone := e.dst.Addr().Zone(); zone != "" {
		var err error
		if scope, err = s.linkIndex(zone); err != nil {
			return err
		}
	}
	o.toLen = o.to.set(e.dst, scope)
	return nil
}

// send sends packets, as many as one call takes, and returns how many it was.
func (o *outgoing) send(s *udpSocket, packets [][]byte, src *source, segment bool) (int, error) {
	packets = packets[:min(len(packets), batchSize)]
	limit := maxPayload4
	if s.family == unix.AF_INET6 {
		limit = maxPayload6
	}
	if !segment {
		limit = 0
	}
	o.fill(packets, src, limit)
	o.sent, o.errno = 0, 0
	err := s.raw.Write(o.write)
	n := 0
	for _, count := range o.counts[:o.sent] {
		n += count
	}
	if err == nil && o.errno != 0 {
		err = o.errno
	}
	return n, err
}

// fill makes messages of packets, joined to at most limit bytes a message.
func (o *outgoing) fill(packets [][]byte, src *source, limit int) {
	o.n, o.control = 0, o.control[:0]
	for i := 0; i < len(packets); {
		count := joinable(packets[i:], limit)
		o.add(packets[i:i+count], i, src)
		i += count
	}
}

// joinable returns how many packets from the first on can be cut from one long one:
// all have the length of the first, but the last may be shorter.
func joinable(packets [][]byte, limit int) int {
	size := len(packets[0])
	total := size
	for i := 1; i < len(packets); i++ {
		n := len(packets[i])
		total += n
		if n > size || n == 0 || total > limit || i == maxSegments {
			return i
		}
		if n < size {
			return i + 1
		}
	}
	return len(packets)
}

// add makes a message of packets, which go to o.packets from first on.
func (o *outgoing) add(packets [][]byte, first int, src *source) {
	for i, p := range packets {
		iov := &o.packets[first+i]
		iov.Base = unsafe.SliceData(p)
		iov.SetLen(len(p))
	}
	start := len(o.control)
	if src != nil {
		o.control = appendSource(o.control, src)
	}
	if len(packets) > 1 {
		o.control = appendSegmentSize(o.control, len(packets[0]))
	}
	m := &o.msgs[o.n]
	*m = mmsghdr{hdr: unix.Msghdr{Name: (*byte)(unsafe.Pointer(&o.to)), Namelen: o.toLen, Iov: &o.packets[first]}}
	m.hdr.SetIovlen(len(packets))
	if control := o.control[start:]; len(control) > 0 {
		m.hdr.Control = &control[0]
		m.hdr.SetControllen(len(control))
	}
	o.counts[o.n] = len(packets)
	o.n++
}

// sendmmsg sends until all messages are sent, the kernel has no room (it
// reports false then) or refuses one.
func (o *outgoing) sendmmsg(fd uintptr) bool {
	for o.sent < o.n {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, fd,
			uintptr(unsafe.Pointer(&o.msgs[o.sent])), uintptr(o.n-o.sent), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			o.sent += int(n)
		case unix.EINTR:
		case unix.EAGAIN:
			return false
		default:
			o.errno = errno
			return true
		}
	}
	return true
}
