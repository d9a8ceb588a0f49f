// SPDX-License-Identifier: MIT

package firewall

import (
	"fmt"
	"slices"
	"strings"
)

// ForeignFacts are what the choice of places is made from: the chains of other
// packet filters that forwarded packets go through, and who made them.
type ForeignFacts struct {
	// Chains are those of all tables but our own that have a base chain of
	// the hooks forward, input or prerouting.
	Chains []ForeignChain
	// Legacy says why the old iptables, which has tables here, can't be read
	// or programmed; "" if it can, or has none.
	Legacy string
	// Firewalld is true if firewalld answers on D-Bus.
	Firewalld bool
	// Zone is the zone of firewalld that the administrator, or a program of
	// his, has put the tunnel's interface into, or "".
	Zone string
}

// A ForeignChain is one chain of somebody else's.
type ForeignChain struct {
	Place
	Hook  string // of a base chain: forward, input, prerouting; else ""
	Drop  bool   // the policy of a base chain
	Owned bool   // the table belongs to a process, and nobody else may write to it
	Rules []ForeignRule
}

// A ForeignRule is what matters of one rule.
type ForeignRule struct {
	Always  bool    // it has no condition
	Outcome Outcome // "" if it goes on with the next rule
	Chain   string  // to which it jumps or goes
	Ours    string  // the interface in our comment, or ""
	handle  uint64  // in nf_tables
	words   string  // what it does: in the words of iptables-save, or as bytecode
}

// settled tells the accepts of a passage from the rules that our own iptables
// backend has in the same chains: those carry the same comment, and lead to
// chains of ours, which are no other filter's.
func (r ForeignRule) settled() ForeignRule {
	if r.Outcome != OutcomeAccept {
		r.Ours = ""
	}
	if strings.HasPrefix(r.Chain, ownPrefix) {
		r.Always = false
	}
	return r
}

// An Outcome is how a rule ends.
type Outcome string

// The outcomes. Rejecting is dropping with an answer, and counts as OutcomeDrop.
const (
	OutcomeAccept Outcome = "accept"
	OutcomeDrop   Outcome = "drop"
	OutcomeReturn Outcome = "return"
	OutcomeJump   Outcome = "jump"
	OutcomeGoto   Outcome = "goto"
)

// Names by which the tools that make chains are known.
const (
	dockerUser    = "DOCKER-USER"
	ownPrefix     = "wgctl-"
	firewalldName = "firewalld"
	forwardChain  = "FORWARD"
	directChain   = "FORWARD_direct" // of firewalld over iptables
)

// A PlaceChoice is where accepts for forwarded packets have to stand on a host.
type PlaceChoice struct {
	Places []Place // one for each chain that drops them by default
	// Trace tells how they were found, as one line: "" if no other filter is
	// there.
	Trace string
	// Notes say what may be dropped all the same, a line each.
	Notes []string
}

// ChoosePlaces returns the places of a host. Accepts of ours are not looked at:
// the same host has the same places with the tunnel up and down.
func ChoosePlaces(f ForeignFacts) (choice PlaceChoice) {
	var nft, legacy, input, words []string
	raw := false
	for _, c := range f.Chains {
		switch {
		case c.Hook == "forward" && f.drops(c):
			if tools := f.toolsOf(c); c.Kind == PlaceLegacy {
				legacy = appendNew(legacy, tools...)
			} else {
				nft = appendNew(nft, tools...)
			}
			place, note := f.placeIn(c)
			if place != (Place{}) {
				choice.Places = append(choice.Places, place)
			}
			if note != "" {
				choice.Notes = appendNew(choice.Notes, note)
			}
		case c.Hook == "input" && f.drops(c):
			input = appendNew(input, f.toolsOf(c)...)
		case c.Hook == "prerouting" && c.Table == "raw" && slices.ContainsFunc(c.Rules, isDrop):
			raw = true
		}
	}
	add := func(key string, values []string) {
		if len(values) > 0 {
			words = append(words, key+"="+strings.Join(values, ","))
		}
	}
	add("nft", nft)
	add("iptables-legacy", legacy)
	if f.Legacy != "" {
		add("iptables-legacy", []string{f.Legacy})
		choice.Notes = append(choice.Notes, "iptables-legacy has rules here and its programs are not installed: they may drop what is forwarded")
	}
	if f.Firewalld {
		add("firewalld", []string{"running"})
	}
	if f.Zone != "" {
		add("zone", []string{f.Zone})
	}
	if raw && f.hasDocker() {
		add("raw", []string{"docker"})
	}
	add("input", input)
	if len(words) == 0 {
		return choice
	}
	var ret []string
	for _, p := range choice.Places {
		ret = appendNew(ret, p.String())
	}
	if ret == nil {
		ret = []string{"none"}
	}
	add("ret", ret)
	choice.Trace = "forward: [" + strings.Join(words, " ") + "]"
	return choice
}

