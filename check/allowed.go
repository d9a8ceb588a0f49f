// SPDX-License-Identifier: MIT

package check

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/config"
	"go4.org/netipx"
)

var allowedRules = []Rule{
	{
		Name: "allowed-ips-equal", Severity: Error, file: allowedEqual,
		Finds: "one prefix given to two peers",
		Why:   "a device has it at one peer: the last takes it from the first without a word, and the first gets nothing",
		Mend:  "leave it with the peer that it belongs to",
	}, {
		Name: "allowed-ips-overlap", Severity: Info, file: allowedOverlap,
		Finds: "a prefix that is a part of another peer's",
		Why:   "the longer prefix wins: these addresses go to the one peer, the rest to the other",
		Mend:  "none is needed if that is meant",
	}, {
		Name: "allowed-ips-twice", Severity: Warning, Fixes: true, file: allowedTwice,
		Finds: "a prefix twice at one peer",
		Why:   "the second says nothing new; likely another was meant",
		Mend:  "remove it, or write the one that was meant",
	}, {
		Name: "allowed-ips-host-bits", Severity: Warning, Fixes: true, file: allowedHostBits,
		Finds: "an allowed IP with bits set beyond its prefix length",
		Why:   "it is cut to the network: the peer gets all of it, where often one machine was meant",
		Mend:  "write the network, or /32 (/128) for the one machine",
	}, {
		Name: "allowed-ips-no-length", Severity: Info, Fixes: true, file: allowedNoLength,
		Finds: "an allowed IP without a prefix length",
		Why:   "it is one address, which a reader may take for a network",
		Mend:  "write the length: /32, or /128 for IPv6",
	}, {
		Name: "allowed-ips-own", Severity: Warning, file: allowedOwn,
		Finds: "an Address of this interface as a peer's allowed IP",
		Why:   "it says that the peer has this host's address, and nothing of what is behind the peer",
		Mend:  "AllowedIPs are the other end's addresses: its own in the tunnel, and the networks behind it",
	}, {
		Name: "allowed-ips-none", Severity: Warning, file: allowedNone,
		Finds: "a peer without AllowedIPs",
		Why:   "nothing is sent to it, and what comes from it is dropped: only handshakes work",
		Mend:  "give it the addresses behind it, at least its own in the tunnel",
	},
}

// A claim is a prefix that a peer is given.
type claim struct {
	prefix netip.Prefix
	peer   int
	item   int
}

// claims are those of all peers, in the order of the file.
func (l *look) claims() (out []claim) {
	for i, p := range l.cfg.Peers {
		for j, a := range p.AllowedIPs {
			if a.Sign != config.Minus {
				out = append(out, claim{a.Prefix, i, j})
			}
		}
	}
	return out
}

func (l *look) samePeer(a, b int) bool { return l.cfg.Peers[a].PublicKey == l.cfg.Peers[b].PublicKey }

func allowedEqual(l *look) {
	first := map[netip.Prefix]claim{}
	for _, c := range l.claims() {
		had, taken := first[c.prefix]
		if !taken {
			first[c.prefix] = c
		} else if !l.samePeer(had.peer, c.peer) {
			l.at(c.peer, "AllowedIPs", c.item, "%s of %s is also given to %s", c.prefix, l.peer(c.peer), l.peer(had.peer))
		}
	}
}

// allowedOverlap tells of each prefix that has parts at other peers once. A
// default route is all others' whole, and nothing to tell of.
func allowedOverlap(l *look) {
	byPrefix := map[netip.Prefix]claim{}
	var lengths [2][129]bool
	family := func(p netip.Prefix) int {
		if p.Addr().Is4() {
			return 0
		}
		return 1
	}
	claims := l.claims()
	for _, c := range claims {
		byPrefix[c.prefix] = c
		lengths[family(c.prefix)][c.prefix.Bits()] = true
	}
	type parts struct {
		first claim
		more  int
	}
	inside := map[netip.Prefix]parts{}
	for _, c := range claims {
		for bits := c.prefix.Bits() - 1; bits > 0; bits-- {
			if !lengths[family(c.prefix)][bits] {
				continue
			}
			wider, _ := c.prefix.Addr().Prefix(bits)
			if o, ok := byPrefix[wider]; ok && !l.samePeer(o.peer, c.peer) {
				p, again := inside[wider]
				if !again {
					p.first = c
				} else {
					p.more++
				}
				inside[wider] = p
				break
			}
		}
	}
	for _, o := range claims {
		p, ok := inside[o.prefix]
		if !ok || byPrefix[o.prefix] != o {
			continue
		}
		more := ""
		if p.more > 0 {
			more = fmt.Sprintf(", as are %d more", p.more)
		}
		c := p.first
		l.at(c.peer, "AllowedIPs", c.item, "%s of %s is inside %s of %s%s", c.prefix, l.peer(c.peer), o.prefix, l.peer(o.peer), more)
	}
}

