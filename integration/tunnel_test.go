// SPDX-License-Identifier: MIT

package integration

import (
	"net"
	"strings"
	"testing"
)

// backends are those that this machine can show: its own, and the embedded
// device where the kernel has the module. The word is for Backend = in a file.
func backends() []string {
	if Backend() == Kernel {
		return []string{"auto", Userspace}
	}
	return []string{"auto"}
}

// ways are the tunnels that a client has, by what they take and by what they
// travel over.
var ways = []struct{ name, endpoint, allowed string }{
	{"split over IPv4", hubEndpoint4, splitAllowed},
	{"split over IPv6", hubEndpoint6, splitAllowed},
	{"full over IPv4", hubEndpoint4, fullAllowed},
	{"full over IPv6", hubEndpoint6, fullAllowed},
}

const (
	fullAllowed  = "0.0.0.0/0, ::/0"
	splitAllowed = "10.8.0.0/24, fd08::/64, 203.0.113.0/24, 2001:db8:5::/64"
)

// A tunnel carries IPv4 and IPv6 over IPv4 and IPv6, split and full, on both
// backends: the inside answers both ways, the internet is reached through it
// and not around it, the local network not through it, replies pass strict
// reverse path filtering, 100 MB arrive as they were sent, and after down both
// hosts are as they were.
func TestTunnelCarriesTraffic(t *testing.T) {
	for _, backend := range backends() {
		ways := ways
		if backend == Userspace {
			ways = ways[rounds(0, 2):] // a kernel without the module shows them all
		}
		for _, way := range ways {
			t.Run(backend+" "+way.name, func(t *testing.T) {
				s := newSite(t)
				s.client.Must("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.eth0.rp_filter=1")
				s.internetIsReachedAround()
				clientBefore, hubBefore := s.client.Snapshot(), s.hub.Snapshot()

				s.hub.WriteFile(configOf("wg0"), s.hubFile())
				s.client.WriteFile(configOf("wg0"), s.clientFile(
					net.JoinHostPort(way.endpoint, "51820"), way.allowed, "Backend = "+backend))
				wgctlOK(s.hub, "up", "wg0")
				wgctlOK(s.client, "up", "wg0")

				s.insideAnswers()
				s.endpointIs(way.endpoint)
				s.internetIsReachedThrough()
				Transfer(s.client, s.hub, net.JoinHostPort(hubInside4, "5001"), transferSize())
				Transfer(s.hub, s.client, net.JoinHostPort(clientIn6, "5001"), transferSize())
				if got := whole(s.client, "wg0").Backend; backend == Userspace && got != Userspace {
					t.Errorf("backend %s", got)
				}

				wgctlOK(s.client, "down", "wg0")
				wgctlOK(s.hub, "down", "wg0")
				s.client.Unchanged(clientBefore)
				s.hub.Unchanged(hubBefore)
				s.internetIsReachedAround()
			})
		}
	}
}

// transferSize is in bytes.
func transferSize() int64 { return int64(rounds(100<<20, 2<<20)) }

// insideAnswers pings from each end the other's addresses in the tunnel.
func (s *site) insideAnswers() {
	s.client.t.Helper()
	s.client.MustPing(hubInside4)
	s.client.MustPing(hubInside6)
	s.hub.MustPing(clientIn4)
	s.hub.MustPing(clientIn6)
}

// endpointIs asks wg where the client's peer is: an answer from another place
// would have moved it.
func (s *site) endpointIs(addr string) {
	s.client.t.Helper()
	out := s.client.Must("wg", "show", "wg0", "endpoints")
	if !strings.HasSuffix(strings.TrimSpace(out.Stdout), net.JoinHostPort(addr, "51820")) {
		s.client.t.Errorf("want the peer at %s: %v", addr, out)
	}
}

// internetIsReachedAround is the positive control: without a tunnel the same
// packets come by the client's cable, in plain, and are counted.
func (s *site) internetIsReachedAround() {
	s.client.t.Helper()
	s.arrived()
	s.client.MustPing(internet4)
	s.client.MustPing(internet6)
	if n := s.arrived(); n["around4"] == 0 || n["around6"] == 0 {
		s.client.t.Fatalf("the counters don't see the internet's packets: %v", n)
	}
}

