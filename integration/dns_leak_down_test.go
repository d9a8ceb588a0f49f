// SPDX-License-Identifier: MIT

package integration

import (
	"testing"
	"time"
)

// A plain down of a tunnel with the kill switch lets no look-up out until its
// very last call, which takes the kill switch away; whoever asks whomever.
func TestDNSKillSwitchDown(t *testing.T) {
	Only(t, Userspace)
	Need(t, "bash")
	for name, prepare := range map[string]func(s *dnsSite){
		"file":     func(s *dnsSite) { s.client.Hide("resolvconf") },
		"resolved": func(s *dnsSite) { startResolved(s.client.t, s.client).ctl("dns", "eth0", hubLAN4, hubLAN6) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDNSSite(t)
			prepare(s)
			h := s.client
			h.WriteFileMode("/run/ask", asks, 0o755)
			s.tunnel(fullAllowed, "DNS = 10.8.0.1", "KillSwitch = on")
			tables := Fault{Kind: FaultHang, Names: "sendmsg(", Changes: true} // by which nf_tables is told, and asked
			wgctlOK(h, "up", "wg0")
			tables.At = h.Inject(tables, "down", "wg0").Calls
			h.Sh("/run/ask >/dev/null 2>&1 & until [ -s /run/asked ]; do sleep 0.05; done")
			// Back from the end, to the last one before which the switch stands.
			var around capture
			for stands := false; !stands; tables.At-- {
				if tables.At == 0 {
					t.Fatal("the kill switch has no end")
				}
				wgctlOK(h, "up", "wg0")
				around = s.captureLookUps()
				p := h.StartInjected(tables, "down", "wg0")
				p.Expect(20*time.Second, injectHangs)
				if stands = h.Run("nft", "list", "table", "inet", "wgctl-wg0").Code == 0; stands {
					s.asked(3)
					if h.Run("ip", "link", "show", "wg0").Code == 0 {
						t.Errorf("the kill switch is not the last to go: %v", p.Output())
					}
				}
				h.Must("pkill", "-KILL", "-f", "[w]gctl down wg0$")
				p.Wait(20 * time.Second)
				if !stands {
					around.packets()
					h.Wgctl("down", "wg0")
				}
			}
			around.none()
			around = s.captureLookUps()
			wgctlOK(h, "down", "wg0")
			s.asked(10)
			h.Sh("touch /run/stop")
			around.some(everyWay...)
			s.answers("after.example", outsideAnswer)
		})
	}
}

// Without the kill switch no look-up goes out once up has returned, though the
// host has nameservers by IPv6 as well, and through a reload.
func TestDNSLeakIPv6(t *testing.T) {
	Only(t, Userspace)
	for name, prepare := range map[string]func(s *dnsSite){
		"file": func(s *dnsSite) {
			s.client.Hide("resolvconf")
			s.client.WriteFileMode("/etc/resolv.conf", "nameserver "+hubLAN6+"\n"+outsideNameserver, 0o644)
		},
		"resolved": func(s *dnsSite) { startResolved(s.client.t, s.client).ctl("dns", "eth0", hubLAN6, hubLAN4) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDNSSite(t)
			prepare(s)
			seen := s.watch()
			s.answers("before.example", outsideAnswer)
			seen.onlyOutside("before.example")
			s.tunnel(fullAllowed, "DNS = "+hubInside6+", 10.8.0.1")
			wgctlOK(s.client, "up", "wg0")
			seen = s.watch()
			s.lookUps(200, insideAnswer)
			s.tunnel(fullAllowed, "DNS = 10.8.0.53, "+hubInside6)
			wgctlOK(s.client, "reload", "wg0")
			s.lookUps(20, insideAnswer)
			seen.onlyInside("n0.example", "n199.example")
			wgctlOK(s.client, "down", "wg0")
			s.answers("after.example", outsideAnswer)
		})
	}
}
