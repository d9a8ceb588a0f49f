// SPDX-License-Identifier: MIT

package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Masquerade is the Masquerade key: the links on which what leaves from the
// tunnel gets the host's own address. The zero value is "off".
type Masquerade struct {
	Auto  bool     // the links where the default routes go, by family
	Links []string // named in the file, in order; none needs to exist
}

// IsZero reports whether nothing is masqueraded.
func (m Masquerade) IsZero() bool { return !m.Auto && len(m.Links) == 0 }

// A Protocol is one of those that have ports to forward.
type Protocol string

// The protocols.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// A PortForward is one PortForward: what comes to these ports of the host goes
// to a host behind the tunnel. As many ports come as go; Count is their number.
type PortForward struct {
	Protocol   Protocol
	First      uint16     // of the host, from 1
	To         netip.Addr // without zone; its family is the one that is forwarded
	ToFirst    uint16
	Count      int
	On         string // the link that it must come in on; "": any
	KeepSource bool   // To sees where it came from, and must route its replies back
}

// Last is the last of the host's ports.
func (f PortForward) Last() uint16 { return f.First + uint16(f.Count-1) }

// ToLast is the last port at To.
func (f PortForward) ToLast() uint16 { return f.ToFirst + uint16(f.Count-1) }

// String returns the forward as it is written in a file.
func (f PortForward) String() string {
	s := fmt.Sprintf("%s/%s -> %s", f.Protocol, portRange(f.First, f.Last()), hostPorts(f.To, f.ToFirst, f.ToLast()))
	if f.On != "" {
		s += " on " + f.On
	}
	if f.KeepSource {
		s += " " + keepSource
	}
	return s
}

func portRange(first, last uint16) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

func hostPorts(a netip.Addr, first, last uint16) string {
	if a.Is6() {
		return "[" + a.String() + "]:" + portRange(first, last)
	}
	return a.String() + ":" + portRange(first, last)
}

// A ClampMSS is the ClampMSS key: what becomes of the maximum segment size of
// forwarded TCP connections. The zero value is "auto".
type ClampMSS struct {
	Off  bool
	Size int // bytes; 0: what the path's MTU leaves
}

// String returns the key as it is written in a file.
func (c ClampMSS) String() string {
	switch {
	case c.Off:
		return "off"
	case c.Size != 0:
		return fmt.Sprint(c.Size)
	}
	return "auto"
}

// The bounds of a segment size: what every host takes (RFC 9293, section
// 3.7.1), and what an IPv4 packet can carry.
const (
	minMSS = 536
	maxMSS = math.MaxUint16 - 40
)

const keepSource = "keep-source"

// portForwardForm is how a PortForward is written, for messages.
const portForwardForm = `"tcp/2222 -> 10.8.0.2:22" or "udp/8000-8010 -> [fd08::2]:8000-8010 on eth0"`

// parsePortForward reads a PortForward, or says what is wrong with it.
func parsePortForward(s string) (f PortForward, fault string) {
	from, to, ok := strings.Cut(s, "->")
	words := strings.Fields(to)
	proto, ports, slash := strings.Cut(strings.TrimSpace(from), "/")
	if !ok || !slash || len(words) == 0 {
		return f, "is not a forward such as " + portForwardForm
	}
	if f.Protocol = Protocol(strings.ToLower(strings.TrimSpace(proto))); f.Protocol != TCP && f.Protocol != UDP {
		return f, "has a protocol that is neither tcp nor udp"
	}
	last := uint16(0)
	if f.First, last, ok = parsePorts(strings.TrimSpace(ports)); !ok {
		return f, "has wrong ports before the arrow: a number from 1 to 65535, or two with a dash between them"
	}
	f.Count = int(last) - int(f.First) + 1
	if fault := f.parseTarget(words[0]); fault != "" {
		return f, fault
	}
	for rest := words[1:]; len(rest) > 0; rest = rest[1:] {
		switch {
		case strings.EqualFold(rest[0], keepSource) && !f.KeepSource:
			f.KeepSource = true
		case strings.EqualFold(rest[0], "on") && f.On == "" && len(rest) > 1:
			rest = rest[1:]
			if f.On = rest[0]; CheckName(f.On) != nil {
				return f, "has after \"on\" what is not the name of an interface"
			}
		default:
			return f, "has more after its target than \"on IFNAME\" and \"" + keepSource + "\""
		}
	}
	return f, ""
}

