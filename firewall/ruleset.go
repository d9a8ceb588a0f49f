// SPDX-License-Identifier: MIT

package firewall

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// changed is the digest of a ruleset that isn't as it was applied.
const changed = "changed"

// ifname is wg-quick's set of interface names (its parse_options).
var ifname = regexp.MustCompile(`^[a-zA-Z0-9_=+.-]{1,15}$`)

// Digest returns 16 hexadecimal digits that are the same for rulesets which
// ask for the same, whatever the order of their addresses. That of an empty
// ruleset is "", as in an Installed where nothing is there.
func (r Ruleset) Digest() string {
	if r.Empty() {
		return ""
	}
	r = r.canonical()
	// The number is that of the rendering: raise it when the same ruleset
	// becomes other rules, so that what an older version left is replaced.
	h := sha256.New()
	fmt.Fprintf(h, "wgctl ruleset 1\ninterface %s\nrestore mark %#x\n", r.Interface, r.RestoreMark)
	for _, a := range r.AntiSpoof {
		fmt.Fprintf(h, "anti-spoof %s\n", a)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Text returns the ruleset as "nft list ruleset" shows it when the nftables
// backend has applied it, or "" for an empty one.
func (r Ruleset) Text() string {
	chains := r.chains()
	if len(chains) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", TableName(r.Interface))
	for i, c := range chains {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority %s; policy accept;\n", c.name, c.hookText, c.priorityText)
		for _, rule := range c.rules {
			fmt.Fprintf(&b, "\t\t%s\n", rule)
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// validate returns an error if the ruleset can't be written as rules.
func (r Ruleset) validate() error {
	if !ifname.MatchString(r.Interface) {
		return fmt.Errorf("reading ruleset: interface name %q: %w", r.Interface, unix.EINVAL)
	}
	if slices.ContainsFunc(r.AntiSpoof, func(a netip.Addr) bool { return !a.IsValid() }) {
		return errors.New("reading ruleset: an anti-spoof address is empty")
	}
	return nil
}

// canonical returns the ruleset with its addresses sorted, unique, and as they
// stand in a packet: without zone, IPv4 as IPv4.
func (r Ruleset) canonical() Ruleset {
	addrs := make([]netip.Addr, len(r.AntiSpoof))
	for i, a := range r.AntiSpoof {
		addrs[i] = a.Unmap().WithZone("")
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	r.AntiSpoof = slices.Compact(addrs)
	return r
}

// A chain is a base chain with its rules, both as text and as bytecode.
type chain struct {
	name         string
	hook         *nftables.ChainHook
	hookText     string
	priority     *nftables.ChainPriority
	priorityText string
	rules        []rule
}

// A rule is a row of terms with a comment.
type rule struct {
	terms   []term
	comment string
}

func (r rule) String() string {
	words := make([]string, 0, len(r.terms)+1)
	for _, t := range r.terms {
		words = append(words, t.text)
	}
	return strings.Join(append(words, fmt.Sprintf("comment %q", r.comment)), " ")
}

// chains returns the chains that have rules. They have the names and hooks of
// the ones that wg-quick makes in its add_default, in one table for both
// families.
func (r Ruleset) chains() []chain {
	r = r.canonical()
	preraw := chain{
		name: "preraw",
		hook: nftables.ChainHookPrerouting, hookText: "prerouting",
		priority: nftables.ChainPriorityRaw, priorityText: "raw",
	}
	for _, a := range r.AntiSpoof {
		preraw.rules = append(preraw.rules, rule{
			terms:   []term{iifnameNot(r.Interface), daddr(a), fibSaddrTypeNotLocal(), drop()},
			comment: "wgctl: anti-spoof",
		})
	}
	chains := []chain{preraw}
	if r.RestoreMark != 0 {
		chains = append(chains, chain{
			name: "postmangle",
			hook: nftables.ChainHookPostrouting, hookText: "postrouting",
			priority: nftables.ChainPriorityMangle, priorityText: "mangle",
			rules: []rule{{
				terms:   []term{l4proto(unix.IPPROTO_UDP), metaMark(r.RestoreMark), ctMarkSetMetaMark()},
				comment: "wgctl: save mark",
			}},
		}, chain{
			name: "premangle",
			hook: nftables.ChainHookPrerouting, hookText: "prerouting",
			priority: nftables.ChainPriorityMangle, priorityText: "mangle",
			rules: []rule{{
				terms:   []term{l4proto(unix.IPPROTO_UDP), metaMarkSetCtMark()},
				comment: "wgctl: restore mark",
			}},
		})
	}
	chains = slices.DeleteFunc(chains, func(c chain) bool { return len(c.rules) == 0 })
	if len(chains) > 0 {
		chains[0].rules[0].comment = tag{
			ifname: r.Interface, mark: r.RestoreMark, digest: r.Digest(), rules: fingerprint(render(r.Interface, chains)),
		}.String()
	}
	return chains
}

// A tag is the comment of the first rule: what is needed to know a ruleset
// again without decompiling it.
type tag struct {
	ifname string
	mark   uint32
	digest string // of the Ruleset
	rules  string // fingerprint of the rules, "" in iptables
}

func (t tag) String() string {
	s := fmt.Sprintf("wgctl: %s mark %#x digest %s", t.ifname, t.mark, t.digest)
	if t.rules != "" {
		s += " rules " + t.rules
	}
	return s
}

var tagPattern = regexp.MustCompile(`wgctl: (\S+) mark (0x[0-9a-f]+) digest ([0-9a-f]+)(?: rules ([0-9a-f]+))?`)

// findTag returns the tag of that interface in text, which may be a comment or
// a whole rule.
func findTag(text, ifname string) (tag, bool) {
	m := tagPattern.FindStringSubmatch(text)
	if m == nil || m[1] != ifname {
		return tag{}, false
	}
	t := tag{ifname: m[1], digest: m[3], rules: m[4]}
	_, err := fmt.Sscanf(m[2], "0x%x", &t.mark)
	return t, err == nil
}

// TableName returns the name of the interface's table.
func TableName(ifname string) string { return "wgctl-" + ifname }

// Count returns the number of rules that the ruleset becomes.
func (r Ruleset) Count() int {
	n := 0
	for _, c := range r.chains() {
		n += len(c.rules)
	}
	return n
}

// fingerprint returns a hash of what the chains do: their hooks and the
// bytecode of their rules, without names of tables, handles and comments.
func fingerprint(chains []installedChain) string {
	chains = slices.Clone(chains)
	slices.SortFunc(chains, func(a, b installedChain) int { return cmp.Compare(a.Name, b.Name) })
	h := sha256.New()
	for _, c := range chains {
		fmt.Fprintf(h, "chain %s type %s", c.Name, c.Type)
		if c.Hooknum != nil && c.Priority != nil {
			fmt.Fprintf(h, " hook %d priority %d", *c.Hooknum, *c.Priority)
		}
		if c.Policy != nil {
			fmt.Fprintf(h, " policy %d", *c.Policy)
		}
		for _, r := range c.rules {
			fmt.Fprintf(h, "\nrule")
			for _, e := range r.Exprs {
				fmt.Fprintf(h, " %x", bytecode(e))
			}
		}
		fmt.Fprintln(h)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
