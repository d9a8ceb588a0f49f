// SPDX-License-Identifier: MIT

package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// A Passage is what one tunnel wants to have let through by the packet filters
// that are not ours. An accept in our own table does not overrule a drop in
// somebody else's, so that where another filter drops forwarded packets by
// default, accepts have to stand there too. Without accepts nothing is wanted.
type Passage struct {
	Interface string `json:"interface"`
	// Accepts are rules of the chain ForwardFilter, in the order in which they
	// will stand. Their comments don't count.
	Accepts []Rule `json:"accepts,omitempty"`
}

// ForwardAll are the accepts of a tunnel that the host forwards for: in from
// it and out to it.
func ForwardAll(ifname string) []Rule {
	link := Link{Name: ifname}
	return []Rule{
		{Chain: ForwardFilter, In: link, Verdict: VerdictAccept},
		{Chain: ForwardFilter, Out: link, Verdict: VerdictAccept},
	}
}

// ForwardPorts are the accepts of a tunnel with port forwards and nothing else:
// out to it what was led there, and in from it the replies.
func ForwardPorts(ifname string) []Rule {
	rules := ForwardAll(ifname)
	rules[0].State = StateEstablished | StateRelated
	rules[1].State = StateDNAT
	return rules
}

// Empty reports whether nothing is to be let through.
func (p Passage) Empty() bool { return len(p.Accepts) == 0 }

// IsZero is Empty, for encoding.
func (p Passage) IsZero() bool { return p.Empty() }

// comment is that of each accept in somebody else's chain: what finds it again
// when the record is lost.
func (p Passage) comment() string { return foreignComment(p.Interface) }

func foreignComment(ifname string) string { return "wgctl: " + ifname }

// validate returns an error if the passage can't be written as rules.
func (p Passage) validate() error {
	if !isIfname(p.Interface) {
		return fmt.Errorf("reading passage: interface name %q: %w", p.Interface, unix.EINVAL)
	}
	for _, r := range p.Accepts {
		if err := r.validate(); err != nil {
			return fmt.Errorf("reading passage: %w", err)
		}
		if r.Chain != ForwardFilter || r.Verdict != VerdictAccept {
			return errors.New("reading passage: a rule that accepts nothing that is forwarded")
		}
	}
	return nil
}

// at returns the accepts that concern packets of a family, as nft calls it.
func (p Passage) at(family string) []Rule {
	return slices.DeleteFunc(slices.Clone(p.Accepts), func(r Rule) bool {
		return r.Family == IPv4 && family == familyIP6 || r.Family == IPv6 && family == familyIP
	})
}

// Families of a place, in the words of nft.
const (
	familyIP   = "ip"
	familyIP6  = "ip6"
	familyINet = "inet"
)

// A PlaceKind says how a place is programmed.
type PlaceKind string

// The kinds of places.
const (
	PlaceNFT      PlaceKind = "nft"              // a base chain of nftables, by netlink
	PlaceIPTables PlaceKind = "iptables"         // a chain of iptables-nft, by netlink, in the words of iptables
	PlaceLegacy   PlaceKind = "iptables-legacy"  // a chain of the old iptables, by its program
	PlaceDirect   PlaceKind = "firewalld-direct" // direct rules of firewalld over iptables, by D-Bus
	PlaceZone     PlaceKind = "firewalld-zone"   // a zone of firewalld that the interface is put into, by D-Bus
)

// A Place is where accepts of ours stand, or should: the one that the tool
// which drops there offers for that, or the head of its chain.
type Place struct {
	Kind   PlaceKind `json:"kind"`
	Family string    `json:"family,omitempty"` // ip, ip6 or inet
	Table  string    `json:"table,omitempty"`
	Chain  string    `json:"chain"` // or zone
}

// trustedZone accepts everything, in firewalld as it comes.
const trustedZone = "trusted"

