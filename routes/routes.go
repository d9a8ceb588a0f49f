// SPDX-License-Identifier: MIT

// Package routes decides which routes, policy rules, table, fwmark and MTU a
// tunnel needs, from its allowed IPs and from facts about the host.
//
// It is pure: it reads no host and no file, and it programs nothing. Package
// netlinkx puts its values into the kernel, package tunnel gathers its facts.
package routes

import (
	"fmt"
	"net/netip"
	"strconv"
)

// Tables that the kernel defines, from linux/rtnetlink.h (RT_TABLE_*).
const (
	TableDefault uint32 = 253
	TableMain    uint32 = 254
	TableLocal   uint32 = 255
)

// A Family is an IP version: V4 or V6.
type Family uint8

// The two families, with the number that people call them by.
const (
	V4 Family = 4
	V6 Family = 6
)

// FamilyOf returns the family of p. An IPv4-mapped IPv6 prefix is V6, as it is
// in the kernel's tables.
func FamilyOf(p netip.Prefix) Family {
	if p.Addr().Is4() {
		return V4
	}
	return V6
}

// A Kind is what a route does with a packet.
type Kind uint8

// The kinds, but for Unicast all dead ends: they lead through no link.
const (
	Unicast     Kind = iota // through the tunnel's own link
	Throw                   // on to the next rule, as if the table had no route
	Unreachable             // nowhere: the sender is told
)

// MetricLast is that of a dead end which only counts when no other route of
// the table does. It is the one that the kernel's own documents use for this
// (Documentation/networking/vrf.rst).
const MetricLast = 4278198272

// A Route is one route to a prefix, through the tunnel's own link or to a dead
// end. The link is not part of the value: a tunnel has one.
//
// Routes are comparable, and two equal values are the same route for the
// kernel too.
type Route struct {
	Dst    netip.Prefix // masked; a default route has zero bits
	Table  uint32       // never 0: TableMain where none was asked for
	Metric uint32       // priority; 0 is the kernel's own choice (0 for IPv4, 1024 for IPv6)
	Kind   Kind         `json:",omitempty"`
}

// String returns what follows "ip route add" to make the route, without the
// device: "192.168.7.0/24" or "throw 10.0.0.0/8 table 51820 metric 5".
func (r Route) String() string {
	s := r.Dst.String()
	switch r.Kind {
	case Throw:
		s = "throw " + s
	case Unreachable:
		s = "unreachable " + s
	}
	if r.Table != TableMain {
		s += " table " + strconv.FormatUint(uint64(r.Table), 10)
	}
	if r.Metric != 0 {
		s += " metric " + strconv.FormatUint(uint64(r.Metric), 10)
	}
	return s
}

// A Rule is one policy rule of the two kinds that a default route needs, or one
// that a hook of a file asked for:
//
//	not from all fwmark MARK lookup TABLE
//	from all lookup TABLE suppress_prefixlength N
//	from PREFIX to PREFIX lookup TABLE
//
// Rules are comparable. Priority is always explicit: the kernel accepts
// duplicates silently where it chooses the priority itself.
type Rule struct {
	Family   Family
	Priority uint32 // 1 to 32765
	Table    uint32
	Mark     uint32 // fwmark to match, with the full mask; 0 matches any packet
	Invert   bool   // "not": match packets without the mark
	Suppress bool   // suppress_prefixlength 0: ignore the table's default routes

	From, To netip.Prefix // masked; invalid: any
}

// String returns what follows "ip -4 rule add" or "ip -6 rule add".
func (r Rule) String() string {
	s := ""
	if r.Invert {
		s = "not "
	}
	if r.From.IsValid() {
		s += "from " + r.From.String() + " "
	}
	if r.To.IsValid() {
		s += "to " + r.To.String() + " "
	}
	if r.Mark != 0 || r.Invert && !r.From.IsValid() && !r.To.IsValid() {
		s += fmt.Sprintf("fwmark %#x ", r.Mark)
	}
	if r.Table == TableMain {
		s += "table main"
	} else {
		s += "table " + strconv.FormatUint(uint64(r.Table), 10)
	}
	if r.Suppress {
		s += " suppress_prefixlength 0"
	}
	return s + " priority " + strconv.FormatUint(uint64(r.Priority), 10)
}