// parseTarget reads "10.8.0.2:22" or "[fd00::2]:22"; without ports they stay
// as they are.
func (f *PortForward) parseTarget(s string) (fault string) {
	const noTarget = "has a target that is not an IPv4 address or an IPv6 address in brackets, with a port"
	host, ports, given := s, "", false
	if rest, ok := strings.CutPrefix(s, "["); ok {
		if host, ports, ok = strings.Cut(rest, "]"); !ok {
			return noTarget
		}
		if ports, given = strings.CutPrefix(ports, ":"); !given && ports != "" {
			return noTarget
		}
	} else {
		host, ports, given = strings.Cut(s, ":")
	}
	a, err := netip.ParseAddr(host)
	if err != nil || a.Zone() != "" || a.Is4In6() || a.Is6() != strings.HasPrefix(s, "[") {
		return noTarget
	}
	if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() {
		return "has a target that no tunnel leads to"
	}
	f.To = a
	if !given {
		f.ToFirst = f.First
		return ""
	}
	first, last, ok := parsePorts(ports)
	if !ok {
		return "has wrong ports after the arrow: a number from 1 to 65535, or two with a dash between them"
	}
	if n := int(last) - int(first) + 1; n != f.Count {
		return fmt.Sprintf("has %s before the arrow and %s after it", portCount(f.Count), portCount(n))
	}
	f.ToFirst = first
	return ""
}

func portCount(n int) string {
	if n == 1 {
		return "1 port"
	}
	return fmt.Sprintf("%d ports", n)
}

// parsePorts reads "22" or "8000-8010".
func parsePorts(s string) (first, last uint16, ok bool) {
	a, b, isRange := strings.Cut(s, "-")
	m, ok := parseNumber(a, math.MaxUint16)
	n, okLast := m, true
	if isRange {
		n, okLast = parseNumber(b, math.MaxUint16)
	}
	return uint16(m), uint16(n), ok && okLast && m > 0 && m <= n
}

// overlaps reports whether one packet could be meant by both.
func (f PortForward) overlaps(g PortForward) bool {
	return f.Protocol == g.Protocol && f.To.Is4() == g.To.Is4() && f.First <= g.Last() && g.First <= f.Last() &&
		(f.On == g.On || f.On == "" || g.On == "")
}

// parseOnOff takes what systemd takes for a boolean, of which "on" and "off"
// are the ones that the documents use.
func parseOnOff(s string) (on, ok bool) {
	switch strings.ToLower(s) {
	case "on", "yes", "true", "1":
		return true, true
	case "off", "no", "false", "0":
		return false, true
	}
	return false, false
}

func (b *builder) onOff(value string) (on, ok bool) {
	on, ok = parseOnOff(value)
	if !ok {
		b.fail("%s is neither on nor off", shown(value))
		return false, false
	}
	b.scalar()
	return on, true
}

func (b *builder) forward(value string) {
	if on, ok := b.onOff(value); ok {
		b.cfg.Interface.Forward = &on
	}
}

func (b *builder) killSwitch(value string) {
	if on, ok := b.onOff(value); ok {
		b.cfg.Interface.KillSwitch = on
	}
}

// masquerade notes a line for each link, and one for auto or off.
func (b *builder) masquerade(value string) {
	m := &b.cfg.Interface.Masquerade
	for _, item := range items(value) {
		if b.crowds() {
			return
		}
		switch {
		case strings.EqualFold(item, "off"):
			b.masqueradeOff = true
		case strings.EqualFold(item, "auto"):
			m.Auto = true
		case CheckName(item) != nil:
			b.fail("%s is neither auto, off nor the name of an interface", shown(item))
			continue
		case slices.Contains(m.Links, item):
			continue
		default:
			m.Links = append(m.Links, item)
		}
		b.item()
	}
	if b.masqueradeOff && !m.IsZero() {
		b.fail("is off and something else at once")
	}
}

