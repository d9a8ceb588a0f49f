// SPDX-License-Identifier: MIT

package hook

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wgctl/wgctl/routes"
)

func (r *reader) iptables(_ command, args []string) ([]Change, string) {
	return readIptables(routes.V4, args)
}

func (r *reader) ip6tables(_ command, args []string) ([]Change, string) {
	return readIptables(routes.V6, args)
}

// An iptablesRule is a command of iptables while its words are read.
type iptablesRule struct {
	f        Filter
	verb     string // "-A", "-I" or "-D"
	chain    string
	table    string
	target   string
	matches  map[string]bool
	synOnly  bool
	clamp    bool
	setMSS   uint16
	toSource string
	toDest   string
}

// longOptions are the long spellings of iptables(8).
var longOptions = map[string]string{
	"--append": "-A", "--insert": "-I", "--delete": "-D", "--table": "-t", "--wait": "-w", "--verbose": "-v",
	"--in-interface": "-i", "--out-interface": "-o", "--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d",
	"--protocol": "-p", "--proto": "-p", "--jump": "-j", "--match": "-m",
	"--destination-port": "--dport", "--source-port": "--sport", "--numeric": "-n",
}

// spellOut puts the words of iptables into one spelling: options short where
// they have a short form, each value a word of its own.
func spellOut(args []string) (out []string) {
	for _, a := range args {
		name, value, has := strings.Cut(a, "=")
		if strings.HasPrefix(a, "--") && has {
			out = append(out, name, value)
		} else if len(a) > 2 && a[0] == '-' && a[1] != '-' && strings.IndexByte("AIDtiosdpjm", a[1]) >= 0 {
			out = append(out, a[:2], a[2:])
		} else {
			out = append(out, a)
		}
	}
	for i, a := range out {
		if short := longOptions[a]; short != "" {
			out[i] = short
		}
	}
	return out
}

func readIptables(family routes.Family, args []string) ([]Change, string) {
	p := iptablesRule{f: Filter{Family: family}, table: "filter", matches: map[string]bool{}}
	for args = spellOut(args); len(args) > 0; {
		n, why := p.option(args)
		if why != "" {
			return nil, why
		}
		args = args[n:]
	}
	if why := p.finish(); why != "" {
		return nil, why
	}
	return []Change{{Remove: p.verb == "-D", First: p.verb == "-I", Thing: p.f}}, ""
}

// option reads one option with its values, and returns how many words that
// were.
func (p *iptablesRule) option(args []string) (n int, why string) {
	not := args[0] == "!"
	if not {
		args = args[1:]
	}
	if len(args) == 0 {
		return 0, `a lone "!"`
	}
	switch o := args[0]; {
	case o == "-v" || o == "-n":
		return 1, ""
	case o == "-w": // the time to wait is a word of its own, or left out
		if len(args) > 1 && isNumber(args[1]) {
			return 2, ""
		}
		return 1, ""
	case o == "--clamp-mss-to-pmtu" && !not:
		p.clamp = true
		return 1, ""
	case len(args) < 2:
		return 0, fmt.Sprintf("%q without a value", o)
	}
	o, value := args[0], args[1]
	n = 2
	if value == "!" && len(args) > 2 && !not { // as long ago: "-o ! eth0"
		not, value, n = true, args[2], 3
	}
	if not {
		if !slices.Contains([]string{"-i", "-o", "-s", "-d"}, o) {
			return 0, fmt.Sprintf(`"!" before %q`, o)
		}
		if args[0] == o && n == 2 {
			n = 3
		}
	}
	switch o {
	case "-A", "-D", "-I":
		return p.place(o, args)
	case "--tcp-flags":
		if len(args) < 3 {
			return 0, "--tcp-flags without its flags"
		}
		if args[1] != "SYN,RST" && args[1] != "RST,SYN" || args[2] != "SYN" {
			return 0, "flags other than SYN,RST SYN"
		}
		p.synOnly = true
		return 3, ""
	}
	return n, p.value(o, value, not)
}

func (p *iptablesRule) place(verb string, args []string) (n int, why string) {
	if p.verb != "" {
		return 0, "two commands in one"
	}
	p.verb, p.chain, n = verb, args[1], 2
	if len(args) > 2 && isNumber(args[2]) {
		if verb != "-I" || args[2] != "1" {
			return 0, "a rule is named by its number"
		}
		n = 3
	}
	return n, ""
}

