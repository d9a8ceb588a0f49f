// SPDX-License-Identifier: MIT

package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// ownChains are the chains that a tunnel has in iptables, if they have rules.
// A chain is called wgctl-IF-SUFFIX, which has to stay within the 28 bytes of
// XT_EXTENSION_MAXNAMELEN for an interface name of 15. Jumps are inserted at
// the head of a hook in this order, so that those of the kill switch come to
// stand before all others.
var ownChains = [...]ownChain{
	{"raw", "raw", "PREROUTING", PreroutingRaw},
	{"mangle", "post", "POSTROUTING", PostroutingMangle},
	{"mangle", "pre", "PREROUTING", PreroutingMangle},
	{"mangle", "mfwd", "FORWARD", ForwardMangle},
	{"nat", "dnat", "PREROUTING", PreroutingNAT},
	{"nat", "own", "OUTPUT", OutputNAT},
	{"nat", "snat", "POSTROUTING", PostroutingNAT},
	{"filter", "in", "INPUT", InputFilter},
	{"filter", "fwd", "FORWARD", ForwardFilter},
	{"filter", "out", "OUTPUT", OutputFilter},
	{"filter", "kfwd", "FORWARD", killForward},
	{"filter", "kout", "OUTPUT", killOut},
}

// An ownChain is a chain of ours in a table, with the hook that jumps to it and
// the rules that go there.
type ownChain struct {
	table, suffix, hook string
	of                  Chain
}

// ownTables are the tables of ownChains. That of the kill switch is filled
// first and emptied last.
var ownTables = [...]string{"filter", "raw", "mangle", "nat"}

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
	s := r.iptablesChains(v6)
	both := [2]string{r.iptablesChains(false).fingerprint(), r.iptablesChains(true).fingerprint()}
	for i := range s {
		if len(s[i].rules) > 0 {
			t := tag{ifname: r.Interface, mark: r.mark(), digest: r.Digest(), rules: both[0] + both[1]}
			s[i].rules[0] = strings.Replace(s[i].rules[0], fmt.Sprintf("%q", "wgctl: "+r.Interface), fmt.Sprintf("%q", t), 1)
			break
		}
	}
	return s
}

// iptablesChains returns it without the tag.
func (r Ruleset) iptablesChains(v6 bool) ipState {
	family := IPv4
	if v6 {
		family = IPv6
	}
	var s ipState
	for _, rule := range r.iptablesRules() {
		if rule.Family != AnyFamily && rule.Family != family {
			continue
		}
		i := slices.IndexFunc(ownChains[:], func(c ownChain) bool { return c.of == rule.Chain })
		s[i].rules = append(s[i].rules, rule.iptables("wgctl: "+r.Interface))
	}
	for i := range s {
		if len(s[i].rules) > 0 {
			s[i].exists = true
			s[i].jumps = []string{fmt.Sprintf(`-A %s -m comment --comment "wgctl: %s" -j %s`, ownChains[i].hook, r.Interface, chainName(r.Interface, i))}
		}
	}
	return s
}

// restoreText returns the input of "iptables-restore --noflush" that makes
// have into want. Each table is one transaction: chains are filled first, and
// jumps, which turn them on, come last.
func restoreText(ifname string, have, want ipState) string {
	var b strings.Builder
	for _, table := range ownTables {
		kept := have.keptJumps(want, table)
		var lines []string
		for _, step := range []func(int, ipChain, ipChain) []string{
			func(i int, _, want ipChain) []string { return fillChain(chainName(ifname, i), want) },
			func(_ int, have, want ipChain) []string {
				if kept {
					return nil
				}
				return moveJumps(have, want)
			},
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

// keptJumps reports whether all jumps of a table are as wanted. If one isn't,
// all are set anew: their order counts.
func (s ipState) keptJumps(want ipState, table string) bool {
	for i := range s {
		if ownChains[i].table == table && !slices.Equal(s[i].jumps, want[i].jumps) {
			return false
		}
	}
	return true
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

// moveJumps deletes the jumps that are there and inserts the wanted ones.
func moveJumps(have, want ipChain) []string {
	var lines []string
	for _, j := range have.jumps {
		lines = append(lines, "-D"+strings.TrimPrefix(j, "-A"))
	}
	for _, j := range want.jumps {
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

// readIptables returns what the states of both families say of themselves; a
// ruleset that was tampered with has the digest "changed".
func readIptables(ifname string, v4 ipState, v6 *ipState) Installed {
	families := []ipState{v4}
	if v6 != nil {
		families = append(families, *v6)
	}
	if !slices.ContainsFunc(families, func(s ipState) bool { return !s.empty() }) {
		return Installed{}
	}
	found, ok, kill := tag{}, true, false
	for _, s := range families {
		kill = kill || s.kills()
		ok = s.linked() && ok
		if t, tagged := s.tag(ifname); tagged {
			found = t
		}
	}
	for i, s := range families {
		ok = ok && len(found.rules) == 2*fingerprintLen && s.fingerprint() == found.rules[i*fingerprintLen:][:fingerprintLen]
	}
	if !ok {
		found.digest = changed
	}
	return Installed{Digest: found.digest, Mark: found.mark, KillSwitch: kill}
}

// kills reports whether there is a chain of a kill switch.
func (s ipState) kills() bool {
	return slices.ContainsFunc(ownChains[:], func(c ownChain) bool {
		return c.of.Table == killTable && s[slices.Index(ownChains[:], c)].exists
	})
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
