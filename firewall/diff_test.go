// SPDX-License-Identifier: MIT

package firewall

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	relay := goldens["relay"]
	more := relay
	more.PortForwards = append(more.PortForwards[1:len(more.PortForwards):len(more.PortForwards)],
		PortForward{Protocol: TCP, First: 443, Count: 1, To: addr("10.8.0.4"), ToFirst: 443})
	more.Masquerade = []Masquerade{{Out: "eth0"}}
	more.Clamp.Size = 1300
	for name, c := range map[string]struct {
		from, to Ruleset
		want     string
	}{
		"nothing":   {relay, relay, ""},
		"no change": {Ruleset{Interface: "wg0"}, Ruleset{Interface: "wg0"}, ""},
		"all": {Ruleset{Interface: "wg0"}, goldens["anti-spoof"], `+ chain preraw
+     type filter hook prerouting priority raw; policy accept;
+     iifname != "wg0" ip daddr 10.8.0.1 fib saddr type != local drop comment "wgctl: wg0"
+     iifname != "wg0" ip daddr 10.8.0.2 fib saddr type != local drop comment "wgctl: anti-spoof"
+     iifname != "wg0" ip6 daddr fd00::1 fib saddr type != local drop comment "wgctl: anti-spoof"
`},
		"gone": {goldens["mark"], Ruleset{Interface: "a-long_name.123"}, `- chain postmangle
-     type filter hook postrouting priority mangle; policy accept;
-     meta l4proto udp meta mark 0xffffffff ct mark set meta mark comment "wgctl: a-long_name.123"
- chain premangle
-     type filter hook prerouting priority mangle; policy accept;
-     meta l4proto udp meta mark set ct mark comment "wgctl: restore mark"
`},
		"some": {relay, more, `  map tcp4
-     2222 : 10.8.0.2 . 22
+     443 : 10.8.0.4 . 443
  chain forward-mangle
-     iifname "wg0" tcp flags syn / syn,rst tcp option maxseg size set rt mtu comment "wgctl: clamp MSS"
-     oifname "wg0" tcp flags syn / syn,rst tcp option maxseg size set rt mtu comment "wgctl: clamp MSS"
+     iifname "wg0" tcp flags syn / syn,rst tcp option maxseg size set 1300 comment "wgctl: clamp MSS"
+     oifname "wg0" tcp flags syn / syn,rst tcp option maxseg size set 1300 comment "wgctl: clamp MSS"
  chain srcnat
+     iifname "wg0" oifname "eth0" masquerade comment "wgctl: masquerade"
`},
	} {
		if diff := cmp.Diff(c.want, Diff(c.from, c.to)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Thousands of elements are compared in no time, also where all of them differ.
func TestDiffOfMany(t *testing.T) {
	forwards := func(to string) Ruleset {
		return Ruleset{Interface: "wg0", PortForwards: []PortForward{{Protocol: TCP, First: 1, Count: 60000, To: addr(to), ToFirst: 2}}}
	}
	diff := Diff(forwards("10.8.0.2"), forwards("10.8.0.3"))
	if n := strings.Count(diff, "\n"); n != 1+2*60000 {
		t.Errorf("%d lines", n)
	}
}
