// SPDX-License-Identifier: MIT

package integration

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const corpusDir = "../testdata/conf"

// The promise: wgctl brings a file up and down as wg-quick does. Each file of
// the corpus is brought up and down by Debian's wg-quick and by wgctl under that
// name, each in a host of its own, and what then differs from before is compared:
// links, addresses, routes of all tables, rules, the device, firewall, resolver,
// sysctls, what hooks did, exit status. Where wgctl goes another way on
// purpose, the file stands in the table differs, with the facts and the
// reason.
func TestLikeWgQuick(t *testing.T) {
	Need(t, "wg", "wg-quick", "nft", "iptables", "resolvconf", "bash")
	for _, name := range comparedFiles(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			likeWgQuick(t, name)
		})
	}
}

// comparedFiles are the files of the good corpus; where wg-quick takes seconds
// a command, in the emulated guest, those of the list inGuest.
func comparedFiles(t *testing.T) []string {
	t.Helper()
	names := corpusNames(t, "")
	for name := range differs {
		if !slices.Contains(names, name) {
			t.Errorf("differs[%q]: no such file", name)
		}
	}
	if slowness() == 1 {
		return names
	}
	for _, name := range inGuest {
		if !slices.Contains(names, name) {
			t.Errorf("inGuest: no file %q", name)
		}
	}
	return guestShare(t, inGuest)
}

// corpusNames lists the files of a folder of the corpus, without ".conf".
func corpusNames(t *testing.T, folder string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(corpusDir, folder, "*.conf"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus in %q: %v", folder, err)
	}
	for i, p := range paths {
		paths[i] = strings.TrimSuffix(filepath.Base(p), ".conf")
	}
	return paths
}

