// SPDX-License-Identifier: MIT

package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ownChains are the chains that a tunnel has in iptables, if they have rules.
// A chain is called wgctl-IF-SUFFIX, which has to stay within the 28 bytes of
// XT_EXTENSION_MAXNAMELEN for an interface name of 15.
var ownChains = [...]struct{ table, suffix, hook string }{
	{"raw", "raw", "PREROUTING"},
	{"mangle", "post", "POSTROUTING"},
	{"mangle", "pre", "PREROUTING"},
}

// Indexes in ownChains.
const (
	ipRaw = iota
	ipPost
	ipPre
)

func chainName(ifname string, i int) string { return "wgctl-" + ifname + "-" + ownChains[i].suffix }

// An ipState is what one family's iptables has of one tunnel: for each of
// ownChains its rules and the jumps to it.
type ipState [len(ownChains)]ipChain

// Rules and jumps are in the words of iptables-save: rules without the leading
// "-A CHAIN ", jumps with it.
type ipChain struct {
	exists bool
	rules  []string
	jumps  []string
}

func (s ipState) empty() bool {
	return !slices.ContainsFunc(s[:], func(c ipChain) bool { return c.exists || len(c.jumps) > 0 })
}

// iptablesState returns what one family's iptables shall have of the ruleset.
func (r Ruleset) iptablesState(v6 bool) ipState {
	r = r.canonical()
	comment := fmt.Sprintf(`-m comment --comment "wgctl: %s"`, r.Interface)
	var s ipState
	for _, a := range r.AntiSpoof {
		if a.Is6() == v6 {
			s[ipRaw].rules = append(s[ipRaw].rules, fmt.Sprintf("-d %s ! -i %s -m addrtype ! --src-type LOCAL %s -j DROP",
				netip.PrefixFrom(a, a.BitLen()), r.Interface, comment))
		}
	}
	if r.RestoreMark != 0 {
		s[ipPost].rules = []string{fmt.Sprintf("-p udp -m mark --mark %#x %s -j CONNMARK --save-mark", r.RestoreMark, comment)}
		s[ipPre].rules = []string{fmt.Sprintf("-p udp %s -j CONNMARK --restore-mark", comment)}
	}
	tagged := false
	for i := range s {
		if len(s[i].rules) == 0 {
			continue
		}
		s[i].exists = true
		s[i].jumps = []string{fmt.Sprintf("-A %s %s -j %s", ownChains[i].hook, comment, chainName(r.Interface, i))}
		if !tagged {
			t := tag{ifname: r.Interface, mark: r.RestoreMark, digest: r.Digest()}
			s[i].rules[0] = strings.Replace(s[i].rules[0], comment, fmt.Sprintf("-m comment --comment %q", t), 1)
			tagged = true
		}
	}
	return s
}

// restoreText returns the input of "iptables-restore --noflush" that makes
// have into want. Each table is one transaction: chains are filled first, and
// jumps, which turn them on, come last.
func restoreText(ifname string, have, want ipState) string {
	var b strings.Builder
	for _, table := range []string{"raw", "mangle"} {
		var lines []string
		for _, step := range []func(int, ipChain, ipChain) []string{
			func(i int, _, want ipChain) []string { return fillChain(chainName(ifname, i), want) },
			func(_ int, have, want ipChain) []string { return moveJumps(have, want) },
			func(i int, have, want ipChain) []string { return dropChain(chainName(ifname, i), have, want) },
		} {
			for i := range ownChains {
				if ownChains[i].table == table {
					lines = append(lines, step(i, have[i], want[i])...)
				}
			}
		}
		if len(lines) > 0 {
			fmt.Fprintf(&b, "*%s\n%s\nCOMMIT\n", table, strings.Join(lines, "\n"))
		}
	}
	return b.String()
}

// fillChain makes the chain, or empties one that is there, and adds its rules.
func fillChain(name string, want ipChain) []string {
	if !want.exists {
		return nil
	}
	lines := []string{":" + name + " - [0:0]"}
	for _, r := range want.rules {
		lines = append(lines, "-A "+name+" "+r)
	}
	return lines
}

// moveJumps deletes the jumps that are there and inserts the wanted ones,
// unless they are the same: those keep their place.
func moveJumps(have, want ipChain) []string {
	if slices.Equal(have.jumps, want.jumps) {
		return nil
	}
	var lines []string
	for _, j := range have.jumps {
		lines = append(lines, "-D"+strings.TrimPrefix(j, "-A"))
	}
	for _, j := range slices.Backward(want.jumps) {
		lines = append(lines, "-I"+strings.TrimPrefix(j, "-A"))
	}
	return lines
}

