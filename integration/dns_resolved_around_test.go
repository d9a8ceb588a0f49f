// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A full tunnel has the look-ups of all names, also of those that the local
// network has told eth0 are its own, and of all if it has told that: its domains
// are set aside as long as the tunnel is up, and come back as they were.
func TestResolvedAround(t *testing.T) {
	Only(t, Userspace)
	for name, domains := range map[string][]string{
		"search":  {"lan", "corp.example"},
		"routing": {"lan", "~corp.example"},
		"root":    {"~."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDNSSite(t)
			s.client.Hide("resolvconf")
			r := startResolved(t, s.client)
			r.ctl(append([]string{"domain", "eth0"}, domains...)...)
			before := r.view()
			asked := []string{"a.lan", "nas", "x.corp.example", "a.example", "lan"}
			ask := func(n int) {
				for _, a := range asked {
					s.client.Run("getent", "ahostsv4", fmt.Sprintf("n%d.%s", n, a))
					s.client.Run("getent", "ahostsv4", a)
				}
				s.client.Run("getent", "hosts", fmt.Sprintf("192.0.2.%d", 10+n)) // of eth0's own network
				s.client.Run("getent", "hosts", fmt.Sprintf("2001:db8:2::%d", 10+n))
			}
			s.tunnel(fullAllowed, "DNS = 10.8.0.1")
			said(t, wgctlOK(s.client, "up", "wg0").Stderr, "resolvectl dns wg0 (1 nameserver, 0 search domains); resolvectl domain eth0 ''")
			around := s.captureLookUps()
			s.answers("n.lan", insideAnswer)
			s.answers("n.corp.example", insideAnswer)
			s.lookUps(40, insideAnswer)
			ask(1)
			whole(s.client, "wg0")
			s.tunnel(fullAllowed, "DNS = 10.8.0.53, inside.example")
			wgctlOK(s.client, "reload", "wg0")
			ask(2)
			r.restart()
			whole(s.client, "wg0")
			ask(3)
			around.none()

			// Somebody gives the link other domains: that is drift, a reload mends
			// it, and these are what comes back.
			r.ctl("domain", "eth0", "lan", "later.example")
			later := r.view()
			if got := driftSteps(s.client, "wg0"); len(got) != 1 || !strings.HasSuffix(got[0], "; resolvectl domain eth0 ''") {
				t.Errorf("drift %q", got)
			}
			wgctlOK(s.client, "reload", "wg0")
			around = s.captureLookUps()
			s.answers("n.later.example", insideAnswer)
			ask(4)
			around.none()
			// What somebody gives it and no reload sees stays on down.
			wgctlOK(s.client, "down", "wg0")
			r.ctl("domain", "eth0", "lan", "later.example") // a no-op
			if later = strings.ReplaceAll(later, "\n", " "); !strings.Contains(strings.Join(strings.Fields(r.view()), " "), "DNS Domain: lan later.example") {
				t.Errorf("resolvectl shows\n%s\nnot as in %s", r.view(), later)
			}
			r.ctl(append([]string{"domain", "eth0"}, domains...)...)
			if after := r.view(); after != before {
				t.Errorf("resolvectl shows\n%s\nwas\n%s", after, before)
			}

			// A split tunnel takes nothing away, and a reload to and from it
			// neither more nor less than up and down do.
			s.tunnel(fullAllowed, "DNS = 10.8.0.1")
			wgctlOK(s.client, "up", "wg0")
			s.tunnel(fullAllowed, "DNS = 10.8.0.1, ~inside.example")
			wgctlOK(s.client, "reload", "wg0")
			said(t, r.ctl("domain", "eth0"), "eth0): "+strings.Join(domains, " "))
			s.answers("back.lan", outsideAnswer)
			s.tunnel(fullAllowed, "DNS = 10.8.0.1")
			wgctlOK(s.client, "reload", "wg0")
			around = s.captureLookUps()
			s.answers("again.lan", insideAnswer)
			around.none()
			// The link goes by itself, as when somebody deletes it: down gives the
			// domains back all the same, also when it is killed once.
			s.client.Must("ip", "link", "delete", "wg0")
			wgctlOK(s.client, "down", "wg0")
			if after := r.view(); after != before {
				t.Errorf("resolvectl shows\n%s\nwas\n%s", after, before)
			}
		})
	}
}

