// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Status of a tunnel that carries traffic shows interface, backend, addresses,
// peers by name or key, endpoint, latest handshake, transfer and drift, and
// --json the same, as wg shows them.
func TestStatus(t *testing.T) {
	s := newSite(t)
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", fullAllowed, "MTU = 1400")+"PersistentKeepalive = 25\n")
	wgctlOK(s.hub, "up", "wg0")
	wgctlOK(s.client, "up", "wg0")
	s.client.MustPing(hubInside4)

	for _, tt := range []struct {
		h                 *Host
		peer, addresses   string
		endpoint, allowed string
		name              string
	}{
		{s.hub, "laptop (" + s.clientKey.public + ")", "10.8.0.1/24, fd08::1/64", "192.0.2.2:", "10.8.0.2/32, fd08::2/128", "laptop"},
		{s.client, s.hubKey.public, "10.8.0.2/24, fd08::2/64", hubEndpoint4 + ":51820", "0.0.0.0/0, ::/0", ""},
	} {
		// A packet between the calls would make them differ.
		var text, dump Output
		var got tunnelStatus
		WaitFor(t, 20*time.Second, "the counters to stand still", func() bool {
			dump = tt.h.Must("wg", "show", "wg0", "dump")
			text, got = wgctlOK(tt.h, "status", "wg0"), whole(tt.h, "wg0")
			return tt.h.Must("wg", "show", "wg0", "dump").Stdout == dump.Stdout
		})
		said(t, oneSpace(text.Stdout), "interface: wg0 (up)", "backend: "+Backend(), "config: "+configOf("wg0"),
			"addresses: "+tt.addresses, "drift: none", "peer: "+tt.peer+" endpoint: "+tt.endpoint,
			"allowed ips: "+tt.allowed, "latest handshake: ", "transfer: ", " received, ", " sent")
		for _, never := range []string{"never", " 0 B", "foreign", s.clientKey.private, s.hubKey.private} {
			if strings.Contains(text.Stdout, never) {
				t.Errorf("%q in: %v", never, text)
			}
		}
		lines := strings.Split(dump.Stdout, "\n")
		device, peer := strings.Split(lines[0], "\t"), strings.Split(lines[1], "\t")
		p := got.Peers[0]
		if p.LatestHandshake == nil || time.Since(*p.LatestHandshake) > Timeout(time.Minute) {
			t.Fatalf("latest handshake: %v", p.LatestHandshake)
		}
		same := [][2]string{
			{got.PublicKey, device[1]}, {strconv.Itoa(got.ListenPort), device[2]},
			{p.PublicKey, peer[0]}, {p.Endpoint, peer[2]}, {strings.Join(p.AllowedIPs, ","), peer[3]},
			{strconv.FormatInt(p.LatestHandshake.Unix(), 10), peer[4]},
			{strconv.FormatInt(p.ReceiveBytes, 10), peer[5]}, {strconv.FormatInt(p.TransmitBytes, 10), peer[6]},
			{strings.Replace(strconv.Itoa(p.PersistentKeepalive), "0", "off", 1), peer[7]},
			{p.Name, tt.name}, {got.Backend, Backend()}, {got.Config, configOf("wg0")},
			{strings.Join(got.Addresses, ", "), tt.addresses},
		}
		for _, pair := range same {
			if pair[0] != pair[1] {
				t.Errorf("%s: status --json says %q, want %q", tt.h.Name, pair[0], pair[1])
			}
		}
	}
}

// oneSpace makes every run of white space one space.
func oneSpace(s string) string { return strings.Join(strings.Fields(s), " ") }

// Without a tunnel status says so and is content; --json is an empty list. A
// name that isn't up is an error.
func TestStatusOfNothing(t *testing.T) {
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	if out := wgctlOK(h, "status"); out.Stdout != "" || out.Stderr != "no tunnel is up\n" {
		t.Errorf("status: %v", out)
	}
	if out := wgctlOK(h, "status", "--json"); out.Stdout != "[]\n" || out.Stderr != "" {
		t.Errorf("status --json: %v", out)
	}
	if out := wgctlFails(h, 1, "status", "wg7"); out.Stdout != "" || !strings.HasPrefix(out.Stderr, "wgctl: wg7 is not up\n") {
		t.Errorf("status wg7: %v", out)
	}
	h.Unchanged(before)
}

