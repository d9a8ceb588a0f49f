// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// leaking is a site whose client sends 2,000 datagrams a second to the internet,
// by IPv4 and IPv6, each from a socket that goes by the routes and from one that
// is bound to the network card. What the hub counts on the cable is in clear.
func leaking(t *testing.T, choose func(h *Host), allowed string, lines ...string) *site {
	t.Helper()
	s := newSite(t)
	choose(s.client)
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	wgctlOK(s.hub, "up", "wg0")
	s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", allowed, lines...))
	wgctlOK(s.client, "up", "wg0")
	WaitFor(t, 20*time.Second, "a handshake", func() bool { return s.client.Ping(hubInside4) })
	for _, to := range []string{internet4 + ":5001", "[" + internet6 + "]:5001"} {
		s.client.StartUDP(to, 2*time.Millisecond)
		s.client.StartUDPOn("eth0", to, 2*time.Millisecond)
	}
	s.arrived()
	return s
}

// clear returns what came in clear since the last call.
func (s *site) clear() string {
	s.hub.t.Helper()
	n := s.arrived()
	return fmt.Sprintf("%d by IPv4, %d by IPv6", n["around4"], n["around6"])
}

const nothing = "0 by IPv4, 0 by IPv6"

// TestKillSwitch lets nothing out in clear, whatever happens to the tunnel. Two
// at a time send so much that the kernel's own threads have no turn for a minute.
func TestKillSwitch(t *testing.T) {
	eachPacketFilter(t, func(t *testing.T, choose func(h *Host)) {
		s := leaking(t, choose, "0.0.0.0/0", "KillSwitch = on")
		whole(s.client, "wg0")
		few := rounds(3, 1)
		if strings.HasSuffix(t.Name(), "nftables") {
			few = rounds(50, 1)
		}
		for _, c := range []struct {
			what  string
			times int
			does  func()
		}{
			{"restart", few, func() { wgctlOK(s.client, "down", "--keep-killswitch", "wg0"); wgctlOK(s.client, "up", "wg0") }},
			{"reload", 2 * few, func() { // each swaps the table
				with, without := "KillSwitch = on\nExcludedIPs = 198.18.0.0/15\n", "KillSwitch = on\n"
				file := s.client.ReadFile(configOf("wg0"))
				if !strings.Contains(file, with) {
					with, without = without, with
				}
				s.client.WriteFile(configOf("wg0"), strings.Replace(file, with, without, 1))
				if out := wgctlOK(s.client, "reload", "wg0"); !strings.Contains(out.Stderr, "[#] nft -f") {
					t.Errorf("the table was not swapped: %v", out)
				}
			}},
			{"link loss", few, func() { s.client.Must("ip", "link", "delete", "wg0"); wgctlOK(s.client, "up", "wg0") }},
			{"dead device", few, func() {
				if Backend() == Userspace {
					s.client.Sh("kill -9 $(pgrep -x -f 'wgctl device-serve wg0'); while ip link show wg0; do sleep 0.01; done")
					wgctlOK(s.client, "up", "wg0")
				}
			}},
		} {
			for range c.times {
				c.does()
			}
			if got := s.clear(); got != nothing {
				t.Errorf("%s, %d times: %s in clear", c.what, c.times, got)
			}
		}
		s.client.MustPing(hubInside4) // and what may pass does
		wgctlOK(s.client, "down", "--keep-killswitch", "wg0")
		if state := statuses(s.client)["wg0"].State; state != "down, and its kill switch stands" {
			t.Errorf("state %q", state)
		}
		wgctlFails(s.client, 1, "up", "./nothing.conf")
		if got := s.clear(); got != nothing {
			t.Errorf("between down and up: %s in clear", got)
		}
		wgctlOK(s.client, "down", "wg0")
		WaitFor(t, 10*time.Second, "packets in clear after down, which the witness must see", func() bool {
			n := s.arrived()
			return n["around4"] > 10 && n["around6"] > 10
		})
	})
}

// TestKillSwitchControl shows that the witness sees what leaks without one.
func TestKillSwitchControl(t *testing.T) {
	Only(t, Userspace) // the witness is the same for both
	s := leaking(t, packetFilterBackends["nftables"], "0.0.0.0/0")
	for _, c := range []struct {
		what string
		does func()
	}{
		{"restart", func() { wgctlOK(s.client, "down", "wg0"); wgctlOK(s.client, "up", "wg0") }},
		{"link loss", func() { s.client.Must("ip", "link", "delete", "wg0") }},
	} {
		c.does()
		WaitFor(t, 10*time.Second, "packets in clear after "+c.what, func() bool {
			n := s.arrived()
			return n["around4"] > 0 && n["around6"] > 0
		})
	}
}