// placeIn returns where accepts go that shall count in a base chain, if there
// is such a place, and what it leaves to be said.
func (f ForeignFacts) placeIn(c ForeignChain) (at Place, note string) {
	switch {
	case c.Owned && (!isFirewalld(c.Place) || !f.Firewalld):
		return Place{}, fmt.Sprintf("table %s %s drops what is forwarded, and only the program that owns it can let it pass", c.Family, c.Table)
	case c.Owned && f.Zone != "":
		// What somebody has decided stays decided.
		return Place{}, fmt.Sprintf("firewalld has the interface in zone %s: what that zone does not forward is dropped", f.Zone)
	case c.Owned:
		return Place{Kind: PlaceZone, Chain: trustedZone},
			"firewalld takes the interface into zone trusted: the tunnel reaches the host itself too, and other zones open no connection into the tunnel"
	case c.Kind == PlaceNFT:
		return c.Place, ""
	case f.Firewalld && f.has(c.Place, directChain):
		return Place{Kind: PlaceDirect, Family: c.Family, Table: c.Table, Chain: c.Chain}, ""
	case f.reaches(c, dockerUser):
		p := c.Place
		p.Chain = dockerUser
		return p, ""
	}
	return c.Place, ""
}

// drops reports whether a packet that none of the chain's conditions tells
// apart is dropped there. A drop under a condition is not: it is meant for the
// packets that it names.
func (f ForeignFacts) drops(c ForeignChain) bool {
	switch f.end(c, nil) {
	case OutcomeDrop:
		return true
	case OutcomeAccept:
		return false
	}
	return c.Drop
}

// end follows the rules without condition and returns how they end: OutcomeAccept,
// OutcomeDrop, or "" at the end of the chain.
func (f ForeignFacts) end(c ForeignChain, seen []string) Outcome {
	if slices.Contains(seen, c.Chain) {
		return "" // the kernel has no loops, but a dump may be torn
	}
	seen = append(seen, c.Chain)
	for _, r := range c.Rules {
		if !r.Always || r.Ours != "" {
			continue
		}
		switch r.Outcome {
		case OutcomeAccept, OutcomeDrop:
			return r.Outcome
		case OutcomeReturn:
			return ""
		case OutcomeJump, OutcomeGoto:
			next, ok := f.chain(c.Place, r.Chain)
			if !ok {
				continue
			}
			if v := f.end(next, seen); v != "" || r.Outcome == OutcomeGoto {
				return v
			}
		}
	}
	return ""
}

// reaches reports whether every packet of the chain comes to the chain of that
// name, unless a condition of another rule names it.
func (f ForeignFacts) reaches(c ForeignChain, name string) bool {
	for _, r := range c.Rules {
		if !r.Always || r.Ours != "" || r.Outcome == "" {
			continue
		}
		if r.Outcome == OutcomeJump && r.Chain == name {
			return f.has(c.Place, name)
		}
		next, ok := f.chain(c.Place, r.Chain)
		if r.Outcome != OutcomeJump || ok && f.end(next, nil) != "" {
			return false
		}
	}
	return false
}

func isDrop(r ForeignRule) bool { return r.Outcome == OutcomeDrop }

// chain returns the chain of that name in the table of p.
func (f ForeignFacts) chain(p Place, name string) (ForeignChain, bool) {
	p.Chain = name
	i := slices.IndexFunc(f.Chains, func(c ForeignChain) bool { return c.Place == p })
	if i < 0 || name == "" {
		return ForeignChain{}, false
	}
	return f.Chains[i], true
}

