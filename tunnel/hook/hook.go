// SPDX-License-Identifier: MIT

// Package hook understands the hooks that people paste into their files: from
// a line of shell, if every command in it has one of the shapes that guides use,
// it makes typed changes to the host, or else says in words why not.
//
// It is pure: it runs nothing, looks at no host and decides nothing about a
// tunnel. Package tunnel puts what was understood into its Spec, and runs the
// rest.
package hook

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/wgctl/wgctl/routes"
)

// A Phase is the moment of a hook, by the key of the file.
type Phase string

// The phases.
const (
	PreUp    Phase = "PreUp"
	PostUp   Phase = "PostUp"
	PreDown  Phase = "PreDown"
	PostDown Phase = "PostDown"
)

func (p Phase) up() bool { return p == PreUp || p == PostUp }

// A Change is one thing that a hook adds to the host, or takes from it.
type Change struct {
	Remove bool
	First  bool // of a Filter: before the other rules of its chain, as "iptables -I" puts it
	Thing  Thing
}

// String returns the change in the words of nft and ip.
func (c Change) String() string {
	switch {
	case c.Remove:
		return "remove " + c.Thing.String()
	case c.First:
		return "insert " + c.Thing.String()
	}
	return "add " + c.Thing.String()
}

// A Thing is a piece of the host: a Filter, a Route, a Rule, a Sysctl or a
// Container. Two equal ones are the same, however the hooks spelled them.
type Thing interface {
	fmt.Stringer
	// touches names the part of the host in which the thing's place among
	// others matters.
	touches() string
}

// A Chain is where a Filter stands.
type Chain string

// The chains, by the words that nft has for their type, hook and priority.
const (
	Forward     Chain = "filter forward"
	MangleFwd   Chain = "mangle forward"
	Postrouting Chain = "nat postrouting"
	Prerouting  Chain = "nat prerouting"
)

// An Action is what a Filter does to a packet.
type Action string

// The actions. Clamp is to the path's MTU, or to MSS bytes where that is given.
const (
	Accept     Action = "accept"
	Masquerade Action = "masquerade"
	SNAT       Action = "snat"
	DNAT       Action = "dnat"
	Clamp      Action = "clamp"
)

// A Filter is one rule of the packet filter. Zero fields match anything.
type Filter struct {
	Chain       Chain
	Family      routes.Family // 0: both
	In, Out     Link
	Src, Dst    Net
	Local       bool   // to an address of the host's own
	Proto       string // "tcp", "udp" or ""
	SPort       Ports
	DPort       Ports
	Established bool // of connections that are known, or related to one
	Action      Action
	To          netip.Addr // of SNAT and DNAT
	ToPort      uint16     // of DNAT; 0: the port stays
	MSS         uint16     // of Clamp, in bytes
}

// A Link is an interface by name, or by how its name begins; with Not any
// other.
type Link struct {
	Name    string
	Pattern bool
	Not     bool
}

// text is the name, with what stands for the rest of a pattern.
func (l Link) text(rest string) string {
	if l.Pattern {
		return l.Name + rest
	}
	return l.Name
}

// A Net is a prefix, masked, or with Not what is outside of it.
type Net struct {
	Prefix netip.Prefix
	Not    bool
}

// Ports are a range of ports, both ends in it.
type Ports struct{ First, Last uint16 }

