// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tellsResolved are the calls that change what systemd-resolved does.
const tellsResolved = "SetLinkDNS|SetLinkDomains|SetLinkDefaultRoute|RevertLink|FlushCaches"

// wgctl is killed before each call that changes something at systemd-resolved,
// and before the next write after the last one: down alone leads to the host as
// it was, and systemd-resolved as well.
func TestResolvedKilled(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.2/24 dev eth0")
	r := startResolved(t, h)
	up := fullTunnel(t, 0, "DNS = 10.8.0.53, fd08::53, corp.example")
	changed := strings.Replace(up, "DNS = 10.8.0.53, fd08::53", "DNS = 10.8.0.54, ~inside.example", 1)
	h.WriteFile(configOf("wg0"), up)
	wgctlOK(h, "up", "wg0")
	wgctlOK(h, "down", "wg0")
	waitForDeviceEnd(h)
	before, view := shapeOf(h), r.view()

	for _, verb := range []string{"up", "reload", "down"} {
		kills := 0
		for at := 1; ; at++ {
			h.WriteFile(configOf("wg0"), up)
			if verb != "up" {
				wgctlOK(h, "up", "wg0")
			}
			if verb == "reload" {
				h.WriteFile(configOf("wg0"), changed)
			}
			i := h.Inject(Fault{Kind: FaultKill, At: at, Names: tellsResolved}, verb, "wg0")
			if i.Hit != "" {
				kills++
				if i.Code != 128+int(syscall.SIGKILL) {
					t.Errorf("%s at %d: not killed: %v", verb, at, i)
				}
			}
			if out := h.Wgctl("down", "wg0"); out.Code != 0 && !strings.Contains(out.Stderr, "wg0 is not up") {
				t.Errorf("%s killed at %d: %v", verb, at, out)
			}
			WaitFor(t, 5*time.Second, "the host to be as before", func() bool { return shapeOf(h) == before })
			if after := r.view(); after != view {
				t.Fatalf("%s killed at %d: resolvectl shows\n%s\nwas\n%s", verb, at, after, view)
			}
			if i.Hit == "" {
				break
			}
		}
		if want := map[string]int{"up": 4, "reload": 4, "down": 2}[verb]; kills != want {
			t.Errorf("%s was killed %d times, want %d", verb, kills, want)
		}
	}
}

// shapeOf is a snapshot without what differs by itself.
func shapeOf(h *Host) string {
	h.t.Helper()
	return accidental.ReplaceAllString(h.Snapshot(), "")
}

// A systemd-resolved that has forgotten the tunnel, as after its folder in /run
// went, is drift that a reload puts right. One that doesn't answer is one line
// within 5 s, and doesn't keep a tunnel from going down.
func TestResolvedForgetsAndHangs(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	s := newDNSSite(t)
	h := s.client
	h.Hide("resolvconf")
	r := startResolved(t, h)
	view := r.view()
	s.tunnel(fullAllowed, "DNS = 10.8.0.1, corp.example")
	wgctlOK(h, "up", "wg0")
	r.process.Signal(syscall.SIGTERM)
	r.process.Wait(20 * time.Second)
	h.Sh("rm -r /run/systemd/resolve/netif")
	r.start()
	r.ctl("dns", "eth0", hubLAN4)
	r.ctl("default-route", "eth0", "yes")
	s.answers("forgotten.example", outsideAnswer)
	if got := driftSteps(h, "wg0"); len(got) != 1 || !strings.HasPrefix(got[0], "resolvectl dns wg0") {
		t.Errorf("drift %q", got)
	}
	wgctlOK(h, "reload", "wg0")
	s.answers("again.example", insideAnswer)
	whole(h, "wg0")

	// It refuses itself as a nameserver: that is known beforehand.
	s.tunnel(fullAllowed, "DNS = 127.0.0.53")
	said(t, wgctlFails(h, 1, "reload", "wg0").Stderr, "[Interface] DNS: 127.0.0.53 is systemd-resolved itself")
	whole(h, "wg0")

	r.process.Signal(syscall.SIGSTOP)
	start := time.Now()
	said(t, wgctlOK(h, "dns").Stdout, "nobody: systemd-resolved did not answer")
	t.Logf("dns took %v", time.Since(start))
	s.tunnel(fullAllowed, "DNS = 10.8.0.53, corp.example")
	start = time.Now()
	out := wgctlFails(h, 1, "reload", "wg0")
	t.Logf("reload took %v", time.Since(start))
	if lines := errorLines(out); len(lines) != 1 || !strings.Contains(lines[0], "[Interface] DNS: systemd-resolved did not answer") {
		t.Errorf("not one line: %v", out)
	}
	start = time.Now()
	wgctlOK(h, "down", "wg0")
	t.Logf("down took %v", time.Since(start))
	r.process.Signal(syscall.SIGCONT)
	if got := r.view(); got != view {
		t.Errorf("resolvectl shows\n%s\nwas\n%s", got, view)
	}
	s.answers("after.example", outsideAnswer)
}

