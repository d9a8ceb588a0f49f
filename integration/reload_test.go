// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// A pair is two hosts at one cable with a tunnel between them, "far" as the
// peer that no reload changes.
type pair struct {
	near, far       *Host
	nearKey, farKey keyPair
}

func newPair(t *testing.T) *pair {
	t.Helper()
	Need(t, "wg", "nft", "ping")
	p := &pair{near: newTunnelHost(t, "near"), far: newTunnelHost(t, "far"), nearKey: newKeyPair(t), farKey: newKeyPair(t)}
	Connect(t, p.near.At("eth0", "192.0.2.2/24"), p.far.At("eth0", "192.0.2.1/24"))
	p.far.WriteFile(configOf("wg0"), interfaceSection(p.farKey, "Address = 10.8.0.1/24", "ListenPort = 51820", "MTU = 1300")+
		peerSection(p.nearKey, "AllowedIPs = 10.8.0.2/32"))
	wgctlOK(p.far, "up", "wg0")
	return p
}

// file is a config of near's.
func (p *pair) file(lines, allowed string, peers ...string) string {
	return interfaceSection(p.nearKey, "Address = 10.8.0.2/24", lines) +
		peerSection(p.farKey, "Endpoint = 192.0.2.1:51820", "AllowedIPs = 10.8.0.1/32"+allowed) + strings.Join(peers, "")
}

func (p *pair) write(file string) {
	p.near.WriteFile(configOf("wg0"), file)
}

// dozen are configs that differ in all that a reload can change, but for what
// keeps far reachable.
func (p *pair) dozen(t *testing.T) []string {
	var others [5]keyPair
	for i := range others {
		others[i] = newKeyPair(t)
	}
	a := peerSection(others[0], "AllowedIPs = 10.8.1.0/24, fd08:1::/64", "PersistentKeepalive = 25")
	a2 := peerSection(others[0], "AllowedIPs = 10.8.1.0/25", "PresharedKey = "+others[4].private)
	b := peerSection(others[1], "AllowedIPs = 10.8.1.128/25, 10.8.2.0/24")
	c := peerSection(others[2], "AllowedIPs = 10.8.2.0/24, fd08:1::/64")
	d := peerSection(others[3], "AllowedIPs = 0.0.0.0/0, ::/0")
	return []string{
		p.file("", ""),
		p.file("", ", 10.9.0.0/16", a),
		p.file("MTU = 1380", "", a, b),
		p.file("MTU = 1300\nAddress = fd08::2/64", ", fd08::/64", b, a2),
		p.file("Address = 10.8.0.3/24, 10.9.9.9/32", "", c),
		p.file("", ", 0.0.0.0/0"),
		p.file("Address = fd08::2/64, fd08::3/64", ", 0.0.0.0/0, ::/0", a),
		p.file("FwMark = 0x77", ", 0.0.0.0/0", c, b),
		p.file("Table = 1234", ", 10.9.0.0/16", a2, b),
		p.file("Table = off\nDNS = 10.8.0.1, corp.example\nDNSBackend = file", "", a, b, c),
		p.file("Address = fd08::2/64\nForward = on\nMasquerade = eth0", "", a2, d),
		p.file("DNS = 10.8.0.9\nDNSBackend = file\nPortForward = tcp/2222 -> 10.8.0.1:22\nPostUp = true\nPreDown = true\nFwMark = 0x77", ", 10.10.0.0/24, 10.10.1.0/24, 10.10.2.0/24", b, c),
	}
}

