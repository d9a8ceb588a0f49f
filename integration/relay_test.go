// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A relayed site is a machine without a public address behind a relay that
// has one:
//
//	laptop ─ 192.168.50.0/24 ─ relay ─ 203.0.113.0/24 ─ internet ─ 198.51.100.0/24 ─ nas
//
// and the same with IPv6. The way of the NAS to everybody, but for its tunnel,
// leads by the internet: an answer that goes there is lost, since the asker
// waits for one from the relay.
type relayed struct {
	relay, nas, laptop, internet *Host
	relayKey, nasKey             keyPair
}

const (
	relay4, relay6         = "203.0.113.1", "2001:db8:1::1"
	relayLAN4, laptop4     = "192.168.50.1", "192.168.50.2"
	far4, far6             = "203.0.113.254", "2001:db8:1::fe"
	relayInside4           = "10.8.0.1"
	relayInside6           = "fd08::1"
	nasInside4, nasInside6 = "10.8.0.2", "fd08::2"
)

func newRelayed(t testing.TB) *relayed {
	t.Helper()
	Need(t, "nft", "ping")
	s := &relayed{
		relay: newTunnelHost(t, "relay"), nas: newTunnelHost(t, "nas"), laptop: NewHost(t, "laptop"), internet: NewHost(t, "internet"),
		relayKey: newKeyPair(t), nasKey: newKeyPair(t),
	}
	Lay(t, `
		[Network front]
		[Network back]
		[Network home]
		[Host internet]
		Link = front `+far4+"/24 "+far6+`/64
		Link = back 198.51.100.254/24 2001:db8:2::fe/64
		Forward = on
		[Host relay]
		Link = front `+relay4+"/24 "+relay6+`/64
		Link = home as lan0 `+relayLAN4+`/24 fd50::1/64
		Gateway = internet
		[Host nas]
		Link = back 198.51.100.2/24 2001:db8:2::2/64
		Gateway = internet
		[Host laptop]
		Link = home `+laptop4+`/24 fd50::2/64
		Gateway = relay`, s.relay, s.nas, s.laptop, s.internet)
	s.nas.Sh(`nft -f - <<-END
		table inet witness {
			chain arrived {
				type filter hook prerouting priority raw
				iifname "wg0" tcp dport 22 counter comment "inside"
				iifname "eth0" tcp dport 22 counter comment "outside"
			}
		}
	END`)
	s.nas.WriteFile(configOf("wg0"), interfaceSection(s.nasKey, "ListenPort = 51820", "Address = "+nasInside4+"/24, "+nasInside6+"/64")+
		peerSection(s.relayKey, "Endpoint = "+relay4+":51820", "AllowedIPs = 10.8.0.0/24, fd08::/64, "+laptop4+"/32"))
	return s
}

// up brings both ends up, the relay with these lines in its file.
func (s *relayed) up(lines ...string) {
	s.relay.t.Helper()
	lines = append([]string{"Address = " + relayInside4 + "/24, " + relayInside6 + "/64", "ListenPort = 51820"}, lines...)
	s.relay.WriteFile(configOf("wg0"), interfaceSection(s.relayKey, lines...)+
		peerSection(s.nasKey, "Endpoint = 198.51.100.2:51820", "AllowedIPs = "+nasInside4+"/32, "+nasInside6+"/128"))
	wgctlOK(s.relay, "up", "wg0")
	if !s.nas.Exists("/run/wgctl/wg0.json") {
		wgctlOK(s.nas, "up", "wg0")
	}
	WaitFor(s.relay.t, 20*time.Second, "a handshake", func() bool { return s.relay.Ping(nasInside4) })
}

// inside and outside are what the witness on the NAS counted.
func (s *relayed) witness() map[string]int {
	s.nas.t.Helper()
	counts := map[string]int{}
	out := s.nas.Must("nft", "list", "table", "inet", "witness").Stdout
	for _, m := range regexp.MustCompile(`counter packets (\d+) .*comment "(\w+)"`).FindAllStringSubmatch(out, -1) {
		counts[m[2]], _ = strconv.Atoi(m[1])
	}
	return counts
}

// A question is who asks where, and who is seen to ask; "" stands for no
// answer.
type question struct {
	by            *Host
	network, addr string
	want          string
}

func askAll(t *testing.T, list []question) {
	t.Helper()
	for _, q := range list {
		got := q.by.Ask(q.network, q.addr)
		if got == "" && q.want != "" { // once more: its time may be over by a stall
			got = q.by.Ask(q.network, q.addr)
		}
		if got != q.want {
			t.Errorf("%s asks %s %s: seen as %q, want %q", q.by.Name, q.network, q.addr, got, q.want)
		}
	}
}