// String returns one port, or two with a hyphen.
func (p Ports) String() string {
	if p.First == p.Last {
		return fmt.Sprint(p.First)
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// String returns the chain and the rule in nft's words.
func (f Filter) String() string {
	w := []string{string(f.Chain) + ":"}
	not := func(n bool) string {
		if n {
			return "!= "
		}
		return ""
	}
	if f.Family != 0 {
		w = append(w, fmt.Sprintf("meta nfproto ipv%d", f.Family))
	}
	if f.In.Name != "" {
		w = append(w, fmt.Sprintf("iifname %s%q", not(f.In.Not), f.In.text("*")))
	}
	if f.Out.Name != "" {
		w = append(w, fmt.Sprintf("oifname %s%q", not(f.Out.Not), f.Out.text("*")))
	}
	for _, n := range []struct {
		word string
		Net
	}{{"saddr", f.Src}, {"daddr", f.Dst}} {
		if n.Prefix.IsValid() {
			ip := "ip"
			if n.Prefix.Addr().Is6() {
				ip = "ip6"
			}
			w = append(w, fmt.Sprintf("%s %s %s%s", ip, n.word, not(n.Not), n.Prefix))
		}
	}
	if f.Local {
		w = append(w, "fib daddr type local")
	}
	if f.Established {
		w = append(w, "ct state established,related")
	}
	if f.Proto != "" && f.SPort == (Ports{}) && f.DPort == (Ports{}) && f.Action != Clamp {
		w = append(w, "meta l4proto "+f.Proto)
	}
	if f.SPort != (Ports{}) {
		w = append(w, fmt.Sprintf("%s sport %s", f.Proto, f.SPort))
	}
	if f.DPort != (Ports{}) {
		w = append(w, fmt.Sprintf("%s dport %s", f.Proto, f.DPort))
	}
	return strings.Join(append(w, f.action()), " ")
}

func (f Filter) action() string {
	switch f.Action {
	case SNAT:
		return "snat to " + f.To.String()
	case DNAT:
		if f.ToPort == 0 {
			return "dnat to " + f.To.String()
		}
		return "dnat to " + netip.AddrPortFrom(f.To, f.ToPort).String()
	case Clamp:
		if f.MSS != 0 {
			return fmt.Sprintf("tcp flags syn / syn,rst tcp option maxseg size set %d", f.MSS)
		}
		return "tcp flags syn / syn,rst tcp option maxseg size set rt mtu"
	}
	return string(f.Action)
}

// touches tells the kinds of rules in the forward hook apart: of two accepts
// the order doesn't matter.
func (f Filter) touches() string {
	switch {
	case f.Chain == MangleFwd:
		return touchMangle
	case f.Chain == Forward && f.Action == Accept:
		return touchForward + " accept"
	case f.Chain == Forward:
		return touchClamp
	}
	return string(f.Chain)
}

// A Route goes through the tunnel's own link.
type Route struct{ routes.Route }

// String returns what follows "ip".
func (r Route) String() string { return "route " + r.Route.String() }

func (r Route) touches() string { return touchRoute + " " + r.Route.String() }

// A Rule is a policy rule. A Priority of 0 leaves it to be chosen: right before
// all that are there.
type Rule struct{ routes.Rule }

// String returns what follows "ip".
func (r Rule) String() string {
	s := r.Rule.String()
	if r.Priority == 0 {
		s = strings.TrimSuffix(s, " priority 0")
	}
	return fmt.Sprintf("-%d rule %s", r.Family, s)
}

// Same reports whether a policy rule is this one, which may leave the priority
// open.
func (r Rule) Same(o routes.Rule) bool {
	if r.Priority == 0 || o.Priority == 0 { // of those that fit the kernel takes any
		r.Priority, o.Priority = 0, 0
	}
	return r.Rule == o
}

func (r Rule) touches() string { return touchRule }

// A Sysctl is a kernel parameter, with dots. A hook that takes it away sets
// another value; the Value is then "".
type Sysctl struct{ Key, Value string }

// String returns "sysctl KEY=VALUE".
func (s Sysctl) String() string {
	if s.Value == "" {
		return "sysctl " + s.Key
	}
	return "sysctl " + s.Key + "=" + s.Value
}

func (s Sysctl) touches() string { return touchSysctl + " " + s.Key }

// A Container is a table or chain of nftables that hooks make for their own
// rules, by family, table and chain. Lifted rules have a table of their own, and
// need none.
type Container struct{ Name string }

// String returns "nft table inet wg".
func (c Container) String() string { return "nft " + c.Name }

func (c Container) touches() string { return touchForward }

// What a command touches, beside chains. A name stands for all that begin with
// it.
const (
	touchForward = "forward"
	touchClamp   = "forward clamp" // beside accepts
	touchMangle  = "forward mangle"
	touchRoute   = "route"
	touchRule    = "rule"
	touchSysctl  = "sysctl"
	touchAny     = "" // it may be anything
)
