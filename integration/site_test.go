// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// interfaceSection is the head of a wg-quick file; lines are "Key = value".
func interfaceSection(k keyPair, lines ...string) string {
	return "[Interface]\nPrivateKey = " + k.private + "\n" + strings.Join(lines, "\n") + "\n"
}

// peerSection is one peer of a wg-quick file.
func peerSection(k keyPair, lines ...string) string {
	return "\n[Peer]\nPublicKey = " + k.public + "\n" + strings.Join(lines, "\n") + "\n"
}

// configOf is where wgctl looks for the file of an interface.
func configOf(ifname string) string { return "/etc/wireguard/" + ifname + ".conf" }

// newTunnelHost is a host that had a tunnel before: the two folders for
// records and sockets, which stay, are there.
func newTunnelHost(t testing.TB, name string) *Host {
	t.Helper()
	h := NewHost(t, name)
	h.Must("mkdir", "-m", "700", "/run/wgctl", "/run/wireguard")
	return h
}

// wgctlOK runs wgctl, which must exit 0.
func wgctlOK(h *Host, args ...string) Output {
	h.t.Helper()
	return wgctlFails(h, 0, args...)
}

// wgctlFails runs wgctl, which must exit with code.
func wgctlFails(h *Host, code int, args ...string) Output {
	h.t.Helper()
	return h.Fails(code, append([]string{Bin(h.t)}, args...)...)
}

// said fails the test unless a text holds all words.
func said(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in:\n%s", w, text)
		}
	}
}

// A tunnelStatus is what "wgctl status --json" prints of a tunnel.
type tunnelStatus struct {
	Name       string
	State      string
	Backend    string
	Config     string
	PublicKey  string `json:"public_key"`
	ListenPort int    `json:"listen_port"`
	FwMark     int
	MTU        int
	Addresses  []string
	DNS        []string
	Peers      []struct {
		Name                string
		PublicKey           string `json:"public_key"`
		Endpoint            string
		AllowedIPs          []string   `json:"allowed_ips"`
		LatestHandshake     *time.Time `json:"latest_handshake"`
		ReceiveBytes        int64      `json:"receive_bytes"`
		TransmitBytes       int64      `json:"transmit_bytes"`
		PersistentKeepalive int        `json:"persistent_keepalive"`
	}
	Drift   []driftStep
	Foreign []string
}

// A driftStep is what "status --json" has of one drift.
type driftStep struct{ What, Step string }

// driftSteps are the steps that would put a tunnel right.
func driftSteps(h *Host, ifname string) []string {
	h.t.Helper()
	var list []string
	for _, d := range statuses(h)[ifname].Drift {
		list = append(list, d.Step)
	}
	return list
}

// statuses is "wgctl status --json", by name.
func statuses(h *Host) map[string]tunnelStatus {
	h.t.Helper()
	var list []tunnelStatus
	out := wgctlOK(h, "status", "--json")
	if err := json.Unmarshal([]byte(out.Stdout), &list); err != nil || strings.Contains(out.Stdout, "null") {
		h.t.Fatalf("%s: status --json is no list of tunnels: %v: %v", h.Name, err, out)
	}
	byName := map[string]tunnelStatus{}
	for _, s := range list {
		byName[s.Name] = s
	}
	if len(byName) != len(list) {
		h.t.Fatalf("%s: a tunnel comes twice: %v", h.Name, out)
	}
	return byName
}

// whole fails the test unless the tunnel is up as it was applied, and returns
// its status.
func whole(h *Host, ifname string) tunnelStatus {
	h.t.Helper()
	s, ok := statuses(h)[ifname]
	if !ok || s.State != "up" || len(s.Drift) > 0 || len(s.Foreign) > 0 {
		h.t.Fatalf("%s: %s is no whole tunnel: %+v", h.Name, ifname, s)
	}
	return s
}

// rounds is how often a race is run: many times, but where everything is
// emulated only a few.
func rounds(many, few int) int {
	if slowness() > 1 {
		return few
	}
	return many
}

// fullTunnel is a file that takes both default routes, of a peer that nobody
// is. Files with other n get along with it.
func fullTunnel(t testing.TB, n int, lines ...string) string {
	lines = append([]string{fmt.Sprintf("Address = 10.8.%d.2/24, fd08:%d::2/64", n, n)}, lines...)
	return interfaceSection(newKeyPair(t), lines...) +
		peerSection(newKeyPair(t), fmt.Sprintf("Endpoint = 192.0.2.1:%d", 51900+n), "AllowedIPs = 0.0.0.0/0, ::/0")
}

