// SPDX-License-Identifier: MIT

package userspace

import (
	"net/netip"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/conn"
)

// An endpoint is where a peer is, and from which address of ours it is
// answered. Goroutines share it; only the source changes, and only to none.
type endpoint struct {
	dst      netip.AddrPort         // with its zone
	src      atomic.Pointer[source] // nil: the kernel chooses
	received source                 // what src points to at first, in one that came with a packet
}

var _ conn.Endpoint = (*endpoint)(nil)

// A source is the address to which a peer's packet came, and the link on which
// it did.
type source struct {
	addr    netip.Addr
	link    uint32        // its number
	checked atomic.Uint64 // the state of routing in which it was found good
}

// ClearSrc lets the kernel choose the source address.
func (e *endpoint) ClearSrc() { e.src.Store(nil) }

// clear drops a source that was found bad, unless there is another by now.
func (e *endpoint) clear(s *source) { e.src.CompareAndSwap(s, nil) }

// SrcIP returns the source address, or the zero Addr if the kernel chooses.
func (e *endpoint) SrcIP() netip.Addr {
	if s := e.src.Load(); s != nil {
		return s.addr
	}
	return netip.Addr{}
}

// SrcToString returns the source address as text.
func (e *endpoint) SrcToString() string { return e.SrcIP().String() }

// DstIP returns the peer's address.
func (e *endpoint) DstIP() netip.Addr { return e.dst.Addr() }

// DstToString returns the peer's address and port, as UAPI has them.
func (e *endpoint) DstToString() string { return e.dst.String() }

// DstToBytes returns the peer's address and port as a cookie binds them.
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.dst.MarshalBinary()
	return b
}
