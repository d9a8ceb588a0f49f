// SPDX-License-Identifier: MIT

package hook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/routes"
)

// nft reads commands of nft(8): tables and chains to put rules in, and rules.
func (r *reader) nft(_ command, args []string) (out []Change, why string) {
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		return nil, "option " + args[0] + " is beyond what is understood"
	}
	words := nftWords(strings.Join(args, " "))
	for len(words) > 0 {
		n := endOf(words)
		changes, why := r.nftCommand(words[:n])
		if why != "" {
			return nil, why
		}
		out = append(out, changes...)
		words = words[min(n+1, len(words)):]
	}
	if len(out) == 0 {
		return nil, "it changes nothing"
	}
	return out, ""
}

// nftWords splits as nft does: braces, commas and semicolons are words of their
// own, and quotes keep words together.
func nftWords(s string) (out []string) {
	for s = strings.TrimLeft(s, " \t\n"); s != ""; s = strings.TrimLeft(s, " \t\n") {
		n := 1
		switch {
		case s[0] == '"':
			if end := strings.IndexByte(s[1:], '"'); end >= 0 {
				out = append(out, s[1:1+end])
				s = s[end+2:]
				continue
			}
		case !strings.ContainsRune("{};,", rune(s[0])):
			if n = strings.IndexAny(s, "{};, \t\n\""); n < 0 {
				n = len(s)
			}
		}
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
}

// endOf is the index of the semicolon outside of braces, or of the end.
func endOf(words []string) int {
	depth := 0
	for i, w := range words {
		switch {
		case w == "{":
			depth++
		case w == "}":
			depth--
		case w == ";" && depth == 0:
			return i
		}
	}
	return len(words)
}

func (r *reader) nftCommand(words []string) ([]Change, string) {
	if len(words) < 3 {
		return nil, "it is too short to be understood"
	}
	verb, object, rest := words[0], words[1], words[2:]
	family := "ip"
	if slices.Contains([]string{"ip", "ip6", "inet", "arp", "bridge", "netdev"}, rest[0]) {
		family, rest = rest[0], rest[1:]
	}
	if family != "ip" && family != "ip6" && family != "inet" || len(rest) == 0 {
		return nil, "its family is beyond what is understood"
	}
	at := family + " " + rest[0]
	switch verb + " " + object {
	case "add table", "delete table", "destroy table":
		if len(rest) != 1 {
			break
		}
		return []Change{{Remove: verb != "add", Thing: Container{"table " + at}}}, ""
	case "add chain":
		return r.addChain(at, rest[1:])
	case "add rule", "insert rule":
		if len(rest) < 3 {
			break
		}
		chain, ok := r.chainOf(at, rest[1])
		if !ok {
			return nil, fmt.Sprintf("which hook chain %s is at isn't known", rest[1])
		}
		f, why := nftRule(family, chain, rest[2:])
		return []Change{{First: verb == "insert", Thing: f}}, why
	}
	return nil, fmt.Sprintf("%q is beyond what is understood", verb+" "+object)
}

// chainOf returns what a chain is by its definition in the same line, or by
// the name that everybody gives to chains of that hook.
func (r *reader) chainOf(at, name string) (Chain, bool) {
	if c, ok := r.chains[at+" "+name]; ok {
		return c, true
	}
	c, ok := map[string]Chain{"forward": Forward, "postrouting": Postrouting, "prerouting": Prerouting}[strings.ToLower(name)]
	return c, ok
}

// addChain reads "NAME { type nat hook postrouting priority 100 ; policy accept ; }".
func (r *reader) addChain(at string, words []string) ([]Change, string) {
	const why = "the chain is beyond what is understood"
	if len(words) < 9 || words[1] != "{" || words[len(words)-1] != "}" {
		return nil, why
	}
	body := strings.Join(words[2:len(words)-1], " ")
	for _, policy := range []string{" ;", " ; policy accept", " ; policy accept ;"} {
		body = strings.TrimSuffix(body, policy)
	}
	head, priority, ok := strings.Cut(body, " priority ")
	chain, known := map[string]Chain{
		"type filter hook forward": Forward, "type nat hook postrouting": Postrouting, "type nat hook prerouting": Prerouting,
	}[head]
	usual := map[Chain][]string{
		Forward: {"0", "filter", "-150", "mangle"}, Postrouting: {"100", "srcnat"}, Prerouting: {"-100", "dstnat"},
	}[chain]
	if !ok || !known || !slices.Contains(usual, priority) {
		return nil, why
	}
	if priority == "-150" || priority == "mangle" {
		chain = MangleFwd
	}
	r.chains[at+" "+words[0]] = chain
	return []Change{{Thing: Container{"chain " + at + " " + words[0]}}}, ""
}

// An nftReader reads the words of one rule.
type nftReader struct {
	f     Filter
	words []string
	syn   bool
}

func nftRule(family string, chain Chain, words []string) (Filter, string) {
	n := nftReader{f: Filter{Chain: chain}, words: words}
	switch family {
	case "ip":
		n.f.Family = routes.V4
	case "ip6":
		n.f.Family = routes.V6
	}
	for len(n.words) > 0 {
		word := n.words[0]
		if n.f.Action != "" && word != "comment" {
			return n.f, fmt.Sprintf("%q after the verdict", word)
		}
		if !n.term() {
			return n.f, fmt.Sprintf("the rule is beyond what is understood from %q on", word)
		}
	}
	f := n.f
	switch {
	case f.Action == "":
		return f, "a rule without a verdict"
	case f.Action == Accept && f.Chain != Forward,
		(f.Action == Masquerade || f.Action == SNAT) && f.Chain != Postrouting,
		f.Action == DNAT && f.Chain != Prerouting,
		f.Action == Clamp && f.Chain != Forward && f.Chain != MangleFwd:
		return f, fmt.Sprintf("%s in a chain of type %s", f.Action, f.Chain)
	case f.ToPort != 0 && f.Proto == "":
		return f, "a port without a protocol"
	case n.syn && f.Action != Clamp:
		return f, "TCP flags are understood for MSS clamping alone"
	}
	return f, f.check()
}

// take returns the next n words, if there are as many.
func (n *nftReader) take(count int) []string {
	if len(n.words) < count {
		return nil
	}
	w := n.words[:count]
	n.words = n.words[count:]
	return w
}

// follows takes the words of a phrase if they come next.
func (n *nftReader) follows(phrase string) bool {
	want := strings.Fields(phrase)
	if len(n.words) < len(want) || !slices.Equal(n.words[:len(want)], want) {
		return false
	}
	n.words = n.words[len(want):]
	return true
}

// term reads one match or statement.
func (n *nftReader) term() bool {
	f := &n.f
	switch {
	case n.follows("counter"), n.follows("comment") && len(n.take(1)) == 1:
		return true
	case n.follows("iifname"), n.follows("iif"), n.follows("meta iifname"):
		return n.link(&f.In)
	case n.follows("oifname"), n.follows("oif"), n.follows("meta oifname"):
		return n.link(&f.Out)
	case n.follows("ip saddr"):
		return n.net(&f.Src, routes.V4)
	case n.follows("ip daddr"):
		return n.net(&f.Dst, routes.V4)
	case n.follows("ip6 saddr"):
		return n.net(&f.Src, routes.V6)
	case n.follows("ip6 daddr"):
		return n.net(&f.Dst, routes.V6)
	case n.follows("meta nfproto ipv4"):
		return n.family(routes.V4)
	case n.follows("meta nfproto ipv6"):
		return n.family(routes.V6)
	case n.follows("fib daddr type local"):
		f.Local = true
		return true
	case n.follows("ct state established , related"), n.follows("ct state related , established"),
		n.follows("ct state { established , related }"), n.follows("ct state { related , established }"):
		f.Established = true
		return true
	case n.follows("tcp flags syn / syn , rst"), n.follows("tcp flags & ( syn | rst ) == syn"), n.follows("tcp flags syn"):
		n.syn = true
		return n.proto("tcp")
	case n.follows("tcp option maxseg size set"):
		return n.syn && n.clamp()
	}
	return n.port() || n.verdict()
}

func (n *nftReader) link(l *Link) bool {
	if *l != (Link{}) {
		return false
	}
	not := n.follows("!=")
	w := n.take(1)
	if w == nil {
		return false
	}
	var why string
	*l, why = link(w[0], "*", not)
	return why == ""
}

func (n *nftReader) net(to *Net, family routes.Family) bool {
	not := n.follows("!=")
	w := n.take(1)
	if w == nil || to.Prefix.IsValid() || !n.family(family) {
		return false
	}
	p, ok := prefixOf(w[0])
	if !ok || p.Bits() == 0 || routes.FamilyOf(p) != family {
		return false
	}
	*to = Net{p, not}
	return true
}

func (n *nftReader) family(f routes.Family) bool {
	if n.f.Family != 0 && n.f.Family != f {
		return false
	}
	n.f.Family = f
	return true
}

func (n *nftReader) proto(p string) bool {
	if n.f.Proto != "" && n.f.Proto != p {
		return false
	}
	n.f.Proto = p
	return true
}

func (n *nftReader) port() (ok bool) {
	for _, proto := range []string{"tcp", "udp"} {
		to := &n.f.DPort
		switch {
		case n.follows(proto + " dport"):
		case n.follows(proto + " sport"):
			to = &n.f.SPort
		case n.follows("meta l4proto " + proto):
			return n.proto(proto)
		default:
			continue
		}
		w := n.take(1)
		if w == nil || !n.proto(proto) {
			return false
		}
		*to, ok = ports(w[0], "-")
		return ok
	}
	return false
}

func (n *nftReader) clamp() bool {
	n.f.Action = Clamp
	if n.follows("rt mtu") {
		return true
	}
	w := n.take(1)
	if w == nil {
		return false
	}
	p, ok := ports(w[0], "-")
	n.f.MSS = p.First
	return ok && p.First == p.Last
}

func (n *nftReader) verdict() (ok bool) {
	f := &n.f
	switch {
	case n.follows("accept"):
		f.Action = Accept
		return true
	case n.follows("masquerade"):
		f.Action = Masquerade
		return true
	case n.follows("snat to"), n.follows("snat ip to"), n.follows("snat ip6 to"):
		f.Action = SNAT
	case n.follows("dnat to"), n.follows("dnat ip to"), n.follows("dnat ip6 to"):
		f.Action = DNAT
	default:
		return false
	}
	w := n.take(1)
	if w == nil {
		return false
	}
	f.To, f.ToPort, ok = addressPort(w[0], f.Family)
	ok = ok && (f.Action == DNAT || f.ToPort == 0)
	if ok && f.To.Is4() {
		return n.family(routes.V4)
	}
	return ok && n.family(routes.V6)
}

// nftTouches finds the chain that a command puts a rule into.
func nftTouches(words []string) []string {
	words = nftWords(strings.Join(words, " "))
	if len(words) < 4 || endOf(words) < len(words) || words[0] != "add" && words[0] != "insert" || words[1] != "rule" {
		return filterTouches(nil)
	}
	if slices.Contains([]string{"ip", "ip6", "inet"}, words[2]) {
		words = words[1:]
	}
	switch strings.ToLower(words[min(3, len(words)-1)]) {
	case "input", "output":
		return nil
	case "forward":
		if slices.Contains(words, "accept") && !slices.Contains(words, "vmap") {
			return []string{touchClamp}
		}
		return []string{touchForward}
	case "postrouting":
		return []string{string(Postrouting)}
	case "prerouting":
		return []string{string(Prerouting)}
	}
	return filterTouches(nil)
}
