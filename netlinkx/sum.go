// SPDX-License-Identifier: MIT

package netlinkx

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"net/netip"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

// A Sum stands for peers or routes, in the order in which the kernel tells of
// them. Where they differ sums do too, but for chance, one in 2^64: who could make
// them meet on purpose is root. They are of XXH64, which takes a tenth of what a
// cryptographic hash does, and says little of what it is of.
type Sum struct {
	digest  uint64
	members uint64
}

// join makes s the sum of its members and those of another.
func (s *Sum) join(t Sum) {
	s.digest += t.digest
	s.members += t.members
}

// A summer makes a sum.
type summer struct {
	hash    *xxhash.Digest
	members uint64
	buf     []byte // of a member
}

func newSummer() summer { return summer{hash: xxhash.New()} }

// take sums a member up, whose bytes say themselves where they end.
func (s *summer) take(member []byte) {
	s.buf = member
	_, _ = s.hash.Write(member)
	s.members++
}

// reset forgets what was summed up.
func (s *summer) reset() {
	s.hash.Reset()
	s.members = 0
}

// total returns the sum, and forgets the members: they have keys, and the hash has the
// end of them.
func (s *summer) total() Sum {
	clear(s.buf[:cap(s.buf)])
	out := Sum{digest: s.hash.Sum64(), members: s.members}
	*s.hash = xxhash.Digest{}
	return out
}

// MarshalText returns 80 hexadecimal digits, of which the last 48 are zeros: earlier
// versions, which may run yet, take no fewer.
func (s Sum) MarshalText() ([]byte, error) {
	var b [40]byte
	binary.BigEndian.PutUint64(b[:], s.members)
	binary.BigEndian.PutUint64(b[8:], s.digest)
	return hex.AppendEncode(nil, b[:]), nil
}

// UnmarshalText reads what MarshalText writes. What it wrote in earlier versions is a
// sum that nothing has.
func (s *Sum) UnmarshalText(text []byte) error {
	var b [40]byte
	if len(text) != hex.EncodedLen(len(b)) {
		return errors.New("not a sum of 80 hexadecimal digits")
	}
	if _, err := hex.Decode(b[:], text); err != nil {
		return err
	}
	s.members, s.digest = binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])
	if [24]byte(b[16:]) != [24]byte{} {
		s.members = math.MaxUint64
	}
	return nil
}

// SumOfPeers is that of what is configured of a device's peers: keys, allowed IPs
// in their order, keepalive, and whether there is an endpoint. Where a peer has
// roamed to, and what it sends, is not in it; nor is the order of a userspace
// device's peers, which are told at random.
func SumOfPeers(d *Device) Sum {
	s := newPeerSum()
	order := make([]*Peer, len(d.Peers))
	for i := range d.Peers {
		order[i] = &d.Peers[i]
	}
	if d.Backend == BackendUserspace {
		slices.SortFunc(order, func(a, b *Peer) int { return bytes.Compare(a.PublicKey[:], b.PublicKey[:]) })
	}
	for _, p := range order {
		s.member(p)
	}
	return s.total()
}

// SumOfRoutes is that of routes.
func SumOfRoutes(list []InstalledRoute) Sum {
	s := newRoutesSum()
	for _, r := range list {
		family := unix.AF_INET
		if r.Dst.Addr().Is6() {
			family = unix.AF_INET6
		}
		s.member(slices.Index(bothFamilies[:], family), r)
	}
	return s.sum()
}

// A peerSink takes peers as they are read.
type peerSink interface {
	add() *Peer    // a peer to read the next into
	newest() *Peer // what the last add returned; nil before the first
}

// A peerSum is a sink that keeps none.
type peerSum struct {
	summer
	p    Peer
	some bool
}

func newPeerSum() *peerSum { return &peerSum{summer: newSummer()} }

