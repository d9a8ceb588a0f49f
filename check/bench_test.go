// SPDX-License-Identifier: MIT

package check

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// crowd is a file with so many peers, each with an endpoint and two allowed IPs,
// or none of either, and a host that has a route to each.
func crowd(tb testing.TB, peers int, bare bool) Input {
	tb.Helper()
	host := &Facts{Links: []Link{{Name: "eth0", MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("198.51.100.2/24")}}}}
	var b strings.Builder
	b.WriteString("[Interface]\nPrivateKey = 4Ck3rWMvSPKYtaKo36HsxBvRlQgoYQoNoZjtZ2tvWGs=\nAddress = 10.0.0.1/32\nListenPort = 51820\nMTU = 1400\n")
	for i := range peers {
		sum := sha256.Sum256([]byte{byte(i), byte(i >> 8), byte(i >> 16)})
		fmt.Fprintf(&b, "[Peer]\nName = p%d\nPublicKey = %s\n", i, base64.StdEncoding.EncodeToString(sum[:]))
		if bare {
			continue
		}
		own := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		fmt.Fprintf(&b, "Endpoint = 12.%d.%d.%d:51820\nAllowedIPs = %s/32, fd00::%x:%x/128\n", i>>16, i>>8&255, i&255, own, i>>16, i&0xffff)
		host.Routes = append(host.Routes, Route{Dst: netip.PrefixFrom(own, 32), Link: "wg0"}, Route{Dst: netip.PrefixFrom(own, 32), Link: "eth0", Metric: 7})
	}
	return Input{Files: []File{parsed(tb, "wg0.conf", []byte(b.String()))}, Host: host}
}

// BenchmarkRun is the time of all rules against peers: it has to grow as they do.
func BenchmarkRun(b *testing.B) {
	for _, c := range []struct {
		name  string
		peers int
		bare  bool
	}{{"1000", 1000, false}, {"20000", 20000, false}, {"1000-bare", 1000, true}, {"20000-bare", 20000, true}} {
		in := crowd(b, c.peers, c.bare)
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				Run(in)
			}
		})
	}
}

// Each rule by itself takes of 16 times the peers no more than some 16 times the
// time; 256 times is what one that compares each with each takes.
func TestManyPeers(t *testing.T) {
	for _, bare := range []bool{false, true} {
		few, many := crowd(t, 1000, bare), crowd(t, 16000, bare)
		for i := range Rules {
			r := &Rules[i]
			if r.file == nil {
				continue
			}
			took := func(in Input) time.Duration {
				least := time.Hour
				w := waysOf(in.Host, "wg0")
				for n := 0; n < 3 && least > 500*time.Millisecond; n++ {
					var out []Finding
					begin := time.Now()
					r.file(&look{rule: r, in: &in, host: in.Host, ways: w, file: &in.Files[0], cfg: in.Files[0].Config, out: &out})
					least = min(least, time.Since(begin))
				}
				return least
			}
			if z := took(many); z > 500*time.Millisecond {
				if a := took(few); z > 80*a {
					t.Errorf("%s: %v with 1000 peers, %v with 16,000", r.Name, a, z)
				}
			}
		}
	}
}
