// SPDX-License-Identifier: MIT

package integration

import (
	"testing"
)

// Of a tunnel for all names and one for some, both up, whichever was first: by
// domain where the backend can, and by the tunnel for all names where that
// excludes others. Nothing goes around either; and with the one for all names
// gone, the other has its domains, and others answer the rest.
func TestDNSFullAndSplit(t *testing.T) {
	Only(t, Userspace)
	for name, byDomain := range map[string]bool{"resolved": true, "openresolv with dnsmasq": false, "NetworkManager with dnsmasq": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDNSSite(t)
			view := dnsBackends[name].prepare(s)
			before := view()
			s.tunnel(fullAllowed, "DNS = 10.8.0.1")
			s.second("DNS = 10.9.0.1, ~inside.example")
			some := insideAnswer
			if byDomain {
				some = secondAnswer
			}
			for _, order := range [][]string{{"wg0", "wg1"}, {"wg1", "wg0"}} {
				for _, ifname := range order {
					wgctlOK(s.client, "up", ifname)
				}
				around := s.captureLookUps()
				s.answers("a.inside.example", some)
				s.answers("a.example", insideAnswer)
				around.none()
				whole(s.client, "wg0")
				whole(s.client, "wg1")
				wgctlOK(s.client, "down", "wg0")
				around = s.captureLookUps()
				s.answers("b.inside.example", secondAnswer)
				s.answers("b.example", outsideAnswer)
				around.some(questions([]string{"b.example"})...)
				whole(s.client, "wg1")
				wgctlOK(s.client, "down", "wg1")
				s.answers("c.inside.example", outsideAnswer)
				if after := view(); after != before {
					t.Errorf("afterwards\n%s", Diff(before, after))
				}
			}
		})
	}
}
