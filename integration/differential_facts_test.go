// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// What two programs did to a host, in words that don't depend on which of them
// it was.

// tunnelFacts are the changes since the snapshot before, one fact a line:
// "part: + what came" or "part: - what went", sorted. Names of programs,
// numbers that are drawn by lot and the marks by which wgctl knows what is its
// own are left out; file is the tunnel's.
func tunnelFacts(h *Host, before, ifname, file string) []string {
	h.t.Helper()
	return changes(before, h.Snapshot(), factWords{ifname, file, listenPort(h, ifname, file)})
}

// changes tells two snapshots apart.
func changes(before, after string, w factWords) []string {
	was, is := w.facts(before), w.facts(after)
	var out []string
	for _, f := range without(is, was) {
		part, what, _ := strings.Cut(f, ": ")
		out = append(out, part+": + "+what)
	}
	for _, f := range without(was, is) {
		part, what, _ := strings.Cut(f, ": ")
		out = append(out, part+": - "+what)
	}
	slices.Sort(out)
	return out
}

// without returns the members of a that b lacks; one that a has twice is
// only found in b if that has it twice.
func without(a, b []string) []string {
	left := make(map[string]int, len(b))
	for _, s := range b {
		left[s]++
	}
	var out []string
	for _, s := range a {
		if left[s] == 0 {
			out = append(out, s)
		} else {
			left[s]--
		}
	}
	return out
}

// deviceFacts are what wg(8) knows of the interface: keys, port, mark, peers.
// Addresses are added in their order, which decides on the source of packets.
func deviceFacts(h *Host, ifname, file string) []string {
	h.t.Helper()
	w := factWords{ifname, file, listenPort(h, ifname, file)}
	var out []string
	for line := range strings.Lines(h.Must("wg", "show", ifname, "dump").Stdout) {
		columns := strings.Split(strings.TrimSpace(line), "\t")
		if len(columns) == 8 { // a peer: without what traffic changes
			columns = slices.Concat(columns[:4], columns[7:])
		} else if len(columns) == 4 && w.port != "" {
			columns[2] = "random"
		}
		out = append(out, "device: "+strings.Join(columns, " "))
	}
	slices.Sort(out)
	n := 0
	for line := range strings.Lines(h.Must("ip", "-o", "address", "show", "dev", ifname).Stdout) {
		if f := strings.Fields(line); len(f) > 3 {
			n++
			out = append(out, fmt.Sprintf("address %d: %s", n, w.maskLinkLocal(f[3])))
		}
	}
	return out
}

// listenPort is the interface's port if it was drawn by lot, else "".
func listenPort(h *Host, ifname, file string) string {
	if m := portLine.FindStringSubmatch(file); m != nil && m[1] != "0" {
		return ""
	}
	out := h.Run("wg", "show", ifname, "listen-port")
	if port := strings.TrimSpace(out.Stdout); out.Code == 0 {
		return port
	}
	return ""
}

var portLine = regexp.MustCompile(`(?mi)^\s*listen ?port\s*=\s*(\S+)`)

// factWords turns a snapshot into facts of one tunnel.
type factWords struct{ ifname, file, port string }

func (w factWords) facts(snapshot string) []string {
	var out []string
	for part, lines := range snapshotParts(snapshot) {
		switch part {
		case "nftables":
			lines = w.nftFacts(lines)
		case "resolv.conf", "iptables": // the order counts
			lines = numbered(lines)
		}
		for _, line := range lines {
			if line = w.plain(part, line); line != "" {
				out = append(out, part+": "+line)
			}
		}
	}
	slices.Sort(out)
	return out
}

// snapshotParts takes a snapshot apart by its headlines.
func snapshotParts(snapshot string) map[string][]string {
	parts := map[string][]string{}
	for part := range strings.SplitSeq(snapshot, "== ") {
		if name, body, ok := strings.Cut(part, "\n"); ok && body != "" {
			parts[name] = strings.Split(strings.TrimSuffix(body, "\n"), "\n")
		}
	}
	return parts
}

func numbered(lines []string) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = fmt.Sprintf("%d %s", i, line)
	}
	return out
}

// plain takes out of a line what differs from run to run or tells one program
// from the other; "" leaves the line out.
func (w factWords) plain(part, line string) string {
	switch part {
	case "links and addresses":
		line = w.maskLinkLocal(ownAlias.ReplaceAllString(line, ""))
	case "rules and routes -4", "rules and routes -6":
		line = w.maskLinkLocal(strings.Replace(line, " proto 87", "", 1))
	case "nftables":
		line = w.maskLinkLocal(line)
	case "sockets":
		if w.port != "" {
			line = strings.Replace(line, ":"+w.port, ":random", 1)
		}
	case "run":
		if strings.Contains(line, " /wgctl/") {
			return ""
		}
		if name, ok := strings.CutPrefix(line, "Srwx------ /wireguard/"); ok {
			line = "Srw------- /wireguard/" + name
		}
	case "processes":
		if line == "wgctl device-serve "+w.ifname || strings.HasSuffix(line, "/wireguard-go "+w.ifname) {
			line = "the device of " + w.ifname
		}
	}
	return line
}

// ownAlias is our alias of a link, and what it may say of kernel parameters.
var ownAlias = regexp.MustCompile(` \\    alias wgctl( net[./]\S+=-?[0-9]+)*$`)

