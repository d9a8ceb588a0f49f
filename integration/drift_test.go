// SPDX-License-Identifier: MIT

package integration

import (
	"slices"
	"strings"
	"testing"
)

// What is taken away or changed is drift by itself too, down to the keys, and
// each is put right by a reload that takes no other step.
func TestDriftIsMended(t *testing.T) {
	t.Parallel()
	Need(t, "wg", "nft")
	h := newTunnelHost(t, "h")
	other, wrong := newKeyPair(t), newKeyPair(t)
	h.WriteFile("/tmp/wrong", wrong.private)
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "Address = 10.8.9.9/32", "ListenPort = 51820", "KillSwitch = on")+
		peerSection(other, "AllowedIPs = 10.78.0.5/32", "PersistentKeepalive = 25", "PresharedKey = "+newKeyPair(t).private))
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	whole(h, "wg0")
	up := settled(h)
	setsOther := "wg set wg0 peer " + other.public + " "
	for _, tt := range []struct {
		do, what string
		drift    []string // the steps, or how they begin
	}{
		{"wg set wg0 private-key /tmp/wrong", "changed", []string{"wg set wg0 private-key (hidden)"}},
		{setsOther + "preshared-key /tmp/wrong", "changed", []string{setsOther + "preshared-key (hidden)"}},
		{setsOther + "preshared-key /dev/null", "changed", []string{setsOther + "preshared-key (hidden)"}},
		{setsOther + "persistent-keepalive 7", "changed", []string{setsOther + "persistent-keepalive 25"}},
		{setsOther + "remove", "missing", []string{setsOther + "preshared-key (hidden) persistent-keepalive 25 allowed-ips 10.78.0.5/32"}},
		{"ip route delete unreachable default table 51820", "missing", []string{"ip route add unreachable 0.0.0.0/0 table 51820"}},
		{"ip -6 route delete unreachable default dev lo table 51820", "missing", []string{"ip route add unreachable ::/0 table 51820"}},
		{"nft delete table inet wgctl-wg0", "missing", []string{"nft -f - (table inet wgctl-wg0: "}},
		// Which takes routes and IPv6 addresses along.
		{"ip link set wg0 down", "changed", []string{"ip address add fd08::2/64 dev wg0", "ip link set wg0 mtu 1420 up",
			"ip route add 10.78.0.5/32 dev wg0", "ip route add ::/0 dev wg0 table 51820", "ip route add 0.0.0.0/0 dev wg0 table 51820"}},
	} {
		h.Sh(tt.do)
		drift := driftSteps(h, "wg0")
		if !slices.EqualFunc(drift, tt.drift, strings.HasPrefix) {
			t.Errorf("%s: drift\n%s\nwant\n%s", tt.do, strings.Join(drift, "\n"), strings.Join(tt.drift, "\n"))
		}
		said(t, wgctlOK(h, "status", "wg0").Stdout, tt.what+":")
		out := wgctlOK(h, "reload", "wg0")
		if took := steps(out.Stderr); !slices.Equal(took, drift) {
			t.Errorf("%s: reload takes other steps than status names: %v", tt.do, out)
		}
		whole(h, "wg0")
		if now := comesToLook(h, up); now != up {
			t.Errorf("%s: after reload\n%s", tt.do, Diff(up, now))
		}
	}
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// What somebody sets on the device where the file says nothing is foreign: status
// names it without a key, and reload leaves it.
func TestForeignSettings(t *testing.T) {
	t.Parallel()
	Need(t, "wg")
	h := newTunnelHost(t, "h")
	peer, by := newKeyPair(t), newKeyPair(t)
	h.WriteFile("/tmp/hand", by.private)
	h.WriteFile(configOf("wg0"), "[Interface]\nAddress = 10.8.0.1/24\n"+peerSection(peer, "AllowedIPs = 10.8.0.2/32"))
	wgctlOK(h, "up", "wg0")
	whole(h, "wg0")
	h.Sh("wg set wg0 fwmark 7 private-key /tmp/hand peer " + peer.public + " preshared-key /tmp/hand persistent-keepalive 9")
	before := looks(h)
	want := []string{"fwmark 0x7", "private key (hidden)", "preshared key (hidden) of peer " + peer.public, "persistent keepalive 9 of peer " + peer.public}
	s := statuses(h)["wg0"]
	if s.State != "up" || len(s.Drift) > 0 || !slices.Equal(s.Foreign, want) {
		t.Errorf("foreign %q and drift %v, want %q", s.Foreign, s.Drift, want)
	}
	text := wgctlOK(h, "status", "wg0").Stdout
	said(t, text, want...)
	if strings.Contains(text, by.private) {
		t.Errorf("status tells a key:\n%s", text)
	}
	h.WriteFile(configOf("wg0"), strings.Replace(h.ReadFile(configOf("wg0")), "10.8.0.2/32", "10.8.0.2/32, 10.9.0.0/16", 1))
	wgctlOK(h, "reload", "wg0")
	after := looks(h)
	for _, setting := range []string{by.private, by.public + " port 0x7", "9"} {
		if !strings.Contains(before, setting) || !strings.Contains(after, setting) {
			t.Errorf("reload takes %s away\n%s", setting, Diff(before, after))
		}
	}
	if s := statuses(h)["wg0"]; len(s.Drift) > 0 || !slices.Equal(s.Foreign, want) {
		t.Errorf("after a reload: foreign %q and drift %v", s.Foreign, s.Drift)
	}
}

// Where somebody's address brings the kernel's own route, ours is not missed. One
// without a route brings none.
func TestRoutesOfForeignAddresses(t *testing.T) {
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), "[Interface]\nAddress = 10.8.0.1/24\n"+peerSection(newKeyPair(t), "AllowedIPs = 10.9.0.0/24"))
	wgctlOK(h, "up", "wg0")
	add := []string{"ip route add 10.9.0.0/24 dev wg0"}
	for _, tt := range []struct {
		do    string
		drift []string
	}{
		{"ip address add 10.9.0.7/24 dev wg0", nil},
		{"ip address add 10.9.0.7/24 dev wg0; ip route delete 10.9.0.0/24 dev wg0", add},
		{"ip address add 10.9.0.7/24 dev wg0 noprefixroute", add},
		{"ip address add 10.7.0.7 peer 10.9.0.0/24 dev wg0", nil},
		{"ip address add 10.9.0.7 peer 10.6.0.0/24 dev wg0", add},
	} {
		h.Sh("ip route delete 10.9.0.0/24 dev wg0; " + tt.do)
		if got := driftSteps(h, "wg0"); !slices.Equal(got, tt.drift) {
			t.Errorf("%s: drift %q, want %q", tt.do, got, tt.drift)
		}
		if out := wgctlOK(h, "reload", "wg0"); !slices.Equal(steps(out.Stderr), tt.drift) {
			t.Errorf("%s: %v", tt.do, out)
		}
		if r := h.Sh("ip route show 10.9.0.0/24").Stdout; strings.Count(r, "dev wg0") != 1 {
			t.Errorf("%s: after a reload %q", tt.do, r)
		}
		h.Sh("ip address flush dev wg0; ip address add 10.8.0.1/24 dev wg0; ip route replace 10.9.0.0/24 dev wg0 proto 87 scope link")
	}
}
