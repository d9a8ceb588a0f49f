// SPDX-License-Identifier: MIT

package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// iptables returns a rule in the words of iptables-save, after "-A CHAIN ",
// with that comment.
func (r Rule) iptables(comment string) string {
	var words []string
	add := func(not bool, option, value string) {
		if not {
			words = append(words, "!")
		}
		words = append(words, option, value)
	}
	if p := r.Source.Prefix; p.IsValid() {
		add(r.Source.Not, "-s", p.String())
	}
	if p := r.Destination.Prefix; p.IsValid() {
		add(r.Destination.Not, "-d", p.String())
	}
	if r.In.Name != "" {
		add(r.In.Not, "-i", r.In.iptables())
	}
	if r.Out.Name != "" {
		add(r.Out.Not, "-o", r.Out.iptables())
	}
	if r.Protocol != 0 {
		add(false, "-p", r.Protocol.String())
	}
	words = append(words, r.iptablesMatches()...)
	words = append(words, "-m comment --comment", fmt.Sprintf("%q", comment), "-j", r.iptablesTarget())
	return strings.Join(words, " ")
}

func (l Link) iptables() string {
	if l.Pattern {
		return l.Name + "+"
	}
	return l.Name
}

// iptablesMatches returns what modules match.
func (r Rule) iptablesMatches() (words []string) {
	add := func(module string, not bool, option, value string) {
		words = append(words, "-m", module)
		if not {
			words = append(words, "!")
		}
		words = append(words, option, value)
	}
	if r.SourceType != "" {
		add("addrtype", r.SourceType == NotLocal, "--src-type", "LOCAL")
	}
	if r.DestinationType != "" {
		add("addrtype", r.DestinationType == NotLocal, "--dst-type", "LOCAL")
	}
	if p := r.SourcePort; p != (Ports{}) {
		add(r.Protocol.String(), p.Not, "--sport", p.iptables())
	}
	if p := r.DestinationPort; p != (Ports{}) {
		add(r.Protocol.String(), p.Not, "--dport", p.iptables())
	}
	if r.SYN {
		add("tcp", false, "--tcp-flags", "SYN,RST SYN")
	}
	switch {
	case r.ICMPType != 0 && r.Protocol == ICMPv6:
		add("icmp6", false, "--icmpv6-type", fmt.Sprint(r.ICMPType))
	case r.ICMPType != 0:
		add("icmp", false, "--icmp-type", fmt.Sprint(r.ICMPType))
	}
	switch {
	case r.State == StateDNAT:
		add("conntrack", false, "--ctstate", "DNAT")
	case r.State != 0:
		add("conntrack", false, "--ctstate", strings.ToUpper(strings.Join(r.State.words(), ",")))
	}
	if r.Mark != 0 {
		add("mark", false, "--mark", fmt.Sprintf("%#x", r.Mark))
	}
	return words
}

func (p Ports) iptables() string { return strings.Replace(p.String(), "-", ":", 1) }

// iptablesTarget returns what follows "-j". An accept that only ends a chain
// of ours returns from it: other rules of the host have their say yet, as
// they have with nftables.
func (r Rule) iptablesTarget() string {
	switch r.Verdict {
	case VerdictAccept:
		if r.Chain.Table != "filter" {
			return "RETURN"
		}
		return "ACCEPT"
	case VerdictDrop:
		return "DROP"
	case VerdictMasquerade:
		return "MASQUERADE"
	case VerdictSNAT:
		return "SNAT --to-source " + r.To.String()
	case VerdictDNAT:
		to := "DNAT --to-destination " + r.To.String()
		if r.To.base != 0 && r.To.Last > r.To.First {
			to += fmt.Sprintf("/%d", r.To.base)
		}
		return to
	case VerdictClamp:
		if r.MSS != 0 {
			return fmt.Sprintf("TCPMSS --set-mss %d", r.MSS)
		}
		return "TCPMSS --clamp-mss-to-pmtu"
	case VerdictSaveMark:
		return "CONNMARK --save-mark"
	case VerdictRestoreMark:
		return "CONNMARK --restore-mark"
	}
	return ""
}

// subject says what a rule is about, for messages.
func (r Rule) subject() string {
	for _, p := range []netip.Prefix{r.Destination.Prefix, r.Source.Prefix} {
		if p.IsValid() {
			return prefixText(p)
		}
	}
	if r.To.Addr.IsValid() {
		return r.To.Addr.String()
	}
	return r.Comment
}

// fingerprintLen is the number of hexadecimal digits of an ipState's.
const fingerprintLen = 8

// fingerprint returns a hash of what the chains do.
func (s ipState) fingerprint() string {
	h := sha256.New()
	for i, c := range s {
		for _, rule := range c.rules {
			fmt.Fprintln(h, i, plainRule(rule))
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:fingerprintLen/2])
}

// plainRule returns a rule in words that are the same for all versions of
// iptables, which print the same rule differently: without modules, comments
// and masks that mask nothing, options sorted.
func plainRule(rule string) string {
	var options []string
	words := splitWords(rule)
	for i := 0; i < len(words); {
		n := i
		if words[n] == "!" {
			n++
		}
		name := words[min(n, len(words)-1)]
		for n = min(n+1, len(words)); n < len(words) && !strings.HasPrefix(words[n], "-") && words[n] != "!"; {
			n++
		}
		option := strings.Join(words[i:n], " ")
		switch name {
		case "-m", "--match", "--comment":
		case "--nfmask", "--ctmask", "--mask":
			if !strings.HasSuffix(strings.ToLower(option), " 0xffffffff") {
				options = append(options, option)
			}
		default:
			options = append(options, plainOption(name, option))
		}
		i = n
	}
	slices.Sort(options)
	return strings.Join(options, " ")
}

// plainOption returns an option in one of its spellings.
func plainOption(name, option string) string {
	switch name {
	case "-s", "-d":
		for _, all := range []string{"/32", "/128", "/255.255.255.255"} {
			option = strings.TrimSuffix(option, all)
		}
	case "--mark":
		option = strings.TrimSuffix(strings.ToLower(option), "/0xffffffff")
	case "-p":
		option = strings.NewReplacer("icmpv6", "58", "ipv6-icmp", "58").Replace(option)
	case "--ctstate":
		before, states, _ := strings.Cut(option, name+" ")
		list := strings.Split(states, ",")
		slices.Sort(list)
		option = before + name + " " + strings.Join(list, ",")
	}
	return option
}

// splitWords splits a rule at spaces, but not within double quotes, which go.
func splitWords(rule string) []string {
	var words []string
	for rule = strings.TrimSpace(rule); rule != ""; rule = strings.TrimSpace(rule) {
		word, rest := "", ""
		if quoted, ok := strings.CutPrefix(rule, `"`); ok {
			word, rest, _ = strings.Cut(quoted, `"`)
		} else {
			word, rest, _ = strings.Cut(rule, " ")
		}
		words, rule = append(words, word), rest
	}
	return words
}

// option returns the word after an option of a rule, or "".
func option(rule, name string) string {
	words := splitWords(rule)
	if i := slices.Index(words, name); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}
