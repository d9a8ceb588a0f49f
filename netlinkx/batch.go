// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Many requests go to the kernel in one datagram, and it answers those that it
// refuses and the last: three times as fast as one by one. It handles them all
// within the send (netlink_rcv_skb), so every answer is there when that
// returns, and one that isn't was lost.

// Limits of one datagram. Requests: so that the receive buffer that a socket
// has by default holds the refusal of each. Bytes: the kernel handles a
// datagram in one go, and what is in the way of nobody else should stay so.
const (
	batchRequests = 128
	batchBytes    = 32 << 10
)

// A batchSocket is a netlink socket for requests in batches.
type batchSocket struct {
	mu       sync.Mutex // held by the batch that is being made
	fd       int
	sequence uint32
	out, in  []byte
}

// batchSocket opens a socket of the protocol in k's namespace, on first use.
func (k *Kernel) batchSocket(protocol int) (*batchSocket, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.batches[protocol]; s != nil {
		return s, nil
	}
	s := &batchSocket{in: make([]byte, 32<<10)}
	err := k.inside(func() (err error) {
		s.fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening a netlink socket: %w", err)
	}
	// A refusal needn't repeat the request.
	if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1); err != nil {
		return nil, errors.Join(fmt.Errorf("setting up a netlink socket: %w", err), unix.Close(s.fd))
	}
	k.batches[protocol] = s
	return s, nil
}

func (s *batchSocket) close() error { return unix.Close(s.fd) }

// A batch is requests on their way. What is appended to buf between begin and
// end is the body of one.
type batch struct {
	*batchSocket
	ctx context.Context
	buf []byte
	// refused is called with the number of each request, from 0, that failed,
	// in their order. One that wasn't sent, or whose answer was lost, did.
	refused func(i int, err error)

	first   uint32 // sequence number of request 0
	sent    int
	pending int // in buf
	start   int // of the last request in buf
}

// batch starts a batch; close ends it.
func (s *batchSocket) batch(ctx context.Context, refused func(i int, err error)) *batch {
	s.mu.Lock()
	return &batch{batchSocket: s, ctx: ctx, buf: s.out[:0], refused: refused, first: s.sequence + 1}
}

// begin starts a request of that type.
func (b *batch) begin(kind, flags uint16) {
	b.start = len(b.buf)
	b.sequence++
	b.buf = append(b.buf, 0, 0, 0, 0) // the length
	b.buf = binary.NativeEndian.AppendUint16(b.buf, kind)
	b.buf = binary.NativeEndian.AppendUint16(b.buf, unix.NLM_F_REQUEST|flags)
	b.buf = binary.NativeEndian.AppendUint32(b.buf, b.sequence)
	b.buf = append(b.buf, 0, 0, 0, 0) // the port, which the kernel knows
}

// end ends a request, and sends those that there are if they are many.
func (b *batch) end() {
	binary.NativeEndian.PutUint32(b.buf[b.start:], uint32(len(b.buf)-b.start))
	b.pending++
	if b.pending == batchRequests || len(b.buf) >= batchBytes {
		b.flush()
	}
}

// close sends what is left and ends the batch.
func (b *batch) close() {
	b.flush()
	b.out = b.buf[:0]
	b.mu.Unlock()
}

// flush sends the requests that there are and reads the answers.
func (b *batch) flush() {
	if b.pending == 0 {
		return
	}
	last := b.buf[b.start:]
	flags := binary.NativeEndian.Uint16(last[6:])
	binary.NativeEndian.PutUint16(last[6:], flags|unix.NLM_F_ACK)
	answered, err := 0, b.ctx.Err()
	if err == nil {
		if err = b.send(b.buf); err == nil {
			answered, err = b.answers()
		}
	}
	if err != nil {
		for i := answered; i < b.pending; i++ {
			b.refused(b.sent+i, err)
		}
	}
	b.sent += b.pending
	b.pending, b.buf = 0, b.buf[:0]
}

// answers reads the answers to the requests that were sent. It returns how
// many of them have theirs: the kernel answers in order, and what lies before
// an answer and has none itself went well.
func (b *batch) answers() (answered int, err error) {
	for {
		n, err := b.receive()
		if err != nil {
			return answered, err
		}
		for in := b.in[:n]; len(in) >= unix.SizeofNlMsghdr+4; {
			size := int(binary.NativeEndian.Uint32(in))
			if size < unix.SizeofNlMsghdr+4 || size > len(in) {
				return answered, unix.EBADMSG
			}
			kind, sequence := binary.NativeEndian.Uint16(in[4:]), binary.NativeEndian.Uint32(in[8:])
			errno := -int32(binary.NativeEndian.Uint32(in[unix.SizeofNlMsghdr:]))
			in = in[min(nlAlign(size), len(in)):]
			i := int(int32(sequence - b.first))
			if kind != unix.NLMSG_ERROR || i < b.sent || i >= b.sent+b.pending {
				continue // of a batch whose answers weren't read to their end
			}
			if errno != 0 {
				b.refused(i, unix.Errno(errno))
			}
			if answered = i - b.sent + 1; answered == b.pending {
				return answered, nil
			}
		}
	}
}

// send sends one datagram.
func (s *batchSocket) send(datagram []byte) error {
	for {
		err := unix.Sendto(s.fd, datagram, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return err
		}
	}
}

// receive reads one datagram into s.in. None is unix.ENOBUFS: the kernel had
// no room for it.
func (s *batchSocket) receive() (int, error) {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.in, unix.MSG_DONTWAIT)
		switch err {
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, unix.ENOBUFS
		default:
			return n, err
		}
	}
}

func nlAlign(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// appendAttribute appends a netlink attribute.
func appendAttribute(b []byte, kind uint16, value ...byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, nlAlign(len(value))-len(value))...)
}

func appendUint32(b []byte, kind uint16, value uint32) []byte {
	var v [4]byte
	binary.NativeEndian.PutUint32(v[:], value)
	return appendAttribute(b, kind, v[:]...)
}

func appendUint16(b []byte, kind, value uint16) []byte {
	var v [2]byte
	binary.NativeEndian.PutUint16(v[:], value)
	return appendAttribute(b, kind, v[:]...)
}

// openNested starts an attribute that holds attributes; closeNested, given
// what this returned, ends it.
func openNested(b []byte, kind uint16) (out []byte, start int) {
	return appendAttribute(b, kind|unix.NLA_F_NESTED), len(b)
}

func closeNested(b []byte, start int) {
	binary.NativeEndian.PutUint16(b[start:], uint16(len(b)-start))
}
