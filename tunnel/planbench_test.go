// SPDX-License-Identifier: MIT

package tunnel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"golang.org/x/sys/unix"
)

// manyPeersSpec is a tunnel with n peers and a route for each.
func manyPeersSpec(n int) *Spec {
	s := &Spec{Name: "wg0", Backend: netlinkx.BackendKernel, MTU: 1420, Routes: manyRoutes(n),
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("fd00::1/64")}}
	s.Device.PrivateKey = NewSecret(netlinkx.Secret{8, 31: 64})
	s.Device.Peers = make(Peers, n)
	for i := range s.Device.Peers {
		p := &s.Device.Peers[i]
		binary.BigEndian.PutUint32(p.PublicKey[:], uint32(i)+1)
		p.AllowedIPs = []netip.Prefix{s.Routes[i].Dst}
		p.PresharedKey = NewSecret(netlinkx.Secret{1, 2, 3})
	}
	return s
}

// standing is the state of a host on which a tunnel stands as it was applied.
func standing(s *Spec) *State {
	have := &State{Name: s.Name, Link: &Link{Ours: true, Backend: s.Backend, MTU: s.MTU, Up: true}, Addresses: s.Addresses,
		Record: &Record{Phase: PhaseUp, Spec: s}, Device: netlinkx.Device{Name: s.Name, Backend: s.Backend, PrivateKey: s.Device.PrivateKey.key}}
	for _, p := range s.Device.Peers {
		have.Device.Peers = append(have.Device.Peers, netlinkx.Peer{PublicKey: p.PublicKey, PresharedKey: p.PresharedKey.key, AllowedIPs: p.AllowedIPs})
	}
	slices.Reverse(have.Device.Peers) // devices have an order of their own
	for _, r := range s.Routes {
		have.Routes = append(have.Routes, netlinkx.InstalledRoute{Route: r, Protocol: netlinkx.Protocol, Plain: true})
	}
	return have
}

// A planCase is a way of a tunnel with n peers, and what it comes to.
type planCase struct {
	name string
	make func(n int) (want *Spec, have *State) // one at a time: all of them are much for one heap
	sum  func(n int) Summary
}

var planCases = []planCase{
	{"up", func(n int) (*Spec, *State) { return manyPeersSpec(n), &State{Name: "wg0"} },
		func(n int) Summary { return Summary{Add: 2*n + 3, Change: 2} }},
	{"nothing", changing(func(*Spec) {}), func(int) Summary { return Summary{} }},
	{"one peer", changing(func(s *Spec) { s.Device.Peers[len(s.Device.Peers)/2].AllowedIPs = nil }), func(int) Summary { return Summary{Change: 1} }},
	{"all peers", changing(func(s *Spec) { // each has what the next one had
		first := s.Device.Peers[0].AllowedIPs
		for i := range s.Device.Peers[1:] {
			s.Device.Peers[i].AllowedIPs = s.Device.Peers[i+1].AllowedIPs
		}
		s.Device.Peers[len(s.Device.Peers)-1].AllowedIPs = first
	}), func(n int) Summary { return Summary{Change: n} }},
	{"no preshared keys", changing(func(s *Spec) {
		for i := range s.Device.Peers {
			s.Device.Peers[i].PresharedKey = nil
		}
	}), func(n int) Summary { return Summary{Change: n} }},
	{"no peers", changing(func(s *Spec) { s.Device.Peers, s.Routes = nil, nil }), func(n int) Summary { return Summary{Remove: 2 * n} }},
	{"no IPv4", changing(func(s *Spec) { s.Addresses = s.Addresses[1:] }), func(n int) Summary { return Summary{Add: n, Remove: n + 1} }},
	{"among foreign", func(n int) (*Spec, *State) {
		have := standing(manyPeersSpec(n))
		none := *have.Record.Spec
		none.Device.Peers, none.Routes = nil, nil
		have.Record.Spec = &none
		return &none, have
	}, func(int) Summary { return Summary{} }},
	{"down", func(n int) (*Spec, *State) { return nil, standing(manyPeersSpec(n)) }, func(int) Summary { return Summary{Remove: 1} }},
}

// changing makes a tunnel that stands, and what it should be instead.
func changing(change func(*Spec)) func(n int) (*Spec, *State) {
	return func(n int) (*Spec, *State) {
		have := standing(manyPeersSpec(n))
		want := *have.Record.Spec
		want.Device.Peers = slices.Clone(want.Device.Peers)
		change(&want)
		return &want, have
	}
}

// processorTime is what this process has used, its garbage collection with it.
func processorTime() time.Duration {
	var used unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// However a tunnel with many peers changes, the plan is made in a moment, and so are
// status and what a reload would lose: what grew with the square would take a
// quarter of a minute and more. It is the processor's time, as others use it too.
func TestPlanOfManyPeers(t *testing.T) {
	const n, limit = 50_000, 5 * time.Second
	quick := func(what string, do func()) {
		t.Helper()
		begin := processorTime()
		do()
		took := processorTime() - begin
		t.Logf("%s: %v", what, took)
		if took > limit {
			t.Errorf("%s took %v", what, took)
		}
	}
	for _, c := range planCases {
		want, have := c.make(n)
		quick("planning "+c.name, func() {
			if sum := Summarise(Plan(want, have)); sum != c.sum(n) {
				t.Errorf("%s comes to %+v, want %+v", c.name, sum, c.sum(n))
			}
		})
	}
	have := standing(manyPeersSpec(n))
	quick("status", func() {
		if s := have.Status(); len(s.Peers) != n || len(s.Drift)+len(s.Foreign) > 0 {
			t.Errorf("%d peers, drift %v, foreign %v", len(s.Peers), s.Drift, s.Foreign)
		}
	})
	quick("the loss", func() {
		if l := LossOf(&config.Config{}, have, netip.Addr{}); l.Peers != n || !l.Grave() {
			t.Errorf("%+v", l)
		}
	})
	quick("the way back", func() {
		if steps := Plan(have.Record.Spec.asSeen(have), have); len(steps) > 0 {
			t.Errorf("%d steps", len(steps))
		}
	})
}

// BenchmarkPlan shows what a plan costs, for each peer.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		for _, c := range planCases {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				want, have := c.make(n)
				b.ReportAllocs()
				begin := processorTime()
				for b.Loop() {
					Plan(want, have)
				}
				b.ReportMetric(float64(processorTime()-begin)/float64(b.N)/float64(n), "cpu-ns/peer")
			})
		}
	}
}
