// SPDX-License-Identifier: MIT

package integration

import (
	"slices"
	"strings"
	"testing"
)

// A tunnel that is down, and of which the kill switch was kept, is none that
// reload --all has anything to do with; down --all takes it away.
func TestReloadAllPassesOverKept(t *testing.T) {
	t.Parallel()
	Only(t, Userspace) // what is up does not depend on the backend
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "KillSwitch = on"))
	h.WriteFile(configOf("wg1"), fullTunnel(t, 1))
	before := h.Snapshot()
	wgctlOK(h, "up", "--all")
	wgctlOK(h, "down", "--keep-killswitch", "wg0")
	kept := h.Must("nft", "-s", "list", "table", "inet", "wgctl-wg0").Stdout
	h.WriteFile(configOf("wg1"), strings.Replace(h.ReadFile(configOf("wg1")), "[Peer]", "MTU = 1333\n[Peer]", 1))
	if out := wgctlOK(h, "reload", "--all"); !slices.Equal(steps(out.Stderr), []string{"ip link set wg1 mtu 1333 up"}) {
		t.Errorf("%v", out)
	}
	wgctlOK(h, "down", "wg1")
	if out := wgctlOK(h, "reload", "--all"); out.Stderr != "no tunnel is up\n" {
		t.Errorf("%v", out)
	}
	if now := h.Must("nft", "-s", "list", "table", "inet", "wgctl-wg0").Stdout; now != kept {
		t.Errorf("the kill switch was\n%s\nand is\n%s", kept, now)
	}
	wgctlOK(h, "down", "--all")
	h.Unchanged(before)
}

// All files of /etc/wireguard come up from nothing, each whole or not at all:
// one that can't takes none of the others along.
func TestUpAllWithOneThatFails(t *testing.T) {
	t.Parallel()
	Need(t, "wg")
	h := newTunnelHost(t, "h")
	for n, name := range []string{"wg0", "wg1", "wg2", "wg3"} {
		h.WriteFile(configOf(name), fullTunnel(t, n))
	}
	// It fails at its last step, when its link, routes and rules stand.
	bad := h.ReadFile(configOf("wg2"))
	h.WriteFile(configOf("wg2"), strings.Replace(bad, "[Peer]", "PostUp = false\n[Peer]", 1))
	before := h.Snapshot()
	out := wgctlFails(h, 1, "up", "--all")
	if lines := errorLines(out); len(lines) != 1 || !strings.Contains(lines[0], "PostUp hook") {
		t.Errorf("%v", out)
	}
	for _, name := range []string{"wg0", "wg1", "wg3"} {
		whole(h, name)
	}
	left := h.Sh("ip link; ip rule; ip -6 rule; ip route show table all; nft list ruleset; ls /run/wgctl /run/wireguard 2>/dev/null || :").Stdout
	if strings.Contains(left, "wg2") {
		t.Errorf("of wg2 is left:\n%s", left)
	}
	h.WriteFile(configOf("wg2"), bad)
	out = wgctlOK(h, "up", "--all")
	for line := range strings.Lines(out.Stderr) {
		if strings.HasPrefix(line, "[#] ") && !strings.HasPrefix(line, "[#] wg2: ") {
			t.Errorf("what is up isn't touched: %s", line)
		}
	}
	whole(h, "wg2")
	wgctlOK(h, "down", "--all")
	h.WriteFile(configOf("wg2"), strings.Replace(bad, "[Peer]", "PostUp = false\n[Peer]", 1))
	h.Unchanged(before)
}

// Another backend takes a new link, which a reload does not make: it says so
// and changes nothing.
func TestReloadWithAnotherBackend(t *testing.T) {
	t.Parallel()
	h := newTunnelHost(t, "h")
	file := fullTunnel(t, 0)
	h.WriteFile(configOf("wg0"), file)
	wgctlOK(h, "up", "wg0")
	before := settled(h)
	another, says := "Backend = userspace", "the tunnel runs on the kernel backend, and another needs a new link: take it down and up again"
	if Backend() == Userspace {
		another, says = "Backend = kernel", "this kernel has no WireGuard"
	}
	h.WriteFile(configOf("wg0"), strings.Replace(file, "[Peer]", another+"\nMTU = 1333\n[Peer]", 1))
	for _, words := range [][]string{{"reload", "wg0"}, {"plan", "reload", "wg0"}} {
		if out := wgctlFails(h, 1, words...); len(errorLines(out)) != 1 || !strings.Contains(out.Stderr, says) || len(steps(out.Stderr)) > 0 {
			t.Errorf("%v", out)
		}
	}
	if now := looks(h); now != before {
		t.Errorf("a refused reload changed something:\n%s", Diff(before, now))
	}
}
