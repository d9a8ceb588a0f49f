// SPDX-License-Identifier: MIT

package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// A Family is an IP version: IPv4, IPv6, or AnyFamily.
type Family uint8

// The families, with the number that people call them by.
const (
	AnyFamily Family = 0
	IPv4      Family = 4
	IPv6      Family = 6
)

func familyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// A Protocol is an IP protocol by its number; 0 is any.
type Protocol uint8

// The protocols that have a name here.
const (
	ICMP   Protocol = unix.IPPROTO_ICMP
	TCP    Protocol = unix.IPPROTO_TCP
	UDP    Protocol = unix.IPPROTO_UDP
	ICMPv6 Protocol = unix.IPPROTO_ICMPV6
)

// A Chain is a place in the way of a packet: iptables' table and hook.
type Chain struct {
	Table string `json:"table"` // "raw", "mangle", "nat" or "filter"
	Hook  string `json:"hook"`  // "prerouting", "input", "forward", "output" or "postrouting"
}

// The chains that a Rule may be in. Each stands here for what both backends
// make of it.
var (
	PreroutingRaw     = Chain{"raw", "prerouting"}
	PreroutingMangle  = Chain{"mangle", "prerouting"}
	PreroutingNAT     = Chain{"nat", "prerouting"}
	InputFilter       = Chain{"filter", "input"}
	ForwardMangle     = Chain{"mangle", "forward"}
	ForwardFilter     = Chain{"filter", "forward"}
	OutputNAT         = Chain{"nat", "output"}
	OutputFilter      = Chain{"filter", "output"}
	PostroutingMangle = Chain{"mangle", "postrouting"}
	PostroutingNAT    = Chain{"nat", "postrouting"}
)

var ruleChains = []Chain{
	PreroutingRaw, PreroutingMangle, PreroutingNAT, InputFilter, ForwardMangle,
	ForwardFilter, OutputNAT, OutputFilter, PostroutingMangle, PostroutingNAT,
}

// A Rule is one rule in the terms that nftables and iptables share. Zero
// fields match everything; all others have to match.
type Rule struct {
	Chain           Chain    `json:"chain"`
	Family          Family   `json:"family,omitempty"` // of addresses, if there are any, the same
	In              Link     `json:"in,omitzero"`
	Out             Link     `json:"out,omitzero"`
	Source          Network  `json:"source,omitzero"`
	Destination     Network  `json:"destination,omitzero"`
	SourceType      AddrType `json:"source_type,omitempty"`
	DestinationType AddrType `json:"destination_type,omitempty"`
	Protocol        Protocol `json:"protocol,omitempty"`
	SourcePort      Ports    `json:"source_port,omitzero"` // needs TCP or UDP, as DestinationPort does
	DestinationPort Ports    `json:"destination_port,omitzero"`
	SYN             bool     `json:"syn,omitempty"` // of the TCP flags SYN and RST, only SYN
	ICMPType        uint8    `json:"icmp_type,omitempty"`
	State           State    `json:"state,omitempty"` // of the connection, any of these
	Mark            uint32   `json:"mark,omitempty"`  // of the packet

	Verdict Verdict `json:"verdict"`
	To      Target  `json:"to,omitzero"`   // of DNAT and SNAT
	MSS     uint16  `json:"mss,omitempty"` // of VerdictClamp, in bytes; 0: to the path's MTU

	Counter bool   `json:"counter,omitempty"` // nftables counts only then; iptables always does
	Comment string `json:"comment,omitempty"` // after "wgctl: "; at most 60 characters, and no quotes

	// set names a set of the table's own that the destination address, or
	// the type of ICMP, must be in; or the map that DNAT looks the target of
	// a port up in. Only nftables has them.
	set string
}

// A Link is a match of a link's name.
type Link struct {
	Name    string `json:"name"`
	Pattern bool   `json:"pattern,omitempty"` // Name is only how it begins
	Not     bool   `json:"not,omitempty"`
}

// A Network is a match of an address.
type Network struct {
	Prefix netip.Prefix `json:"prefix"` // masked
	Not    bool         `json:"not,omitempty"`
}

// Ports is a match of a port: one, or a range.
type Ports struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"` // First, if it is one
	Not   bool   `json:"not,omitempty"`
}

