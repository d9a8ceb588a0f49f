// SPDX-License-Identifier: MIT

package firewall

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"go4.org/netipx"
	"golang.org/x/sys/unix"
)

// changed is the digest of a ruleset that isn't as it was applied.
const changed = "changed"

// inIfname are the characters of wg-quick's interface names (its parse_options).
const inIfname = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=+.-"

// isIfname reports whether wg-quick takes a name for an interface's. It is no
// regular expression, which each run would compile for a name or two.
func isIfname(name string) bool {
	return name != "" && len(name) < unix.IFNAMSIZ && strings.Trim(name, inIfname) == ""
}

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
	for _, line := range r.digestLines() {
		fmt.Fprintln(h, line)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// digestLines are those that only some rulesets have: others keep the digest
// that they had before there were such.
func (r Ruleset) digestLines() []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, m := range r.Masquerade {
		add("masquerade %d %s", m.Family, m.Out)
	}
	if len(r.Masquerade) > 0 {
		add("sources %v", r.Sources)
	}
	for _, f := range r.PortForwards {
		add("forward %d %d+%d %s %d %s %t", f.Protocol, f.First, f.Count, f.To, f.ToFirst, f.On, f.KeepSource)
	}
	if r.Clamp.On {
		add("clamp %d", r.Clamp.Size)
	}
	if !r.KillSwitch.IsZero() {
		add("kill switch %#x %v", r.KillSwitch.Mark, r.KillSwitch.Excluded)
	}
	if r.KillSwitch.Resolver {
		add("nameservers %v", r.KillSwitch.Nameservers)
	}
	for _, rule := range r.Extra {
		text, _ := json.Marshal(rule) // of plain values there is always one
		add("rule %s", text)
	}
	return out
}

// Text returns the ruleset as "nft list ruleset" shows it when the nftables
// backend has applied it, but with one element of a set a line; or "" for an
// empty one.
func (r Ruleset) Text() string {
	chains := r.chains()
	if len(chains) == 0 {
		return ""
	}
	var parts []string
	for _, s := range r.canonical().sets() {
		parts = append(parts, s.text())
	}
	for _, c := range chains {
		parts = append(parts, c.text())
	}
	return fmt.Sprintf("table inet %s {\n%s}\n", TableName(r.Interface), strings.Join(parts, "\n"))
}

func (c chain) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s hook %s priority %s; policy accept;\n", c.name, c.kind, c.hookText, c.priorityText)
	for _, rule := range c.rules {
		fmt.Fprintf(&b, "\t\t%s\n", rule)
	}
	b.WriteString("\t}\n")
	return b.String()
}

// Check returns an error if the ruleset, of which anybody may have written the
// text, can't be written as rules.
func (r Ruleset) Check() error {
	if r.Empty() {
		return nil
	}
	return r.validate()
}

// validate returns an error if the ruleset can't be written as rules.
func (r Ruleset) validate() error {
	if !isIfname(r.Interface) {
		return fmt.Errorf("reading ruleset: interface name %q: %w", r.Interface, unix.EINVAL)
	}
	if slices.ContainsFunc(r.AntiSpoof, func(a netip.Addr) bool { return !a.IsValid() }) {
		return errors.New("reading ruleset: an anti-spoof address is empty")
	}
	for _, f := range r.PortForwards {
		if !f.To.IsValid() || f.First == 0 || f.ToFirst == 0 || f.Count < 1 ||
			int(f.First)+f.Count-1 > math.MaxUint16 || int(f.ToFirst)+f.Count-1 > math.MaxUint16 {
			return fmt.Errorf("reading ruleset: a forward of port %d: %w", f.First, unix.EINVAL)
		}
	}
	return r.validateRules()
}

// canonical returns the ruleset with its addresses sorted, unique, and as they
// stand in a packet: without zone, IPv4 as IPv4; forwards sorted, and prefixes
// as few as say the same.
func (r Ruleset) canonical() Ruleset {
	addrs := make([]netip.Addr, len(r.AntiSpoof))
	for i, a := range r.AntiSpoof {
		addrs[i] = a.Unmap().WithZone("")
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	r.AntiSpoof = slices.Compact(addrs)
	r.PortForwards = slices.Clone(r.PortForwards)
	slices.SortFunc(r.PortForwards, func(a, b PortForward) int {
		return cmp.Or(cmp.Compare(familyOf(a.To), familyOf(b.To)), cmp.Compare(a.Protocol, b.Protocol),
			strings.Compare(a.On, b.On), cmp.Compare(a.First, b.First))
	})
	r.Sources, r.KillSwitch.Excluded = merged(r.Sources), merged(r.KillSwitch.Excluded)
	return r
}

// merged returns the fewest prefixes for the same addresses, sorted.
func merged(prefixes []netip.Prefix) []netip.Prefix {
	var b netipx.IPSetBuilder
	for _, p := range prefixes {
		b.AddPrefix(p)
	}
	set, err := b.IPSet()
	if err != nil {
		return prefixes // only of an invalid one, which validate refuses
	}
	return set.Prefixes()
}

// A chain is a base chain with its rules, both as text and as bytecode.
type chain struct {
	of           Chain
	name         string
	kind         nftables.ChainType
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
		if t.text != "" { // what the next term implies has none
			words = append(words, t.text)
		}
	}
	return strings.Join(append(words, fmt.Sprintf("comment %q", r.comment)), " ")
}

