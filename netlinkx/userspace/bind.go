// SPDX-License-Identifier: MIT

package userspace

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// newBind returns the UDP side of a device. This is the one place that
// chooses it; a benchmark chooses upstream's instead.
var newBind = func(in *intake) conn.Bind { return &bind{meet: in.meet} }

// batchSize is how many packets a device sends or receives at once, at most.
const batchSize = conn.IdealBatchSize

// A bind is a conn.Bind: an IPv4 and an IPv6 socket on the same port, or one
// of them where the kernel lacks the other family. It answers from the address
// that a peer contacted, as the kernel's device does, for as long as that
// address is the host's and routing agrees (bind_source.go).
type bind struct {
	// The sockets may be closed while packets go out, as a device doesn't
	// hold its own lock to send a cookie.
	v4, v6  atomic.Pointer[udpSocket]
	routing atomic.Pointer[routing] // nil where the kernel doesn't tell
	mark    atomic.Uint32
	meet    func(stop <-chan struct{}) // is called with packets; nil: nobody cares
	closed  chan struct{}              // closed when the sockets are

	mu sync.Mutex // Open, Close, SetMark
}

var _ conn.Bind = (*bind)(nil)

// portTries is how many free ports of IPv4 are tried in search of one that is
// free for IPv6 too.
const portTries = 100

// Open opens the sockets, in the network namespace of the calling thread, and
// returns the port that they have. Port 0 takes a free one.
func (b *bind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.v4.Load() != nil || b.v6.Load() != nil {
		return nil, 0, conn.ErrBindAlreadyOpen
	}
	v4, v6, err := openPair(port)
	for try := 1; port == 0 && try < portTries && errors.Is(err, unix.EADDRINUSE); try++ {
		v4, v6, err = openPair(port)
	}
	if err != nil {
		return nil, 0, err
	}
	closed := make(chan struct{})
	b.closed = closed
	var receive []conn.ReceiveFunc
	for _, s := range []*udpSocket{v4, v6} {
		if s == nil {
			continue
		}
		r := newReceiver(s)
		if b.meet != nil {
			r.meet = func() { b.meet(closed) }
		}
		receive = append(receive, r.function())
		port = s.port
	}
	b.v4.Store(v4)
	b.v6.Store(v6)
	if r, err := openRouting(); err == nil {
		b.routing.Store(r)
	}
	return receive, port, nil
}

// openPair opens a socket of each family on the same port. A family that the
// kernel doesn't have is nil, unless it has neither.
func openPair(port uint16) (v4, v6 *udpSocket, err error) {
	v4, err = openSocket(unix.AF_INET, port)
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil, err
	}
	if v4 != nil {
		port = v4.port
	}
	v6, err = openSocket(unix.AF_INET6, port)
	switch {
	case err == nil:
		return v4, v6, nil
	case v4 != nil && errors.Is(err, unix.EAFNOSUPPORT):
		return v4, nil, nil
	case v4 != nil:
		_ = v4.conn.Close()
	}
	return nil, nil, err
}

// Close closes the sockets. The functions that Open returned return
// net.ErrClosed from then on.
func (b *bind) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed != nil {
		close(b.closed)
		b.closed = nil
	}
	var errs []error
	for _, s := range []*udpSocket{b.v4.Swap(nil), b.v6.Swap(nil)} {
		if s != nil {
			errs = append(errs, s.conn.Close())
		}
	}
	if r := b.routing.Swap(nil); r != nil {
		r.close()
	}
	return errors.Join(errs...)
}

// SetMark sets the mark of every packet to come (SO_MARK).
func (b *bind) SetMark(mark uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range []*udpSocket{b.v4.Load(), b.v6.Load()} {
		if s == nil {
			continue
		}
		if err := s.setMark(mark); err != nil {
			return fmt.Errorf("setting the mark of the socket: %w", err)
		}
	}
	b.mark.Store(mark)
	if r := b.routing.Load(); r != nil {
		r.changed() // another mark, another way
	}
	return nil
}

// BatchSize is the most packets that Send takes and a receive function gives.
func (b *bind) BatchSize() int { return batchSize }

// ParseEndpoint reads an address and port. The zone of an address is the name
// or the number of a link.
func (b *bind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, err
	}
	return &endpoint{dst: netip.AddrPortFrom(a.Addr().Unmap(), a.Port())}, nil
}

// Send sends packets to an endpoint. An error may come after some of them.
func (b *bind) Send(packets [][]byte, to conn.Endpoint) error {
	e, ok := to.(*endpoint)
	if !ok {
		return conn.ErrWrongEndpointType
	}
	s := b.v4.Load()
	if e.dst.Addr().Is6() {
		s = b.v6.Load()
	}
	if s == nil {
		if b.v4.Load() == nil && b.v6.Load() == nil {
			return net.ErrClosed
		}
		return unix.EAFNOSUPPORT
	}
	out := outgoings.Get().(*outgoing)
	defer out.release()
	if err := out.address(s, e); err != nil {
		return err
	}
	src, segment := b.sourceFor(e), s.segments.Load()
	for len(packets) > 0 {
		n, errno := out.send(s, packets, src, segment)
		packets = packets[n:]
		switch {
		case errno == nil:
		case segment && errors.Is(errno, unix.EIO):
			// The link can't compute checksums, and so can't segment.
			s.segments.Store(false)
			segment = false
		case segment && isOneOf(errno, unix.EINVAL, unix.EMSGSIZE):
			// A segment is longer than the route's MTU. A packet of its
			// own would be fragmented.
			segment = false
		case src != nil && refusesSource(errno):
			e.clear(src)
			src = nil
		default:
			return os.NewSyscallError("sendmmsg", errno)
		}
	}
	return nil
}

func isOneOf(err error, errnos ...unix.Errno) bool {
	for _, e := range errnos {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
