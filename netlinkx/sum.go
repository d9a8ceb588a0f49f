// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"

	"github.com/wgctl/wgctl/routes"
)

// A Sum stands for a set of things, whatever their order: of two sets that
// differ the sums do too, but for chance (the members' SHA-256, added up). It
// tells nobody what is in the set.
type Sum struct {
	lanes   [4]uint64
	members uint64
}

func (s *Sum) add(member []byte) {
	hash := sha256.Sum256(member)
	for i := range s.lanes {
		s.lanes[i] += binary.LittleEndian.Uint64(hash[8*i:])
	}
	s.members++
}

// MarshalText returns 80 hexadecimal digits.
func (s Sum) MarshalText() ([]byte, error) {
	b := binary.BigEndian.AppendUint64(nil, s.members)
	for _, lane := range s.lanes {
		b = binary.BigEndian.AppendUint64(b, lane)
	}
	return hex.AppendEncode(nil, b), nil
}

// UnmarshalText reads what MarshalText writes.
func (s *Sum) UnmarshalText(text []byte) error {
	var b [40]byte
	if len(text) != hex.EncodedLen(len(b)) {
		return errors.New("not a sum of 80 hexadecimal digits")
	}
	if _, err := hex.Decode(b[:], text); err != nil {
		return err
	}
	s.members = binary.BigEndian.Uint64(b[:])
	for i := range s.lanes {
		s.lanes[i] = binary.BigEndian.Uint64(b[8*(i+1):])
	}
	return nil
}

// SumOfPeers is that of what is configured of peers: keys, allowed IPs in
// their order, keepalive, and whether there is an endpoint. Where a peer has
// roamed to, and what it sends, is not in it.
func SumOfPeers(peers []Peer) Sum {
	var s peerSum
	for i := range peers {
		s.member(&peers[i])
	}
	return s.all
}

// SumOfRoutes is that of routes.
func SumOfRoutes(list []InstalledRoute) Sum {
	var s routeSum
	for _, r := range list {
		s.member(r)
	}
	return s.all
}

// A peerSink takes peers as they are read.
type peerSink interface {
	add() *Peer    // a peer to read the next into
	newest() *Peer // what the last add returned; nil before the first
}

// A peerSum is a sink that keeps none.
type peerSum struct {
	all  Sum
	p    Peer
	some bool
	buf  []byte
}

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
	return s.all
}

func (s *peerSum) member(p *Peer) {
	b := append(append(s.buf[:0], p.PublicKey[:]...), p.PresharedKey[:]...)
	b = binary.BigEndian.AppendUint16(b, p.PersistentKeepalive)
	endpoint := byte(0)
	if p.Endpoint.IsValid() {
		endpoint = 1
	}
	b = append(b, endpoint)
	for _, a := range p.AllowedIPs {
		b = appendPrefix(b, a)
	}
	s.buf = b
	s.all.add(b)
}

type routeSum struct {
	all Sum
	buf []byte
}

func (s *routeSum) member(r InstalledRoute) {
	b := appendPrefix(s.buf[:0], r.Dst)
	b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, r.Table), r.Metric)
	b = append(b, byte(r.Kind), byte(r.Protocol), 0)
	if r.Plain {
		b[len(b)-1] = 1
	}
	s.buf = b
	s.all.add(b)
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
	var s *peerSum
	d, err := k.deviceInto(ctx, name, func() peerSink { s = new(peerSum); return s })
	if err != nil {
		return Device{}, Sum{}, err
	}
	return d, s.sum(), nil
}

// RoutesSum returns the sum of Routes.
func (k *Kernel) RoutesSum(ctx context.Context, link string) (Sum, error) {
	var sums [len(bothFamilies)]routeSum
	err := k.linkRoutes(ctx, link,
		func(family int) { sums[family].all = Sum{} },
		func(family int, r InstalledRoute) { sums[family].member(r) })
	if err != nil {
		return Sum{}, err
	}
	total := sums[0].all
	for _, s := range sums[1:] {
		total.join(s.all)
	}
	return total, nil
}

// join makes s the sum of its members and those of another.
func (s *Sum) join(t Sum) {
	for i := range s.lanes {
		s.lanes[i] += t.lanes[i]
	}
	s.members += t.members
}

// DeviceSum returns the sum of the copy that Device returns.
func (f *Fake) DeviceSum(ctx context.Context, name string) (Device, Sum, error) {
	d, err := f.Device(ctx, name)
	sum := SumOfPeers(d.Peers)
	d.Peers = nil
	return d, sum, err
}

// RoutesSum returns the sum of Routes.
func (f *Fake) RoutesSum(ctx context.Context, link string) (Sum, error) {
	list, err := f.Routes(ctx, link)
	return SumOfRoutes(list), err
}