// internetIsReachedThrough pings the internet and the local network and looks
// which of it came in plain.
func (s *site) internetIsReachedThrough() {
	s.client.t.Helper()
	s.arrived()
	s.client.MustPing(internet4)
	s.client.MustPing(internet6)
	s.client.MustPing(hubLAN4)
	s.client.MustPing(hubLAN6)
	n := s.arrived()
	if n["around4"]+n["around6"] > 0 {
		s.client.t.Errorf("packets for the internet went around the tunnel: %v", n)
	}
	if n["lan4"] == 0 || n["lan6"] == 0 {
		s.client.t.Errorf("packets for the local network went into the tunnel: %v", n)
	}
}

// Strict reverse path filtering passes the replies because the tunnel's table
// restores their mark: without it they are lost.
func TestStrictReversePathFilterNeedsTheMark(t *testing.T) {
	s := newSite(t)
	s.client.Must("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=1")
	before := s.client.Snapshot()
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", fullAllowed))
	wgctlOK(s.hub, "up", "wg0")
	wgctlOK(s.client, "up", "wg0")
	s.client.MustPing(hubInside4)
	s.client.Must("nft", "delete", "table", "inet", "wgctl-wg0")
	if s.client.Run("ping", "-n", "-q", "-c", "3", "-i", "0.2", "-W", "1", hubInside4).Code == 0 {
		t.Error("answers come without the tunnel's table: strict reverse path filtering is not in force here")
	}
	wgctlOK(s.client, "down", "wg0")
	s.client.Unchanged(before)
}

// A tunnel whose endpoint is reached through another has room for both
// headers, as wg-quick reckons it.
func TestTunnelInTunnel(t *testing.T) {
	s := newSite(t)
	inner := newKeyPair(t)
	clientBefore, hubBefore := s.client.Snapshot(), s.hub.Snapshot()
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	s.hub.WriteFile(configOf("wg1"), interfaceSection(inner, "Address = 10.9.0.1/24, fd09::1/64", "ListenPort = 51821")+
		peerSection(s.clientKey, "AllowedIPs = 10.9.0.2/32, fd09::2/128"))
	s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", "10.8.0.0/24"))
	s.client.WriteFile(configOf("wg1"), interfaceSection(s.clientKey, "Address = 10.9.0.2/24, fd09::2/64")+
		peerSection(inner, "Endpoint = "+hubInside4+":51821", "AllowedIPs = 10.9.0.0/24, fd09::/64"))
	for _, h := range []*Host{s.hub, s.client} {
		wgctlOK(h, "up", "wg0")
		wgctlOK(h, "up", "wg1")
	}
	if mtu := whole(s.client, "wg0").MTU; mtu != 1420 {
		t.Errorf("MTU of the outer tunnel: %d", mtu)
	}
	if mtu := whole(s.client, "wg1").MTU; mtu != 1340 {
		t.Errorf("MTU of the inner tunnel: %d", mtu)
	}
	s.client.MustPing("10.9.0.1")
	s.client.MustPing("fd09::1")
	Transfer(s.client, s.hub, "10.9.0.1:5001", int64(rounds(10<<20, 1<<20)))
	for _, h := range []*Host{s.hub, s.client} {
		wgctlOK(h, "down", "wg1")
		wgctlOK(h, "down", "wg0")
	}
	s.client.Unchanged(clientBefore)
	s.hub.Unchanged(hubBefore)
}

