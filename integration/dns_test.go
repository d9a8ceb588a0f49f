// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A dnsSite is a site with dnsmasq on both sides of the tunnel: one that
// the client has had all along, on the local network, and two inside. Each side
// answers every name with an address of its own.
type dnsSite struct {
	*site
	inside *Process
}

const (
	outsideAnswer, insideAnswer = "192.0.2.99", "10.8.0.99"
	outsideNameserver           = "nameserver " + hubLAN4 + "\n"
)

// newDNSSite has the hub's end of the tunnel up.
func newDNSSite(t testing.TB) *dnsSite {
	t.Helper()
	Need(t, "getent")
	s := &dnsSite{site: newSite(t)}
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	wgctlOK(s.hub, "up", "wg0")
	s.hub.dnsmasq(outsideAnswer, hubLAN4, hubLAN6)
	s.hub.Must("ip", "address", "add", "10.8.0.53/32", "dev", "lo")
	s.inside = s.hub.dnsmasq(insideAnswer, hubInside4, hubInside6)
	s.hub.dnsmasq(insideAnswer, "10.8.0.53")
	s.hub.Sh(`nft -f - <<-END
		table inet leak {
			counter leaked {}
			chain arrived {
				type filter hook prerouting priority raw
				iifname "eth0" meta l4proto { tcp, udp } th dport { 53, 853 } counter name leaked
			}
		}
	END`)
	s.client.WriteFileMode("/etc/resolv.conf", outsideNameserver, 0o644)
	s.client.Sh("sed -i 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf")
	return s
}

// tunnel writes the client's file.
func (s *dnsSite) tunnel(allowed string, lines ...string) {
	s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", allowed, lines...))
}