// packetFilterBackends are the ways by which rules are programmed here, with
// what chooses them.
var packetFilterBackends = map[string]func(h *Host){
	"nftables": func(h *Host) { h.Setenv("WGCTL_FIREWALL", "nftables") },
	"iptables-nft": func(h *Host) {
		useIPTables(h, "nft")
		// What it makes of the chains of a host stays, though empty.
		h.Sh(`for i in iptables ip6tables; do for c in "raw PREROUTING" "mangle PREROUTING" "mangle POSTROUTING" "mangle FORWARD" \
			"nat PREROUTING" "nat OUTPUT" "nat POSTROUTING" "filter OUTPUT" "filter FORWARD" "filter INPUT"; do
			set -- $c; $i -t $1 -A $2 -j ACCEPT; $i -t $1 -D $2 -j ACCEPT; done; done`)
	},
	"iptables-legacy": func(h *Host) {
		useIPTables(h, "legacy")
		// Tables of iptables-legacy stay once they were made.
		h.Sh("for i in iptables ip6tables; do for t in raw mangle nat filter; do $i -t $t -S >/dev/null; done; done")
	},
}

func useIPTables(h *Host, mode string) {
	h.t.Helper()
	Need(h.t, "iptables-"+mode, "ip6tables-"+mode)
	h.Setenv("WGCTL_FIREWALL", "iptables")
	for _, name := range []string{"iptables", "ip6tables"} {
		for _, suffix := range []string{"", "-save", "-restore"} {
			h.Must("ln", "-sf", fmt.Sprintf("/usr/sbin/%s-%s%s", name, mode, suffix), "/etc/alternatives/"+name+suffix)
		}
	}
	said(h.t, h.Must("iptables", "--version").Stdout, map[string]string{"nft": "(nf_tables)", "legacy": "(legacy)"}[mode])
}

// eachPacketFilter runs a test once for each backend; in a guest, where the
// filter is not what is at stake, once.
func eachPacketFilter(t *testing.T, test func(t *testing.T, choose func(h *Host))) {
	for _, name := range []string{"nftables", "iptables-nft", "iptables-legacy"}[:rounds(3, 1)] {
		t.Run(name, func(t *testing.T) { test(t, packetFilterBackends[name]) })
	}
}

// TestRelay gives the internet the ports of a machine behind the tunnel.
func TestRelay(t *testing.T) {
	t.Parallel()
	eachPacketFilter(t, func(t *testing.T, choose func(h *Host)) {
		t.Parallel()
		s := newRelayed(t)
		choose(s.relay)
		s.nas.Answer(":22", ":53", ":2525", ":8000", ":8005", ":8010", ":9000", ":9002", ":6001")
		s.relay.Answer(":7")
		before := s.relay.Snapshot()
		s.up("PortForward = tcp/2222 -> 10.8.0.2:22",
			"PortForward = udp/5353 -> 10.8.0.2:53",
			"PortForward = tcp/25 -> 10.8.0.2:2525 keep-source",
			"PortForward = tcp/8000-8010 -> 10.8.0.2:8000-8010 on eth0",
			"PortForward = udp/7000-7002 -> 10.8.0.2:9000-9002",
			"PortForward = tcp/2222 -> [fd08::2]:22",
			"PortForward = udp/6000-6001 -> [fd08::2]")
		whole(s.relay, "wg0")
		v6 := "[" + relay6 + "]"
		askAll(t, []question{
			{s.internet, "tcp", relay4 + ":2222", relayInside4},
			{s.laptop, "tcp", relay4 + ":2222", relayInside4},
			{s.laptop, "tcp", relayLAN4 + ":2222", relayInside4},
			{s.relay, "tcp", relay4 + ":2222", relayInside4},
			{s.internet, "udp", relay4 + ":5353", relayInside4},
			{s.relay, "udp", relay4 + ":5353", relayInside4},
			{s.internet, "tcp", relay4 + ":8000", relayInside4},
			{s.internet, "tcp", relay4 + ":8005", relayInside4},
			{s.internet, "tcp", relay4 + ":8010", relayInside4},
			{s.laptop, "tcp", relay4 + ":8000", ""}, // it comes in on lan0
			{s.internet, "udp", relay4 + ":7000", relayInside4},
			{s.internet, "udp", relay4 + ":7002", relayInside4},
			{s.internet, "udp", relay4 + ":7003", ""},
			{s.laptop, "tcp", relayLAN4 + ":25", laptop4},
			{s.internet, "tcp", v6 + ":2222", relayInside6},
			{s.laptop, "tcp", v6 + ":2222", relayInside6},
			{s.relay, "tcp", v6 + ":2222", relayInside6},
			{s.internet, "udp", v6 + ":6001", relayInside6},
			{s.internet, "tcp", v6 + ":6001", ""},
			{s.internet, "tcp", relay4 + ":22", ""},
			{s.internet, "tcp", relay4 + ":7", far4}, // the relay itself still answers
		})
		if n := s.witness(); n["inside"] == 0 || n["outside"] != 0 {
			t.Errorf("packets for port 22 of the NAS: %v", n)
		}
		wgctlOK(s.relay, "down", "wg0")
		askAll(t, []question{{s.internet, "tcp", relay4 + ":2222", ""}})
		s.relay.Unchanged(before)
	})
}