// A spelling is an allowed IP with what the file writes for it.
type spelling struct {
	claim
	at   config.Item
	text string // without sign
}

// spellings are those of all peers.
func (l *look) spellings() (out []spelling) {
	peer, n := -1, 0
	l.cfg.AllowedIPItems(l.file.Text, func(of int, at config.Item, text string) {
		if of != peer {
			peer, n = of, 0
		}
		if ips := l.cfg.Peers[of].AllowedIPs; n < len(ips) && ips[n].Sign == config.Unsigned {
			out = append(out, spelling{claim{ips[n].Prefix, of, n}, at, text})
		}
		n++
	})
	return out
}

func allowedTwice(l *look) {
	first := map[claim]int{}
	for _, s := range l.spellings() {
		of := claim{prefix: s.prefix, peer: s.peer}
		line, again := first[of]
		if !again {
			first[of] = s.at.Line
			continue
		}
		f := l.at(s.peer, "AllowedIPs", s.item, "%s of %s has been given in line %d", s.prefix, l.peer(s.peer), line)
		f.Fix = &Fix{Line: s.at.Line, N: s.at.N}
	}
}

func allowedHostBits(l *look) {
	for _, s := range l.spellings() {
		addr, _, _ := strings.Cut(s.text, "/")
		a, err := netip.ParseAddr(addr)
		if err != nil || a == s.prefix.Addr() {
			continue
		}
		f := l.at(s.peer, "AllowedIPs", s.item, "%s has bits set beyond its prefix length: it means %s", s.text, s.prefix)
		f.Fix = &Fix{Line: s.at.Line, N: s.at.N, To: s.prefix.String()}
	}
}

func allowedNoLength(l *look) {
	for _, s := range l.spellings() {
		if !strings.Contains(s.text, "/") {
			f := l.at(s.peer, "AllowedIPs", s.item, "%s has no prefix length: it means %s", s.text, s.prefix)
			f.Fix = &Fix{Line: s.at.Line, N: s.at.N, To: s.prefix.String()}
		}
	}
}

func allowedOwn(l *look) {
	for _, c := range l.claims() {
		own := slices.ContainsFunc(l.cfg.Interface.Addresses, func(a netip.Prefix) bool { return a.Addr() == c.prefix.Addr() })
		if own && c.prefix.IsSingleIP() {
			l.at(c.peer, "AllowedIPs", c.item, "%s of %s is this interface's own Address", c.prefix, l.peer(c.peer))
		}
	}
}

func allowedNone(l *look) {
	last := make(map[config.Key]int, len(l.cfg.Peers))
	for i, p := range l.cfg.Peers {
		last[p.PublicKey] = i
	}
	for i, p := range l.cfg.Peers {
		if len(p.AllowedIPs) == 0 && last[p.PublicKey] == i {
			l.at(i, "", 0, "%s has no AllowedIPs", l.peer(i))
		}
	}
}

// takes reports whether the allowed IPs hold all addresses of a family.
func (l *look) takes(family netip.Prefix) bool {
	var all netipx.IPSetBuilder
	for _, c := range l.claims() {
		all.AddPrefix(c.prefix)
	}
	set, err := all.IPSet()
	return err == nil && set.ContainsPrefix(family)
}

var (
	all4 = netip.MustParsePrefix("0.0.0.0/0")
	all6 = netip.MustParsePrefix("::/0")
)