// Every kind of thing that somebody takes away from a tunnel, or changes, is
// drift: status shows the step that would put it right, and down still clears
// all.
func TestDrift(t *testing.T) {
	Need(t, "resolvconf", "wg")
	h := newTunnelHost(t, "h")
	useResolvconf(h)
	other := newKeyPair(t)
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "Address = 10.8.9.9/32", "DNS = 10.8.0.1", "ListenPort = 51820")+"AllowedIPs = 10.77.0.0/16\n"+
		peerSection(other, "AllowedIPs = 10.78.0.5/32", "PersistentKeepalive = 25"))
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	if whole(h, "wg0").FwMark != 51820 {
		t.Fatal("the mark is another than this test thinks")
	}
	// The second address keeps the routes: they go with a link's last one.
	done := map[string]bool{}
	for _, tt := range []struct{ do, what, drift string }{
		{"ip address delete 10.8.0.2/24 dev wg0", "missing", "ip address add 10.8.0.2/24 dev wg0"},
		{"ip address delete fd08:0::2/64 dev wg0", "missing", "ip address add fd08::2/64 dev wg0"},
		{"ip route delete 10.77.0.0/16 dev wg0", "missing", "ip route add 10.77.0.0/16 dev wg0"},
		{"ip -6 route delete default dev wg0 table 51820", "missing", "ip route add ::/0 dev wg0 table 51820"},
		{"ip -4 rule delete not fwmark 51820", "missing", "ip -4 rule add not fwmark 0xca6c table 51820 priority 32765"},
		{"ip -6 rule delete table main suppress_prefixlength 0", "missing", "ip -6 rule add table main suppress_prefixlength 0 priority 32764"},
		{"sysctl -qw net.ipv4.conf.all.src_valid_mark=0", "changed", "sysctl -w net.ipv4.conf.all.src_valid_mark=1"},
		{"ip link set wg0 mtu 1300", "changed", "ip link set wg0 mtu 1420 up"},
		{"nft delete chain inet wgctl-wg0 premangle", "changed", "nft -f - (table inet wgctl-wg0: "},
		{"wg set wg0 fwmark 0", "changed", "wg set wg0 fwmark 0xca6c"},
		{"wg set wg0 listen-port 51999", "changed", "wg set wg0 listen-port 51820 fwmark 0xca6c"},
		{"wg set wg0 peer " + other.public + " allowed-ips 10.79.0.0/16", "changed", "peer " + other.public + " allowed-ips +10.78.0.5/32,-10.79.0.0/16"},
		{"resolvconf -d wg0 -f", "missing", "resolvconf -a wg0 -m 0 -x (1 nameserver, 0 search domains)"},
	} {
		h.Sh(tt.do)
		drift := driftSteps(h, "wg0")
		fresh := slices.DeleteFunc(slices.Clone(drift), func(step string) bool { return done[step] })
		if len(fresh) != 1 || !strings.Contains(fresh[0], tt.drift) {
			t.Errorf("%s: want %q as what is new in %q", tt.do, tt.drift, drift)
		}
		for _, step := range drift {
			done[step] = true
		}
		said(t, wgctlOK(h, "status").Stdout, "wg0 (up)", tt.what+":", tt.drift)
	}
	drift := driftSteps(h, "wg0")
	said(t, oneSpace(wgctlOK(h, "status").Stdout), fmt.Sprintf("drift: %d changes", len(drift)), drift[0])
	// Reload puts all of it right.
	wgctlOK(h, "reload", "wg0")
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// What somebody adds by hand survives the up and the down of another tunnel,
// and of this one what isn't on its link; status calls it foreign.
func TestForeign(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.Sh("ip link add eth0 type veth peer name far; ip address add 192.0.2.2/24 dev eth0; ip link set eth0 up; ip link set far up")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	h.WriteFile(configOf("wg1"), fullTunnel(t, 1))
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	table := fmt.Sprint(whole(h, "wg0").FwMark)
	stranger := newKeyPair(t)
	onLink := []struct{ do, foreign string }{
		{"ip address add 10.99.0.1/32 dev wg0", "address 10.99.0.1/32"},
		{"ip -6 address add fd99::1/128 dev wg0", "address fd99::1/128"},
		{"ip route add 10.98.0.0/16 dev wg0", "route 10.98.0.0/16 dev wg0"},
		{"ip -6 route add fd98::/64 dev wg0 table 777", "route fd98::/64 dev wg0 table 777"},
		{"wg set wg0 peer " + stranger.public + " allowed-ips 10.97.0.0/16", "peer " + stranger.public},
	}
	offLink := []struct{ do, foreign string }{
		{"ip rule add from 10.96.0.0/16 table " + table + " pref 99", "table " + table + " priority 99"},
		// As wgctl's own but for the priority, and but for the protocol.
		{"ip -6 rule add not fwmark " + table + " table " + table + " pref 98", "table " + table + " priority 98"},
		{"ip -4 rule add not fwmark " + table + " table " + table + " pref 32765", "table " + table + " priority 32765"},
		{"ip route add 192.168.77.0/24 dev eth0 table " + table, ""},
		{"nft 'add table inet somebody; add chain inet somebody c { type filter hook input priority 0 ; }'", ""},
	}
	for _, f := range append(onLink, offLink...) {
		h.Sh(f.do)
	}
	if out := wgctlOK(h, "reload", "wg0"); len(steps(out.Stderr)) > 0 {
		t.Errorf("reload takes away what isn't its own: %v", out)
	}
	check := func() {
		t.Helper()
		s := statuses(h)["wg0"]
		if s.State != "up" || len(s.Drift) > 0 {
			t.Errorf("what was added is taken for drift: %+v", s)
		}
		text := wgctlOK(h, "status", "wg0").Stdout
		for _, f := range append(onLink, offLink...) {
			if !strings.Contains(strings.Join(s.Foreign, "\n"), f.foreign) {
				t.Errorf("%s: %q is not foreign in --json: %q", f.do, f.foreign, s.Foreign)
			}
			said(t, text, f.foreign)
		}
		if want := len(onLink) + 3; len(s.Foreign) != want {
			t.Errorf("%d things are foreign, want %d: %q", len(s.Foreign), want, s.Foreign)
		}
	}
	check()
	all := h.Snapshot()
	wgctlOK(h, "up", "wg1")
	check()
	wgctlOK(h, "down", "wg1")
	h.Unchanged(all)

	wgctlOK(h, "down", "wg0")
	for _, f := range offLink {
		if h.Run("sh", "-c", f.do).Code == 0 && !strings.HasPrefix(f.do, "nft") {
			t.Errorf("%s: it was gone after down", f.do)
		}
	}
	said(t, h.Must("nft", "list", "ruleset").Stdout, "table inet somebody")
	h.Sh("ip rule delete pref 99; ip rule delete pref 32765; ip -6 rule delete pref 98; ip route flush table " + table + "; nft delete table inet somebody")
	h.Unchanged(before)
}