// Of two full tunnels either may go first: the domains come back with the last.
// A tunnel for some names keeps them beside one for all others.
func TestResolvedAroundTwo(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	s := newDNSSite(t)
	s.client.Hide("resolvconf")
	r := startResolved(t, s.client)
	r.ctl("domain", "eth0", "lan")
	before := r.view()
	s.tunnel(fullAllowed, "DNS = 10.8.0.1", "KillSwitch = on")
	h := s.client
	h.WriteFile(configOf("wg1"), strings.ReplaceAll(fullTunnel(t, 1, "DNS = 10.8.1.53"), "\nPrivateKey", "\nKillSwitch = on\nTable = off\nPrivateKey"))
	for _, first := range []string{"wg0", "wg1"} {
		wgctlOK(h, "up", "wg0")
		wgctlOK(h, "up", "wg1")
		wgctlOK(h, "down", first)
		other := map[string]string{"wg0": "wg1", "wg1": "wg0"}[first]
		whole(h, other)
		if got := r.ctl("domain", "eth0"); strings.Contains(got, "lan") {
			t.Errorf("without %s: %s", first, got)
		}
		wgctlOK(h, "down", other)
		if after := r.view(); after != before {
			t.Errorf("%s first: resolvectl shows\n%s\nwas\n%s", first, after, before)
		}
	}
	h.WriteFile(configOf("wg1"), fullTunnel(t, 1, "DNS = 10.8.1.53, ~corp.example", "Table = off"))
	wgctlOK(h, "up", "wg1")
	said(t, wgctlOK(h, "up", "wg0").Stderr, "wg0: names below ~corp.example go to the nameservers of wg1: systemd-resolved has these domains there")
	said(t, r.ctl("domain", "wg1"), "~corp.example")
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	wgctlOK(h, "down", "wg1")
	if after := r.view(); after != before {
		t.Errorf("resolvectl shows\n%s\nwas\n%s", after, before)
	}
}

// linkNumber is another each time that a link is made.
var linkNumber = regexp.MustCompile(`Link \d+`)

// partOf is what systemd-resolved has of a link, for comparing.
func (r *resolved) partOf(link string) string {
	return linkNumber.ReplaceAllString(oneSpace(r.ctl("dns", link)+r.ctl("domain", link)+r.ctl("default-route", link)), "Link")
}

// Who changes the part that the link has is seen, and put right by reload: its
// domains, its servers, the default route.
func TestResolvedAltered(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.2/24 dev eth0")
	r := startResolved(t, h)
	for _, line := range []string{"DNS = 10.8.0.53, corp.example", "DNS = 10.8.0.53, ~corp.example"} {
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, line))
		wgctlOK(h, "up", "wg0")
		want := r.partOf("wg0")
		for _, change := range [][]string{
			{"domain", "wg0", "other.example"}, {"domain", "wg0", ""}, {"dns", "wg0", "10.8.0.54"},
			{"default-route", "wg0", map[bool]string{true: "yes", false: "no"}[strings.Contains(line, "~")]},
			{"domain", "wg0", "other.example", "~."},
		} {
			r.ctl(change...)
			if got := driftSteps(h, "wg0"); len(got) != 1 || !strings.HasPrefix(got[0], "resolvectl dns wg0") {
				t.Errorf("%s, %q: drift %q", line, change, got)
			}
			wgctlOK(h, "reload", "wg0")
			if got := r.partOf("wg0"); got != want {
				t.Errorf("%s, %q: after reload\n%s\nwant\n%s", line, change, got, want)
			}
			whole(h, "wg0")
		}
		wgctlOK(h, "down", "wg0")
	}
}

