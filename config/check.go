// SPDX-License-Identifier: MIT

package config

import "net/netip"

// The least MTU (bytes) with which the kernel keeps a protocol on a link:
// RFC 8200 section 5, and inetdev_valid_mtu of Linux.
const (
	minMTU4 = 68
	minMTU6 = 1280
)

// check finds what is wrong with, or suspicious in, the file as a whole.
func (b *builder) check() {
	b.checkMTU()
	b.checkKeyFiles()
	b.checkDNS()
	b.checkForwarding()
	b.checkPeers()
	b.checkClaims()
}

// checkMTU finds addresses that the kernel would drop for a small MTU.
func (b *builder) checkMTU() {
	mtu := b.cfg.Interface.MTU
	if mtu == 0 {
		return
	}
	for i, p := range b.cfg.Interface.Addresses {
		least, family := minMTU4, "IPv4"
		if p.Addr().Is6() {
			least, family = minMTU6, "IPv6"
		}
		if mtu < least {
			b.errorf(b.cfg.Line(InInterface, "MTU", 0), interfaceSection, "MTU",
				"%d is too small for %s, which needs %d: see the Address in line %d",
				mtu, family, least, b.cfg.Line(InInterface, "Address", i))
			return
		}
	}
}

// checkPeers warns of a peer that comes twice.
func (b *builder) checkPeers() {
	seen := make(map[Key]int, len(b.cfg.Peers))
	for i, p := range b.cfg.Peers {
		if b.cfg.lines.count(placeOf(i, "PublicKey")) == 0 {
			continue
		}
		if first, again := seen[p.PublicKey]; again {
			b.warnf("peer-twice", b.cfg.Line(i, "PublicKey", 0), peerSection, "PublicKey",
				"is that of the peer in line %d, too: of its allowed IPs only those of the last section count",
				b.cfg.Line(first, "PublicKey", 0))
		}
		seen[p.PublicKey] = i
	}
}

// checkClaims warns of a prefix that two peers want: a device has it at one,
// and takes it from the first without a word.
func (b *builder) checkClaims() {
	type claim struct{ peer, item int }
	claims := make(map[netip.Prefix]claim)
	for i, p := range b.cfg.Peers {
		for j, ip := range p.AllowedIPs {
			if ip.Sign == Minus {
				continue
			}
			if c, taken := claims[ip.Prefix]; taken && b.cfg.Peers[c.peer].PublicKey != p.PublicKey {
				b.warnf("allowed-ips-equal", b.cfg.Line(i, "AllowedIPs", j), peerSection, "AllowedIPs",
					"%s is also given to the peer in line %d: the last one gets it",
					ip.Prefix, b.cfg.Line(c.peer, "AllowedIPs", c.item))
			}
			claims[ip.Prefix] = claim{i, j}
		}
	}
}