// maskLinkLocal hides the addresses that the kernel gives a TUN device by lot.
func (w factWords) maskLinkLocal(line string) string {
	return linkLocalAddr.ReplaceAllStringFunc(line, func(a string) string {
		if strings.Contains(w.file, a) || a == "fe80::" {
			return a
		}
		return "fe80::random"
	})
}

var linkLocalAddr = regexp.MustCompile(`fe80::[0-9a-f:]*`)

// nftFacts turns a listing of nft(8) into a line a rule. Those of a tunnel's
// own tables lose the names of table and chain, which carry no meaning, and the
// comment; a rule that stands in a table of family inet is one of ip and one of
// ip6, unless it says which.
func (w factWords) nftFacts(lines []string) []string {
	var out []string
	var family, table, chain, hook string
	n := 0
	for _, line := range lines {
		words := strings.Fields(line)
		switch {
		case words[0] == "table":
			family, table, chain, n = words[1], words[2], "", 0
		case words[0] == "chain":
			chain, hook, n = words[1], "", 0
		case words[0] == "type":
			hook = strings.TrimSuffix(strings.TrimSpace(line), " policy accept;")
		}
		if table != "wg-quick-"+w.ifname && table != "wgctl-"+w.ifname {
			out = append(out, fmt.Sprintf("%s %s %s %d %s", family, table, chain, n, strings.TrimSpace(line)))
			n++
			continue
		}
		if words[0] == "table" || words[0] == "chain" || words[0] == "type" || words[0] == "}" {
			continue
		}
		rule, _, _ := strings.Cut(strings.TrimSpace(line), ` comment "wgctl: `)
		for _, f := range ruleFamilies(family, rule) {
			out = append(out, fmt.Sprintf("%s (%s) %s", f, hook, rule))
		}
	}
	return out
}

// ruleFamilies tells whose packets a rule can match.
func ruleFamilies(table, rule string) []string {
	switch {
	case table != "inet":
		return []string{table}
	case strings.Contains(rule, " ip daddr "):
		return []string{"ip"}
	case strings.Contains(rule, " ip6 daddr "):
		return []string{"ip6"}
	}
	return []string{"ip", "ip6"}
}

// What the normalisation hides must not be what the comparison is for.
func TestFacts(t *testing.T) {
	w := factWords{ifname: "wg0", file: "Address = fe80::1/64", port: "41287"}
	facts := func(part, body string) string {
		return strings.Join(w.facts("== "+part+"\n"+body+"\n"), "\n")
	}
	for _, c := range []struct{ name, part, theirs, ours string }{
		{"alias", "links and addresses", `wg0: mtu 1420\    link/none`, `wg0: mtu 1420\    link/none \    alias wgctl`},
		{
			"alias with a note", "links and addresses", `wg0: mtu 1420\    link/none`,
			`wg0: mtu 1420\    link/none \    alias wgctl net.ipv4.conf.all.src_valid_mark=0 net/ipv6/conf/e.0/accept_ra=1`,
		},
		{"protocol", "rules and routes -4", "default dev wg0 scope link", "default dev wg0 proto 87 scope link"},
		{"link-local", "rules and routes -6", "local fe80::12 dev wg0", "local fe80::ab:cd dev wg0"},
		{"port", "sockets", "udp 0.0.0.0:41287", "udp 0.0.0.0:random"},
		{"device", "processes", "/x/wireguard-go wg0", "wgctl device-serve wg0"},
		{
			"firewall", "nftables",
			"table ip wg-quick-wg0 {\nchain a {\ntype filter hook prerouting priority raw; policy accept;\niifname != \"wg0\" ip daddr 10.0.0.1 drop\n}\n}\n" +
				"table ip6 wg-quick-wg0 {\nchain a {\ntype filter hook prerouting priority raw; policy accept;\n}\n}",
			"table inet wgctl-wg0 {\nchain b {\ntype filter hook prerouting priority raw; policy accept;\niifname != \"wg0\" ip daddr 10.0.0.1 drop comment \"wgctl: x\"\n}\n}",
		},
	} {
		if theirs, ours := facts(c.part, c.theirs), facts(c.part, c.ours); theirs != ours {
			t.Errorf("%s: should be the same:\n%s\n%s", c.name, theirs, ours)
		}
	}
	for _, c := range []struct{ name, part, one, other string }{
		{"alias of a hook", "links and addresses", `wg0: mtu 1420\    link/none`, `wg0: mtu 1420\    link/none \    alias mine`},
		{"alias with another's word", "links and addresses", `wg0: mtu 1420\    link/none`, `wg0: mtu 1420\    link/none \    alias wgctl uplink`},
		{"link-local of the file", "rules and routes -6", "local fe80::1 dev wg0", "local fe80::2 dev wg0"},
		{"order of nameservers", "resolv.conf", "nameserver 1.1.1.1\nnameserver 9.9.9.9", "nameserver 9.9.9.9\nnameserver 1.1.1.1"},
		{"one family", "nftables", "table ip wg-quick-wg0 {\nchain a {\nmeta l4proto udp\n}\n}", "table inet wgctl-wg0 {\nchain a {\nmeta l4proto udp\n}\n}"},
		{"order of another's rules", "nftables", "table ip x {\nchain a {\naccept\ndrop\n}\n}", "table ip x {\nchain a {\ndrop\naccept\n}\n}"},
	} {
		if one, other := facts(c.part, c.one), facts(c.part, c.other); one == other {
			t.Errorf("%s: should differ: %s", c.name, one)
		}
	}
}
