// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// What ExcludedIPs leave open beside a kill switch is not open for look-ups where
// the tunnel has them all, whoever asks whom by which way; other ports there are,
// and so is a nameserver there that DNS names.
func TestDNSKillSwitchExcluded(t *testing.T) {
	Only(t, Userspace)
	Need(t, "bash")
	t.Parallel()
	eachPacketFilter(t, func(t *testing.T, choose func(h *Host)) {
		t.Parallel()
		s := newDNSSite(t)
		choose(s.client)
		s.client.Hide("resolvconf")
		s.client.WriteFileMode("/run/ask", asks, 0o755)
		excluded := "ExcludedIPs = 192.0.2.0/24, 2001:db8:2::/64"
		s.tunnel(fullAllowed, "DNS = 10.8.0.1", "KillSwitch = on", excluded)
		wgctlOK(s.client, "up", "wg0")
		s.leaked()
		around := s.captureLookUps()
		s.client.Start("/run/ask")
		WaitFor(t, 20*time.Second, "look-ups to be tried", func() bool { return s.client.Exists("/run/asked") })
		s.lookUps(20, insideAnswer)
		s.asked(3)
		around.none()
		if n := s.leaked(); n != 0 {
			t.Errorf("%d packets for nameservers arrived past the kill switch", n)
		}
		if !s.client.Ping(hubLAN4) {
			t.Errorf("the local network is excluded, and can't be reached")
		}
		whole(s.client, "wg0")

		// Without DNS the host keeps its nameservers.
		around = s.captureLookUps()
		s.tunnel(fullAllowed, "KillSwitch = on", excluded)
		wgctlOK(s.client, "reload", "wg0")
		s.asked(10)
		around.some(everyWay...)
		s.tunnel(fullAllowed, "DNS = "+hubLAN4, "KillSwitch = on", excluded)
		wgctlOK(s.client, "reload", "wg0")
		around = s.captureLookUps()
		s.answers("lan.example", outsideAnswer)
		whole(s.client, "wg0")
		s.asked(3)
		s.client.Sh("touch /run/stop")
		for _, p := range around.packets() {
			if strings.Contains(p, "> "+hubLAN6+".") {
				t.Errorf("not to the nameserver: %s", p)
			}
		}
		wgctlOK(s.client, "down", "wg0")
	})
}
