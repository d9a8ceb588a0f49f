// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// firewallFolder is where scripts/witnesses unpacks ufw and firewalld.
func firewallFolder() string {
	if dir := os.Getenv("WGCTL_FIREWALLS"); dir != "" {
		return dir
	}
	return "/var/cache/wgctl-firewalls"
}

// unpackFirewalls lays ufw and firewalld over the host's /usr and /etc. Nothing
// of them is ever installed on the machine, where they would start with it.
func unpackFirewalls(h *Host) {
	h.t.Helper()
	dir := firewallFolder()
	if _, err := os.Stat(filepath.Join(dir, "usr")); err != nil {
		unable(h.t, "ufw and firewalld are not unpacked: %v", err)
	}
	Need(h.t, "dbus-daemon", "python3", "iptables", "ip6tables")
	h.Sh(strings.ReplaceAll(`
		mount -t overlay overlay -o lowerdir=DIR/usr:/usr /usr
		mkdir -p /etc/default /run/lock
		cp -a DIR/etc/ufw DIR/etc/firewalld /etc/
		cp -a DIR/etc/default/ufw /etc/default/
		cp /usr/share/ufw/iptables/*.rules /usr/share/ufw/ufw.conf /etc/ufw/
		chmod 640 /etc/ufw/*.rules`, "DIR", dir))
}

// A packetFilter is a firewall of the hub's that drops what is forwarded.
type packetFilter struct {
	start  func(h *Host)
	reload []string // the command that makes it read its own files again
	loses  bool     // and forget accepts of ours
	rules  []string // commands that print its rules
	trace  string
	stands string // where, as status says
}

var packetFilters = map[string]packetFilter{
	"ufw": {
		start: func(h *Host) {
			unpackFirewalls(h)
			h.Must("ufw", "--force", "enable")
			h.Must("ufw", "allow", "51820/udp")
			h.Must("ufw", "reload") // which gives the rules their final form
		},
		reload: []string{"ufw", "reload"},
		rules:  []string{"ufw status verbose", "iptables-save | sed '/^#/d; s/ \\[.*//'", "ip6tables-save | sed '/^#/d; s/ \\[.*//'"},
		trace:  "forward: [nft=ufw input=ufw ret=FORWARD,FORWARD6]",
		stands: "FORWARD, FORWARD6",
	},
	"firewalld": {
		start:  func(h *Host) { startFirewalld(h, "nftables") },
		reload: []string{"firewall-cmd", "--reload"}, loses: true,
		rules:  []string{"firewall-cmd --list-all-zones", "firewall-cmd --direct --get-all-rules", "nft -s list ruleset"},
		trace:  "forward: [nft=firewalld input=firewalld ret=inet/firewalld/filter_FORWARD]",
		stands: "inet/firewalld/filter_FORWARD",
	},
	"firewalld over iptables": {
		start:  func(h *Host) { startFirewalld(h, "iptables") },
		reload: []string{"firewall-cmd", "--reload"}, loses: true,
		rules: []string{
			"firewall-cmd --list-all-zones", "firewall-cmd --direct --get-all-rules",
			"iptables-save | sed '/^#/d; s/ \\[.*//'", "ip6tables-save | sed '/^#/d; s/ \\[.*//'",
		},
		trace:  "forward: [nft=firewalld firewalld=running input=firewalld ret=firewalld-direct,firewalld-direct6]",
		stands: "firewalld-direct, firewalld-direct6",
	},
}

// startFirewalld starts firewalld, and a system bus for it.
func startFirewalld(h *Host, backend string) {
	h.t.Helper()
	unpackFirewalls(h)
	h.Must("sed", "-i", "s/^FirewallBackend=.*/FirewallBackend="+backend+"/; s/^IndividualCalls=.*/IndividualCalls=yes/", "/etc/firewalld/firewalld.conf")
	h.Must("mkdir", "-p", "/run/dbus")
	h.Start("dbus-daemon", "--system", "--nofork", "--nopidfile")
	WaitFor(h.t, 10*time.Second, "the system bus", func() bool { return h.Exists("/run/dbus/system_bus_socket") })
	h.Start("firewalld", "--nofork", "--nopid", "--log-target=console")
	WaitFor(h.t, 30*time.Second, "firewalld", func() bool { return h.Run("firewall-cmd", "--state").Code == 0 })
	h.Must("firewall-cmd", "--add-port=51820/udp")
	h.Must("firewall-cmd", "--runtime-to-permanent")
}

// forwarded reports which ways the hub forwards: "in" from the tunnel, "out" to
// it, and the same with a 6. Ways that should be open get a second chance.
func (s *site) forwarded(open bool) string {
	s.hub.t.Helper()
	got := s.datagrams(10)
	if open && strings.Count(got, " ") < 3 {
		got = s.datagrams(100)
	}
	return got
}