// TestMasquerade gives a machine behind the tunnel the hub's address, on the
// link of the default route, with IPv4 and IPv6.
func TestMasquerade(t *testing.T) {
	Only(t, Userspace) // rules don't know what serves the device, as TestRelay shows
	t.Parallel()
	eachPacketFilter(t, func(t *testing.T, choose func(h *Host)) {
		t.Parallel()
		s := newRelayed(t)
		choose(s.relay)
		s.internet.Answer(":7")
		// The NAS asks the internet by the tunnel, and by nothing else.
		s.nas.WriteFile(configOf("wg0"), interfaceSection(s.nasKey, "ListenPort = 51820", "Address = "+nasInside4+"/24, "+nasInside6+"/64", "FwMark = 7")+
			peerSection(s.relayKey, "Endpoint = "+relay4+":51820", "AllowedIPs = 0.0.0.0/0, ::/0"))
		before := s.relay.Snapshot()
		questions := func(seen4, seen6 string) []question {
			return []question{{s.nas, "tcp", far4 + ":7", seen4}, {s.nas, "udp", far4 + ":7", seen4}, {s.nas, "tcp", "[" + far6 + "]:7", seen6}}
		}
		if strings.HasSuffix(t.Name(), "nftables") {
			s.up("Forward = on")
			askAll(t, questions("", "")) // without it no answer finds back
			wgctlOK(s.relay, "down", "wg0")
			s.relay.Unchanged(before)
		}
		s.up("Forward = on", "Masquerade = auto")
		askAll(t, questions(relay4, relay6))
		wgctlOK(s.relay, "down", "wg0")
		s.relay.Unchanged(before)
		s.up("Masquerade = lan0, eth0, notyet0")
		askAll(t, questions(relay4, relay6))
		rules := s.relay.Sh("nft list ruleset; iptables-save; ip6tables-save").Stdout
		for range 10 {
			wgctlOK(s.relay, "reload", "wg0")
		}
		if again := s.relay.Sh("nft list ruleset; iptables-save; ip6tables-save").Stdout; counters.ReplaceAllString(again, "") != counters.ReplaceAllString(rules, "") {
			t.Errorf("after ten reloads:\n%s\nbefore:\n%s", again, rules)
		}
		wgctlOK(s.relay, "down", "wg0")
		s.relay.Unchanged(before)
	})
}

// counters are what changes in a listing of rules by itself.
var counters = regexp.MustCompile(`(?m)^#.*$|\[\d+:\d+\]|packets \d+ bytes \d+`)

// TestClampMSS has a path that takes packets of 1,280 bytes and says so to
// nobody, as the internet does: a large transfer through the tunnel needs
// clamping.
func TestClampMSS(t *testing.T) {
	t.Parallel()
	eachPacketFilter(t, func(t *testing.T, choose func(h *Host)) {
		t.Parallel()
		s := newRelayed(t)
		choose(s.relay)
		// The NAS takes the tunnel for larger than it is, and the relay doesn't
		// tell anybody that it isn't.
		s.nas.WriteFile(configOf("wg0"), interfaceSection(s.nasKey, "ListenPort = 51820", "Address = "+nasInside4+"/24, "+nasInside6+"/64", "MTU = 1420")+
			peerSection(s.relayKey, "Endpoint = "+relay4+":51820", "AllowedIPs = 10.8.0.0/24, fd08::/64"))
		s.relay.Sh(`nft -f - <<-END
			table inet blind {
				chain out {
					type filter hook output priority filter
					icmp type destination-unreachable drop
					icmpv6 type packet-too-big drop
				}
			}
		END`)
		both := []string{relay4, "[" + relay6 + "]"}[:rounds(2, 1)]
		if !strings.HasSuffix(t.Name(), "nftables") {
			both = both[:1] // which of them iptables has, TestRelay shows
		}
		for _, to := range both {
			forward := "PortForward = tcp/2222 -> 10.8.0.2:22"
			if strings.HasPrefix(to, "[") {
				forward = "PortForward = tcp/2222 -> [fd08::2]:22"
			}
			for _, c := range []struct {
				clamp  string
				passes bool
			}{{"ClampMSS = off", false}, {"ClampMSS = auto", true}, {"ClampMSS = 1200", true}}[:rounds(3, 2)] {
				s.up(forward, "MTU = 1280", c.clamp)
				limit := 2 * time.Second
				if c.passes {
					limit = 20 * time.Second
				}
				if got := passes(s.internet, s.nas, to+":2222", ":22", limit); got != c.passes {
					t.Errorf("%s to %s: a large transfer passes: %t", c.clamp, to, got)
				}
				wgctlOK(s.relay, "down", "wg0")
			}
		}
	})
}

// passes reports whether a megabyte gets from one host to another in time.
func passes(from, to *Host, addr, listen string, limit time.Duration) bool {
	from.t.Helper()
	sink := to.startRole("tcp-sink", listen)
	sink.Expect(20*time.Second, "listening")
	send := from.startRole("tcp-send", addr, strconv.Itoa(1<<20))
	deadline := time.Now().Add(Timeout(limit))
	for send.Running() && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	done := !send.Running() && send.Wait(runLimit).Code == 0
	sink.cancel()
	<-sink.done
	send.cancel()
	<-send.done
	return done
}