func corpusFile(t *testing.T, folder, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpusDir, folder, name+".conf"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func likeWgQuick(t *testing.T, name string) {
	file := corpusFile(t, "", name)
	theirs, ours := bringUp(t, "wg-quick", name, file), bringUp(t, "wgctl", name, file)
	if t.Failed() {
		return
	}
	var wantTheirs, wantOurs, leaves []string
	for _, d := range differs[name] {
		if d.backend != "" && d.backend != Backend() {
			continue
		}
		t.Logf("differs: %s", d.why)
		wantTheirs, wantOurs = append(wantTheirs, d.theirs...), append(wantOurs, d.ours...)
		leaves = append(leaves, d.leaves...)
	}
	sameFacts(t, "with wg-quick only", wantTheirs, without(theirs.facts, ours.facts))
	sameFacts(t, "with wgctl only", wantOurs, without(ours.facts, theirs.facts))
	if t.Failed() {
		t.Logf("%v\n%v", theirs.said, ours.said)
	}
	if out := theirs.run("down"); out.Code != 0 {
		t.Errorf("%v", out)
	}
	if out := ours.run("down"); out.Code != 0 {
		t.Errorf("%v", out)
	}
	ours.h.Unchanged(ours.before)
	theirs.left(t, leaves)
	for _, tool := range []*toolHost{theirs, ours} {
		if tool.h.ReadFile(tool.path()) != file {
			t.Errorf("%s: changed the file", tool.tool)
		}
	}
}

// sameFacts demands that of one kind there are just the facts that a table
// names.
func sameFacts(t *testing.T, what string, want, got []string) {
	t.Helper()
	for _, f := range without(got, want) {
		t.Errorf("%s: %s", what, f)
	}
	for _, f := range without(want, got) {
		t.Errorf("should be, but isn't, %s: %s", what, f)
	}
}

// A toolHost is a host in which one of the two programs has a tunnel.
type toolHost struct {
	h                  *Host
	tool, ifname, file string
	before             string // snapshot
	said               Output // of up
	facts              []string
}

func (x *toolHost) path() string { return "/etc/wireguard/" + x.ifname + ".conf" }

// newToolHost makes a host with a way to the internet, with what openresolv
// and iptables leave behind when they have been used once, and with the file.
func newToolHost(t *testing.T, tool, ifname, file string) *toolHost {
	t.Helper()
	h := quickHost(t, tool)
	underlay(h)
	// The folders of UAPI sockets and records.
	h.Sh("mkdir -m 700 /run/wireguard /run/wgctl")
	if dnsLine.MatchString(file) {
		h.Sh("echo nameserver 192.0.2.53 | resolvconf -a eth0")
		h.Sh("echo nameserver 192.0.2.54 | resolvconf -a x -x; resolvconf -d x")
	}
	for _, rule := range iptablesRule.FindAllStringSubmatch(file, -1) {
		program, table, chain := rule[1], cmp.Or(rule[2], "filter"), rule[3]
		h.Sh(fmt.Sprintf("%[1]s -t %[2]s -A %[3]s -j ACCEPT; %[1]s -t %[2]s -D %[3]s -j ACCEPT", program, table, chain))
	}
	x := &toolHost{h: h, tool: tool, ifname: ifname, file: file}
	h.WriteFile(x.path(), file)
	x.before = h.Snapshot()
	return x
}

var (
	dnsLine      = regexp.MustCompile(`(?mi)^\s*DNS\b`)
	iptablesRule = regexp.MustCompile(`\b(ip6?tables)(?: -t (\w+))? -[AI] (\w+)`)
)

// underlay gives a host a link eth0 with default routes, which lead nowhere,
// and ways of a smaller MTU to the networks of documentation (RFC 5737, 3849),
// in which many endpoints are.
func underlay(h *Host) {
	h.t.Helper()
	const batch = `link add eth0 type veth peer name far
link set eth0 addrgenmode none up
link set far addrgenmode none up
address add 198.18.0.2/24 dev eth0
address add 2001:db8:ffff::2/64 dev eth0 nodad
route add default via 198.18.0.1 dev eth0
route add ::/0 via 2001:db8:ffff::1 dev eth0
route add 192.0.2.0/24 via 198.18.0.1 dev eth0 mtu 1450
route add 2001:db8::/32 via 2001:db8:ffff::1 dev eth0 mtu 1460
`
	if out := h.RunInput(batch, "ip", "-batch", "-"); out.Code != 0 {
		h.t.Fatalf("%s: making an underlay: %v", h.Name, out)
	}
	WaitFor(h.t, 10*time.Second, "the underlay to have a carrier", func() bool {
		return h.operState("eth0") == "up" && h.operState("far") == "up"
	})
	// Even without duplicate address detection the kernel takes its time.
	WaitFor(h.t, 10*time.Second, "the underlay to have its address", func() bool {
		return strings.Contains(h.Must("ip", "-6", "route", "show", "table", "local").Stdout, "2001:db8:ffff::2")
	})
}

func (h *Host) operState(ifname string) string {
	b, err := os.ReadFile(h.path("/sys/class/net/" + ifname + "/operstate"))
	if err != nil {
		h.t.Fatalf("%s: reading the state of %s: %v", h.Name, ifname, err)
	}
	return strings.TrimSpace(string(b))
}

// bringUp has a program bring the file up, and collects what that changed.
func bringUp(t *testing.T, tool, ifname, file string) *toolHost {
	t.Helper()
	x := newToolHost(t, tool, ifname, file)
	x.up(t)
	return x
}

func (x *toolHost) up(t *testing.T) {
	t.Helper()
	x.said = x.run("up")
	if x.said.Code != 0 {
		t.Errorf("%v", x.said)
		return
	}
	// The kernel takes its time over the link-local address of a TUN device.
	WaitFor(t, 10*time.Second, "the addresses to settle", func() bool {
		return x.h.Must("ip", "-6", "address", "show", "dev", x.ifname, "tentative").Stdout == ""
	})
	x.facts = append(tunnelFacts(x.h, x.before, x.ifname, x.file), deviceFacts(x.h, x.ifname, x.file)...)
	for line := range strings.Lines(x.h.Run("resolvconf", "-l").Stdout) {
		if line = strings.TrimSpace(line); line != "" {
			x.facts = append(x.facts, "resolvconf -l: "+line)
		}
	}
}

func (x *toolHost) run(verb string) Output {
	x.h.t.Helper()
	if x.tool == "wgctl" { // which under its own name does more
		return x.h.Run(As(x.h.t, "wg-quick"), verb, x.ifname)
	}
	return x.h.Run(x.tool, verb, x.ifname)
}

// left demands that exactly these facts are left of the tunnel, in a moment.
func (x *toolHost) left(t *testing.T, want []string) {
	t.Helper()
	deadline := time.Now().Add(Timeout(5 * time.Second))
	for {
		got := tunnelFacts(x.h, x.before, x.ifname, x.file)
		if len(without(got, want)) == 0 && len(without(want, got)) == 0 {
			return
		}
		if time.Now().After(deadline) {
			sameFacts(t, "left by "+x.tool, want, got)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