func (p *iptablesRule) value(o, value string, not bool) (why string) {
	ok := true
	switch o {
	case "-t":
		p.table = value
	case "-j":
		p.target = value
	case "-m":
		p.matches[value] = true
	case "--comment":
		ok = p.matches["comment"]
	case "-i":
		p.f.In, why = link(value, "+", not)
	case "-o":
		p.f.Out, why = link(value, "+", not)
	case "-s":
		p.f.Src, why = p.net(value, not)
	case "-d":
		p.f.Dst, why = p.net(value, not)
	case "-p":
		if p.f.Proto = strings.ToLower(value); p.f.Proto == "all" {
			p.f.Proto = ""
		}
		ok = slices.Contains([]string{"", "tcp", "udp"}, p.f.Proto)
	case "--dport":
		p.f.DPort, ok = ports(value, ":")
	case "--sport":
		p.f.SPort, ok = ports(value, ":")
	case "--state", "--ctstate":
		states := strings.Split(strings.ToUpper(value), ",")
		slices.Sort(states)
		ok = slices.Equal(states, []string{"ESTABLISHED", "RELATED"})
		p.f.Established = true
	case "--dst-type":
		ok = value == "LOCAL" && p.matches["addrtype"]
		p.f.Local = true
	case "--set-mss":
		n, err := strconv.ParseUint(value, 10, 16)
		p.setMSS, ok = uint16(n), err == nil && n > 0
	case "--to-source":
		p.toSource = value
	case "--to-destination":
		p.toDest = value
	default:
		return fmt.Sprintf("%q is beyond what is understood", o)
	}
	if !ok && why == "" {
		why = fmt.Sprintf("the value of %q is beyond what is understood", o)
	}
	return why
}

// finish makes the rule of what was read.
func (p *iptablesRule) finish() string {
	for m := range p.matches {
		if !slices.Contains([]string{"comment", "state", "conntrack", "addrtype", "tcp", "udp"}, m) {
			return fmt.Sprintf("match %q is beyond what is understood", m)
		}
		if (m == "tcp" || m == "udp") && p.f.Proto != m {
			return fmt.Sprintf("match %q without its protocol", m)
		}
	}
	switch {
	case p.verb == "":
		return "it neither adds nor deletes a rule"
	case p.chain == "INPUT" || p.chain == "OUTPUT":
		return fmt.Sprintf("what %s of the host's own filter drops, no rule of another table lets through", p.chain)
	case p.f.Proto == "" && (p.f.DPort != (Ports{}) || p.f.SPort != (Ports{})):
		return "a port without a protocol"
	case p.synOnly && p.target != "TCPMSS":
		return "TCP flags are understood for TCPMSS alone"
	case p.toSource != "" && p.target != "SNAT", p.toDest != "" && p.target != "DNAT", (p.clamp || p.setMSS != 0) && p.target != "TCPMSS":
		return "an option of another target"
	}
	return p.action()
}

// action reads the target, which goes with one chain each.
func (p *iptablesRule) action() string {
	f := &p.f
	at := p.table + " " + p.chain
	ok := true
	switch at + " " + p.target {
	case "filter FORWARD ACCEPT":
		f.Chain, f.Action = Forward, Accept
	case "nat POSTROUTING MASQUERADE":
		f.Chain, f.Action = Postrouting, Masquerade
	case "nat POSTROUTING SNAT":
		f.Chain, f.Action = Postrouting, SNAT
		f.To, ok = address(p.toSource, f.Family)
	case "nat PREROUTING DNAT":
		f.Chain, f.Action = Prerouting, DNAT
		f.To, f.ToPort, ok = addressPort(p.toDest, f.Family)
		ok = ok && (f.ToPort == 0 || f.Proto != "")
	case "filter FORWARD TCPMSS", "mangle FORWARD TCPMSS":
		f.Chain, f.Action, f.MSS = MangleFwd, Clamp, p.setMSS
		if p.table == "filter" {
			f.Chain = Forward
		}
		ok = p.synOnly && f.Proto == "tcp" && p.clamp != (p.setMSS != 0)
	case "filter FORWARD DROP", "filter FORWARD REJECT":
		return fmt.Sprintf("-j %s depends on its place among the host's own rules", p.target)
	default:
		return fmt.Sprintf("-j %s in chain %s of table %s is beyond what is understood", p.target, p.chain, p.table)
	}
	if !ok {
		return "the options of -j " + p.target + " are beyond what is understood"
	}
	return f.check()
}

// check refuses what no packet can be, or what iptables itself would refuse.
func (f *Filter) check() string {
	switch {
	case f.Chain == Postrouting && f.In.Name != "":
		return "an incoming interface in POSTROUTING"
	case f.Chain == Prerouting && f.Out.Name != "":
		return "an outgoing interface in PREROUTING"
	case f.Local && f.Chain != Prerouting:
		return "a local destination outside of PREROUTING"
	case f.Action == Accept:
		return f.checkAccept()
	}
	return ""
}