func (f ForeignFacts) has(p Place, name string) bool {
	_, ok := f.chain(p, name)
	return ok
}

// toolsOf names the tools that have a part in the table of a chain which drops,
// or else how it does.
func (f ForeignFacts) toolsOf(c ForeignChain) []string {
	var tools []string
	if f.has(c.Place, dockerUser) || f.has(c.Place, "DOCKER") || strings.HasPrefix(c.Table, "docker") {
		tools = append(tools, "docker")
	}
	if f.has(c.Place, "ufw-before-forward") || f.has(c.Place, "ufw6-before-forward") {
		tools = append(tools, "ufw")
	}
	if isFirewalld(c.Place) || f.has(c.Place, directChain) {
		tools = append(tools, firewalldName)
	}
	switch {
	case tools != nil:
		return tools
	case c.Kind == PlaceNFT:
		return []string{c.Family + "/" + c.Table + "/" + c.Chain}
	case c.Drop:
		return []string{"DROP"}
	}
	return []string{"REJECT"}
}

func (f ForeignFacts) hasDocker() bool {
	return slices.ContainsFunc(f.Chains, func(c ForeignChain) bool { return c.Chain == "DOCKER" || c.Chain == dockerUser })
}

// isFirewalld reports whether a chain is in a table of firewalld's nftables
// backend: inet firewalld, and before 0.9 ip and ip6 firewalld for NAT.
func isFirewalld(p Place) bool { return p.Kind == PlaceNFT && p.Table == firewalldName }

// appendNew appends the values that aren't there yet.
func appendNew(to []string, values ...string) []string {
	for _, v := range values {
		if !slices.Contains(to, v) {
			to = append(to, v)
		}
	}
	return to
}

// standings returns what stands for one tunnel at the places that are wanted,
// and at those that are not any more.
func (f ForeignFacts) standings(ifname string) []Standing {
	wanted := ChoosePlaces(f).Places
	var out []Standing
	for _, p := range wanted {
		out = append(out, Standing{Place: p, Wanted: true, Digest: f.digest(p, ifname), Tagged: p.tagged()})
	}
	for _, c := range f.Chains {
		if slices.Contains(wanted, c.Place) || !c.mayBePlace() {
			continue
		}
		if d := f.digest(c.Place, ifname); d != "" {
			out = append(out, Standing{Place: c.Place, Wanted: !replaced(c, wanted), Digest: d, Tagged: c.tagged()})
		}
	}
	return out
}

// mayBePlace reports whether a passage can stand in the chain. What stands among
// firewalld's direct rules is shown as a place by itself.
func (c ForeignChain) mayBePlace() bool {
	return c.Hook == "forward" || c.Chain == dockerUser || c.Kind == PlaceDirect || c.Kind == PlaceZone
}

// replaced reports whether another place than c is wanted in the same table:
// else accepts that stand in a chain which doesn't drop any more may stay, as
// it may be about to again.
func replaced(c ForeignChain, wanted []Place) bool {
	return slices.ContainsFunc(wanted, func(p Place) bool {
		return p.Family == c.Family && p.Table == c.Table && (p.Kind == c.Kind || p.Kind == PlaceDirect)
	})
}

// digest returns the digest of the tunnel's accepts in one chain: "changed" if
// a packet may be dropped before it gets to them.
func (f ForeignFacts) digest(p Place, ifname string) string {
	c, ok := f.chain(p, p.Chain)
	if !ok {
		return ""
	}
	var words []string
	cut := false
	for _, r := range c.Rules {
		switch {
		case r.Ours == ifname:
			words = append(words, plainIn(p.Kind, r.words))
			if cut {
				return changed
			}
		case r.Ours == "" && r.Always:
			next, _ := f.chain(c.Place, r.Chain)
			cut = cut || r.Outcome == OutcomeDrop || r.Outcome == OutcomeReturn || f.end(next, nil) == OutcomeDrop
		}
	}
	return digestOf(words)
}

// plainIn returns what a rule does in words that can be compared.
func plainIn(kind PlaceKind, words string) string {
	if kind == PlaceLegacy || kind == PlaceDirect {
		return plainRule(words)
	}
	return words
}
