// SPDX-License-Identifier: MIT

package hook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/routes"
	"mvdan.cc/sh/v3/syntax"
)

// Commands returns the shell commands that add a thing of the tunnel's, as
// often as they are run but once, and those that take it away again. A Filter
// of both families takes two of each, a Container none: iptables has its chains.
func Commands(t Thing, ifname string) (add, remove []string) {
	switch t := t.(type) {
	case Filter:
		for _, f := range t.families() {
			rule := f.iptables()
			tool := "iptables"
			if f.Family == routes.V6 {
				tool = "ip6tables"
			}
			table, chain := f.place()
			line := func(verb string) string {
				return quoteAll(slices.Concat([]string{tool}, table, []string{verb, chain}, rule))
			}
			add = append(add, line("-C")+" 2>/dev/null || "+line("-A"))
			remove = append(remove, line("-D"))
		}
	case Route:
		words := []string{fmt.Sprintf("-%d", routes.FamilyOf(t.Dst)), "route", "", t.Dst.String(), "dev", ifname}
		if t.Table != routes.TableMain {
			words = append(words, "table", fmt.Sprint(t.Table))
		}
		if t.Metric != 0 {
			words = append(words, "metric", fmt.Sprint(t.Metric))
		}
		return ipCommands(words)
	case Rule:
		words := append([]string{fmt.Sprintf("-%d", t.Family), "rule", ""}, strings.Fields(t.Rule.String())...)
		if t.Priority == 0 {
			words = words[:len(words)-2]
		}
		return ipCommands(words)
	case Sysctl:
		return []string{"sysctl -w " + t.Key + "=" + t.Value}, nil
	}
	return add, remove
}

func ipCommands(words []string) (add, remove []string) {
	line := func(verb string) []string {
		words[2] = verb
		return []string{quoteAll(append([]string{"ip"}, words...))}
	}
	return line("add"), line("delete")
}

// quoteAll joins words, with quotes where the shell needs them.
func quoteAll(words []string) string {
	out := make([]string, len(words))
	for i, w := range words {
		if q, err := syntax.Quote(w, syntax.LangBash); err == nil && w != "!" {
			w = q
		}
		out[i] = w
	}
	return strings.Join(out, " ")
}

// families returns the rule for each family that it is for.
func (f Filter) families() []Filter {
	if f.Family != 0 {
		return []Filter{f}
	}
	v4, v6 := f, f
	v4.Family, v6.Family = routes.V4, routes.V6
	return []Filter{v4, v6}
}

// place returns the words for the table, none for the usual one, and the chain.
func (f Filter) place() (table []string, chain string) {
	switch f.Chain {
	case MangleFwd:
		return []string{"-t", "mangle"}, "FORWARD"
	case Postrouting:
		return []string{"-t", "nat"}, "POSTROUTING"
	case Prerouting:
		return []string{"-t", "nat"}, "PREROUTING"
	}
	return nil, "FORWARD"
}

// iptables returns the words of the rule after its chain, in the order and the
// spelling of iptables-save.
func (f Filter) iptables() (w []string) {
	option := func(not bool, words ...string) {
		if not {
			w = append(w, "!")
		}
		w = append(w, words...)
	}
	if f.Src.Prefix.IsValid() {
		option(f.Src.Not, "-s", f.Src.Prefix.String())
	}
	if f.Dst.Prefix.IsValid() {
		option(f.Dst.Not, "-d", f.Dst.Prefix.String())
	}
	if f.In.Name != "" {
		option(f.In.Not, "-i", f.In.text("+"))
	}
	if f.Out.Name != "" {
		option(f.Out.Not, "-o", f.Out.text("+"))
	}
	if f.Proto != "" {
		w = append(w, "-p", f.Proto)
	}
	colon := func(p Ports) string { return strings.ReplaceAll(p.String(), "-", ":") }
	if f.SPort != (Ports{}) {
		w = append(w, "-m", f.Proto, "--sport", colon(f.SPort))
	}
	if f.DPort != (Ports{}) {
		w = append(w, "-m", f.Proto, "--dport", colon(f.DPort))
	}
	if f.Local {
		w = append(w, "-m", "addrtype", "--dst-type", "LOCAL")
	}
	if f.Established {
		w = append(w, "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED")
	}
	return append(w, f.target()...)
}

func (f Filter) target() []string {
	switch f.Action {
	case Masquerade:
		return []string{"-j", "MASQUERADE"}
	case SNAT:
		return []string{"-j", "SNAT", "--to-source", f.To.String()}
	case DNAT:
		return []string{"-j", "DNAT", "--to-destination", strings.TrimPrefix(f.action(), "dnat to ")}
	case Clamp:
		flags := []string{"-m", "tcp", "--tcp-flags", "SYN,RST", "SYN", "-j", "TCPMSS"}
		if f.MSS != 0 {
			return append(flags, "--set-mss", fmt.Sprint(f.MSS))
		}
		return append(flags, "--clamp-mss-to-pmtu")
	}
	return []string{"-j", "ACCEPT"}
}
