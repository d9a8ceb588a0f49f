// SPDX-License-Identifier: MIT

package check

import (
	"slices"
	"testing"
)

// The interfaces that a hook names are found in the words of tools, and not in
// other words.
func TestLinksOfHooks(t *testing.T) {
	for text, want := range map[string][]string{
		"iptables -t nat -A POSTROUTING -s 10.8.0.0/24 -o eth0 -j MASQUERADE":             {"eth0"},
		"iptables -A FORWARD -i wg0 -o ens3 -j ACCEPT; ip6tables -A FORWARD -i br0 -j X":  {"wg0", "ens3", "br0"},
		"/usr/sbin/iptables --append FORWARD --in-interface eth1 --jump ACCEPT":           {"eth1"},
		"ip route add 10.0.0.0/8 dev eth2; ip link set dev eth3 up":                       {"eth2", "eth3"},
		"ufw route allow in on wg0 out on eth0":                                           {"wg0", "eth0"},
		"grep -i hello /etc/motd; sed -i s/a/b/ /tmp/x; sort -o out file; echo on device": nil,
		"iptables -A FORWARD -i eth+ -o $LINK -j ACCEPT":                                  nil,
		"ip link set dev lo up": nil,
	} {
		got := hookLine{text: text}.links()
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