// A tunnelPlan is what "wgctl plan --json" prints.
type tunnelPlan struct {
	Name  string
	Verb  string
	Steps []struct {
		Text    string
		Changes []struct {
			Op    string
			What  string
			Count int
		}
	}
	Add, Change, Remove, Run int
	Firewall                 string
}

// sum is the summary that the text has, from the numbers of --json, which are those
// of all steps.
func (p tunnelPlan) sum(t testing.TB) string {
	t.Helper()
	n := map[string]int{}
	for _, s := range p.Steps {
		for _, c := range s.Changes {
			n[c.Op] += c.Count
		}
	}
	if n["add"] != p.Add || n["change"] != p.Change || n["remove"] != p.Remove || n["run"] != p.Run {
		t.Errorf("the steps come to %v, and the plan says %d, %d, %d and %d", n, p.Add, p.Change, p.Remove, p.Run)
	}
	text := fmt.Sprintf("%s %s: %d to add, %d to change, %d to remove", p.Verb, p.Name, p.Add, p.Change, p.Remove)
	switch p.Run {
	case 0:
		return text
	case 1:
		return text + ", 1 hook to run"
	}
	return fmt.Sprintf("%s, %d hooks to run", text, p.Run)
}

func (p tunnelPlan) texts() []string {
	var list []string
	for _, s := range p.Steps {
		list = append(list, s.Text)
	}
	return list
}

func planJSON(h *Host, verb, ifname string) tunnelPlan {
	h.t.Helper()
	var p tunnelPlan
	out := wgctlOK(h, "plan", verb, ifname, "--json")
	if err := json.Unmarshal([]byte(out.Stdout), &p); err != nil {
		h.t.Fatalf("%s: plan --json is none: %v: %v", h.Name, err, out)
	}
	return p
}