// looks is what a tunnel is, but for traffic and for what a TUN makes up.
func looks(h *Host) string {
	h.t.Helper()
	text := h.Sh(`for f in -4 -6; do printf 'address show dev wg0\nroute show table all dev wg0\nrule\n' | ip $f -o -batch -; done
		ip -o link show dev wg0; nft -s list ruleset; wg show wg0 dump
		cd /proc/sys/net; cat ipv4/conf/all/src_valid_mark ipv4/ip_forward ipv6/conf/all/forwarding /etc/resolv.conf`).Stdout
	var out []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.Contains(line, "fe80::") || strings.Contains(line, "ff00::") {
			continue
		}
		switch columns := strings.Split(line, "\t"); len(columns) {
		case 8: // a peer
			allowed := strings.Split(columns[3], ",")
			slices.Sort(allowed)
			line = strings.Join(append(columns[:3:3], strings.Join(allowed, ","), columns[7]), " ")
		case 4:
			columns[2] = "port"
			line = strings.Join(columns, " ")
		}
		out = append(out, runNumbers.ReplaceAllString(line, ""))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// settled is what the tunnel is when no address is tentative any more.
func settled(h *Host) string {
	h.t.Helper()
	WaitFor(h.t, 5*time.Second, "the addresses to settle", func() bool {
		return h.Must("ip", "-6", "address", "show", "dev", "wg0", "tentative").Stdout == ""
	})
	return looks(h)
}

// comesToLook returns what the tunnel is as soon as that is what is wanted, or
// in the end: the kernel adds the local routes of IPv6 addresses in its own time
// (addrconf_dad_work).
func comesToLook(h *Host, want string) string {
	h.t.Helper()
	for deadline := time.Now().Add(Timeout(2 * time.Second)); ; time.Sleep(Timeout(10 * time.Millisecond)) {
		if got := looks(h); got == want || time.Now().After(deadline) {
			return got
		}
	}
}

// runNumbers are those of links, and the lifetimes of addresses.
var runNumbers = regexp.MustCompile(`^\d+: |\\ +valid_lft.*| qlen \d+| tentative`)

// What "wg syncconf" does to a tunnel, reload does not: the mark that was
// chosen and the port stay, and so does the place that a peer has roamed to.
func TestReloadDoesNoHarm(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	p.write(p.file("", ", 0.0.0.0/0"))
	wgctlOK(p.near, "up", "wg0")
	p.near.MustPing("10.8.0.1")
	before := whole(p.near, "wg0")

	// far moves to another address and port, and near learns it.
	p.far.Sh("ip address delete 192.0.2.1/24 dev eth0; ip address add 192.0.2.7/24 dev eth0; wg set wg0 listen-port 51999")
	p.far.MustPing("10.8.0.2")
	roamed := whole(p.near, "wg0").Peers[0].Endpoint
	if roamed == before.Peers[0].Endpoint {
		t.Fatalf("far has not moved from %s", roamed)
	}
	p.write(p.file("MTU = 1350", ", 0.0.0.0/0, 10.9.0.0/16"))
	wgctlOK(p.near, "reload", "wg0")
	after := whole(p.near, "wg0")
	if after.FwMark != before.FwMark || after.FwMark == 0 || after.ListenPort != before.ListenPort {
		t.Errorf("mark %#x and port %d became %#x and %d", before.FwMark, before.ListenPort, after.FwMark, after.ListenPort)
	}
	if got := after.Peers[0].Endpoint; got != roamed {
		t.Errorf("the peer was at %s and is at %s", roamed, got)
	}
	p.near.MustPing("10.8.0.1")

	// The control: wg does all three.
	p.near.Sh(Bin(t) + " strip wg0 > /tmp/stripped; wg syncconf wg0 /tmp/stripped")
	if s := statuses(p.near)["wg0"]; s.FwMark == before.FwMark || s.ListenPort == before.ListenPort || s.Peers[0].Endpoint == roamed {
		t.Errorf("syncconf no longer does harm, and this test tells nothing: %+v", s)
	}
	// Which is drift where the file or the choice says otherwise, and reload
	// mends it.
	wgctlOK(p.near, "reload", "wg0")
	if s := whole(p.near, "wg0"); s.FwMark != before.FwMark {
		t.Errorf("reload doesn't mend the mark: %+v", s)
	}
}

// A file that was cut short anywhere is either still a file, and then a reload
// that would take most peers away asks first, or it changes nothing.
func TestReloadOfTruncatedFile(t *testing.T) {
	t.Parallel()
	Need(t, "wg")
	Only(t, Userspace) // what a file says does not depend on the backend
	h := newTunnelHost(t, "h")
	file := interfaceSection(newKeyPair(t), "Address = 10.8.0.1/24", "ListenPort = 51820")
	for i := range 10 {
		file += peerSection(newKeyPair(t), fmt.Sprintf("AllowedIPs = 10.8.0.%d/32", i+10))
	}
	h.WriteFile(configOf("wg0"), file)
	wgctlOK(h, "up", "wg0")
	whole := settled(h)
	// After each reload all that one could have changed is read by few programs: of
	// a thousand looks none may be dear.
	reload := func() (out Output, state string) {
		t.Helper()
		out = h.Run("sh", "-c", Bin(t)+` reload wg0; code=$?; printf '\f'; wg show wg0 dump
			cd /sys/class/net/wg0; cat mtu flags ifindex /proc/net/fib_trie /proc/net/route /proc/net/if_inet6 /run/wgctl/wg0.json; exit $code`)
		_, text, _ := strings.Cut(out.Stdout, "\f")
		lines := strings.Split(text, "\n")
		slices.Sort(lines) // an embedded device tells of its peers in any order
		return out, strings.Join(lines, "\n")
	}
	out, before := reload()
	if out.Code != 0 || !strings.Contains(before, "10.8.0.19/32") || !strings.Contains(before, `"phase":"up"`) {
		t.Fatalf("%v", out)
	}
	asked, shorter, refused := 0, 0, 0
	for n := range len(file) {
		h.WriteFile(configOf("wg0"), file[:n])
		out, now := reload()
		peers := strings.Count(now, "\t(none)\t(none)\t")
		switch {
		case out.Code == 0 && peers < 5:
			t.Fatalf("cut at %d: %d peers are left: %v", n, peers, out)
		case out.Code == 0:
			shorter++
			h.WriteFile(configOf("wg0"), file)
			if out, before = reload(); out.Code != 0 {
				t.Fatalf("after the cut at %d: %v", n, out)
			}
			continue
		case out.Code != 1:
			t.Fatalf("cut at %d: %v", n, out)
		case strings.Contains(out.Stderr, "hint: --yes says that this is meant"):
			asked++
		default:
			refused++
		}
		if now != before {
			t.Fatalf("cut at %d: %v\n%s", n, out, Diff(before, now))
		}
	}
	h.WriteFile(configOf("wg0"), file)
	wgctlOK(h, "reload", "wg0")
	if now := looks(h); now != whole {
		t.Errorf("in the end:\n%s", Diff(whole, now))
	}
	t.Logf("of %d cuts %d were no file, %d asked first, %d took away a few peers", len(file), refused, asked, shorter)
	if asked == 0 || shorter == 0 || refused == 0 {
		t.Error("not every kind of cut was met")
	}
	for _, bad := range []string{"rm " + configOf("wg0"), "mkdir " + configOf("wg0"), "rmdir " + configOf("wg0") + "; : > " + configOf("wg0"),
		"ln -sf wg0.conf " + configOf("wg0")} {
		h.Sh(bad)
		if out := wgctlFails(h, 1, "reload", "wg0"); len(errorLines(out)) != 1 {
			t.Errorf("%s: %v", bad, out)
		}
		if now := looks(h); now != whole {
			t.Errorf("%s:\n%s", bad, Diff(whole, now))
		}
	}
}

// A reload of which any call fails leaves the tunnel as it was, still carrying
// traffic; and the same reload then succeeds.
func TestReloadWithFailingCalls(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	files := p.dozen(t)
	from, to := files[6], files[8]
	p.write(from)
	wgctlOK(p.near, "up", "wg0")
	p.near.MustPing("10.8.0.1")
	before := settled(p.near)
	p.write(to)
	plain := p.near.Inject(Fault{Kind: FaultError}, "reload", "wg0")
	if plain.Code != 0 || plain.Calls == 0 {
		t.Fatalf("without a fault: %v", plain)
	}
	after := settled(p.near)
	p.write(from)
	wgctlOK(p.near, "reload", "wg0")
	p.near.Start("ping", "-n", "-i", "1", "10.8.0.1") // who has sent and heard nothing for 15 seconds begins anew
	time.Sleep(6 * time.Second)                       // REKEY_TIMEOUT: a handshake that both ends began may come once more
	was := p.session()
	codes := map[int]int{}
	for _, at := range (sweep{runs: rounds(60, 2)}).points(t, plain.Calls) {
		p.write(to)
		i := p.near.Inject(Fault{Kind: FaultError, At: at}, "reload", "wg0")
		codes[i.Code]++
		want := before
		if i.Code == 0 {
			want = after
		}
		got := comesToLook(p.near, want)
		switch {
		case i.Code > 1:
			t.Fatalf("call %d, %s: %v", at, i.Hit, i)
		case i.Code == 1 && len(errorLines(i.Output)) != 1:
			t.Errorf("call %d, %s: not one line of error: %v", at, i.Hit, i)
		case got != want:
			t.Fatalf("call %d, %s: %v\n%s", at, i.Hit, i, Diff(want, got))
		}
		p.write(from)
		if i.Code == 0 {
			wgctlOK(p.near, "reload", "wg0")
		} else if out := wgctlOK(p.near, "reload", "wg0"); len(steps(out.Stderr)) > 0 {
			t.Errorf("call %d, %s: after the failed reload the tunnel isn't as its file says: %v", at, i.Hit, out)
		}
		p.near.MustPing("10.8.0.1")
		was = p.goesOn(was, fmt.Sprintf("call %d, %s", at, i.Hit))
	}
	t.Logf("about %d calls; exit codes and how often: %v", plain.Calls, codes)
}

// firstLine is the line of a text that starts with a word.
func firstLine(text, word string) string {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, word) {
			return line
		}
	}
	return "no line starts with " + word
}

