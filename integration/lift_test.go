// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A relay is a hub between a laptop, that has a tunnel to it, and the
// internet, which knows no way to the tunnel.
type relay struct {
	laptop, hub, internet *Host
	hubKey, laptopKey     keyPair
}

func newRelay(t *testing.T) *relay {
	Only(t, Userspace) // what is lifted is the same on either backend
	Need(t, "nft", "iptables", "ip6tables", "bash")
	r := &relay{newTunnelHost(t, "laptop"), newTunnelHost(t, "hub"), NewHost(t, "internet"), newKeyPair(t), newKeyPair(t)}
	Connect(t, r.laptop.At("eth0", "192.0.2.2/24"), r.hub.At("eth0", "192.0.2.1/24"))
	Connect(t, r.hub.At("eth1", "203.0.113.1/24", "2001:db8:9::1/64"), r.internet.At("eth0", "203.0.113.2/24", "2001:db8:9::2/64"))
	r.internet.Must("ip", "route", "add", "198.51.100.0/24", "via", "203.0.113.1") // for what comes back to an address of the hub's choice
	r.laptop.WriteFile(configOf("wg0"), interfaceSection(r.laptopKey, "Address = 10.8.0.2/24, fd08::2/64", "ListenPort = 51820")+
		peerSection(r.hubKey, "AllowedIPs = 10.8.0.0/24, fd08::/64, 203.0.113.0/24, 2001:db8:9::/64"))
	wgctlOK(r.laptop, "up", "wg0")
	return r
}

// What the two ends count of what comes in.
var (
	laptopWatches = []string{
		"udp dport 7001 ip saddr 203.0.113.2", "tcp dport 7002 tcp option maxseg size 1380", "tcp dport 7002 tcp option maxseg size 1460",
	}
	internetWatches = []string{
		"udp dport 7000 ip saddr 203.0.113.1", "udp dport 7000 ip saddr 198.51.100.7", "udp dport 7000 ip saddr 10.8.0.2",
		"udp dport 7000 ip6 saddr 2001:db8:9::1", "udp dport 7000 ip6 saddr fd08::2",
		"tcp dport 7002 tcp option maxseg size 1000", "tcp dport 7002 tcp option maxseg size 1380",
	}
)

// watch counts packets that come in, from now on.
func (h *Host) watch(rules []string) {
	h.t.Helper()
	var b strings.Builder
	b.WriteString("table inet watch\ndelete table inet watch\ntable inet watch { chain c { type filter hook prerouting priority -300;\n")
	for _, rule := range rules {
		fmt.Fprintf(&b, "%s counter comment %q\n", rule, rule)
	}
	b.WriteString("}\n}\n")
	if out := h.RunInput(b.String(), "nft", "-f", "-"); out.Code != 0 {
		h.t.Fatal(out)
	}
}

var watched = regexp.MustCompile(`counter packets ([1-9]\d*) bytes \d+ comment "(.*)"`)

// watched returns what was counted.
func (h *Host) watched() (out []string) {
	h.t.Helper()
	for _, m := range watched.FindAllStringSubmatch(h.Must("nft", "list", "table", "inet", "watch").Stdout, -1) {
		out = append(out, m[2]+": "+m[1])
	}
	return out
}

// up brings the hub's tunnel up with these lines, and waits until it carries.
func (r *relay) up(lines ...string) {
	r.hub.t.Helper()
	r.hub.WriteFile(configOf("wg0"), interfaceSection(r.hubKey, append([]string{"Address = 10.8.0.1/24, fd08::1/64", "ListenPort = 51820"}, lines...)...)+
		peerSection(r.laptopKey, "Endpoint = 192.0.2.2:51820", "AllowedIPs = 10.8.0.2/32, fd08::2/128"))
	wgctlOK(r.hub, "up", "wg0")
	r.hub.MustPing("10.8.0.2")
	r.laptop.MustPing("10.8.0.1")
}

var (
	savedRule = regexp.MustCompile(`(?m)^\[(\d+):\d+\] -A .* -j (ACCEPT|MASQUERADE|SNAT|DNAT|TCPMSS)`)
	ownRule   = regexp.MustCompile(`(?m)^.* counter packets (\d+) bytes \d+ .*(accept|masquerade|snat|dnat|maxseg).*$`)
)

