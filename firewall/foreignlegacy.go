// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// iptablesRules returns the accepts of a family in the words of iptables-save,
// without the leading "-A CHAIN ".
func (p Passage) iptablesRules(family string) []string {
	var rules []string
	for _, r := range p.at(family) {
		rules = append(rules, r.iptables(p.comment()))
	}
	return rules
}

// plainRules returns rules in words that all versions of iptables agree on.
func plainRules(rules []string) []string {
	var out []string
	for _, r := range rules {
		out = append(out, plainRule(r))
	}
	return out
}

// quoted joins arguments as iptables-save does: comments with a space in them
// are quoted.
func quoted(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		if words[i] = a; strings.Contains(a, " ") {
			words[i] = strconv.Quote(a)
		}
	}
	return strings.Join(words, " ")
}

// parseLegacy returns the chains of what iptables-save printed.
func parseLegacy(save string, v6 bool) []ForeignChain {
	family := familyIP
	if v6 {
		family = familyIP6
	}
	var out []ForeignChain
	table := ""
	for line := range strings.Lines(save) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case table != "filter" && table != "raw":
		case strings.HasPrefix(line, ":"):
			words := append(strings.Fields(line[1:]), "", "")
			c := ForeignChain{Place: Place{Kind: PlaceLegacy, Family: family, Table: table, Chain: words[0]}, Drop: words[1] == "DROP"}
			if words[1] != "-" {
				c.Hook = legacyHook(table, words[0])
			}
			out = append(out, c)
		case strings.HasPrefix(line, "-A "):
			name, rule, _ := strings.Cut(line[3:], " ")
			i := slices.IndexFunc(out, func(c ForeignChain) bool { return c.Table == table && c.Chain == name })
			if i >= 0 {
				out[i].Rules = append(out[i].Rules, parseRule(rule))
			}
		}
	}
	return out
}

func legacyHook(table, chain string) string {
	switch {
	case table == "raw" && chain == "PREROUTING", table == "filter" && (chain == forwardChain || chain == "INPUT"):
		return strings.ToLower(chain)
	}
	return ""
}

// commentMatch is a comment as iptables-save prints it.
var commentMatch = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`-m comment --comment ("(?:[^"\\]|\\.)*"|\S+)`) })

// parseRule reads a rule of iptables-save, without its chain.
func parseRule(rule string) ForeignRule {
	out := ForeignRule{words: rule}
	bare := rule
	if m := commentMatch().FindStringSubmatch(rule); m != nil {
		out.Ours = taggedFor(strings.Trim(m[1], `"`))
		bare = strings.Replace(rule, m[0], "", 1)
	}
	words := strings.Fields(bare)
	end := slices.IndexFunc(words, func(w string) bool { return w == "-j" || w == "-g" })
	if end >= 0 && end+1 < len(words) {
		out.Outcome, out.Chain = targetOf(words[end], words[end+1])
		words = words[:end]
	}
	out.Always = len(words) == 0
	return out.settled()
}

// targetOf returns what a target of iptables means. Those that are no verdict
// and no chain, as LOG, let the packet go on.
func targetOf(option, target string) (Outcome, string) {
	switch {
	case option == "-g":
		return OutcomeGoto, target
	case target == "ACCEPT":
		return OutcomeAccept, ""
	case target == "DROP" || target == "REJECT":
		return OutcomeDrop, ""
	case target == "RETURN":
		return OutcomeReturn, ""
	}
	return OutcomeJump, target // to no chain, if it is an extension
}

// taggedFor returns the interface that a comment of ours names, or "".
func taggedFor(tag string) string {
	name, ok := strings.CutPrefix(tag, foreignComment(""))
	if !ok || !isIfname(name) {
		return ""
	}
	return name
}

// readForeign returns the chains of the old iptables. No program is run unless
// the kernel says that there are tables.
func (t Tool) readForeign(ctx context.Context) ([]ForeignChain, error) {
	save, err := run(ctx, "", t.Path+"-save")
	if err != nil {
		return nil, fmt.Errorf("reading the rules of iptables-legacy: %w", err)
	}
	return parseLegacy(save, t.V6), nil
}

// applyForeign replaces the accepts of an interface in one chain, by one
// iptables-restore, which is one transaction.
func (t Tool) applyForeign(ctx context.Context, at Place, p Passage) error {
	chains, err := t.readForeign(ctx)
	if err != nil {
		return err
	}
	facts := ForeignFacts{Chains: chains}
	c, ok := facts.chain(at, at.Chain)
	rules := p.iptablesRules(at.Family)
	if !ok && len(rules) == 0 {
		return nil
	}
	var lines []string
	for _, r := range c.Rules {
		if r.Ours == p.Interface {
			lines = append(lines, "-D "+at.Chain+" "+r.words)
		}
	}
	for _, r := range slices.Backward(rules) {
		lines = append(lines, "-I "+at.Chain+" "+r)
	}
	if len(lines) == 0 {
		return nil
	}
	if err := t.restore(ctx, fmt.Sprintf("*%s\n%s\nCOMMIT\n", at.Table, strings.Join(lines, "\n"))); err != nil {
		return fmt.Errorf("programming chain %s: %w", at.Chain, err)
	}
	return nil
}