// String returns the place as one word, as it stands in a trace.
func (p Place) String() string {
	word := p.Chain
	switch {
	case p.Kind == PlaceZone:
		return "firewalld-" + p.Chain
	case p.Kind == PlaceDirect:
		word = string(PlaceDirect)
	case p.Kind == PlaceNFT:
		return p.Family + "/" + p.Table + "/" + p.Chain
	case p.Chain == dockerUser:
		word = "docker-user"
	}
	if p.Kind == PlaceLegacy {
		word = "legacy-" + word
	}
	if p.Family == familyIP6 {
		word += "6"
	}
	return word
}

// tagged reports whether what stands there carries our comment.
func (p Place) tagged() bool { return p.Kind != PlaceZone }

// A Standing is what one place has of a tunnel's accepts, as observed.
type Standing struct {
	Place Place `json:"place"`
	// Wanted says that forwarded packets may be dropped there by default, so
	// that a tunnel which has a Passage needs it.
	Wanted bool `json:"wanted,omitempty"`
	// Digest is that of the accepts which stand there (see Passage.Digest),
	// "" if there are none, and "changed" if they have no effect.
	Digest string `json:"digest,omitempty"`
	// Tagged says that what stands there is ours for certain.
	Tagged bool `json:"tagged,omitempty"`
}

// Digest returns what Standing.Digest is where the passage stands as it should
// at that place: "" if it needs nothing there.
func (p Passage) Digest(at Place) string {
	switch at.Kind {
	case PlaceZone:
		if p.needsZone() {
			return digestOf([]string{at.Chain})
		}
		return ""
	case PlaceNFT, PlaceIPTables:
		return digestOf(exprWords(p.nftRules(at)))
	}
	return digestOf(plainRules(p.iptablesRules(at.Family)))
}

// needsZone reports whether the passage is more than what firewalld lets
// through anyway: it accepts replies and what was redirected in every zone.
func (p Passage) needsZone() bool {
	return slices.ContainsFunc(p.Accepts, func(r Rule) bool {
		return r.State != StateDNAT && (r.State == 0 || r.State&StateNew != 0)
	})
}

// Count returns the number of rules that the passage becomes at a place.
func (p Passage) Count(at Place) int {
	if at.Kind == PlaceZone {
		return min(1, len(p.Digest(at)))
	}
	return len(p.at(at.Family))
}

// digestOf returns 16 hexadecimal digits for rules in their order, "" for none.
func digestOf(rules []string) string {
	if len(rules) == 0 {
		return ""
	}
	h := sha256.New()
	for _, r := range rules {
		fmt.Fprintf(h, "%s\n", r)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Command returns what an administrator would type to make a place have what
// the passage needs there.
func (p Passage) Command(at Place) string {
	what := fmt.Sprintf("(comment %q)", p.comment())
	verbs := map[PlaceKind]string{PlaceZone: "--remove-interface", PlaceDirect: "--remove-rule", PlaceNFT: "delete", PlaceIPTables: "-D", PlaceLegacy: "-D"}
	if n := p.Count(at); n > 0 {
		if what = fmt.Sprintf("(1 accept, comment %q)", p.comment()); n > 1 {
			what = fmt.Sprintf("(%d accepts, comment %q)", n, p.comment())
		}
		verbs = map[PlaceKind]string{PlaceZone: "--add-interface", PlaceDirect: "--add-rule", PlaceNFT: "insert", PlaceIPTables: "-I", PlaceLegacy: "-I"}
	}
	verb, program := verbs[at.Kind], "iptables"
	if at.Family == familyIP6 {
		program = "ip6tables"
	}
	switch at.Kind {
	case PlaceZone:
		return fmt.Sprintf("firewall-cmd --zone=%s %s=%s", at.Chain, verb, p.Interface)
	case PlaceDirect:
		return fmt.Sprintf("firewall-cmd --direct %s %s %s %s %s", verb, directFamily(at.Family), at.Table, at.Chain, what)
	case PlaceNFT:
		return fmt.Sprintf("nft %s rule %s %s %s %s", verb, at.Family, at.Table, at.Chain, what)
	case PlaceLegacy:
		program += "-legacy"
	}
	return fmt.Sprintf("%s %s %s %s", program, verb, at.Chain, what)
}