// Apply is up for what isn't up and reload for what is, as often as one likes;
// so are several tunnels at once, each whole or not at all by itself.
func TestApplySeveral(t *testing.T) {
	t.Parallel()
	Need(t, "wg")
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	var names []string
	for n := range rounds(8, 3) {
		name := fmt.Sprintf("wg%d", n)
		names = append(names, name)
		h.WriteFile(configOf(name), fullTunnel(t, n))
	}
	wgctlOK(h, "apply", "wg1")
	out := wgctlOK(h, append([]string{"apply"}, names...)...)
	marks := map[int]bool{}
	for _, name := range names {
		marks[whole(h, name).FwMark] = true
		if n := strings.Count(out.Stderr, "[#] "+name+": "); (n == 0) != (name == "wg1") {
			t.Errorf("%s has %d steps: %v", name, n, out)
		}
	}
	if len(marks) != len(names) {
		t.Errorf("tunnels share marks: %v", marks)
	}
	for _, verb := range []string{"apply", "reload", "up"} {
		if out := wgctlOK(h, verb, "--all"); len(steps(out.Stderr)) > 0 {
			t.Errorf("a second time: %v", out)
		}
	}
	// One that fails doesn't stop the others.
	h.WriteFile(configOf("wg0"), "[Interface]\nAddress = nonsense\n")
	h.WriteFile(configOf("wg2"), strings.Replace(h.ReadFile(configOf("wg2")), "[Peer]", "MTU = 1333\n[Peer]", 1))
	out = wgctlFails(h, 1, "reload", "--all")
	if !slices.Equal(errorLines(out), []string{"/etc/wireguard/wg0.conf:2: Interface: Address: not an address"}) && len(errorLines(out)) != 1 {
		t.Errorf("%v", out)
	}
	if s := whole(h, "wg2"); s.MTU != 1333 {
		t.Errorf("wg2 was not reloaded: %+v", s)
	}
	wgctlOK(h, "down", "--all")
	h.Sh("rm -f /etc/wireguard/*.conf")
	h.Unchanged(before)
}