// TestKillSwitchLetsIn shows what may leave: to excluded prefixes, and all that
// an endpoint needs; and that an up which fails leaves nothing behind.
func TestKillSwitchLetsIn(t *testing.T) {
	Only(t, Userspace) // rules and routes don't know what serves the device
	s := newSite(t)
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	wgctlOK(s.hub, "up", "wg0")
	before := s.client.Snapshot()
	file := s.clientFile(hubEndpoint4+":51820", "0.0.0.0/0, ::/0", "KillSwitch = on", "ExcludedIPs = 192.0.2.0/24, 2001:db8:2::/64, "+internet4)
	s.client.WriteFile(configOf("wg0"), file)
	wgctlOK(s.client, "up", "wg0")
	whole(s.client, "wg0")
	s.client.MustPing(hubInside4)
	for _, to := range []string{hubLAN4, hubLAN6, "127.0.0.1", "::1"} {
		s.client.MustPing(to)
	}
	said(t, s.client.Sh("ip route get "+internet4).Stdout, "via "+hubLAN4)
	said(t, s.client.Sh("ip route get 203.0.113.77").Stdout, "dev wg0")
	s.client.Must("ip", "neigh", "flush", "dev", "eth0") // neighbours are found again
	s.client.MustPing(hubLAN6)
	if s.client.Run("ping", "-c1", "-W1", "-I", "eth0", "203.0.113.1").Code == 0 {
		t.Error("a ping leaves by the network card")
	}
	wgctlOK(s.client, "down", "wg0")
	s.client.Unchanged(before)
	s.client.WriteFile(configOf("wg0"), strings.Replace(file, "KillSwitch", "PostUp = false\nKillSwitch", 1))
	wgctlFails(s.client, 1, "up", "wg0")
	s.client.Unchanged(before)
}

// TestProbes asks for a tunnel's address from outside, as an attacker on the
// same network does (CVE-2019-14899, MLLVD-CR-24-03): a SYN/ACK gets no RST,
// with and without a default route, and an ARP request no answer.
func TestProbes(t *testing.T) {
	Only(t, Userspace) // rules don't know what serves the device
	Need(t, "tcpdump")
	for name, c := range map[string]struct {
		allowed, key string
		resets, arps bool
		verb         []string
	}{
		"split tunnel of wg-quick": {allowed: "10.8.0.0/24", resets: true, arps: true, verb: []string{"as-quick"}},
		"split tunnel":             {allowed: "10.8.0.0/24", arps: true},
		"full tunnel":              {allowed: "0.0.0.0/0", arps: true},
		"kill switch":              {allowed: "10.8.0.0/24", key: "KillSwitch = on"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", c.allowed, c.key))
			if c.verb != nil {
				s.client.Sh("ln -s " + Bin(t) + " /run/wg-quick && /run/wg-quick up wg0")
			} else {
				wgctlOK(s.client, "up", "wg0")
			}
			s.hub.Sh("ip route add " + clientIn4 + "/32 via 192.0.2.2 dev eth0")
			resets := s.hub.Start("tcpdump", "-nlp", "-i", "eth0", "tcp[tcpflags] & tcp-rst != 0 and src host "+clientIn4)
			resets.Expect(20*time.Second, "listening on")
			time.Sleep(Timeout(500 * time.Millisecond)) // what the probe before sent has arrived then
			s.hub.startRole("syn-ack", clientIn4, "30").Wait(runLimit)
			arps := s.hub.startRole("arp", "eth0", clientIn4, "5").Wait(runLimit)
			if c.resets {
				resets.Expect(10*time.Second, "Flags [R")
			}
			resets.Signal(syscall.SIGTERM)
			if out := resets.Wait(20 * time.Second); strings.Contains(out.Stdout, "Flags [R") != c.resets {
				t.Errorf("resets, want %t: %s", c.resets, out.Stdout)
			}
			if got := strings.TrimSpace(arps.Stdout) != "0"; got != c.arps || arps.Code != 0 {
				t.Errorf("answers to ARP: %v, want %t", arps, c.arps)
			}
		})
	}
}
