// SPDX-License-Identifier: MIT

package hook

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/routes"
)

// ufw reads "ufw route allow in on IF out on IF from NET to NET", which is an
// accept in the forward hook.
func (r *reader) ufw(_ command, args []string) ([]Change, string) {
	if len(args) == 0 || args[0] != "route" {
		return nil, "it is about more than what the host forwards"
	}
	args = args[1:]
	var c Change
	if len(args) > 0 && args[0] == "delete" {
		c.Remove, args = true, args[1:]
	}
	switch {
	case len(args) > 1 && args[0] == "insert" && args[1] == "1":
		c.First, args = true, args[2:]
	case len(args) > 0 && args[0] == "prepend":
		c.First, args = true, args[1:]
	}
	if len(args) == 0 || args[0] != "allow" {
		return nil, "anything but allow depends on its place among the host's own rules"
	}
	f, why := ufwRule(args[1:])
	c.Thing = f
	return []Change{c}, why
}

func ufwRule(args []string) (Filter, string) {
	f := Filter{Chain: Forward, Action: Accept}
	const beyond = "it has words beyond what is understood"
	for len(args) > 1 {
		why, ok, n := "", true, 2
		switch word, value := args[0], args[1]; {
		case (word == "in" || word == "out") && value == "on" && len(args) > 2:
			l := &f.In
			if word == "out" {
				l = &f.Out
			}
			*l, why = link(args[2], "+", false)
			n = 3
		case word == "from":
			f.Src, ok = ufwNet(value, &f.Family)
			f.SPort, args, ok = ufwPort(args, ok)
		case word == "to":
			f.Dst, ok = ufwNet(value, &f.Family)
			f.DPort, args, ok = ufwPort(args, ok)
		case word == "proto":
			f.Proto, ok = value, value == "tcp" || value == "udp"
		case word == "comment":
		default:
			ok = false
		}
		if why == "" && !ok {
			why = beyond
		}
		if why != "" {
			return f, why
		}
		args = args[n:]
	}
	if len(args) > 0 || f.Proto == "" && (f.DPort != (Ports{}) || f.SPort != (Ports{})) {
		return f, beyond
	}
	return f, f.check()
}

func ufwNet(s string, family *routes.Family) (Net, bool) {
	if s == "any" {
		return Net{}, true
	}
	p, ok := prefixOf(s)
	if !ok || *family != 0 && *family != routes.FamilyOf(p) {
		return Net{}, false
	}
	if *family = routes.FamilyOf(p); p.Bits() == 0 {
		return Net{}, true
	}
	return Net{Prefix: p}, true
}

// ufwPort reads the "port N" that may follow an address.
func ufwPort(args []string, ok bool) (Ports, []string, bool) {
	if len(args) < 4 || args[2] != "port" {
		return Ports{}, args, ok
	}
	p, good := ports(args[3], ":")
	return p, args[2:], ok && good
}

func ufwTouches(words []string) []string {
	if len(words) > 0 && words[0] == "status" {
		return nil
	}
	if slices.Contains(words, "route") || len(words) > 0 && slices.Contains([]string{"enable", "disable", "reload", "reset", "default"}, words[0]) {
		return []string{touchForward}
	}
	return nil
}

// firewallCmd reads direct rules, which are those of iptables. Zones hold
// interfaces that only firewalld knows.
func (r *reader) firewallCmd(_ command, args []string) ([]Change, string) {
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "-q" || a == "--quiet" })
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		switch name {
		case "--permanent":
			return nil, "it changes what firewalld keeps, beyond this tunnel"
		case "--add-masquerade", "--remove-masquerade", "--add-forward-port", "--remove-forward-port", "--add-rich-rule", "--remove-rich-rule":
			return nil, fmt.Sprintf("which links %s is about only firewalld knows: it holds for a zone", name)
		}
	}
	if len(args) < 6 || args[0] != "--direct" || args[1] != "--add-rule" && args[1] != "--remove-rule" {
		return nil, "it changes what firewalld itself knows of the host"
	}
	var family routes.Family
	switch args[2] {
	case "ipv4":
		family = routes.V4
	case "ipv6":
		family = routes.V6
	default:
		return nil, fmt.Sprintf("%q is no family", args[2])
	}
	verb := map[string]string{"--add-rule": "-A", "--remove-rule": "-D"}[args[1]]
	if !isNumber(args[5]) {
		return nil, fmt.Sprintf("%q is no priority", args[5])
	}
	changes, why := readIptables(family, slices.Concat([]string{"-t", args[3], verb, args[4]}, args[6:]))
	if why == "" {
		changes[0].First = !changes[0].Remove // they stand before the zones
	}
	return changes, why
}

func firewallCmdTouches(words []string) []string {
	for _, w := range words {
		name, _, _ := strings.Cut(w, "=")
		switch name {
		case "--direct", "--reload", "--complete-reload":
			return filterTouches(nil)
		case "--add-port", "--remove-port", "--add-service", "--remove-service", "--get-active-zones", "--list-all":
			return nil
		}
	}
	return filterTouches(nil)
}
