// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
)

// TestFullTunnelLegacy shows that a default route gets its packet filter rules
// in whichever the kernel has: one table of nf_tables, or, in a guest without
// it, chains of iptables-legacy; and that nothing of either is left after down.
func TestFullTunnelLegacy(t *testing.T) {
	t.Run("legacy", func(t *testing.T) {
		Need(t, "iptables-legacy-save")
		a, b := newTunnelHost(t, "a"), newTunnelHost(t, "b")
		Connect(t, a.At("eth0", "192.0.2.1/24", "2001:db8::1/64"), b.At("eth0", "192.0.2.2/24", "2001:db8::2/64"))
		ka, kb := newKeyPair(t), newKeyPair(t)
		a.WriteFile(configOf("wg0"), interfaceSection(ka, "Address = 10.8.0.1/24, fd00::1/64")+
			peerSection(kb, "AllowedIPs = 0.0.0.0/0, ::/0", "Endpoint = 192.0.2.2:51820"))
		b.WriteFile(configOf("wg0"), interfaceSection(kb, "Address = 10.8.0.2/24, fd00::2/64", "ListenPort = 51820")+
			peerSection(ka, "AllowedIPs = 10.8.0.1/32, fd00::1/128"))
		if a.Sh("nft list tables >&2 && echo yes || :").Stdout == "" {
			// The tables of iptables-legacy stay in a namespace once they were
			// made; they are there before, so that the snapshots can agree.
			a.Sh("for i in iptables ip6tables; do $i-legacy -t raw -S; $i-legacy -t mangle -S; done")
		}
		before := a.Snapshot()
		wgctlOK(b, "up", "wg0")
		wgctlOK(a, "up", "wg0")
		whole(a, "wg0")
		a.MustPing("10.8.0.2")
		a.MustPing("fd00::2")
		rules := a.Sh("nft list ruleset 2>&1 || :").Stdout + a.Must("iptables-legacy-save").Stdout + a.Must("ip6tables-legacy-save").Stdout
		said(t, rules, "wgctl-wg0", "10.8.0.1", "fd00::1")
		if n := strings.Count(rules, "wgctl: wg0"); n == 0 {
			t.Errorf("no rule carries our mark:\n%s", rules)
		}
		wgctlOK(a, "down", "wg0")
		a.Unchanged(before)
	})
}
