// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// reboot leaves of a host what a power cut does: /etc, and no links of tunnels,
// nothing in /run and no process.
func (s *dnsSite) reboot() {
	h := s.client
	h.t.Helper()
	h.Sh(`for l in wg0 wg1; do ip link delete $l 2>/dev/null || true; done
		ip rule flush; ip rule add table main priority 32766; ip rule add table default priority 32767
		ip -6 rule flush; ip -6 rule add table main priority 32766
		nft flush ruleset; rm -rf /run/wgctl`)
	waitForDeviceEnd(h)
}

// After a power cut resolv.conf is still the tunnel's, and the name of the
// endpoint is to be looked up by nameservers that nobody reaches: up, apply and
// run take them away first, those of other tunnels too, and with down what was
// there before the power cut is there again.
func TestDNSReboot(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	s := newDNSSite(t)
	h := s.client
	h.Hide("resolvconf")
	before := h.Must("stat", "-c", "%i %a %U:%G", "/etc/resolv.conf").Stdout + h.ReadFile("/etc/resolv.conf")
	s.tunnel(fullAllowed, "DNS = 10.8.0.1")
	h.WriteFile(configOf("wg1"), fullTunnel(t, 1, "DNS = 10.8.1.53", "Table = off"))
	named := strings.Replace(h.ReadFile(configOf("wg0")), hubEndpoint4, "hub.example", 1)
	s.hub.Must("ip", "address", "add", outsideAnswer+"/32", "dev", "lo") // what hub.example is
	for _, verb := range []string{"up", "apply", "run"} {
		h.WriteFile(configOf("wg0"), named)
		wgctlOK(h, "up", "wg0")
		wgctlOK(h, "up", "wg1")
		said(t, h.ReadFile("/etc/resolv.conf"), "# tunnel wg0", "# tunnel wg1")
		s.reboot()
		const told = "[!] took the nameservers of wg1 and wg0 out of /etc/resolv.conf"
		start := time.Now()
		if verb == "run" {
			p := h.Start(Bin(t), "run", "wg0")
			p.Expect(30*time.Second, told)
			WaitFor(t, 20*time.Second, "the tunnel to be up", func() bool {
				return strings.Contains(h.Wgctl("status", "wg0").Stdout, "wg0 (up)") && strings.Contains(h.ReadFile("/etc/resolv.conf"), "10.8.0.1")
			})
		} else {
			said(t, wgctlOK(h, verb, "wg0").Stderr, told)
		}
		t.Logf("%s took %v", verb, time.Since(start))
		said(t, h.ReadFile("/etc/resolv.conf"), "# tunnel wg0")
		if text := h.ReadFile("/etc/resolv.conf"); strings.Contains(text, "wg1") {
			t.Errorf("wg1 is there still: %s", text)
		}
		s.answers("inside.example", insideAnswer)
		whole(h, "wg0")
		wgctlOK(h, "down", "wg0")
		if after := h.Must("stat", "-c", "%i %a %U:%G", "/etc/resolv.conf").Stdout + h.ReadFile("/etc/resolv.conf"); after != before {
			t.Errorf("resolv.conf is %s, was %s", after, before)
		}
	}
	// down alone leads there as well.
	wgctlOK(h, "up", "wg0")
	s.reboot()
	wgctlOK(h, "down", "wg0")
	s.answers("after.example", outsideAnswer)
}