// checkAccept refuses an accept that can't be asked of the host's other packet
// filters: where they drop, one of our own table has no effect.
func (f *Filter) checkAccept() string {
	switch {
	case f.Proto != "":
		return "an accept for some protocols or ports can't be asked of other packet filters of the host"
	case f.In.Not || f.Out.Not || f.Src.Not || f.Dst.Not || f.In.Pattern || f.Out.Pattern:
		return "an accept with a negation or pattern can't be asked of other packet filters of the host"
	case f.In.Name == "" && f.Out.Name == "" && !f.Src.Prefix.IsValid() && !f.Dst.Prefix.IsValid():
		return "an accept without interface or address is about more than this tunnel"
	}
	return ""
}

// linkName is wg-quick's set of interface names, in which "+" is iptables' sign
// of a pattern if it comes last.
var linkName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_=+.-]{1,15}$`) })

// link reads the name of an interface, where rest stands for any end of it.
func link(name, rest string, not bool) (Link, string) {
	begin, pattern := strings.CutSuffix(name, rest)
	if !linkName().MatchString(begin) || begin[0] == '-' || strings.HasSuffix(begin, "+") {
		return Link{}, fmt.Sprintf("%q is no interface", name)
	}
	return Link{begin, pattern, not}, ""
}

// net reads an address or prefix of the rule's family, also with a mask in
// dots, as iptables keeps it.
func (p *iptablesRule) net(s string, not bool) (Net, string) {
	prefix, ok := prefixOf(s)
	if !ok || (prefix.Addr().Is4()) != (p.f.Family == routes.V4) {
		return Net{}, fmt.Sprintf("%q is not one address or prefix of the family", s)
	}
	if prefix.Bits() == 0 {
		if not {
			return Net{}, "nothing is outside of a default prefix"
		}
		return Net{}, ""
	}
	return Net{prefix, not}, ""
}

// prefixOf reads "10.0.0.1", "10.0.0.0/24" or "10.0.0.0/255.255.255.0", masked.
func prefixOf(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" && !a.Is4In6() {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	if head, mask, ok := strings.Cut(s, "/"); ok && strings.Contains(mask, ".") {
		m, err := netip.ParseAddr(mask)
		if err != nil || !m.Is4() {
			return netip.Prefix{}, false
		}
		bits := 0
		// #nosec G602 -- bits is less than 32
		for b := m.As4(); bits < 32 && b[bits/8]&(0x80>>(bits%8)) != 0; bits++ {
		}
		s = fmt.Sprintf("%s/%d", head, bits)
		if p, err := netip.ParsePrefix("255.255.255.255/" + strconv.Itoa(bits)); err != nil || p.Masked().Addr() != m {
			return netip.Prefix{}, false
		}
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil || prefix.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return prefix.Masked(), true
}

func ports(s, between string) (Ports, bool) {
	first, last, isRange := strings.Cut(s, between)
	a, err1 := strconv.ParseUint(first, 10, 16)
	b := a
	var err2 error
	if isRange {
		b, err2 = strconv.ParseUint(last, 10, 16)
	}
	return Ports{uint16(a), uint16(b)}, err1 == nil && err2 == nil && 0 < a && a <= b
}

func address(s string, family routes.Family) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Zone() == "" && !a.Is4In6() && (family == 0 || a.Is4() == (family == routes.V4))
}

// addressPort reads "10.8.0.2", "10.8.0.2:22" or "[fd00::2]:22".
func addressPort(s string, family routes.Family) (netip.Addr, uint16, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		_, ok := address(ap.Addr().String(), family)
		return ap.Addr(), ap.Port(), ok && ap.Port() != 0
	}
	a, ok := address(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"), family)
	return a, 0, ok
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 32)
	return err == nil
}

// iptablesTouches finds the chain that a command changes.
func iptablesTouches(words []string) []string {
	words = spellOut(words)
	table, chain, target := "filter", "", ""
	for i, w := range words[:max(0, len(words)-1)] {
		switch w {
		case "-t":
			table = words[i+1]
		case "-j":
			target = words[i+1]
		case "-A", "-I", "-D", "-R", "-F", "-P", "-N", "-X", "--policy", "--flush", "--new-chain", "--delete-chain", "--replace":
			chain = words[i+1]
		case "-C", "--check", "-L", "-S", "--list", "--list-rules":
			return nil
		}
	}
	switch {
	case chain == "INPUT" || chain == "OUTPUT":
		return nil
	case table == "nat" && chain == "POSTROUTING":
		return []string{string(Postrouting)}
	case table == "nat" && chain == "PREROUTING":
		return []string{string(Prerouting)}
	case table == "mangle" && chain == "FORWARD":
		return []string{touchMangle}
	case table == "filter" && chain == "FORWARD" && target == "ACCEPT" && !slices.Contains(words, "-D"):
		return []string{touchClamp}
	case table == "filter" && chain != "":
		return []string{touchForward}
	case (table == "mangle" || table == "raw") && (chain == "PREROUTING" || chain == "POSTROUTING"):
		return nil // before, or after, all that is lifted
	}
	return filterTouches(nil)
}