// baseChains are all the chains that a table may have, in its order. The names
// and hooks of the first are those that wg-quick makes in its add_default.
func baseChains() []chain {
	const filter, nat = nftables.ChainTypeFilter, nftables.ChainTypeNAT
	pre, in, fwd := nftables.ChainHookPrerouting, nftables.ChainHookInput, nftables.ChainHookForward
	out, post := nftables.ChainHookOutput, nftables.ChainHookPostrouting
	mangle, zero, dst := nftables.ChainPriorityMangle, nftables.ChainPriorityFilter, nftables.ChainPriorityNATDest
	return []chain{
		{PreroutingRaw, "preraw", filter, pre, "prerouting", nftables.ChainPriorityRaw, "raw", nil},
		{PostroutingMangle, "postmangle", filter, post, "postrouting", mangle, "mangle", nil},
		{PreroutingMangle, "premangle", filter, pre, "prerouting", mangle, "mangle", nil},
		{PreroutingNAT, "dstnat", nat, pre, "prerouting", dst, "dstnat", nil},
		{OutputNAT, "dstnat-own", nat, out, "output", dst, "-100", nil}, // nft has no word for it there
		{InputFilter, "input", filter, in, "input", zero, "filter", nil},
		{ForwardMangle, "forward-mangle", filter, fwd, "forward", mangle, "mangle", nil},
		{ForwardFilter, "forward", filter, fwd, "forward", zero, "filter", nil},
		{OutputFilter, "output", filter, out, "output", zero, "filter", nil},
		{PostroutingNAT, "srcnat", nat, post, "postrouting", nftables.ChainPriorityNATSource, "srcnat", nil},
		{killAll, killChain, filter, post, "postrouting", zero, "filter", nil},
	}
}

const killChain = "killswitch"

// chains returns the chains that have rules, in one table for both families.
func (r Ruleset) chains() []chain {
	r = r.canonical()
	chains := baseChains()
	for _, line := range r.nftRules() {
		i := slices.IndexFunc(chains, func(c chain) bool { return c.of == line.Chain })
		chains[i].rules = append(chains[i].rules, rule{terms: line.terms(), comment: line.comment()})
	}
	chains = slices.DeleteFunc(chains, func(c chain) bool { return len(c.rules) == 0 })
	if len(chains) > 0 {
		sets, rendered := render(r.Interface, r.sets(), chains)
		chains[0].rules[0].comment = tag{
			ifname: r.Interface, mark: r.mark(), digest: r.Digest(), rules: fingerprint(sets, rendered),
		}.String()
	}
	return chains
}

// mark is the one that the tag names.
func (r Ruleset) mark() uint32 { return cmp.Or(r.RestoreMark, r.KillSwitch.Mark) }

func (r Rule) comment() string {
	if r.Comment == "" {
		return "wgctl"
	}
	return "wgctl: " + r.Comment
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

const inHex = "0123456789abcdef"

// findTag returns the tag of that interface in text, which may be a comment or
// a whole rule.
func findTag(text, ifname string) (tag, bool) {
	_, rest, _ := strings.Cut(text, "wgctl: "+ifname+" mark 0x")
	mark, rest := leading(rest, inHex)
	n, err := strconv.ParseUint(mark, 16, 32)
	rest, ok := strings.CutPrefix(rest, " digest ")
	t := tag{ifname: ifname, mark: uint32(n)}
	t.digest, rest = leading(rest, inHex)
	if rules, ok := strings.CutPrefix(rest, " rules "); ok {
		t.rules, _ = leading(rules, inHex)
	}
	return t, ok && err == nil && t.digest != ""
}

// leading cuts off the first characters that are among those given.
func leading(s, of string) (head, rest string) {
	rest = strings.TrimLeft(s, of)
	return s[:len(s)-len(rest)], rest
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

// fingerprint returns a hash of what sets and chains do: elements, hooks and
// the bytecode of rules, without names of tables, handles and comments.
func fingerprint(sets []installedSet, chains []installedChain) string {
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
				switch e.(type) {
				case *expr.Rt, *expr.Byteorder:
					// The library leaves them out of what it reads.
				default:
					fmt.Fprintf(h, " %x", bytecode(e))
				}
			}
		}
		fmt.Fprintln(h)
	}
	sets = slices.Clone(sets)
	slices.SortFunc(sets, func(a, b installedSet) int { return cmp.Compare(a.Name, b.Name) })
	for _, s := range sets {
		fmt.Fprintf(h, "set %s map %t interval %t\n", s.Name, s.IsMap, s.Interval)
		elements := make([]string, 0, len(s.elements))
		for _, e := range s.elements {
			elements = append(elements, fmt.Sprintf("%x %t %x", e.Key, e.IntervalEnd, e.Val))
		}
		slices.Sort(elements) // the kernel gives them back in any order
		fmt.Fprintln(h, strings.Join(elements, "\n"))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