// Table = off makes no route and no rule; Table = N puts every route there,
// the default ones too, and makes no rule.
func TestTable(t *testing.T) {
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	for _, tt := range []struct {
		table  string
		routes []string // that are there, in any table, through wg0
	}{
		{"off", nil},
		{"4242", []string{"default dev wg0 table 4242", "10.77.0.0/16 dev wg0 table 4242"}},
		{"main", []string{"default dev wg0 scope link", "10.77.0.0/16 dev wg0 scope link", "default dev wg0 metric 1024"}},
	} {
		h.WriteFile(configOf("wg0"), interfaceSection(newKeyPair(t), "Address = 10.8.0.2/32, fd08::2/128", "Table = "+tt.table)+
			peerSection(newKeyPair(t), "AllowedIPs = 0.0.0.0/0, ::/0, 10.77.0.0/16"))
		wgctlOK(h, "up", "wg0")
		var got []string
		for _, family := range []string{"-4", "-6"} {
			if rules := h.Must("ip", family, "rule").Stdout; strings.Contains(rules, "proto 87") {
				t.Errorf("Table = %s: rules: %s", tt.table, rules)
			}
			out := h.Must("ip", family, "route", "show", "table", "all", "proto", "87").Stdout
			got = append(got, strings.Split(strings.TrimSpace(out), "\n")...)
		}
		all := strings.Join(got, "\n")
		if tt.routes == nil && strings.TrimSpace(all) != "" {
			t.Errorf("Table = off: routes: %s", all)
		}
		said(t, all, tt.routes...)
		if n := strings.Count(all, "default"); tt.routes != nil && n != 2 {
			t.Errorf("Table = %s: %d default routes: %s", tt.table, n, all)
		}
		// The addresses are guarded, and that is all.
		if out := h.Must("nft", "list", "ruleset").Stdout; strings.Count(out, "comment") != 2 || strings.Count(out, "fib saddr type != local drop") != 2 {
			t.Errorf("Table = %s: firewall: %s", tt.table, out)
		}
		whole(h, "wg0")
		wgctlOK(h, "down", "wg0")
		h.Unchanged(before)
	}
}

// An endpoint may be a name that only /etc/hosts knows.
func TestEndpointByName(t *testing.T) {
	s := newSite(t)
	s.client.WriteFileMode("/etc/hosts", "127.0.0.1 localhost\n"+hubEndpoint6+" relay.example relay\n", 0o644)
	before := s.client.Snapshot()
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	s.client.WriteFile(configOf("wg0"), s.clientFile("relay.example:51820", splitAllowed))
	wgctlOK(s.hub, "up", "wg0")
	wgctlOK(s.client, "up", "wg0")
	s.client.MustPing(hubInside6)
	s.endpointIs(hubEndpoint6)
	said(t, wgctlOK(s.client, "status", "wg0").Stdout, "configured: relay.example:51820")
	wgctlOK(s.client, "down", "wg0")
	s.client.Unchanged(before)
}

// An endpoint name that nobody can resolve is one line that says where in the
// file it stands, exit 1, and nothing was touched.
func TestEndpointNameUnknown(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.WriteFileMode("/etc/hosts", "127.0.0.1 localhost\n", 0o644)
	h.WriteFile(configOf("wg0"), interfaceSection(newKeyPair(t), "Address = 10.8.0.2/24")+
		peerSection(newKeyPair(t), "Endpoint = nobody.example:51820", "AllowedIPs = 0.0.0.0/0"))
	before := h.Snapshot()
	out := h.Fails(1, "env", "WG_ENDPOINT_RESOLUTION_RETRIES=0", Bin(t), "up", "wg0")
	if strings.Count(out.Stderr, "\n") != 1 || out.Stdout != "" {
		t.Errorf("want one line: %v", out)
	}
	said(t, out.Stderr, "wgctl: ", configOf("wg0"), "nobody.example", "Endpoint")
	h.Unchanged(before)
}

// A private key that nobody clamped (other tools make such) is as good: the
// device clamps it, and that is no drift.
func TestUnclampedPrivateKey(t *testing.T) {
	h := newTunnelHost(t, "h")
	raw := keyPair{private: "AwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv8="}
	h.WriteFile(configOf("wg0"), interfaceSection(raw, "Address = 10.8.0.2/24")+
		peerSection(newKeyPair(t), "AllowedIPs = 10.8.0.1/32"))
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	want := strings.TrimSpace(h.RunInput(raw.private+"\n", "wg", "pubkey").Stdout)
	if got := whole(h, "wg0").PublicKey; got != want {
		t.Errorf("public key %s, want %s", got, want)
	}
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}