func (b *builder) portForward(value string) {
	if b.crowds() {
		return
	}
	f, fault := parsePortForward(value)
	if fault != "" {
		b.fail("%s %s", shown(value), fault)
		return
	}
	forwards := &b.cfg.Interface.PortForwards
	for i, g := range *forwards {
		if f.overlaps(g) {
			b.fail("%s overlaps with %s of line %d", shown(value), shown(g.String()), b.cfg.Line(b.peer, b.key, i))
			return
		}
	}
	b.item()
	*forwards = append(*forwards, f)
}

func (b *builder) clampMSS(value string) {
	var c ClampMSS
	switch {
	case strings.EqualFold(value, "auto"):
	case strings.EqualFold(value, "off"):
		c.Off = true
	default:
		n, err := strconv.Atoi(value)
		if !isDigits(value) || err != nil || n < minMSS || n > maxMSS {
			b.fail("%s is not a segment size: auto, off, or a number of bytes from %d to %d", shown(value), minMSS, maxMSS)
			return
		}
		c.Size = n
	}
	b.scalar()
	b.cfg.Interface.ClampMSS = c
}

func (b *builder) excludedIPs(value string) {
	for _, item := range items(value) {
		if b.crowds() {
			return
		}
		ip, unmasked, fault := parseAllowedIP(item)
		switch {
		case fault != "" || ip.Sign != Unsigned:
			b.fail("%s is not an address with an optional prefix length", shown(item))
			continue
		case ip.Prefix.Bits() == 0:
			b.fail("%s leaves nothing for the tunnel", shown(item))
			continue
		case unmasked:
			b.warn("excluded-host-bits", "%s has bits set beyond its prefix length: it means %s", shown(item), ip.Prefix)
		}
		b.item()
		b.cfg.Interface.ExcludedIPs = append(b.cfg.Interface.ExcludedIPs, ip.Prefix)
	}
}

// checkForwarding finds what contradicts itself in the keys of forwarding and
// of the kill switch.
func (b *builder) checkForwarding() {
	in := &b.cfg.Interface
	if in.Forward != nil && !*in.Forward {
		for key, given := range map[string]bool{"Masquerade": !in.Masquerade.IsZero(), "PortForward": len(in.PortForwards) > 0} {
			if given {
				b.warnf("forward-off", b.cfg.Line(InInterface, key, 0), interfaceSection, key,
					"needs a host that forwards, and Forward is off in line %d", b.cfg.Line(InInterface, "Forward", 0))
			}
		}
	}
	if in.KillSwitch && in.FwMark != nil && *in.FwMark == 0 {
		b.errorf(b.cfg.Line(InInterface, "KillSwitch", 0), interfaceSection, "KillSwitch",
			"knows the tunnel's packets by their mark, and FwMark is off in line %d", b.cfg.Line(InInterface, "FwMark", 0))
	}
	b.checkTargets()
	if in.ListenPort == nil || in.ListenPort.Service != "" {
		return
	}
	for i, f := range in.PortForwards {
		if p := in.ListenPort.Number; f.Protocol == UDP && f.First <= p && p <= f.Last() {
			b.errorf(b.cfg.Line(InInterface, "PortForward", i), interfaceSection, "PortForward",
				"takes port %d away from the tunnel itself: see ListenPort in line %d", p, b.cfg.Line(InInterface, "ListenPort", 0))
		}
	}
}

// checkTargets finds forwards whose connections could not come back, or get
// there.
func (b *builder) checkTargets() {
	in := &b.cfg.Interface
	for i, f := range in.PortForwards {
		line := b.cfg.Line(InInterface, "PortForward", i)
		family := "IPv4"
		if f.To.Is6() {
			family = "IPv6"
		}
		if !f.KeepSource && !slices.ContainsFunc(in.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() == f.To.Is6() }) {
			b.errorf(line, interfaceSection, "PortForward",
				"%s would see connections from an %s Address of this file, and there is none: add one, or %s", f.To, family, keepSource)
		}
		if !b.allows(f.To) {
			b.warnf("port-forward-outside", line, interfaceSection, "PortForward", "leads to %s, which is in no peer's AllowedIPs", f.To)
		}
	}
}

// allows reports whether a peer has the address.
func (b *builder) allows(a netip.Addr) bool {
	return slices.ContainsFunc(b.cfg.Peers, func(p Peer) bool {
		return slices.ContainsFunc(p.AllowedIPs, func(ip AllowedIP) bool { return ip.Sign != Minus && ip.Prefix.Contains(a) })
	})
}