// A Target is the address, and if they aren't 0 the ports, that NAT puts in.
type Target struct {
	Addr  netip.Addr `json:"addr"`
	First uint16     `json:"first,omitempty"`
	Last  uint16     `json:"last,omitempty"`

	// base is the port that becomes First, those after it becoming those
	// after that; 0: any of them may come out. Only iptables has it.
	base uint16
}

// An AddrType is a match of what an address is to the host.
type AddrType string

// The types. The empty string is any.
const (
	Local    AddrType = "local"
	NotLocal AddrType = "not local"
)

// A State is a set of connection states.
type State uint8

// The states, with the bits that the kernel gives them (NF_CT_STATE_BIT), and
// StateDNAT, which nft calls a status: the destination was translated.
const (
	StateInvalid     State = 1 << 0
	StateEstablished State = 1 << 1
	StateRelated     State = 1 << 2
	StateNew         State = 1 << 3
	StateDNAT        State = 1 << 7 // alone, without others
)

// A Verdict is what a rule does.
type Verdict string

// The verdicts.
const (
	VerdictAccept      Verdict = "accept"
	VerdictDrop        Verdict = "drop"
	VerdictMasquerade  Verdict = "masquerade"
	VerdictSNAT        Verdict = "snat"
	VerdictDNAT        Verdict = "dnat"
	VerdictClamp       Verdict = "clamp"
	VerdictSaveMark    Verdict = "save mark"    // the packet's mark into its connection
	VerdictRestoreMark Verdict = "restore mark" // and back
)

// validateRules returns an error if an extra rule means nothing.
func (r Ruleset) validateRules() error {
	for _, rule := range r.Extra {
		if err := rule.validate(); err != nil {
			return fmt.Errorf("reading ruleset: rule %q: %w", rule.Comment, err)
		}
	}
	return nil
}

// verdictTables are the tables that a verdict may stand in; iptables has them
// that way.
var verdictTables = map[Verdict][]string{
	VerdictAccept: {"raw", "mangle", "nat", "filter"}, VerdictDrop: {"raw", "mangle", "filter"},
	VerdictMasquerade: {"nat"}, VerdictSNAT: {"nat"}, VerdictDNAT: {"nat"},
	VerdictClamp: {"mangle"}, VerdictSaveMark: {"mangle"}, VerdictRestoreMark: {"mangle"},
}

func (r Rule) validate() error {
	hasPorts := r.SourcePort != Ports{} || r.DestinationPort != Ports{} || r.To.First != 0
	switch {
	case !slices.Contains(ruleChains, r.Chain):
		return fmt.Errorf("no chain %s of table %s", r.Chain.Hook, r.Chain.Table)
	case !slices.Contains(verdictTables[r.Verdict], r.Chain.Table):
		return fmt.Errorf("verdict %q in table %s", r.Verdict, r.Chain.Table)
	case r.Chain.Hook == "prerouting" && r.Out != Link{}, r.Chain.Hook == "postrouting" && r.In != Link{}:
		return fmt.Errorf("a link that is not known in %s", r.Chain.Hook)
	case hasPorts && r.Protocol != TCP && r.Protocol != UDP:
		return errors.New("ports without a protocol that has them")
	case r.SYN && r.Protocol != TCP, r.Verdict == VerdictClamp && !r.SYN:
		return errors.New("a segment size outside of TCP's SYN")
	case r.ICMPType != 0 && r.Protocol != ICMP && r.Protocol != ICMPv6:
		return errors.New("an ICMP type without ICMP")
	case (r.Verdict == VerdictSNAT || r.Verdict == VerdictDNAT) != r.To.Addr.IsValid():
		return errors.New("translation without an address, or the other way round")
	}
	for _, l := range []Link{r.In, r.Out} {
		if l != (Link{}) && !isIfname(l.Name) {
			return fmt.Errorf("interface name %q", l.Name)
		}
	}
	for _, f := range []Family{r.Source.family(), r.Destination.family(), r.To.family()} {
		if f != AnyFamily && f != r.Family {
			return errors.New("an address of another family")
		}
	}
	return nil
}

func (n Network) family() Family {
	if !n.Prefix.IsValid() {
		return AnyFamily
	}
	return familyOf(n.Prefix.Addr())
}

func (t Target) family() Family {
	if !t.Addr.IsValid() {
		return AnyFamily
	}
	return familyOf(t.Addr)
}
