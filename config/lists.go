// SPDX-License-Identifier: MIT

package config

import (
	"net/netip"
	"strings"
)

// items splits a value of wg-quick's at commas and white space; there are no
// empty items.
func items(value string) []string {
	return strings.FieldsFunc(value, func(r rune) bool {
		return r == ',' || r < 0x80 && strings.ContainsRune(space, r)
	})
}

func (b *builder) addresses(value string) {
	for _, item := range items(value) {
		if b.crowds() {
			return
		}
		p, fault := parseAddress(item)
		if fault != "" {
			b.fail("%s %s", shown(item), fault)
			continue
		}
		if i := sameAddress(b.cfg.Interface.Addresses, p); i >= 0 {
			b.fail("%s has been given in line %d", shown(item), b.cfg.Line(b.peer, b.key, i))
			continue
		}
		b.item()
		b.cfg.Interface.Addresses = append(b.cfg.Interface.Addresses, p)
	}
}

// sameAddress returns the index of the address that keeps the kernel from
// adding p with "File exists", or -1. One IPv4 address may have several
// prefix lengths, one IPv6 address may not (ipv6_chk_same_addr).
func sameAddress(have []netip.Prefix, p netip.Prefix) int {
	for i, h := range have {
		if h == p || p.Addr().Is6() && h.Addr() == p.Addr() {
			return i
		}
	}
	return -1
}

// allowedIPs splits at commas alone: wg has taken the white space out, and an
// empty item is an error to it.
func (b *builder) allowedIPs(value string) {
	p := &b.cfg.Peers[b.peer]
	for item := range strings.SplitSeq(value, ",") {
		if item == "" {
			b.fail("has a comma with nothing before or after it")
			continue
		}
		if b.crowds() {
			return
		}
		ip, unmasked, fault := parseAllowedIP(item)
		if fault != "" {
			b.fail("%s %s", shown(item), fault)
			continue
		}
		if unmasked {
			b.warn("allowed-ips-host-bits", "%s has bits set beyond its prefix length: it means %s", shown(item), ip.Prefix)
		}
		b.item()
		p.AllowedIPs = append(p.AllowedIPs, ip)
	}
}