// datagrams sends n by each way, and names the ways by which any arrived.
func (s *site) datagrams(n int) string {
	s.hub.t.Helper()
	ways := []struct {
		name     string
		from, to *Host
		addr     string
	}{
		{"in", s.client, s.internet, internet4 + ":5001"}, {"out", s.internet, s.client, clientIn4 + ":5001"},
		{"in6", s.client, s.internet, "[" + internet6 + "]:5001"}, {"out6", s.internet, s.client, "[" + clientIn6 + "]:5001"},
	}
	var counts []Counter
	var senders []*Process
	for _, w := range ways {
		counts = append(counts, w.to.CountUDP(w.addr))
	}
	for _, w := range ways {
		senders = append(senders, w.from.startRole("udp-send", w.addr, fmt.Sprint(n), "20ms"))
	}
	for _, p := range senders {
		if out := p.Wait(20 * time.Second); out.Code != 0 {
			s.hub.t.Fatalf("sending datagrams: %v", out)
		}
	}
	var got []string
	for i, w := range ways {
		if counts[i].Stop() > 0 {
			got = append(got, w.name)
		}
	}
	return strings.Join(got, " ")
}

// What a hub forwards for its tunnel passes the firewall that runs there, also
// after the firewall was told to read its files again, and is dropped as before
// when the tunnel is down. The firewall's own rules never change.
func TestForwardPassesFirewalls(t *testing.T) {
	Only(t, Userspace) // nothing here depends on what implements the device
	t.Parallel()
	for name, filter := range packetFilters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			filter.start(s.hub)
			rules := func() string {
				text := ""
				for _, command := range filter.rules {
					text += s.hub.Sh(command).Stdout
				}
				return text
			}
			const all = "in out in6 out6"
			s.client.WriteFile(configOf("wg0"), s.clientFile(hubLAN4+":51820", "10.8.0.0/24, fd08::/64, 203.0.113.0/24, 2001:db8:5::/64", "MTU = 1280"))
			wgctlOK(s.client, "up", "wg0")

			// Without the key the firewall has the last word: what else is
			// here, and works, is not what the rest of the test shows.
			before := rules()
			s.hub.WriteFile(configOf("wg0"), s.hubFile())
			wgctlOK(s.hub, "up", "wg0")
			if got := s.forwarded(false); got != "" {
				t.Fatalf("without Forward the firewall lets pass: %s", got)
			}

			s.hub.WriteFile(configOf("wg0"), s.hubFile("Forward = on"))
			said(t, wgctlOK(s.hub, "plan", "wg0", "-v").Stdout, filter.trace, `comment "wgctl: wg0"`)
			wgctlOK(s.hub, "reload", "wg0")
			if got := s.forwarded(true); got != all {
				t.Errorf("with Forward = on open are: %s", got)
			}
			said(t, wgctlOK(s.hub, "status", "wg0").Stdout, "passage:", filter.stands)
			whole(s.hub, "wg0")

			s.hub.Must(filter.reload...)
			if drift := statuses(s.hub)["wg0"].Drift; (len(drift) > 0) != filter.loses {
				t.Errorf("after %v drift is %v", filter.reload, drift)
			}
			wgctlOK(s.hub, "reload", "wg0")
			whole(s.hub, "wg0")
			if got := s.forwarded(true); got != all {
				t.Errorf("after %v and a reload open are: %s", filter.reload, got)
			}

			// With port forwards and no more, what they lead there and no more.
			s.hub.WriteFile(configOf("wg0"), s.hubFile("PortForward = tcp/2222 -> "+clientIn4+":5002"))
			wgctlOK(s.hub, "reload", "wg0")
			sink := s.client.startRole("tcp-sink", clientIn4+":5002")
			sink.Expect(20*time.Second, "listening")
			if out := s.internet.startRole("tcp-send", "203.0.113.1:2222", "100000").Wait(20 * time.Second); out.Code != 0 {
				t.Errorf("through the port forward: %v", out)
			}
			sink.Wait(20 * time.Second)
			if got := s.forwarded(false); got != "" {
				t.Errorf("with PortForward alone open are: %s", got)
			}

			wgctlOK(s.hub, "down", "wg0")
			if after := rules(); after != before {
				t.Errorf("rules of %s:\n%s", name, Diff(before, after))
			}
			s.hub.WriteFile(configOf("wg0"), s.hubFile())
			wgctlOK(s.hub, "up", "wg0")
			if got := s.forwarded(false); got != "" {
				t.Errorf("still open: %s", got)
			}
		})
	}
}
