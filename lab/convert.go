// SPDX-License-Identifier: MIT

package lab

import (
	"net"
	"net/netip"
)

// What the netlink library takes.

func mask(p netip.Prefix) net.IPMask { return net.CIDRMask(p.Bits(), p.Addr().BitLen()) }

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: mask(p)}
}

// zero is the unspecified address of the same family.
func zero(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
