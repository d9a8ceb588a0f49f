// SPDX-License-Identifier: MIT

package routes

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func TestAggregate(t *testing.T) {
	tests := []struct{ name, allowed, elsewhere, want string }{
		{"side by side", "10.0.0.0/25 10.0.0.128/25", "", "10.0.0.0/24"},
		{"not aligned", "10.0.1.0/24 10.0.2.0/24", "", "10.0.2.0/24 10.0.1.0/24"},
		{"one within another", "10.0.0.0/8 10.1.2.3/32", "", "10.0.0.0/8"},
		{"many", "10.0.0.0/32 10.0.0.1/32 10.0.0.2/32 10.0.0.3/32 10.0.0.4/32", "", "10.0.0.4/32 10.0.0.0/30"},
		{"both families", "fd00::/65 fd00:0:0:0:8000::/65 10.0.0.0/9 10.128.0.0/9", "", "fd00::/64 10.0.0.0/8"},
		{"a network of another link between", "10.0.0.0/8 10.1.2.3/32", "10.1.2.0/24", "10.1.2.3/32 10.0.0.0/8"},
		{"another link has the whole", "10.0.0.0/25 10.0.0.128/25", "10.0.0.0/24", "10.0.0.128/25 10.0.0.0/25"},
		{"another link has a wider one", "10.0.0.0/25 10.0.0.128/25", "10.0.0.0/8", "10.0.0.0/24"},
		{"another link has something else", "10.0.0.0/25 10.0.0.128/25", "10.0.1.0/24", "10.0.0.0/24"},
		{"default routes stay", "0.0.0.0/0 10.0.0.0/8", "", "10.0.0.0/8 0.0.0.0/0@51820"},
		{"halves of everything", "0.0.0.0/1 128.0.0.0/1", "", "128.0.0.0/1 0.0.0.0/1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Plan(Facts{AllowedIPs: prefixes(tt.allowed), Aggregate: true, Elsewhere: map[uint32][]netip.Prefix{TableMain: prefixes(tt.elsewhere)}})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range d.Routes {
				text := r.Dst.String()
				if r.Table != TableMain {
					text += fmt.Sprint("@", r.Table)
				}
				got = append(got, text)
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("routes %s, want %s", s, tt.want)
			}
		})
	}
}

// However routes are merged, every packet goes where it went.
func TestAggregateMovesNoPacket(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	some := func(n int) (out []netip.Prefix) {
		seen := map[netip.Prefix]bool{}
		for range n {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(rnd.IntN(256))}), 24+rnd.IntN(9)).Masked()
			if !seen[p] {
				seen[p] = true
				out = append(out, p)
			}
		}
		return out
	}
	bits := func(list []netip.Prefix, a netip.Addr) int {
		best := -1
		for _, p := range list {
			if p.Contains(a) {
				best = max(best, p.Bits())
			}
		}
		return best
	}
	for range 2000 {
		allowed, elsewhere := some(1+rnd.IntN(12)), some(rnd.IntN(4))
		d, err := Plan(Facts{AllowedIPs: allowed, Aggregate: true, Elsewhere: map[uint32][]netip.Prefix{TableMain: elsewhere}})
		if err != nil {
			t.Fatal(err)
		}
		var merged []netip.Prefix
		for _, r := range d.Routes {
			merged = append(merged, r.Dst)
		}
		if len(merged) > len(allowed) {
			t.Fatalf("%v became %v", allowed, merged)
		}
		for last := range 256 {
			a := netip.AddrFrom4([4]byte{10, 0, 0, byte(last)})
			was := bits(allowed, a) > bits(elsewhere, a)
			is := bits(merged, a) > bits(elsewhere, a)
			if was != is && bits(allowed, a) != bits(elsewhere, a) {
				t.Fatalf("%v with %v elsewhere became %v: %v goes through the tunnel: %t, was %t", allowed, elsewhere, merged, a, is, was)
			}
		}
	}
}
