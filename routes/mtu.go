// SPDX-License-Identifier: MIT

package routes

import (
	"fmt"
	"strings"
)

// Overhead is what a tunnel packet adds at the most: an IPv6 header (40), a
// UDP header (8) and WireGuard's own header and tag (32).
const Overhead = 80

// MinIPv6MTU is the least MTU of a link that carries IPv6 (RFC 8200, section
// 5); the kernel takes all IPv6 addresses off a link with less.
const MinIPv6MTU = 1280

// MTU returns the MTU of a link whose peers are reached over paths of the
// given MTUs, in bytes: the least of them, else that of the way to the
// internet (0: none), else 1500; less Overhead. This is wg-quick's set_mtu_up,
// but a link with IPv6 addresses or routes never gets less than MinIPv6MTU.
func MTU(paths []int, internet int, ipv6 bool) (mtu int, trace string) {
	var t strings.Builder
	for _, p := range paths {
		if p > 0 && (mtu == 0 || p < mtu) {
			mtu = p
		}
	}
	switch {
	case mtu > 0:
		fmt.Fprintf(&t, "endpoints=%d", mtu)
	case internet > 0:
		mtu = internet
		fmt.Fprintf(&t, "endpoints=none default=%d", mtu)
	default:
		mtu = 1500
		fmt.Fprint(&t, "endpoints=none default=none")
	}
	mtu -= Overhead
	if ipv6 && mtu < MinIPv6MTU {
		mtu = MinIPv6MTU
		fmt.Fprint(&t, " ipv6-least")
	}
	return mtu, fmt.Sprintf("mtu: [%s ret=%d]", t.String(), mtu)
}