// steps are the lines of an output that say what is done.
func steps(text string) []string {
	var list []string
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(line, "[#] "); ok {
			list = append(list, strings.TrimSuffix(s, "\n"))
		}
	}
	return list
}

// Plan prints the very steps that up and down then take, clearing away what an
// accident left too, and changes nothing.
func TestPlan(t *testing.T) {
	Need(t, "resolvconf", "nft")
	h := newTunnelHost(t, "h")
	useResolvconf(h)
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.1, corp.example", "PreUp = true pre %i", "PostUp = true post",
		"PreDown = true predown", "PostDown = true postdown"))
	agree := func(verb string) {
		t.Helper()
		before := h.Snapshot()
		text, plan := wgctlOK(h, "plan", verb, "wg0"), planJSON(h, verb, "wg0")
		h.Unchanged(before)
		took := steps(wgctlOK(h, verb, "wg0").Stderr)
		if len(took) == 0 || !slices.Equal(steps(text.Stdout), took) || !slices.Equal(plan.texts(), took) || plan.Name != "wg0" || plan.Verb != verb {
			t.Errorf("%s took\n%s\nand its plan was\n%v\n%+v", verb, strings.Join(took, "\n"), text, plan)
		}
		if sum := plan.sum(t); !strings.HasSuffix(text.Stdout, "\n"+sum+"\n") {
			t.Errorf("%s: --json comes to %q, and the text is %v", verb, sum, text)
		}
		if verb == "up" {
			if got := h.Must("nft", "-s", "list", "table", "inet", "wgctl-wg0").Stdout; !sameRules(got, plan.Firewall) {
				t.Errorf("planned table:\n%s\ntable:\n%s", plan.Firewall, got)
			}
		}
	}
	before := h.Snapshot()
	if out := wgctlFails(h, 1, "plan", "down", "wg0"); !strings.HasPrefix(out.Stderr, "wgctl: wg0 is not up\n") {
		t.Errorf("plan down of nothing: %v", out)
	}
	agree("up")
	if out := wgctlFails(h, 1, "plan", "up", "wg0"); !strings.HasPrefix(out.Stderr, "wgctl: wg0 is up already\n") {
		t.Errorf("plan up of what is up: %v", out)
	}
	// A reload in which something comes, changes and goes, of every kind.
	first := h.ReadFile(configOf("wg0"))
	h.WriteFile(configOf("wg0"), strings.NewReplacer("fd08:0::2/64", "10.9.9.9/32", "corp.example", "example.org", "DNS =", "MTU = 1333\nForward = on\nDNS =", "0.0.0.0/0, ::/0", "0.0.0.0/0, 10.7.0.0/16").Replace(first)+
		peerSection(newKeyPair(t), "AllowedIPs = 10.77.0.0/16"))
	agree("reload")
	if plan := planJSON(h, "reload", "wg0"); len(plan.Steps) > 0 || plan.Add+plan.Change+plan.Remove+plan.Run > 0 {
		t.Errorf("after it: %+v", plan)
	}
	h.WriteFile(configOf("wg0"), first)
	agree("reload")
	said(t, wgctlOK(h, "status", "-v", "wg0").Stdout, "backend: [want=auto ", "routes: [table=auto ", "mtu: [", "firewall: [", "dns: [")
	agree("down")
	h.Unchanged(before)

	wgctlOK(h, "up", "wg0")
	h.Sh("ip link delete wg0")
	waitForDeviceEnd(h)
	agree("up")
	h.Sh("ip link delete wg0")
	waitForDeviceEnd(h)
	agree("down")
	h.Unchanged(before)
}

// waitForDeviceEnd waits until the process of an embedded device whose link is
// gone has ended too.
func waitForDeviceEnd(h *Host) {
	h.t.Helper()
	WaitFor(h.t, 10*time.Second, "the device to end", func() bool { return !slices.Contains(h.Processes(), "wgctl device-serve wg0") })
}

// sameRules compares tables but for the words of comments.
func sameRules(a, b string) bool {
	plain := func(s string) string {
		var out strings.Builder
		for line := range strings.Lines(s) {
			rule, _, _ := strings.Cut(line, " comment ")
			out.WriteString(strings.TrimSpace(rule) + "\n")
		}
		return out.String()
	}
	return plain(a) == plain(b)
}
