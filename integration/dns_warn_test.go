// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
)

// A step of nameservers that fails, and may, is passed over where it stands:
// the tunnel comes up without, no hook runs twice, and of what was changed in
// vain nothing is left. A reload tries again.
func TestDNSFailureWarn(t *testing.T) {
	Only(t, Userspace)
	Need(t, "resolvconf", "bash")
	h := newTunnelHost(t, "h")
	h.Sh(keepsFolders + wrapResolvconf("case $1 in -a) [ ! -e /run/fails ] || { echo no good >&2; exit 1; };; esac"))
	before := h.Snapshot()
	ran := func() string { return strings.Join(strings.Fields(h.Sh("cat /run/ran; rm -f /run/ran").Stdout), " ") }
	file := fullTunnel(t, 0, "DNS = 10.8.0.53, corp.example", "DNSFailure = warn",
		"PreUp = echo PreUp >>/run/ran", "PostUp = echo PostUp >>/run/ran", "PreDown = echo PreDown >>/run/ran", "PostDown = echo PostDown >>/run/ran")
	h.WriteFile(configOf("wg0"), file)
	const step = "resolvconf -a wg0 -m 0 -x (1 nameserver, 1 search domain; may fail)"
	said(t, wgctlOK(h, "plan", "up", "wg0").Stdout, step)

	h.Sh("touch /run/fails")
	out := wgctlOK(h, "up", "wg0")
	said(t, out.Stderr, "wg0: comes up without its nameservers: "+step+": applying the resolver's settings of wg0: running resolvconf -a wg0 -m 0 -x: no good")
	for _, line := range []string{step, "ip link set", "wireguard-go wg0"} {
		if n := strings.Count(out.Stderr, "[#] "+line); n != 1 {
			t.Errorf("%q was taken %d times: %v", line, n, out)
		}
	}
	if got := ran(); got != "PreUp PostUp" {
		t.Errorf("hooks ran: %s", got)
	}
	whole(h, "wg0")

	// Once more, and then with a resolver that can.
	said(t, wgctlOK(h, "reload", "wg0").Stderr, "comes up without its nameservers")
	h.Sh("rm /run/fails")
	wgctlOK(h, "reload", "wg0")
	said(t, h.ReadFile("/etc/resolv.conf"), "nameserver 10.8.0.53", "corp.example")
	whole(h, "wg0")

	// A change that can't be had leaves the nameservers that stand.
	h.Sh("touch /run/fails")
	h.WriteFile(configOf("wg0"), strings.Replace(file, "10.8.0.53", "10.8.0.54", 1))
	said(t, wgctlOK(h, "reload", "wg0").Stderr, "wg0: keeps the nameservers that it had: ")
	said(t, h.ReadFile("/etc/resolv.conf"), "nameserver 10.8.0.53", "corp.example")
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	if got := ran(); got != "PreDown PostDown" {
		t.Errorf("hooks ran: %s", got)
	}
	h.Sh("rm /run/fails")
	h.Unchanged(before)

	// Without that word the whole run is undone.
	h.Sh("touch /run/fails")
	h.WriteFile(configOf("wg0"), strings.Replace(file, "DNSFailure = warn\n", "", 1))
	wgctlFails(h, 1, "up", "wg0")
	h.Sh("rm /run/fails /run/ran")
	h.Unchanged(before)
}
