// SPDX-License-Identifier: MIT

// Package firewall is what a tunnel needs of the host's packet filter: a
// Ruleset as data, two backends that program it (nftables over netlink,
// iptables), and the choice between them with its trace.
//
// It is not a firewall of the host's: it owns one table (or a few chains) a
// tunnel and never touches another rule.
package firewall

import "net/netip"

// A Ruleset is all that one tunnel wants of the packet filter. The zero value
// of every field but Interface means "no such rules", and a Ruleset without
// any rules means that there is no table.
type Ruleset struct {
	Interface string `json:"interface"`

	// AntiSpoof are addresses of the interface that nobody may reach through
	// another link: packets to them that come in elsewhere are dropped unless
	// their source is local (CVE-2019-14899).
	AntiSpoof []netip.Addr `json:"anti_spoof,omitempty"`

	// RestoreMark, if not 0, is the fwmark of the tunnel's own UDP packets.
	// It is saved in their connection and put back on the replies, so that
	// strict reverse path filtering lets them in.
	RestoreMark uint32 `json:"restore_mark,omitempty"`

	// Forward says that anything may be forwarded from and to the tunnel. In
	// a table of our own, which drops nothing, that takes no rule: it is for
	// the sake of what else filters on the host.
	Forward bool `json:"forward,omitempty"`
	// Masquerade are the links on which what leaves from the tunnel gets the
	// host's own address.
	Masquerade []Masquerade `json:"masquerade,omitempty"`
	// Sources are where packets out of the tunnel may come from. Only
	// iptables asks: it can't tell in POSTROUTING where a packet came in.
	Sources []netip.Prefix `json:"sources,omitempty"`
	// PortForwards are ports of the host that lead to hosts behind the
	// tunnel. No two are for the same packet.
	PortForwards []PortForward `json:"port_forwards,omitempty"`
	// Clamp lowers the segment size of TCP connections that are forwarded
	// from or to the tunnel.
	Clamp Clamp `json:"clamp,omitzero"`
	// KillSwitch lets nothing leave the host but by the tunnel.
	KillSwitch KillSwitch `json:"kill_switch,omitzero"`
	// Extra are rules of any other kind, in order.
	Extra []Rule `json:"extra,omitempty"`
}

// A Masquerade is one link on which to masquerade, for one family or both.
type Masquerade struct {
	Out    string `json:"out"`
	Family Family `json:"family,omitempty"`
}

// A PortForward leads Count ports of the host, counted from First, to as many
// of To, counted from ToFirst. The family is that of To. The host's own
// connections to one of its addresses but loopback are led there too.
type PortForward struct {
	Protocol   Protocol   `json:"protocol"` // TCP or UDP
	First      uint16     `json:"first"`
	Count      int        `json:"count"`
	To         netip.Addr `json:"to"`
	ToFirst    uint16     `json:"to_first"`
	On         string     `json:"on,omitempty"`          // only what comes in on that link; "": any
	KeepSource bool       `json:"keep_source,omitempty"` // else To sees the host's address in the tunnel
}

// Overlaps reports whether one packet could be meant by both.
func (f PortForward) Overlaps(g PortForward) bool {
	return f.Protocol == g.Protocol && f.To.Is4() == g.To.Is4() && f.First <= g.last() && g.First <= f.last() &&
		(f.On == g.On || f.On == "" || g.On == "")
}

// A Clamp is what becomes of the segment size that a SYN announces.
type Clamp struct {
	On   bool   `json:"on,omitempty"`
	Size uint16 `json:"size,omitempty"` // the most, in bytes; 0: what the MTU of the way to and from there leaves
}

// A KillSwitch, if Mark isn't 0, drops what leaves the host unless it goes
// through the tunnel, is UDP with that mark (the tunnel's own), stays on the
// host, goes to an excluded prefix, or keeps a link working (DHCP, neighbour
// discovery, multicast listener reports).
type KillSwitch struct {
	Mark     uint32         `json:"mark,omitempty"`
	Excluded []netip.Prefix `json:"excluded,omitempty"` // masked
	// Resolver says that no nameserver in Excluded is to be asked, in the clear
	// or by TLS, but these.
	Resolver    bool         `json:"resolver,omitempty"`
	Nameservers []netip.Addr `json:"nameservers,omitempty"`
}

// IsZero reports whether there is no kill switch.
func (k KillSwitch) IsZero() bool { return k.Mark == 0 }

// Empty reports whether the ruleset has no rules.
func (r Ruleset) Empty() bool {
	return len(r.AntiSpoof) == 0 && r.RestoreMark == 0 && len(r.Masquerade) == 0 && len(r.PortForwards) == 0 &&
		!r.Clamp.On && r.KillSwitch.IsZero() && len(r.Extra) == 0
}

// An Installed is what a backend finds of a tunnel's ruleset. Digest is that
// of the Ruleset that was applied, or "" when nothing is there; a ruleset that
// somebody tampered with has the digest "changed".
type Installed struct {
	Digest string `json:"digest,omitempty"`
	Mark   uint32 `json:"mark,omitempty"` // the RestoreMark, or that of the kill switch, read back
	// KillSwitch says that packets are dropped by one.
	KillSwitch bool `json:"kill_switch,omitempty"`
}
