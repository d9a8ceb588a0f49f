// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// The files of docs/nas-relay.md with the NAS where it says it is, behind a NAT
// that forgets who has been silent: with the keepalive of the page the relay finds
// the NAS after any silence, by TCP, by UDP and by a forward that came with a
// reload; without it, it doesn't. The times are those of the page over eight.
func TestRelayOfDocsBehindNAT(t *testing.T) {
	t.Parallel() // most of it is silence
	Only(t, Userspace)
	Need(t, "nft", "ping")
	hosts := map[string]*Host{}
	var all []*Host
	for _, name := range []string{"relay", "internet", "home", "nas", "visitor"} {
		hosts[name] = newTunnelHost(t, name)
		all = append(all, hosts[name])
	}
	Lay(t, `
		[Network a]
		Subnet = 203.0.113.0/24
		[Network b]
		Subnet = 192.0.2.0/24
		[Network c]
		Subnet = 198.51.100.0/24
		[Network lan]
		Subnet = 192.168.178.0/24
		[Host relay]
		Link = a 203.0.113.1/24
		Gateway = internet
		[Host internet]
		Link = a
		Link = b
		Link = c
		Forward = on
		[Host visitor]
		Link = b
		Gateway = internet
		[Host home]
		Link = c as wan
		Link = lan
		Gateway = internet
		Masquerade = wan
		[Host nas]
		Link = lan
		Gateway = home
	`, all...)
	page := readPage(t, "../docs/nas-relay.md")
	var text strings.Builder
	for _, b := range page.blocks {
		text.WriteString(b.text)
	}
	own := keysFor(t, text.String())
	const keepalive = "PersistentKeepalive = 25\n"
	for _, b := range page.blocks {
		if b.file != "" {
			if b.host == "nas" && !strings.Contains(b.text, keepalive) {
				t.Fatal("the NAS of the page has no keepalive of 25 s")
			}
			hosts[b.host].WriteFile(b.file, strings.Replace(own.in(b.text), keepalive, "PersistentKeepalive = 3\n", 1))
		}
	}
	relay, home, nas, visitor := hosts["relay"], hosts["home"], hosts["nas"], hosts["visitor"]
	home.Sh("for f in nf_conntrack_udp_timeout nf_conntrack_udp_timeout_stream; do echo 5 >/proc/sys/net/netfilter/$f; done")
	nas.Answer(":22", ":443", ":53")
	wgctlOK(relay, "up", "wg0")
	wgctlOK(nas, "up", "wg0")
	const through = "10.87.0.1"
	asked := func(network, addr string) {
		t.Helper()
		if got := visitor.Ask(network, addr); got != through {
			t.Errorf("%s %s: the NAS saw %q, not the relay", network, addr, got)
		}
	}
	nas.MustPing(through)
	time.Sleep(Timeout(12 * time.Second))
	asked("tcp", "203.0.113.1:2222")
	time.Sleep(Timeout(12 * time.Second))
	asked("tcp", "203.0.113.1:443")
	added := false
	for _, b := range page.blocks {
		if b.language != "console" {
			continue
		}
		for _, c := range b.typedLines(t) {
			if b.host == "relay" && strings.HasPrefix(c.command, "sed ") {
				relay.Sh(c.command)
				added = true
			}
		}
	}
	if !added {
		t.Fatal("the page adds no forward")
	}
	wgctlOK(relay, "reload", "wg0")
	asked("udp", "203.0.113.1:5353")

	nas.Sh("sed -i /^PersistentKeepalive/d /etc/wireguard/wg0.conf")
	wgctlOK(nas, "reload", "wg0")
	time.Sleep(8 * time.Second) // 5 would do, and after 15 its device speaks by itself: what it sent has no answer
	if got := visitor.Ask("udp", "203.0.113.1:5353"); got != "" {
		t.Errorf("without a keepalive the NAT let through what came for %s", got)
	}
	nas.MustPing(through)
	asked("udp", "203.0.113.1:5353") // the NAS has spoken again
	wgctlOK(nas, "down", "wg0")
	wgctlOK(relay, "down", "wg0")
}