func (s *peerSum) add() *Peer {
	if s.some {
		s.member(&s.p)
	}
	s.some = true
	s.p = Peer{AllowedIPs: s.p.AllowedIPs[:0]}
	return &s.p
}

func (s *peerSum) newest() *Peer {
	if !s.some {
		return nil
	}
	return &s.p
}

// sum returns that of all peers, after which s is done with.
func (s *peerSum) sum() Sum {
	if s.some {
		s.member(&s.p)
	}
	return s.total()
}

func (s *peerSum) member(p *Peer) {
	b := append(append(s.buf[:0], p.PublicKey[:]...), p.PresharedKey[:]...)
	b = binary.BigEndian.AppendUint16(b, p.PersistentKeepalive)
	endpoint := byte(0)
	if p.Endpoint.IsValid() {
		endpoint = 1
	}
	b = binary.BigEndian.AppendUint32(append(b, endpoint), uint32(len(p.AllowedIPs))) // #nosec G115 -- none has so many
	for _, a := range p.AllowedIPs {
		b = appendPrefix(b, a)
	}
	s.take(b)
}

// A routesSum has a summer for each of bothFamilies.
type routesSum [len(bothFamilies)]summer

func newRoutesSum() *routesSum {
	s := new(routesSum)
	for i := range s {
		s[i] = newSummer()
	}
	return s
}

func (s *routesSum) start(family int) { s[family].reset() }

func (s *routesSum) member(family int, r InstalledRoute) {
	b := appendPrefix(s[family].buf[:0], r.Dst)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, r.Table), r.Metric)
	b = append(b, byte(r.Kind), byte(r.Protocol), 0)
	if r.Plain {
		b[len(b)-1] = 1
	}
	s[family].take(b)
}

func (s *routesSum) sum() Sum {
	var all Sum
	for i := range s {
		all.join(s[i].total())
	}
	return all
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	if a := p.Addr(); a.Is4() {
		four := a.As4()
		b = append(append(b, byte(routes.V4)), four[:]...)
	} else {
		sixteen := a.As16()
		b = append(append(b, byte(routes.V6)), sixteen[:]...)
	}
	return append(b, byte(p.Bits()))
}

// DeviceSum is Device without its peers, of which it returns the sum.
func (k *Kernel) DeviceSum(ctx context.Context, name string) (Device, Sum, error) {
	l, err := k.Link(ctx, name)
	if err != nil {
		return Device{}, Sum{}, err
	}
	if l.Kind != kindWireGuard {
		d, err := uapiGet(ctx, k.uapiPath(name), name)
		return withSum(d, err)
	}
	var s *peerSum
	d, err := k.kernelDeviceInto(ctx, name, func() peerSink { s = newPeerSum(); return s })
	if err != nil {
		return Device{}, Sum{}, err
	}
	return d, s.sum(), nil
}

// withSum puts the sum in the place of the peers.
func withSum(d Device, err error) (Device, Sum, error) {
	if err != nil {
		return Device{}, Sum{}, err
	}
	sum := SumOfPeers(&d)
	for i := range d.Peers {
		clear(d.Peers[i].PresharedKey[:])
	}
	d.Peers = nil
	return d, sum, nil
}

// RoutesSum returns the sum of Routes.
func (k *Kernel) RoutesSum(ctx context.Context, link string) (Sum, error) {
	s := newRoutesSum()
	err := k.linkRoutes(ctx, link, s.start, s.member)
	if err != nil {
		return Sum{}, err
	}
	return s.sum(), nil
}

// DeviceSum returns the sum of the copy that Device returns.
func (f *Fake) DeviceSum(ctx context.Context, name string) (Device, Sum, error) {
	d, err := f.Device(ctx, name)
	return withSum(d, err)
}

// RoutesSum returns the sum of Routes.
func (f *Fake) RoutesSum(ctx context.Context, link string) (Sum, error) {
	list, err := f.Routes(ctx, link)
	return SumOfRoutes(list), err
}