// counters returns what the hub's rules have counted, by target.
func (r *relay) counters(native bool) []string {
	h := r.hub
	h.t.Helper()
	text, pattern := "", savedRule
	if native {
		text, pattern = h.Must("nft", "list", "table", "inet", "wgctl-wg0").Stdout, ownRule
	} else {
		text = h.Must("iptables-save", "-c").Stdout + h.Must("ip6tables-save", "-c").Stdout
	}
	var out []string
	for _, m := range pattern.FindAllStringSubmatch(text, -1) {
		out = append(out, strings.Replace(strings.ToLower(m[2]), "maxseg", "tcpmss", 1)+": "+m[1])
	}
	slices.Sort(out)
	return out
}

// A liftClass is a kind of hooks, and the traffic that tells what they do.
type liftClass struct {
	name string
	up   []string // commands of PostUp; those of PostDown follow by themselves
	down []string
	send func(r *relay)
	want string // what the laptop and the internet see, so that no class sees nothing
}

// apart is the time between datagrams: a device that finds several at once joins
// them, and the packet filter counts one.
const apart = 30 * time.Millisecond

func toInternet(r *relay) {
	for _, addr := range []string{"203.0.113.2:7000", "[2001:db8:9::2]:7000"} {
		r.laptop.SendUDP(addr, 5, apart)
	}
}

func toLaptop(r *relay) { r.internet.SendUDP("203.0.113.1:5353", 5, apart) }

// syns are connections that nobody accepts.
func syns(r *relay) {
	r.internet.Run("ip", "route", "add", "10.8.0.0/24", "via", "203.0.113.1")
	r.laptop.Run("bash", "-c", ": </dev/tcp/203.0.113.2/7002")
	r.internet.Run("bash", "-c", ": </dev/tcp/10.8.0.2/7002")
	r.internet.Must("ip", "route", "del", "10.8.0.0/24")
}

var liftClasses = []liftClass{
	{
		name: "hub",
		up: []string{
			"iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE",
			"ip6tables -A FORWARD -i %i -j ACCEPT; ip6tables -t nat -A POSTROUTING -s fd08::/64 -o eth1 -j MASQUERADE",
		},
		down: []string{
			"iptables -D FORWARD -i %i -j ACCEPT; iptables -t nat -D POSTROUTING -o eth1 -j MASQUERADE",
			"ip6tables -D FORWARD -i %i -j ACCEPT; ip6tables -t nat -D POSTROUTING -s fd08::/64 -o eth1 -j MASQUERADE",
		},
		send: toInternet,
		want: "[udp dport 7000 ip saddr 203.0.113.1: 5 udp dport 7000 ip6 saddr 2001:db8:9::1: 5]",
	}, {
		name: "order of inserted and appended rules",
		up: []string{
			"iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE",
			"iptables -t nat -I POSTROUTING -s 10.8.0.2 -o eth1 -j SNAT --to-source 198.51.100.7",
		},
		down: []string{
			"iptables -t nat -D POSTROUTING -o eth1 -j MASQUERADE",
			"iptables -t nat -D POSTROUTING -s 10.8.0.2 -o eth1 -j SNAT --to-source 198.51.100.7",
		},
		send: toInternet,
		want: "[udp dport 7000 ip saddr 198.51.100.7: 5 udp dport 7000 ip6 saddr fd08::2: 5]",
	}, {
		name: "nothing matches",
		up:   []string{"iptables -t nat -A POSTROUTING ! -s 10.8.0.0/24 -o eth1 -j MASQUERADE"},
		down: []string{"iptables -t nat -D POSTROUTING ! -s 10.8.0.0/24 -o eth1 -j MASQUERADE"},
		send: toInternet,
		want: "[udp dport 7000 ip saddr 10.8.0.2: 5 udp dport 7000 ip6 saddr fd08::2: 5]",
	}, {
		name: "port forward",
		up:   []string{"iptables -t nat -A PREROUTING -i eth1 -p udp --dport 5353 -m addrtype --dst-type LOCAL -j DNAT --to-destination 10.8.0.2:7001"},
		down: []string{"iptables -t nat -D PREROUTING -i eth1 -p udp --dport 5353 -m addrtype --dst-type LOCAL -j DNAT --to-destination 10.8.0.2:7001"},
		send: toLaptop,
		want: "[udp dport 7001 ip saddr 203.0.113.2: 5]",
	}, {
		name: "segment size",
		up: []string{
			"iptables -t mangle -A FORWARD -o %i -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
			"iptables -t mangle -A FORWARD -i %i -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000",
		},
		down: []string{
			"iptables -t mangle -D FORWARD -o %i -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
			"iptables -t mangle -D FORWARD -i %i -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1000",
		},
		send: syns,
		want: "[tcp dport 7002 tcp option maxseg size 1380: 1 tcp dport 7002 tcp option maxseg size 1000: 1]",
	}, {
		name: "a table of nft",
		up: []string{`nft add table inet own; nft add chain inet own post '{ type nat hook postrouting priority 100 ; }'; ` +
			`nft add rule inet own post oifname "eth1" counter masquerade`},
		down: []string{"nft delete table inet own"},
		send: toInternet,
		want: "[udp dport 7000 ip saddr 203.0.113.1: 5 udp dport 7000 ip6 saddr 2001:db8:9::1: 5]",
	},
}

