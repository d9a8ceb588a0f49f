// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
)

// What somebody has told systemd-resolved of the tunnel's link that isn't ours
// stays through each change of nameservers, also when the file has none any more.
func TestResolvedKeepsOthersSettings(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.2/24 dev eth0")
	r := startResolved(t, h)
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
	wgctlOK(h, "up", "wg0")
	verbs := []string{"dnssec", "dnsovertls", "llmnr", "mdns"}
	read := func() string {
		all := ""
		for _, v := range verbs {
			all += oneSpace(r.ctl(v, "wg0"))
		}
		return all
	}
	left := read() // as systemd-resolved has it by itself
	wgctlOK(h, "down", "wg0")
	wgctlOK(h, "up", "wg0")
	if got := linkNumber.ReplaceAllString(read(), ""); got != linkNumber.ReplaceAllString(left, "") {
		t.Errorf("after up %s, was %s", got, left)
	}
	for i, value := range []string{"allow-downgrade", "opportunistic", "no", "resolve"} {
		r.ctl(verbs[i], "wg0", value)
	}
	want := read()
	said(t, want, "allow-downgrade", "opportunistic", "resolve")
	if want == left {
		t.Fatalf("nothing was changed: %s", want)
	}
	whole(h, "wg0")
	for _, lines := range []string{"DNS = 10.8.0.54, corp.example", "DNS = 10.8.0.54, ~corp.example", "", "DNS = 10.8.0.53", "DNS = corp.example", ""} {
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, lines))
		wgctlOK(h, "reload", "wg0")
		if got := read(); got != want {
			t.Errorf("%q: %s, want %s", lines, got, want)
		}
		whole(h, "wg0")
		if got := r.partOf("wg0"); lines == "" && oneSpace(got) != "Link (wg0): Link (wg0): Link (wg0): no" {
			t.Errorf("without DNS: %q", got)
		}
	}
	wgctlOK(h, "down", "wg0")
}

// Search domains without a nameserver work where programs search themselves:
// systemd-resolved writes them into its resolv.conf, and searches only those of
// links that have nameservers. up says so where they don't.
func TestResolvedSearchAlone(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	s := newDNSSite(t)
	s.client.Hide("resolvconf")
	r := startResolved(t, s.client)
	view := r.view()
	s.tunnel("10.8.0.0/24", "DNS = corp.example")
	said(t, wgctlOK(s.client, "up", "wg0").Stderr, "resolvectl dns wg0 (0 nameservers, 1 search domain)")
	said(t, s.client.ReadFile("/etc/resolv.conf"), "search corp.example")
	out := s.capture(s.client, "eth0", "udp port 53")
	s.answers("host", outsideAnswer)
	out.some("A? host.corp.example.")
	out = s.capture(s.client, "eth0", "udp port 53")
	s.client.Run(r.root+"/usr/bin/resolvectl", "query", "host")
	if p := strings.Join(out.packets(), "\n"); strings.Contains(p, "host.corp.example") {
		t.Errorf("systemd-resolved searches itself: %s", p)
	}
	wgctlOK(s.client, "down", "wg0")
	if after := r.view(); after != view {
		t.Errorf("resolvectl shows\n%s\nwas\n%s", after, view)
	}
	const note = "wg0: short names are not searched below corp.example by programs that ask systemd-resolved itself"
	s.client.Sh("sed -i 's/^hosts:.*/hosts: files resolve [!UNAVAIL=return] dns/' /etc/nsswitch.conf")
	said(t, wgctlOK(s.client, "up", "wg0").Stderr, note)
	wgctlOK(s.client, "down", "wg0")
}

// wgctl is killed at each call of up and of down that changes something while
// eth0 has domains: down alone gives them back.
func TestResolvedKilledAround(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.2/24 dev eth0")
	r := startResolved(t, h)
	r.ctl("domain", "eth0", "lan", "~corp.example")
	h.Sh("ln -sf ../run/systemd/resolve/resolv.conf /etc/resolv.conf") // so that nameservers go aside as well
	view := r.view()
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
	for _, verb := range []string{"up", "down"} {
		kills := 0
		for at := 1; ; at++ {
			if verb == "down" {
				wgctlOK(h, "up", "wg0")
			}
			i := h.Inject(Fault{Kind: FaultKill, At: at, Names: tellsResolved}, verb, "wg0")
			if i.Hit != "" {
				kills++
			}
			if out := h.Wgctl("down", "wg0"); out.Code != 0 && !strings.Contains(out.Stderr, "wg0 is not up") {
				t.Errorf("%s killed at %d: %v", verb, at, out)
			}
			if after := r.view(); after != view {
				t.Fatalf("%s killed at %d: resolvectl shows\n%s\nwas\n%s", verb, at, after, view)
			}
			if i.Hit == "" {
				break
			}
		}
		if want := map[string]int{"up": 6, "down": 5}[verb]; kills != want {
			t.Errorf("%s was killed %d times, want %d", verb, kills, want)
		}
	}
}
