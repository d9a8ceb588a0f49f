// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
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

// batchSocket returns k's socket of the protocol, opened on first use.
func (k *Kernel) batchSocket(protocol int) (*batchSocket, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.batches[protocol]; s != nil {
		return s, nil
	}
	s, err := k.newBatchSocket(protocol)
	if err == nil {
		k.batches[protocol] = s
	}
	return s, err
}

// newBatchSocket opens a socket of the protocol in k's namespace.
func (k *Kernel) newBatchSocket(protocol int) (*batchSocket, error) {
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
		for h, body := range messages(b.in[:n]) {
			i := int(int32(h.sequence - b.first))
			if h.kind != unix.NLMSG_ERROR || i < b.sent || i >= b.sent+b.pending {
				continue // of a batch whose answers weren't read to their end
			}
			if err := errnoIn(body); err != nil {
				b.refused(i, err)
			}
			if answered = i - b.sent + 1; answered == b.pending {
				return answered, nil
			}
		}
	}
}

// dump sends one request for a list and hands the body of each message of the
// answer to message. An interrupted dump is unix.EINTR, at its end. After an
// error the socket is good for nothing.
func (s *batchSocket) dump(kind uint16, request func([]byte) []byte, message func([]byte) error) error {
	b := s.batch(context.Background(), nil)
	defer s.mu.Unlock()
	b.begin(kind, unix.NLM_F_DUMP)
	b.buf = request(b.buf)
	binary.NativeEndian.PutUint32(b.buf, uint32(len(b.buf)))
	if err := s.send(b.buf); err != nil {
		return err
	}
	interrupted := false
	for {
		n, err := s.receive()
		if err != nil {
			return err
		}
		for h, body := range messages(s.in[:n]) {
			interrupted = interrupted || h.flags&unix.NLM_F_DUMP_INTR != 0
			switch {
			case h.kind == unix.NLMSG_ERROR || h.kind == unix.NLMSG_DONE:
				err := errnoIn(body)
				if err == nil && interrupted {
					err = unix.EINTR
				}
				return err
			case h.kind >= nlmsgMinType:
				if err := message(body); err != nil {
					return err
				}
			}
		}
	}
}

const nlmsgMinType = 0x10 // NLMSG_MIN_TYPE: below it is what netlink says of itself

// A header is what matters of a struct nlmsghdr.
type header struct {
	kind, flags uint16
	sequence    uint32
}

// messages returns the messages of a datagram, with their bodies.
func messages(in []byte) iter.Seq2[header, []byte] {
	return func(yield func(header, []byte) bool) {
		for len(in) >= unix.SizeofNlMsghdr {
			size := int(binary.NativeEndian.Uint32(in))
			if size < unix.SizeofNlMsghdr || size > len(in) {
				return
			}
			h := header{binary.NativeEndian.Uint16(in[4:]), binary.NativeEndian.Uint16(in[6:]), binary.NativeEndian.Uint32(in[8:])}
			if !yield(h, in[unix.SizeofNlMsghdr:size]) {
				return
			}
			in = in[min(nlAlign(size), len(in)):]
		}
	}
}

// errnoIn reads the body of a refusal, an acknowledgement or the end of a
// list: a negative errno or 0.
func errnoIn(body []byte) error {
	if len(body) < 4 {
		return nil
	}
	if n := int32(binary.NativeEndian.Uint32(body)); n != 0 {
		return unix.Errno(-n)
	}
	return nil
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