func keyed(key string, commands []string) (out []string) {
	for _, c := range commands {
		out = append(out, key+" = "+c)
	}
	return out
}

// Lifted hooks do to packets what bash and the real iptables make of them, and
// count the same; and are gone after down, also where PostDown forgets them.
func TestLiftedHooksLikeInTheShell(t *testing.T) {
	r := newRelay(t)
	r.hub.Forward()
	r.up()
	wgctlOK(r.hub, "down", "wg0")
	before := r.hub.Snapshot()
	for _, c := range liftClasses {
		shell, lifted := r.try(c, false), r.try(c, true)
		if shell != lifted {
			t.Errorf("%s: rules counted %s in the shell, and %s lifted", c.name, shell, lifted)
		}
	}
	r.clean(false)
	r.hub.Unchanged(before)
}

// try sends the traffic of a class through the hub, and returns what its rules
// counted. A tunnel may lose a datagram while its session is new: what does not
// arrive three times does not pass.
func (r *relay) try(c liftClass, native bool) (counted string) {
	t := r.hub.t
	t.Helper()
	lines := append(keyed("PostUp", c.up), "Hooks = native") // PostDown forgets
	if !native {
		lines = slices.Concat(keyed("PostUp", c.up), keyed("PostDown", c.down), []string{"Hooks = shell"})
	}
	for attempt := 1; ; attempt++ {
		r.up(lines...)
		r.laptop.watch(laptopWatches)
		r.internet.watch(internetWatches)
		c.send(r)
		seen := ""
		for begin := time.Now(); seen != c.want && time.Since(begin) < Timeout(time.Second); time.Sleep(20 * time.Millisecond) {
			seen = fmt.Sprint(append(r.laptop.watched(), r.internet.watched()...))
		}
		if !strings.HasPrefix(c.up[0], "nft") {
			counted = fmt.Sprint(r.counters(native))
		}
		if native {
			said(t, wgctlOK(r.hub, "plan", "wg0", "--check").Stdout, "nothing to change")
		}
		rules := r.hub.Must("nft", "list", "ruleset").Stdout
		wgctlOK(r.hub, "down", "wg0")
		r.clean(native)
		if seen == c.want {
			return counted
		}
		if attempt == 3 {
			t.Errorf("%s: native %t: arrived %s, want %s\n%s", c.name, native, seen, c.want, rules)
			return counted
		}
	}
}

// clean takes away what iptables leaves behind for whoever called it: tables
// without rules.
func (r *relay) clean(native bool) {
	if !native {
		for _, family := range []string{"ip", "ip6"} {
			for _, table := range []string{"filter", "nat", "mangle"} {
				r.hub.Run("nft", "delete", "table", family, table)
			}
		}
	}
}

// Lifted routes, policy rules and parameters are those of the shell, but for
// the protocol number, which finds them again.
func TestLiftedRoutesLikeInTheShell(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	result := map[string]string{}
	for _, mode := range []string{"shell", "native"} {
		down := []string{}
		if mode == "shell" {
			down = []string{
				"PreDown = ip rule del from 10.9.0.0/16 table 200; ip rule del to 10.10.0.0/16 table main pref 900; ip -6 rule del fwmark 7 table 200",
				"PostDown = echo 0 > /proc/sys/net/ipv4/ip_forward",
			}
		}
		h.WriteFile(configOf("wg0"), splitTunnel(t, append([]string{
			"Hooks = " + mode,
			"PreUp = sysctl -q -w net.ipv4.ip_forward=1",
			"PostUp = ip route add default dev %i table 200 && ip rule add from 10.9.0.0/16 table 200",
			"PostUp = ip rule add to 10.10.0.0/16 lookup main pref 900",
			"PostUp = ip -6 rule add fwmark 7 table 200",
			"PostUp = ip route add 172.16.9.0/24 dev %i metric 50",
		}, down...)...))
		wgctlOK(h, "up", "wg0")
		text := h.Sh("ip rule; ip -6 rule; ip route show table 200; ip route; sysctl net.ipv4.ip_forward").Stdout
		result[mode] = strings.NewReplacer(" proto 87", "", " proto boot", "").Replace(text)
		wgctlOK(h, "down", "wg0")
		h.Unchanged(before)
	}
	if d := Diff(result["shell"], result["native"]); d != "" {
		t.Errorf("lifted, the host looks otherwise:\n%s", d)
	}
	said(t, result["native"], "from 10.9.0.0/16 lookup 200", "net.ipv4.ip_forward = 1", "172.16.9.0/24 dev wg0")
}