// leaked returns how many packets for a nameserver came by the client's cable
// since the last call, whatever they were answered.
func (s *dnsSite) leaked() int {
	s.hub.t.Helper()
	out := s.hub.Must("nft", "reset", "counters", "table", "inet", "leak").Stdout
	m := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(out)
	if m == nil {
		s.hub.t.Fatalf("counter: %s", out)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// answers looks a name up as programs do.
func (s *dnsSite) answers(name, want string) {
	s.client.t.Helper()
	out := s.client.Run("getent", "ahostsv4", name)
	if got, _, _ := strings.Cut(out.Stdout, " "); got != want {
		s.client.t.Errorf("%s is %q, want %s: %v, by\n%s", name, got, want, out, s.client.ReadFile("/etc/resolv.conf"))
	}
}

// lookUps looks n names up, each another.
func (s *dnsSite) lookUps(n int, want string) {
	s.client.t.Helper()
	out := s.client.Sh(fmt.Sprintf(`i=0; while [ $i -lt %d ]; do getent ahostsv4 n$i.example | head -n 1; i=$((i+1)); done`, n))
	if got := strings.Count(out.Stdout, want+" "); got != n {
		s.client.t.Errorf("%d of %d look-ups were answered inside", got, n)
	}
}

// Where nobody else makes resolv.conf, a full tunnel has all look-ups: none goes
// out after up has returned, and after down all is as it was.
func TestDNSFile(t *testing.T) {
	Only(t, Userspace)
	s := newDNSSite(t)
	s.client.Hide("resolvconf")
	before := s.client.Snapshot()
	s.answers("before.example", outsideAnswer)
	s.tunnel(fullAllowed, "DNS = 10.8.0.1, corp.example")
	wgctlOK(s.client, "up", "wg0")
	s.leaked()
	around := s.captureLookUps()
	s.lookUps(200, insideAnswer)
	said(t, wgctlOK(s.client, "dns", "--query", "x.example").Stdout, "tunnels tell:", "file", insideAnswer, "10.8.0.1:53")
	whole(s.client, "wg0")

	s.tunnel(fullAllowed, "DNS = 10.8.0.53")
	said(t, wgctlOK(s.client, "reload", "wg0").Stderr, "edit /etc/resolv.conf (wg0: 1 nameserver")
	s.inside.Signal(syscall.SIGKILL) // who was asked before
	s.lookUps(20, insideAnswer)
	around.none()
	if n := s.leaked(); n != 0 {
		t.Errorf("%d packets for nameservers went around the tunnel", n)
	}
	wgctlOK(s.client, "down", "wg0")
	s.client.Unchanged(before)
	around = s.captureLookUps()
	s.answers("after.example", outsideAnswer)
	around.some("192.0.2.1.53: ")
}

// A bus that takes connections and says nothing is one line within 5 s, and the
// host stays as it was; DNSFailure = warn comes up without.
func TestDNSBusHangs(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	h.Sh("mkdir -p /run/dbus /run/systemd/resolve; echo nameserver 127.0.0.53 >/run/systemd/resolve/stub-resolv.conf; ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf")
	h.startRole("mute", "/run/dbus/system_bus_socket").Expect(10*time.Second, "listening")
	before := h.Snapshot()
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.1"))
	start := time.Now()
	out := wgctlFails(h, 1, "up", "wg0")
	t.Logf("took %v", time.Since(start))
	if lines := errorLines(out); len(lines) != 1 {
		t.Errorf("not one line: %v", out)
	}
	said(t, out.Stderr, "/etc/wireguard/wg0.conf:4: [Interface] DNS: systemd-resolved did not answer")
	h.Unchanged(before)

	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.1", "DNSFailure = warn"))
	said(t, wgctlOK(h, "up", "wg0").Stderr, "wg0: comes up without its nameservers: systemd-resolved did not answer")
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// What can't be had is said before anything is done.
func TestDNSRefused(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	before := h.Snapshot()
	for _, c := range []struct{ line, want string }{
		{"DNS = 10.8.0.1, ~corp.example", "DNS: file can't send ~corp.example alone to the tunnel: that takes systemd-resolved"},
		{"DNS = 10.8.0.256", `DNS: "10.8.0.256" is not an address`},
		{"DNS = 10.8.0.1, corp..example", `DNS: "corp..example" is neither an address nor a search domain`},
		{"DNSBackend = nscd", `DNSBackend: "nscd" is none of auto, resolved, networkmanager, resolvconf, file and off`},
		{"DNS = 10.8.0.1:53", `DNS: "10.8.0.1:53" is not an address`},
		{"DNS = 10.8.0.1, -corp.example", `DNS: "-corp.example" is neither an address nor a search domain`},
		{"DNS = 10.8.0.1, ~corp_example!", `DNS: "~corp_example!" is neither an address nor a search domain`},
		{"DNS = 10.8.0.1, $(reboot)", `DNS: "$(reboot)" is neither an address nor a search domain`},
		{"DNS = 0.0.0.0", "DNS: 0.0.0.0 is no address of a nameserver"},
		{"DNS = ff02::fb", "DNS: ff02::fb is no address of a nameserver"},
		{"DNSFailure = ignore", `DNSFailure: "ignore" is neither fail nor warn`},
		{"DNS = 10.8.0.1\nDNSBackend = resolved", "DNS: systemd-resolved isn't on the system bus"},
		{"DNS = 10.8.0.1\nDNSBackend = resolvconf", "DNS: resolvconf is not installed"},
	} {
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, c.line))
		out := wgctlFails(h, 1, "up", "wg0")
		said(t, out.Stderr, "wgctl: /etc/wireguard/wg0.conf:4: [Interface] "+c.want)
		if lines := errorLines(out); len(lines) != 1 {
			t.Errorf("not one line: %v", out)
		}
		h.Unchanged(before)
	}
	// The flag beats the file.
	wgctlOK(h, "up", "--dns-backend", "file", "wg0")
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// Two tunnels: the one that came up last answers, either may go first, and with
// the last one what was there before comes back. The record may be lost.
func TestDNSTwoTunnels(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	before := h.Snapshot()
	for n := range 2 {
		h.WriteFile(configOf(fmt.Sprint("wg", n)), fullTunnel(t, n, fmt.Sprintf("DNS = 10.8.%d.53", n)))
	}
	for _, order := range [][]string{{"wg0", "wg1"}, {"wg1", "wg0"}} {
		wgctlOK(h, "up", "wg0")
		wgctlOK(h, "up", "wg1")
		said(t, h.ReadFile("/etc/resolv.conf"), "\nnameserver 10.8.1.53\n")
		whole(h, "wg0")
		h.Must("rm", "/run/wgctl/"+order[0]+".json")
		wgctlOK(h, "down", order[0])
		said(t, h.ReadFile("/etc/resolv.conf"), "\nnameserver 10.8."+order[1][2:]+".53\n")
		wgctlOK(h, "down", order[1])
		h.Unchanged(before)
	}

	// Both at once.
	wgctlOK(h, "up", "wg0", "wg1")
	wgctlOK(h, "down", "wg0", "wg1")
	h.Unchanged(before)
}