// A site is the network of the tests with traffic:
//
//	client ─ 192.0.2.0/24, 2001:db8:2::/64 ─ hub ─ 203.0.113.0/24, 2001:db8:5::/64 ─ internet
//
// The hub routes for everybody, and its endpoint addresses are reached by the
// client's default route only. So the internet can be reached around a tunnel
// as well as through it, and the hub counts what comes around.
type site struct {
	client, hub, internet *Host
	clientKey, hubKey     keyPair
}

// The addresses of a site.
const (
	hubLAN4, hubLAN6           = "192.0.2.1", "2001:db8:2::1"
	hubEndpoint4, hubEndpoint6 = "198.51.100.1", "2001:db8:100::1"
	internet4, internet6       = "203.0.113.5", "2001:db8:5::5"
	hubInside4, hubInside6     = "10.8.0.1", "fd08::1"
	clientIn4, clientIn6       = "10.8.0.2", "fd08::2"
)

func newSite(t testing.TB) *site {
	t.Helper()
	Need(t, "nft", "ping")
	s := &site{
		client: newTunnelHost(t, "client"), hub: newTunnelHost(t, "hub"), internet: NewHost(t, "internet"),
		clientKey: newKeyPair(t), hubKey: newKeyPair(t),
	}
	Lay(t, `
		[Network lan]
		[Network beyond]
		[Host hub]
		Link = lan `+hubLAN4+"/24 "+hubLAN6+`/64
		Link = beyond 203.0.113.1/24 2001:db8:5::1/64
		Forward = on
		[Host client]
		Link = lan 192.0.2.2/24 2001:db8:2::2/64
		Gateway = hub
		[Host internet]
		Link = beyond `+internet4+"/24 "+internet6+`/64
		Gateway = hub`, s.client, s.hub, s.internet)
	// A device that binds to no address answers from that of the route.
	s.hub.Sh(strings.NewReplacer("E4", hubEndpoint4, "E6", hubEndpoint6).Replace(`
		ip address add E4/32 dev lo
		ip address add E6/128 dev lo nodad
		ip route replace 192.0.2.0/24 dev eth0 proto kernel scope link src E4
		ip route replace 2001:db8:2::/64 dev eth0 proto kernel metric 256 src E6`))
	s.hub.Sh(`nft -f - <<-END
		table inet witness {
			counter around4 {}
			counter around6 {}
			counter lan4 {}
			counter lan6 {}
			chain arrived {
				type filter hook prerouting priority raw
				iifname "eth0" ip daddr ` + internet4 + ` counter name around4
				iifname "eth0" ip6 daddr ` + internet6 + ` counter name around6
				iifname "eth0" ip daddr ` + hubLAN4 + ` icmp type echo-request counter name lan4
				iifname "eth0" ip6 daddr ` + hubLAN6 + ` icmpv6 type echo-request counter name lan6
			}
		}
	END`)
	return s
}

// arrived returns what the hub's counters saw come in by the client's cable
// since the last call: around4 and around6 for the internet, lan4 and lan6 for
// the hub itself.
func (s *site) arrived() map[string]int {
	s.hub.t.Helper()
	counts := map[string]int{}
	out := s.hub.Must("nft", "reset", "counters", "table", "inet", "witness")
	for _, m := range counterText.FindAllStringSubmatch(out.Stdout, -1) {
		counts[m[1]], _ = strconv.Atoi(m[2])
	}
	if len(counts) != 4 {
		s.hub.t.Fatalf("counters: %v", out)
	}
	return counts
}

var counterText = regexp.MustCompile(`counter (\w+) \{\s*packets (\d+)`)

// hubFile is the hub's config.
func (s *site) hubFile(lines ...string) string {
	lines = append([]string{"Address = " + hubInside4 + "/24, " + hubInside6 + "/64", "ListenPort = 51820"}, lines...)
	return interfaceSection(s.hubKey, lines...) +
		peerSection(s.clientKey, "Name = laptop", "AllowedIPs = "+clientIn4+"/32, "+clientIn6+"/128")
}

// clientFile is the client's config.
func (s *site) clientFile(endpoint, allowed string, lines ...string) string {
	lines = append([]string{"Address = " + clientIn4 + "/24, " + clientIn6 + "/64"}, lines...)
	return interfaceSection(s.clientKey, lines...) +
		peerSection(s.hubKey, "Endpoint = "+endpoint, "AllowedIPs = "+allowed)
}
