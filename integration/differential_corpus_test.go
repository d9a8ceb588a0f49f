// SPDX-License-Identifier: MIT

package integration

import "fmt"

// inGuest are the files that are compared where wg-quick is slow, one of each
// kind.
var inGuest = []string{
	"allhooks", "bgp", "covered", "full-psk", "full4",
	"gw-masq", "hookshell", "manyaddr", "pathmtu", "spaces", "tablenum", "twice",
}

// A difference is what wgctl does otherwise than wg-quick with a file, and why.
type difference struct {
	why     string
	backend string   // where it shows; "" is both
	theirs  []string // facts that only wg-quick brings about
	ours    []string // facts that only wgctl brings about
	leaves  []string // what wg-quick leaves after down
}

// differs has every difference of the good corpus. A file that isn't here is
// brought up and down by both with the same facts.
var differs = map[string][]difference{
	"dnsmany":      {linkLocalGuarded("dnsmany"), validMarkLeft},
	"full-lanpeer": {linkLocalGuarded("full-lanpeer"), validMarkLeft},
	"full-mark":    {linkLocalGuarded("full-mark"), validMarkLeft},
	"full-markdec": {markAlsoIn("ip6", 1234), validMarkLeft},
	"full-psk":     {linkLocalGuarded("full-psk"), validMarkLeft},
	"full4":        {markAlsoIn("ip6", 51820), validMarkLeft},
	"full6":        {linkLocalGuarded("full6"), markAlsoIn("ip", 51820)},
	"fulldual":     {linkLocalGuarded("fulldual"), validMarkLeft},
	"killswitch":   {linkLocalGuarded("killswitch"), validMarkLeft},
	"lanhook":      {markAlsoIn("ip6", 51820), validMarkLeft},
	"pathmtu": {
		leastMTU(Userspace, `pathmtu: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu %d qdisc pfifo_fast state UNKNOWN mode DEFAULT group default qlen 500\    link/none`),
		leastMTU(Kernel, `pathmtu: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu %d qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\    link/none`),
	},
	"provider":     {linkLocalGuarded("provider"), validMarkLeft},
	"provider-nat": {markAlsoIn("ip6", 51820), validMarkLeft},
	"warp":         {linkLocalGuarded("warp"), validMarkLeft},
}

// linkLocalGuarded: wg-quick reads the addresses to guard from the interface,
// and so comes upon the one that the kernel gives a TUN device. No peer ever
// sends to it, and it is another after each up.
func linkLocalGuarded(ifname string) difference {
	return difference{
		why:     "wgctl guards the addresses of the file, not the link-local one of the TUN device",
		backend: Userspace,
		theirs: []string{fmt.Sprintf(
			"nftables: + ip6 (type filter hook prerouting priority raw;) iifname != %q ip6 daddr fe80::random fib saddr type != local drop", ifname)},
	}
}

// markAlsoIn: of a tunnel whose default route is of one family only, wg-quick
// keeps the mark of that family's packets. But the packets that carry the mark
// are those to the peers, whose endpoints may be of the other: their replies
// pass the reverse path filter with wgctl only.
func markAlsoIn(family string, mark uint32) difference {
	return difference{
		why: "wgctl restores the mark of either family",
		ours: []string{
			fmt.Sprintf("nftables: + %s (type filter hook postrouting priority mangle;) meta l4proto udp meta mark 0x%08x ct mark set meta mark", family, mark),
			fmt.Sprintf("nftables: + %s (type filter hook prerouting priority mangle;) meta l4proto udp meta mark set ct mark", family),
		},
	}
}

// validMarkLeft: wg-quick never puts the parameter back.
var validMarkLeft = difference{
	why: "after down wgctl leaves src_valid_mark as it found it",
	leaves: []string{
		"sysctls: + net/ipv4/conf/all/src_valid_mark = 1",
		"sysctls: - net/ipv4/conf/all/src_valid_mark = 0",
	},
}

// leastMTU: wg-quick of 2021 goes by the widest way to a peer, since 2025 by
// the narrowest, as wgctl does. link is what ip(8) says of a link of the
// backend.
func leastMTU(backend, link string) difference {
	return difference{
		why:     "wgctl takes the least MTU of the ways to the peers, as wg-quick does since 2025",
		backend: backend,
		theirs:  []string{"links and addresses: + " + fmt.Sprintf(link, 1500-80)},
		ours:    []string{"links and addresses: + " + fmt.Sprintf(link, 1450-80)},
	}
}
