// SPDX-License-Identifier: MIT

package firewall

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
)

// A set is a named set or map of the nftables table. Which it is, and what of,
// the first of its fields that isn't empty tells.
type set struct {
	name     string
	prefixes []netip.Prefix // of one family, none within another
	types    []uint8        // of ICMPv6
	forwards forwardMap
}

// A forwardMap leads ports to hosts: each by itself, or whole ranges, which
// then keep their numbers. Thousands of ports are one look-up.
type forwardMap struct {
	family   Family
	protocol Protocol
	on       string
	ranges   bool
	forwards []PortForward
}

// sets returns those that the rules refer to.
func (r Ruleset) sets() []set {
	var out []set
	for _, m := range r.forwardMaps() {
		out = append(out, set{name: m.name(), forwards: m})
	}
	if r.KillSwitch.IsZero() {
		return out
	}
	out = append(out, r.excludedSets()...)
	return append(out, set{name: linkTypesSet, types: linkTypes})
}

// excludedSets returns a set for each family that has excluded prefixes.
func (r Ruleset) excludedSets() []set {
	var out []set
	for _, f := range []Family{IPv4, IPv6} {
		s := set{name: fmt.Sprintf("excluded%d", f)}
		for _, p := range r.KillSwitch.Excluded {
			if familyOf(p.Addr()) == f {
				s.prefixes = append(s.prefixes, p)
			}
		}
		if len(s.prefixes) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// forwardMaps returns the maps of all forwards: one for each kind of packet,
// by way of the link it comes in on.
func (r Ruleset) forwardMaps() []forwardMap {
	var maps []forwardMap
	for _, f := range r.PortForwards {
		m := forwardMap{family: familyOf(f.To), protocol: f.Protocol, on: f.On, ranges: f.Count > 1 && f.First == f.ToFirst}
		i := slices.IndexFunc(maps, func(o forwardMap) bool {
			return o.family == m.family && o.protocol == m.protocol && o.on == m.on && o.ranges == m.ranges
		})
		if i < 0 {
			maps, i = append(maps, m), len(maps)
		}
		maps[i].forwards = append(maps[i].forwards, f)
	}
	return maps
}

// name returns "tcp4", "udp6-ranges" or "tcp4-eth0".
func (m forwardMap) name() string {
	s := fmt.Sprintf("%s%d", m.protocol, m.family)
	if m.ranges {
		s += "-ranges"
	}
	if m.on != "" {
		// Not all that a link can be called can a set, and nft would not
		// read its own listing back.
		s += "-" + strings.NewReplacer("=", "_", "+", "_").Replace(m.on)
	}
	return s
}

// rules returns what looks the map up: for what comes in, and for the host's
// own connections.
func (m forwardMap) rules() []Rule {
	rule := Rule{
		Chain: PreroutingNAT, Family: m.family, DestinationType: Local,
		Protocol: m.protocol, Verdict: VerdictDNAT, Comment: "forward", set: m.name(),
	}
	own := rule
	if m.on != "" {
		rule.In = Link{Name: m.on}
	}
	own.Chain, own.Destination = OutputNAT, notLoopback(m.family)
	return []Rule{rule, own}
}

// text returns the set as "nft list" shows it, but with one element a line.
func (s set) text() string {
	kind, of, elements := "set", "", []string(nil)
	switch {
	case len(s.prefixes) > 0:
		of = addrWord(familyOf(s.prefixes[0].Addr())) + "\n\t\tflags interval"
		for _, p := range s.prefixes {
			elements = append(elements, prefixText(p))
		}
	case len(s.types) > 0:
		of = "icmpv6_type"
		for _, t := range s.types {
			elements = append(elements, icmpTypeWord(ICMPv6, t))
		}
	default:
		kind = "map"
		of = "inet_service : " + addrWord(s.forwards.family)
		if s.forwards.ranges {
			of += "\n\t\tflags interval"
		} else {
			of += " . inet_service"
		}
		elements = s.forwards.elementTexts()
	}
	return fmt.Sprintf("\t%s %s {\n\t\ttype %s\n\t\telements = { %s }\n\t}\n", kind, s.name, of, strings.Join(elements, ",\n\t\t\t     "))
}

func addrWord(f Family) string { return fmt.Sprintf("ipv%d_addr", f) }

func (m forwardMap) elementTexts() (out []string) {
	for _, f := range m.forwards {
		if m.ranges {
			out = append(out, fmt.Sprintf("%d-%d : %s", f.First, f.last(), f.To))
			continue
		}
		for i := range f.Count {
			out = append(out, fmt.Sprintf("%d : %s . %d", int(f.First)+i, f.To, int(f.ToFirst)+i))
		}
	}
	return out
}

// An installedSet is a set of the kernel's, or one that is about to be.
type installedSet struct {
	*nftables.Set
	elements []nftables.SetElement
}

// render returns the set as the kernel takes it.
func (s set) render(table *nftables.Table) installedSet {
	out := installedSet{Set: &nftables.Set{Table: table, Name: s.name, KeyByteOrder: binaryutil.BigEndian}}
	switch {
	case len(s.prefixes) > 0:
		out.KeyType, out.Interval = addrType(familyOf(s.prefixes[0].Addr())), true
		var bounds intervals
		for _, p := range s.prefixes {
			first := p.Addr().AsSlice()
			bounds.add(first, after(lastOf(p)), nil)
		}
		out.elements = bounds
	case len(s.types) > 0:
		out.KeyType = nftables.TypeICMP6Type
		for _, t := range s.types {
			out.elements = append(out.elements, nftables.SetElement{Key: []byte{t}})
		}
	default:
		s.forwards.render(&out)
	}
	return out
}

func (m forwardMap) render(out *installedSet) {
	out.IsMap, out.KeyType, out.DataType = true, nftables.TypeInetService, addrType(m.family)
	if m.ranges {
		out.Interval = true
		var bounds intervals
		for _, f := range m.forwards {
			bounds.add(port(f.First), after(port(f.last())), f.To.AsSlice())
		}
		out.elements = bounds
		return
	}
	out.DataType = nftables.MustConcatSetType(out.DataType, nftables.TypeInetService)
	for _, f := range m.forwards {
		for i := range f.Count {
			value := append(append(f.To.AsSlice(), port(f.ToFirst+uint16(i))...), 0, 0) // a register has 4 bytes
			out.elements = append(out.elements, nftables.SetElement{Key: port(f.First + uint16(i)), Val: value})
		}
	}
}

func addrType(f Family) nftables.SetDatatype {
	if f == IPv4 {
		return nftables.TypeIPAddr
	}
	return nftables.TypeIP6Addr
}

func port(n uint16) []byte { return []byte{byte(n >> 8), byte(n)} }

// intervals are the elements of an interval set in ascending order: where each
// begins, and where it is over.
type intervals []nftables.SetElement

func (v *intervals) add(first, end, value []byte) {
	if len(*v) == 0 && slices.ContainsFunc(first, func(b byte) bool { return b != 0 }) {
		*v = append(*v, nftables.SetElement{Key: make([]byte, len(first)), IntervalEnd: true}) // as nft does
	}
	*v = append(*v, nftables.SetElement{Key: first, Val: value, IntervalOpen: end == nil})
	if end != nil {
		*v = append(*v, nftables.SetElement{Key: end, IntervalEnd: true})
	}
}

// after returns the number that follows, or nil after the greatest.
func after(n []byte) []byte {
	next := slices.Clone(n)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next
		}
	}
	return nil
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) []byte {
	last := p.Addr().AsSlice()
	for i := p.Bits(); i < len(last)*8; i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	return last
}
