// SPDX-License-Identifier: MIT

package netlinkx

import (
	"net/netip"
	"slices"
	"testing"
)

// Prefixes of mapped IPv4 addresses don't go through wgctrl: it would send
// them as IPv4, with a mask of more than 32 bits, which the kernel refuses
// after it has dropped the peer's other allowed IPs.
func TestWithoutMapped(t *testing.T) {
	all := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("fd00::/8"),
		netip.MustParsePrefix("::ffff:0:0/96"), netip.MustParsePrefix("::/0"),
	}
	cfg := chunks(DeviceChange{Peers: []PeerChange{{PublicKey: Key{1}}, {PublicKey: Key{2}, AllowedIPs: all}}}, kernelPeers, kernelIPs)[0]
	got := withoutMapped(&cfg)
	if len(got) != 1 || got[0].peer != (Key{2}) || !slices.Equal(got[0].prefixes, []netip.Prefix{all[1], all[3]}) {
		t.Errorf("taken out: %v", got)
	}
	var rest []netip.Prefix
	for _, a := range cfg.Peers[1].AllowedIPs {
		p, _ := prefixOf(&a)
		rest = append(rest, p)
	}
	if !slices.Equal(rest, []netip.Prefix{all[0], all[2], all[4]}) {
		t.Errorf("left: %v", rest)
	}
}

// A name is never a path: that of a socket stays in the sockets' folder.
func TestIsSocketName(t *testing.T) {
	for name, want := range map[string]bool{
		"wg0": true, "a.b=c+d_e-f0": true, "": false, ".": true, "../wg0": false, "a/b": false, "/": false, "wg01234567890123": false,
	} {
		if got := isSocketName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