// plan tells by its exit code whether there is something to do, and sums it up.
func TestPlanCheck(t *testing.T) {
	t.Parallel()
	Need(t, "wg")
	h := newTunnelHost(t, "h")
	key := newKeyPair(t)
	file := interfaceSection(key, "Address = 10.8.0.1/24") + peerSection(newKeyPair(t), "AllowedIPs = 10.8.0.2/32")
	h.WriteFile(configOf("wg0"), file)
	if out := wgctlFails(h, 4, "plan", "--check", "wg0"); !strings.HasSuffix(out.Stdout, "up wg0: 4 to add, 2 to change, 0 to remove\n") {
		t.Errorf("%v", out)
	}
	wgctlOK(h, "up", "wg0")
	if out := wgctlOK(h, "plan", "--check", "wg0"); out.Stdout != "reload wg0: nothing to change\n" {
		t.Errorf("%v", out)
	}
	h.WriteFile(configOf("wg0"), strings.Replace(file, "10.8.0.2/32", "10.8.0.2/32, 10.9.0.0/16", 1)+peerSection(newKeyPair(t), "AllowedIPs = 10.8.0.3/32"))
	before := looks(h)
	if out := wgctlFails(h, 4, "plan", "reload", "--check", "wg0"); !strings.HasSuffix(out.Stdout, "reload wg0: 2 to add, 1 to change, 0 to remove\n") {
		t.Errorf("%v", out)
	}
	if now := looks(h); now != before {
		t.Errorf("a plan changed something:\n%s", Diff(before, now))
	}
}

// A tunnel that is what its file says has nothing to reload: for every file of
// the corpus, each reached by a reload from the one before, on this kernel.
func TestReloadOfCorpusIsQuiet(t *testing.T) {
	t.Parallel()
	Need(t, "wg", "nft", "iptables", "resolvconf", "bash")
	h := quickHost(t, "wgctl")
	underlay(h)
	h.Sh("echo nameserver 192.0.2.53 | resolvconf -a eth0; echo 203.0.113.77 vpn.example.com >>/etc/hosts")
	isUp := false
	for _, folder := range []string{"", "modern"} {
		for _, name := range corpusNames(t, folder) {
			file := corpusFile(t, folder, name)
			another := strings.Contains(file, "Backend = userspace") && Backend() == Kernel
			if another && isUp { // which takes a new link
				wgctlOK(h, "down", "wg0")
				isUp = false
			}
			verb := []string{"reload", "--yes", "wg0"}
			if !isUp {
				verb = []string{"up", "wg0"}
			}
			h.WriteFile(configOf("wg0"), file)
			if name == "splitdns" { // which resolvconf can't be told
				if out := wgctlFails(h, 1, verb...); !strings.Contains(out.Stderr, "can't send ~corp.example alone to the tunnel") {
					t.Errorf("%v", out)
				}
				continue
			}
			if out := h.Wgctl(verb...); out.Code != 0 {
				t.Fatalf("%s: %v", name, out)
			}
			if out := h.Wgctl("plan", "reload", "--check", "wg0"); out.Code != 0 {
				t.Errorf("%s: a second reload has something to do: %v", name, out)
			}
			if isUp = !another; another {
				wgctlOK(h, "down", "wg0")
			}
		}
	}
}