// Who may not read the files of others, as the unit, isn't let into the folder
// where systemd-resolved keeps what it was told, and asks.
func TestResolvedSecretive(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	Need(t, "setpriv")
	s := newDNSSite(t)
	h := s.client
	h.Hide("resolvconf")
	r := startResolved(t, h)
	view := r.view()
	poor := func(words ...string) Output {
		t.Helper()
		return h.Must(append([]string{"setpriv", "--bounding-set", "-dac_override,-dac_read_search", Bin(t)}, words...)...)
	}
	s.tunnel(splitAllowed)
	poor("up", "wg0")
	poor("down", "wg0")
	if out := h.Run("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "ls", "/run/systemd/resolve/netif"); out.Code == 0 {
		t.Errorf("the folder is open to all: %v", out)
	}

	s.tunnel(fullAllowed, "DNS = 10.8.0.1, corp.example")
	poor("up", "wg0")
	s.answers("poor.example", insideAnswer)
	poor("plan", "reload", "wg0", "--check")
	whole(h, "wg0")
	r.ctl("revert", "wg0")
	if got := h.Run("setpriv", "--bounding-set", "-dac_override,-dac_read_search", Bin(t), "plan", "reload", "wg0", "--check"); got.Code != 4 {
		t.Errorf("what was taken away isn't missed: %v", got)
	}
	poor("reload", "wg0")
	s.answers("again.example", insideAnswer)
	s.tunnel(fullAllowed, "DNS = 10.8.0.53, ~corp.example")
	poor("reload", "wg0")
	poor("plan", "reload", "wg0", "--check")
	whole(h, "wg0")
	r.process.Signal(syscall.SIGTERM)
	r.process.Wait(20 * time.Second)
	poor("status", "wg0")
	r.start()
	r.ctl("dns", "eth0", hubLAN4)
	r.ctl("default-route", "eth0", "yes")
	poor("down", "wg0")
	if got := r.view(); got != view {
		t.Errorf("resolvectl shows\n%s\nwas\n%s", got, view)
	}
}

// Of two tunnels for all names systemd-resolved asks both, and nobody else;
// either may go first, and with the last one look-ups go as before.
func TestResolvedTwoTunnels(t *testing.T) {
	Only(t, Userspace)
	s := newDNSSite(t)
	s.client.Hide("resolvconf")
	r := startResolved(t, s.client)
	view := r.view()
	s.tunnel(fullAllowed, "DNS = 10.8.0.1")
	s.second("DNS = 10.9.0.1")
	for n, first := range []string{"wg0", "wg1"} {
		t.Run(first+" goes first", func(t *testing.T) {
			wgctlOK(s.client, "up", "wg0")
			said(t, wgctlOK(s.client, "up", "wg1").Stderr, "wg1: shares all look-ups with the nameservers of wg0: systemd-resolved has the routing domain ~. there, too")
			s.client.MustPing("10.9.0.1") // or wg0 has answered all before wg1 has a session
			s.leaked()
			inside := s.capture(s.hub, "wg0", "udp port 53")
			second := s.capture(s.hub, "wg1", "udp port 53")
			for i := range 10 {
				if out := s.client.Run("getent", "ahostsv4", fmt.Sprintf("n%d.r%d.example", i, n)); !strings.HasPrefix(out.Stdout, insideAnswer) && !strings.HasPrefix(out.Stdout, secondAnswer) {
					t.Errorf("%v", out)
				}
			}
			inside.await("example")
			second.await("example")
			a, b := len(inside.packets()), len(second.packets())
			t.Logf("10 look-ups made %d packets in wg0, %d in wg1", a, b)
			if a == 0 || b == 0 {
				t.Errorf("one of both wasn't asked")
			}
			other := map[string]string{"wg0": "wg1", "wg1": "wg0"}[first]
			wgctlOK(s.client, "down", first)
			s.answers(fmt.Sprintf("left%d.example", n), map[string]string{"wg0": insideAnswer, "wg1": secondAnswer}[other])
			if n := s.leaked(); n != 0 {
				t.Errorf("%d packets for nameservers went around the tunnels", n)
			}
			whole(s.client, other)
			wgctlOK(s.client, "down", other)
			s.answers(fmt.Sprintf("after%d.example", n), outsideAnswer)
			if after := r.view(); after != view {
				t.Errorf("resolvectl shows\n%s\nwas\n%s", after, view)
			}
		})
	}
}

// What systemd-resolved is told for no link, it asks beside a tunnel if that is
// for all names; up says so, and who it is.
func TestResolvedGlobal(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.2/24 dev eth0")
	h.Hide("resolvconf")
	r := startResolved(t, h)
	for _, domains := range []string{"corp.example", "~."} {
		h.WriteFileMode("/etc/systemd/resolved.conf", "[Resolve]\nDNS=192.0.2.77\nDomains="+domains+"\nLLMNR=no\nMulticastDNS=no\nFallbackDNS=\n", 0o644)
		r.restart()
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
		out := wgctlOK(h, "up", "wg0")
		const note = "wg0: shares all look-ups with the nameservers of global: systemd-resolved has the routing domain ~. there, too"
		if strings.Contains(out.Stderr, note) != (domains == "~.") {
			t.Errorf("Domains=%s: %v", domains, out)
		}
		said(t, oneSpace(wgctlOK(h, "dns").Stdout), "global: 192.0.2.77, "+domains, "wg0: 10.8.0.53, ~. (all other names)", "eth0: 192.0.2.1 (all other names)")
		wgctlOK(h, "down", "wg0")
	}
}