// The plan says of each hook what becomes of it; one that fails takes what is
// lifted back; and what a line on the way down would undo is skipped.
func TestLiftedHooksArePartOfTheTunnel(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	file := func(last string) string {
		return splitTunnel(t, "PostUp = iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE", last,
			"PostDown = iptables -t nat -D POSTROUTING -o eth0 -j MASQUERADE", "PostDown = echo down %i")
	}
	h.WriteFile(configOf("wg0"), file("PostUp = false"))
	wgctlFails(h, 1, "up", "wg0")
	h.Unchanged(before)

	h.WriteFile(configOf("wg0"), file("PostUp = echo up %i"))
	var plan struct {
		Hooks []struct{ Phase, Command, Fate, Why string }
		Steps []struct{ Text string }
	}
	if err := json.Unmarshal([]byte(wgctlOK(h, "plan", "up", "wg0", "--json").Stdout), &plan); err != nil {
		t.Fatal(err)
	}
	if len(plan.Hooks) != 2 || plan.Hooks[0].Fate != "lifted" || plan.Hooks[1].Fate != "shell" || plan.Hooks[1].Why == "" {
		t.Errorf("hooks of the plan: %+v", plan.Hooks)
	}
	for _, s := range plan.Steps {
		if strings.HasPrefix(s.Text, "iptables") {
			t.Errorf("a lifted hook is a step: %s", s.Text)
		}
	}
	said(t, wgctlOK(h, "plan", "up", "wg0", "-v").Stdout, "PostUp = echo up wg0\n  shell: echo is a program of the host's",
		`  add nat postrouting: meta nfproto ipv4 oifname "eth0" masquerade`)
	if out := wgctlOK(h, "up", "wg0"); out.Stdout != "up wg0\n" {
		t.Errorf("hooks printed %q", out.Stdout)
	}
	h.Must("nft", "delete", "table", "inet", "wgctl-wg0")
	if steps := driftSteps(h, "wg0"); len(steps) != 1 || !strings.HasPrefix(steps[0], "nft") {
		t.Errorf("drift: %q", steps)
	}
	wgctlOK(h, "reload", "wg0")
	said(t, h.Must("nft", "list", "table", "inet", "wgctl-wg0").Stdout, "masquerade")
	said(t, wgctlOK(h, "plan", "down", "wg0", "-v").Stdout, "  undone\n")
	h.Must("rm", configOf("wg0"))
	if out := wgctlOK(h, "down", "wg0"); out.Stdout != "down wg0\n" {
		t.Errorf("hooks printed %q", out.Stdout)
	}
	h.Unchanged(before)
}

// A lifted accept passes a FORWARD that drops, by the same rule in the same
// table, and leaves it as it was.
func TestLiftedAcceptPassesADrop(t *testing.T) {
	r := newRelay(t)
	r.hub.Forward()
	r.hub.Must("iptables", "-P", "FORWARD", "DROP")
	rules := func() string {
		return regexp.MustCompile(`(?m)^#.*\n|\[\d+:\d+\]`).ReplaceAllString(r.hub.Must("iptables-save", "-t", "filter").Stdout, "")
	}
	before := rules()
	arrives := func() bool {
		r.internet.watch(internetWatches)
		for range 3 {
			r.laptop.SendUDP("203.0.113.2:7000", 5, time.Millisecond)
			time.Sleep(Timeout(100 * time.Millisecond))
		}
		return len(r.internet.watched()) > 0
	}
	r.up()
	if arrives() {
		t.Error("what FORWARD drops arrives")
	}
	wgctlOK(r.hub, "down", "wg0")
	r.up("PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth1 -j MASQUERADE")
	if !arrives() {
		t.Errorf("a lifted accept doesn't pass\n%s", rules())
	}
	said(t, rules(), `-A FORWARD -i wg0 -m comment --comment "wgctl: wg0" -j ACCEPT`)
	said(t, wgctlOK(r.hub, "plan", "wg0", "--check").Stdout, "nothing to change")
	wgctlOK(r.hub, "down", "wg0")
	if after := rules(); after != before {
		t.Errorf("FORWARD after down:\n%s", Diff(before, after))
	}
}