// dropChain empties and deletes a chain that isn't wanted.
func dropChain(name string, have, want ipChain) []string {
	if !have.exists || want.exists {
		return nil
	}
	return []string{":" + name + " - [0:0]", "-X " + name}
}

// parseSave finds the tunnel's chains in what iptables-save printed.
func parseSave(save, ifname string) ipState {
	var s ipState
	table := ""
	for line := range strings.Lines(save) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
			continue
		}
		for i, own := range ownChains {
			if own.table != table {
				continue
			}
			name := chainName(ifname, i)
			if strings.HasPrefix(line, ":"+name+" ") {
				s[i].exists = true
			}
			if rule, ok := strings.CutPrefix(line, "-A "+name+" "); ok {
				s[i].rules = append(s[i].rules, rule)
			} else if strings.HasPrefix(line, "-A ") && slices.Contains([]string{option(line, "-j"), option(line, "-g")}, name) {
				s[i].jumps = append(s[i].jumps, line)
			}
		}
	}
	return s
}

// readIptables returns the ruleset that the states of both families come from;
// one that was tampered with has the digest "changed". Versions of iptables print
// the same rule in different words, so that rules are read by the words that
// carry a value; the result must then be the ruleset that the tag names.
func readIptables(ifname string, v4 ipState, v6 *ipState) Installed {
	families := []ipState{v4}
	if v6 != nil {
		families = append(families, *v6)
	}
	if !slices.ContainsFunc(families, func(s ipState) bool { return !s.empty() }) {
		return Installed{}
	}
	found, ok := tag{}, true
	read := Ruleset{Interface: ifname}
	for _, s := range families {
		ok = s.linked() && ok
		if t, tagged := s.tag(ifname); tagged {
			found = t
		}
		for _, rule := range s[ipRaw].rules {
			p, err := netip.ParsePrefix(withBits(option(rule, "-d")))
			ok = ok && err == nil && option(rule, "-i") == ifname && option(rule, "-j") == "DROP"
			read.AntiSpoof = append(read.AntiSpoof, p.Addr())
		}
	}
	for _, s := range families { // each of them has the mark's rules
		mark, whole := s.marks()
		ok = ok && whole && mark == found.mark
		read.RestoreMark = mark
	}
	if !ok || read.Digest() != found.digest {
		return Installed{Digest: changed, Mark: found.mark}
	}
	return Installed{Digest: found.digest, Mark: found.mark}
}

// linked reports whether each chain is reached by one jump, from its own hook.
func (s ipState) linked() bool {
	for i, c := range s {
		if !c.exists && len(c.jumps) == 0 {
			continue
		}
		if !c.exists || len(c.rules) == 0 || len(c.jumps) != 1 || option(c.jumps[0], "-A") != ownChains[i].hook {
			return false
		}
	}
	return true
}

// tag returns the tag on the first rule.
func (s ipState) tag(ifname string) (tag, bool) {
	for _, c := range s {
		for _, rule := range c.rules {
			if t, ok := findTag(rule, ifname); ok {
				return t, true
			}
		}
	}
	return tag{}, false
}

// marks returns the mark that is saved and restored, and whether the two
// chains do that and nothing else.
func (s ipState) marks() (uint32, bool) {
	post, pre := s[ipPost].rules, s[ipPre].rules
	if len(post) == 0 && len(pre) == 0 {
		return 0, true
	}
	if len(post) != 1 || len(pre) != 1 {
		return 0, false
	}
	value, _, _ := strings.Cut(option(post[0], "--mark"), "/")
	mark, err := strconv.ParseUint(value, 0, 32)
	return uint32(mark), err == nil && mark != 0 &&
		strings.Contains(post[0], "--save-mark") && strings.Contains(pre[0], "--restore-mark")
}

// option returns the word after an option of a rule, or "".
func option(rule, name string) string {
	words := strings.Fields(rule)
	if i := slices.Index(words, name); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

// withBits completes an address that iptables printed without its length.
func withBits(addr string) string {
	if a, err := netip.ParseAddr(addr); err == nil {
		return netip.PrefixFrom(a, a.BitLen()).String()
	}
	return addr
}