// A reload that is killed on the way is finished by the next one, by apply, or
// by up after down, wherever it stopped; and eth0's domains are then what the
// file that stands makes of them.
func TestResolvedKilledHeals(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.2/24 dev eth0")
	r := startResolved(t, h)
	r.ctl("domain", "eth0", "lan")
	view := r.view()
	full, split, search := fullTunnel(t, 0, "DNS = 10.8.0.53, corp.example"), fullTunnel(t, 0, "DNS = 10.8.0.53, ~corp.example"), fullTunnel(t, 0, "DNS = corp.example")
	both := func() string { return r.partOf("wg0") + r.partOf("eth0") }
	want := map[string]string{}
	for _, file := range []string{full, split, search} {
		h.WriteFile(configOf("wg0"), file)
		wgctlOK(h, "up", "wg0")
		want[file] = both()
		wgctlOK(h, "down", "wg0")
		if after := r.view(); after != view {
			t.Fatalf("resolvectl shows\n%s\nwas\n%s", after, view)
		}
	}
	if !strings.Contains(want[split], "eth0): lan") || strings.Contains(want[full], "lan") {
		t.Fatalf("not as wanted: %q", want)
	}
	heal := [][]string{{"reload", "wg0"}, {"apply", "--yes", "wg0"}, {"down", "wg0"}}
	n, kills := 0, 0
	for _, c := range [][2]string{{full, split}, {split, full}, {search, full}, {full, search}} {
		for at := 1; ; at++ {
			h.WriteFile(configOf("wg0"), c[0])
			wgctlOK(h, "up", "wg0")
			h.WriteFile(configOf("wg0"), c[1])
			i := h.Inject(Fault{Kind: FaultKill, At: at, Names: tellsResolved}, "reload", "wg0")
			if i.Hit != "" && i.Code != 128+int(syscall.SIGKILL) {
				t.Errorf("not killed: %v", i)
			}
			verb := heal[n%len(heal)]
			n++
			wgctlOK(h, verb...)
			if verb[0] == "down" {
				if after := r.view(); after != view {
					t.Fatalf("killed at %d, %s: resolvectl shows\n%s\nwas\n%s", at, verb, after, view)
				}
				wgctlOK(h, "up", "wg0")
			}
			if got := both(); got != want[c[1]] {
				t.Errorf("killed at %d, %s: \n%s\nwant\n%s", at, verb, got, want[c[1]])
			}
			whole(h, "wg0")
			wgctlOK(h, "down", "wg0")
			if after := r.view(); after != view {
				t.Fatalf("killed at %d, %s, down: resolvectl shows\n%s\nwas\n%s", at, verb, after, view)
			}
			if i.Hit == "" {
				break
			}
			kills++
		}
	}
	t.Logf("%d kills", kills)
	if kills < 12 {
		t.Errorf("only %d kills", kills)
	}
	waitForDeviceEnd(h)
}

// systemd-networkd is told of links that it manages, as systemd-resolved won't be:
// its domains for eth0 are set aside, and are those of its files again after down.
func TestResolvedAroundNetworkd(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth1 up")
	startNetworkd(t, h)
	h.WriteFileMode("/etc/systemd/network/50-eth0.network", "[Match]\nName=eth0\n[Network]\nAddress=192.0.2.2/24\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n"+
		"DNS=192.0.2.1\nDomains=lan ~corp.example ~.\n", 0o644)
	reconfigure(h, "eth0")
	r := startResolvedOn(t, h)
	WaitFor(t, 10*time.Second, "the domains of eth0", func() bool { return strings.Contains(r.ctl("domain", "eth0"), "corp.example") })
	view := r.view()
	for _, killed := range []bool{false, true} {
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
		wgctlOK(h, "up", "wg0")
		if got := r.partOf("eth0"); strings.Contains(got, "lan") || strings.Contains(got, "~.") {
			t.Errorf("eth0 has its domains still: %s", got)
		}
		whole(h, "wg0")
		if killed {
			h.Inject(Fault{Kind: FaultKill, At: 2, Names: "RevertLinkDNS|SetLinkDomains|RevertLink|FlushCaches"}, "down", "wg0")
		}
		// What it reads anew from its files counts for as much.
		reconfigure(h, "eth0")
		wgctlOK(h, "down", "wg0")
		if after := r.view(); after != view {
			t.Errorf("killed %v: resolvectl shows\n%s\nwas\n%s", killed, after, view)
		}
	}
}