// Converted in place, a file is what it was but for its hooks, and does the same.
func TestConvertInPlace(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	file := splitTunnel(t, "# keep me", "PostUp = iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE",
		"PostDown = iptables -t nat -D POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE")
	h.WriteFileMode(configOf("wg0"), file, 0o640)
	wgctlOK(h, "convert", "wg0", "--write")
	start, end := strings.Index(file, "PostUp"), strings.Index(file, "\n[Peer]")
	if want, got := file[:start]+"Masquerade = eth0\n"+file[end:], h.ReadFile(configOf("wg0")); got != want {
		t.Errorf("converted:\n%s", Diff(want, got))
	}
	if mode := h.Must("stat", "-c", "%a", configOf("wg0")).Stdout; mode != "640\n" {
		t.Errorf("mode of the converted file: %s", mode)
	}
	wgctlOK(h, "up", "wg0")
	said(t, h.Must("nft", "list", "table", "inet", "wgctl-wg0").Stdout, `oifname "eth0"`, "masquerade")
	wgctlOK(h, "down", "wg0")
}

// Hooks of a file that others can write are not run, and one line says why;
// HookTimeout ends one that hangs, and all is undone.
func TestHooksThatAreNotRun(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), splitTunnel(t, "PostUp = echo ran"))
	before := h.Snapshot()
	h.Must("chmod", "o+w", configOf("wg0"))
	out := wgctlFails(h, 1, "up", "wg0")
	said(t, out.Stderr, "wgctl: "+configOf("wg0")+": hooks can't be trusted: "+configOf("wg0")+" can be written by everybody\n", "hint: ")
	h.Must("chmod", "o-w", configOf("wg0"))
	h.Unchanged(before)
	const link = "/etc/wireguard/wg0.conf"
	for _, f := range []struct{ spoil, mend, fault string }{
		{"chgrp 4711 " + link + "; chmod 660 " + link, "chgrp 0 " + link + "; chmod 600 " + link, link + " can be written by its group (4711)"},
		{"chown 4711 " + link, "chown 0 " + link, link + " belongs to user 4711"},
		{"chmod 770 /etc/wireguard; chgrp 4711 /etc/wireguard", "chmod 700 /etc/wireguard; chgrp 0 /etc/wireguard", "/etc/wireguard can be written by its group (4711)"},
		{"chown 4711 /etc/wireguard", "chown 0 /etc/wireguard", "/etc/wireguard belongs to user 4711"},
		{"mkdir /run/eve; mv " + link + " /run/eve; chown 4711 /run/eve; ln -s /run/eve/wg0.conf " + link, "rm " + link + "; mv /run/eve/wg0.conf " + link + "; rmdir /run/eve", "/run/eve belongs to user 4711"},
	} {
		h.Sh(f.spoil)
		for _, verb := range []string{"up", "apply", "run"} {
			out := h.Wgctl(verb, "wg0")
			if out.Code == 0 || strings.Contains(out.Stdout, "ran") {
				t.Errorf("%s after %s: %v", verb, f.spoil, out)
			}
			said(t, out.Stderr, "wgctl: "+configOf("wg0")+": hooks can't be trusted: "+f.fault+"\n", "hint: ")
		}
		h.Sh(f.mend)
		h.Unchanged(before)
	}

	// Down runs those that were there on up, not what another wrote since.
	h.WriteFile(configOf("wg0"), splitTunnel(t, "PostDown = echo as it was"))
	wgctlOK(h, "up", "wg0")
	h.WriteFile(configOf("wg0"), splitTunnel(t, "PostDown = echo as another wrote"))
	h.Must("chown", "4711", configOf("wg0"))
	out = wgctlOK(h, "down", "wg0")
	said(t, out.Stdout, "as it was\n")
	said(t, out.Stderr, configOf("wg0")+": hooks can't be trusted: "+configOf("wg0")+" belongs to user 4711\n", "hooks are those of the last up\n")
	if strings.Contains(out.Stdout, "as another wrote") {
		t.Errorf("down ran another's hook: %v", out)
	}
	h.Must("chown", "0", configOf("wg0"))
	h.Unchanged(before)

	h.WriteFile(configOf("wg0"), splitTunnel(t, "HookTimeout = 300ms", "PostUp = sleep 1000 | cat"))
	out = wgctlFails(h, 1, "up", "wg0")
	said(t, out.Stderr, "wgctl: running PostUp hook: PostUp hook was interrupted: it took longer than HookTimeout, 300ms\n")
	h.Unchanged(before)
	for _, p := range h.Processes() {
		t.Errorf("a process is left: %s", p)
	}
}
