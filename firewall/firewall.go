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
}

// Empty reports whether the ruleset has no rules.
func (r Ruleset) Empty() bool { return len(r.AntiSpoof) == 0 && r.RestoreMark == 0 }

// An Installed is what a backend finds of a tunnel's ruleset. Digest is that
// of the Ruleset that was applied, or "" when nothing is there; a ruleset that
// somebody tampered with has the digest "changed".
type Installed struct {
	Digest string `json:"digest,omitempty"`
	Mark   uint32 `json:"mark,omitempty"` // the RestoreMark, read back from the table
}
