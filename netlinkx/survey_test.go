// SPDX-License-Identifier: MIT

package netlinkx

import (
	"fmt"
	"strings"
	"testing"
)

// A survey has what ip shows, link by link.
func TestSurvey(t *testing.T) {
	k := newNamespace(t)
	for _, args := range []string{
		"link set lo up", "link add eth0 type veth peer name eth1", "link set eth0 mtu 1400 up", "address add 192.0.2.2/24 dev eth0",
		"address add 192.0.2.9 peer 192.0.2.1/32 dev eth0", "-6 address add 2001:db8::2/64 dev eth0 nodad", "route add default via 192.0.2.1 mtu 1300 metric 50",
		"route add blackhole 10.0.0.0/8",
	} {
		ip(t, k, args)
	}
	all, err := k.Survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "%s mtu %d up %t", s.Name, s.MTU, s.Up)
		for _, a := range s.Addresses {
			if !a.Addr().IsLinkLocalUnicast() {
				fmt.Fprintf(&b, " %s", a)
			}
		}
		b.WriteString("\n")
		for _, r := range s.Routes {
			if !r.Dst.Addr().IsLinkLocalUnicast() && !r.Dst.Addr().IsMulticast() {
				fmt.Fprintf(&b, "  %s mtu %d\n", r.Route, r.MTU)
			}
		}
	}
	const want = `lo mtu 65536 up true 127.0.0.1/8 ::1/128
eth1 mtu 1500 up false
eth0 mtu 1400 up true 192.0.2.2/24 192.0.2.9/32 2001:db8::2/64
  0.0.0.0/0 metric 50 mtu 1300
  192.0.2.0/24 mtu 0
  192.0.2.1/32 mtu 0
  2001:db8::/64 metric 256 mtu 0
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}
