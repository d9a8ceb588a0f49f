// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
)

// bothQuick is a host with the original wg-quick, and ours as ours.
func bothQuick(t *testing.T, name string) (h *Host, ours string) {
	h = quickHost(t, name)
	h.Must("mkdir", "-m", "700", "/run/wgctl", "/run/wireguard")
	return h, As(t, "wg-quick")
}

// The promise: a host that moves to wgctl takes down what the original wg-quick
// brought up, by the same words, and nothing of it is left: not the rules, not
// the packet filter's, not the nameservers. Of another tunnel all stays, also
// what wg-quick's own down takes along.
func TestWgQuickTakesDownTheOriginals(t *testing.T) {
	Only(t, Userspace) // in a guest, for its time, TestWgQuickSavesTheOriginals
	for _, name := range []string{"nftables", "iptables"} {
		t.Run(name, func(t *testing.T) {
			h, ours := bothQuick(t, "h")
			theirs := []string{"wg-quick"}
			if name == "iptables" { // a PATH without nft
				h.Sh("mkdir /run/tools; ln -s /usr/sbin/* /sbin/* /usr/bin/* /run/tools 2>/dev/null || true; rm /run/tools/nft")
				theirs = []string{"env", "PATH=/run/tools", "wg-quick"}
			}
			useResolvconf(h)
			underlay(h)
			// The tables of iptables stay when their rules are gone.
			h.Sh(`for i in iptables ip6tables; do for c in raw,PREROUTING mangle,PREROUTING mangle,POSTROUTING; do
				$i -t ${c%,*} -A ${c#*,} -j ACCEPT; $i -t ${c%,*} -D ${c#*,} -j ACCEPT; done; done`)
			h.Sh("sysctl -qw net.ipv4.conf.all.src_valid_mark=1") // wg-quick never puts it back
			before := h.Snapshot()
			h.WriteFile(configOf("wg1"), fullTunnel(t, 1))
			h.Must(append(theirs, "up", "wg1")...)
			other := h.Snapshot()
			h.WriteFile(configOf("wg0"), fullTunnel(t, 2, "DNS = 10.8.2.53, corp.example", "PreDown = echo pre >>/run/hooks", "PostDown = ip link show dev %i || echo post >>/run/hooks"))
			h.Must(append(theirs, "up", "wg0")...)
			said(t, Diff(other, h.Snapshot()), "10.8.2.53", "suppress_prefixlength")
			said(t, h.Sh("nft list tables; iptables-save; ip6tables-save").Stdout, map[string]string{"nftables": "table ip6 wg-quick-wg0", "iptables": "wg-quick(8) rule for wg0"}[name])

			out := h.Must(ours, "down", "wg0")
			said(t, out.Stderr, "[#] ip -4 rule delete table 51821\n", "[#] ip -6 rule delete table main suppress_prefixlength 0\n", "[#] ip link delete dev wg0\n", "[#] resolvconf -d ")
			if got := h.ReadFile("/run/hooks"); got != "pre\npost\n" {
				t.Errorf("hooks: %q", got)
			}
			h.Must("rm", "/run/hooks")
			// The order of rules with equal effect, and resolvconf's own folders.
			h.Sh("rm -rf /run/resolvconf/metrics /run/resolvconf/exclusive /run/resolvconf/deprecated")
			waitForOriginal(h, "wg0")
			sameTunnel(t, other, h.Snapshot())
			if again := h.Fails(1, ours, "down", "wg0"); !strings.Contains(again.Stderr, "wg-quick: `wg0' is not a WireGuard interface\n") {
				t.Errorf("%v", again)
			}
			// Ours takes the place, and the other goes by its own.
			h.Must(ours, "up", "wg0")
			h.Must(ours, "down", "wg0")
			h.Must(append(theirs, "down", "wg1")...)
			waitForOriginal(h, "wg1")
			sameTunnel(t, before, h.Snapshot())
		})
	}
}

// sameTunnel compares two snapshots but for what is not a tunnel's.
func sameTunnel(t *testing.T, want, got string) {
	t.Helper()
	if d := Diff(asserted(want), asserted(got)); d != "" && strings.ContainsAny(d, "+-") {
		t.Errorf("not as it was:\n%s", d)
	}
}

// asserted leaves out the files of /run and /etc, which the tests and the
// resolver have, and the sockets.
func asserted(snapshot string) string {
	var kept []string
	keep := true
	for line := range strings.Lines(snapshot) {
		if strings.HasPrefix(line, "== ") {
			keep = !strings.HasPrefix(line, "== run") && !strings.HasPrefix(line, "== etc") && !strings.HasPrefix(line, "== sockets")
		}
		if keep {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// What a down that was cut short left of the original's: the link is gone, the
// packet filter's rules stand. wg-quick refuses; ours takes them away.
func TestWgQuickClearsAfterTheOriginal(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "nft")
	for _, lines := range [][]string{nil, {"DNS = 10.8.1.53"}} {
		h, ours := bothQuick(t, "h")
		useResolvconf(h)
		h.WriteFile(configOf("wg0"), fullTunnel(t, 1, append(lines, "PostDown = echo gone >>/run/hooks")...))
		resolver := h.ReadFile("/etc/resolv.conf")
		h.Must("wg-quick", "up", "wg0")
		h.Must("ip", "link", "delete", "wg0")
		h.Fails(1, "wg-quick", "down", "wg0")
		said(t, h.Must("nft", "list", "tables").Stdout, "wg-quick-wg0")
		h.Must(ours, "down", "wg0")
		if got := h.Must("nft", "list", "tables").Stdout; got != "" {
			t.Errorf("left: %s", got)
		}
		if got := h.ReadFile("/etc/resolv.conf"); got != resolver {
			t.Errorf("the resolver's: %q, was %q", got, resolver)
		}
		if lines == nil && h.ReadFile("/run/hooks") != "gone\n" {
			t.Error("PostDown did not run once")
		}
	}
}

// With SaveConfig ours saves the original's tunnel, but not the mark that was
// chosen for this once; a link that is no WireGuard device it refuses in
// wg-quick's words, and wgctl under its own name touches neither.
func TestWgQuickSavesTheOriginals(t *testing.T) {
	h, ours := bothQuick(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 1, "SaveConfig = true", "# a comment"))
	h.Must("wg-quick", "up", "wg0")
	late := newKeyPair(t)
	h.Must("wg", "set", "wg0", "peer", late.public, "allowed-ips", "10.77.0.0/16")
	said(t, wgctlFails(h, 1, "down", "wg0").Stderr, "hint: ", "wg-quick down wg0")
	for _, verb := range []string{"save", "down"} {
		h.Must(ours, verb, "wg0")
		file := h.ReadFile(configOf("wg0"))
		said(t, file, "# a comment", late.public, "10.77.0.0/16")
		if strings.Contains(file, "FwMark") || strings.Contains(file, "fe80") {
			t.Errorf("saved by %s: %s", verb, file)
		}
	}

	h.WriteFile(configOf("tap0"), fullTunnel(t, 2))
	h.Must("ip", "tuntap", "add", "dev", "tap0", "mode", "tap")
	if out := h.Fails(1, ours, "down", "tap0"); out.Stderr != "wg-quick: `tap0' is not a WireGuard interface\n" {
		t.Errorf("%v", out)
	}
	h.Must("ip", "link", "show", "dev", "tap0")
}
