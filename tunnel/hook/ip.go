// SPDX-License-Identifier: MIT

package hook

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/wgctl/wgctl/routes"
)

// ip reads the words of ip(8): routes through the tunnel's link, and policy
// rules.
func (r *reader) ip(_ command, args []string) ([]Change, string) {
	var family routes.Family
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-4":
			family = routes.V4
		case "-6":
			family = routes.V6
		default:
			return nil, fmt.Sprintf("%q is beyond what is understood", args[0])
		}
		args = args[1:]
	}
	if len(args) < 2 {
		return nil, "it changes nothing"
	}
	object, remove := object(args[0]), false
	switch {
	case abbreviates(args[1], "add"):
	case abbreviates(args[1], "delete"), args[1] == "del":
		remove = true
	default:
		return nil, fmt.Sprintf("%q is neither add nor delete", args[1])
	}
	var thing Thing
	var why string
	switch object {
	case "route":
		thing, why = r.route(family, args[2:])
	case "rule":
		thing, why = readRule(family, args[2:])
	default:
		return nil, "it is about neither routes nor rules"
	}
	if why != "" {
		return nil, why
	}
	return []Change{{Remove: remove, Thing: thing}}, ""
}

// object completes what ip(8) takes for an object's name.
func object(word string) string {
	for _, o := range []string{"address", "addrlabel", "route", "rule", "link"} {
		if abbreviates(word, o) {
			return o
		}
	}
	return word
}

// abbreviates reports whether ip(8) takes a word for a longer one (matches of
// iproute2).
func abbreviates(word, whole string) bool { return word != "" && strings.HasPrefix(whole, word) }

func (r *reader) route(family routes.Family, args []string) (Thing, string) {
	if len(args) > 0 && args[0] == "unicast" {
		args = args[1:]
	}
	if len(args) == 0 {
		return nil, "a route to nowhere"
	}
	out := Route{routes.Route{Table: routes.TableMain}}
	dst, dev := args[0], ""
	if dst == "to" && len(args) > 1 {
		args = args[1:]
		dst = args[0]
	}
	for args = args[1:]; len(args) > 0; args = args[2:] {
		if len(args) < 2 {
			return nil, fmt.Sprintf("%q is beyond what is understood", args[0])
		}
		ok := true
		switch value := args[1]; args[0] {
		case "dev":
			dev = value
		case "table":
			out.Table, ok = table(value)
		case "metric", "priority", "preference":
			out.Metric, ok = number(value)
		case "scope":
			ok = value == "link" && family != routes.V6
		case "via", "nexthop":
			return nil, "a route through a gateway isn't the tunnel's own"
		default:
			return nil, fmt.Sprintf("%q is beyond what is understood", args[0])
		}
		if !ok {
			return nil, fmt.Sprintf("the value of %q is beyond what is understood", args[0])
		}
	}
	if dev != r.ifname {
		return nil, "a route through another link isn't the tunnel's own"
	}
	prefix, ok := destination(dst, family)
	if !ok {
		return nil, fmt.Sprintf("%q is no destination", dst)
	}
	out.Dst = prefix
	return out, ""
}

// destination reads the prefix of a route or rule. Unlike iptables, ip(8)
// refuses one with host bits for a route.
func destination(s string, family routes.Family) (netip.Prefix, bool) {
	switch {
	case s == "default" || s == "all" || s == "any":
		if family == routes.V6 {
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
		}
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
	case strings.Contains(s, "/"):
		p, err := netip.ParsePrefix(s)
		return p, err == nil && p == p.Masked() && !p.Addr().Is4In6() && (family == 0 || routes.FamilyOf(p) == family)
	}
	p, ok := prefixOf(s)
	return p, ok && (family == 0 || routes.FamilyOf(p) == family)
}

func table(s string) (uint32, bool) {
	switch s {
	case "main":
		return routes.TableMain, true
	case "default":
		return routes.TableDefault, true
	}
	n, ok := number(s)
	return n, ok && n != 0 && n != routes.TableLocal
}

func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 0, 32)
	return uint32(n), err == nil
}

// readRule reads a policy rule whose action is a look-up in a table.
func readRule(family routes.Family, args []string) (Thing, string) {
	var r routes.Rule
	for len(args) > 0 {
		if args[0] == "not" {
			r.Invert, args = true, args[1:]
			continue
		}
		if len(args) < 2 {
			return nil, fmt.Sprintf("%q is beyond what is understood", args[0])
		}
		ok := true
		switch word, value := args[0], args[1]; {
		case word == "from":
			r.From, ok = selector(value, &family)
		case word == "to":
			r.To, ok = selector(value, &family)
		case word == "fwmark":
			r.Mark, ok = number(strings.TrimSuffix(strings.ToLower(value), "/0xffffffff"))
			ok = ok && r.Mark != 0
		case word == "suppress_prefixlength" || word == "suppress_prefixlen":
			r.Suppress, ok = true, value == "0"
		case word == "table" || abbreviates(word, "lookup"):
			r.Table, ok = table(value)
		case slices.Contains([]string{"priority", "pref", "preference", "order", "prio"}, word):
			r.Priority, ok = number(value)
			ok = ok && 0 < r.Priority && r.Priority < 32766
		default:
			return nil, fmt.Sprintf("%q is beyond what is understood", word)
		}
		if !ok {
			return nil, fmt.Sprintf("the value of %q is beyond what is understood", args[0])
		}
		args = args[2:]
	}
	if r.Family = family; family == 0 {
		r.Family = routes.V4
	}
	if r.Table == 0 {
		return nil, "a rule without a table"
	}
	if r.Invert && !r.From.IsValid() && !r.To.IsValid() && r.Mark == 0 {
		return nil, "a rule for no packet at all"
	}
	return Rule{r}, ""
}

// selector reads the prefix that a rule looks at; all is none. The first that
// is of a family makes the rule one of that.
func selector(s string, family *routes.Family) (netip.Prefix, bool) {
	if s == "all" || s == "any" || s == "default" {
		return netip.Prefix{}, true
	}
	p, ok := prefixOf(s)
	if !ok || *family != 0 && routes.FamilyOf(p) != *family {
		return p, false
	}
	*family = routes.FamilyOf(p)
	if p.Bits() == 0 {
		return netip.Prefix{}, true
	}
	return p, true
}

// ipTouches finds what a command of ip(8) changes.
func ipTouches(words []string) []string {
	for len(words) > 0 && strings.HasPrefix(words[0], "-") {
		words = words[1:]
	}
	if len(words) < 2 || abbreviates(words[1], "show") || abbreviates(words[1], "list") || words[1] == "get" {
		return nil
	}
	switch object(words[0]) {
	case "rule":
		return []string{touchRule}
	case "route":
		if words[1] != "flush" && slices.Contains(words, "via") {
			return nil // another route, and none of the tunnel's
		}
		return []string{touchRoute}
	}
	return nil
}
