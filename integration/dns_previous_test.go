// SPDX-License-Identifier: MIT

package integration

import (
	"testing"
)

// Somebody tidies up in /etc, and what was kept beside resolv.conf is gone: down
// writes what the record has of it. Where that is lost as well, down says so, and
// that somebody has to write the file; the tunnel goes all the same.
func TestDNSKeptFileLost(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	const old = "# by hand\nnameserver 192.0.2.53\noptions ndots:2 timeout:1\nsearch lan.example\n"
	h.WriteFileMode("/etc/resolv.conf", old, 0o644)
	for n := range 2 {
		h.WriteFile(configOf([]string{"wg0", "wg1"}[n]), fullTunnel(t, n, "DNS = 10.8.0.53", "Table = off"))
	}
	before := h.Snapshot()
	lose := func(more string) { h.Sh("rm /etc/resolv.conf.before-wgctl-wg*" + more) }
	wgctlOK(h, "up", "wg0")
	lose("")
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)

	// Whichever of two tunnels goes last, and after a reload.
	for _, last := range []string{"wg0", "wg1"} {
		wgctlOK(h, "up", "wg0")
		wgctlOK(h, "up", "wg1")
		lose("")
		h.WriteFile(configOf(last), fullTunnel(t, 1, "DNS = 10.8.0.54", "Table = off"))
		wgctlOK(h, "reload", "--yes", last)
		wgctlOK(h, "down", map[string]string{"wg0": "wg1", "wg1": "wg0"}[last])
		said(t, h.ReadFile("/etc/resolv.conf"), "nameserver 10.8.0.54\n")
		wgctlOK(h, "down", last)
		h.Unchanged(before)
	}

	wgctlOK(h, "up", "wg0")
	lose(" /run/wgctl/wg0.json")
	out := wgctlFails(h, 1, "down", "wg0") // not 3: there is nothing that another down could do
	said(t, out.Stderr, "what /etc/resolv.conf held before is gone: write it anew")
	if h.Run("ip", "link", "show", "wg0").Code == 0 {
		t.Errorf("the tunnel is still there: %v", out)
	}
	said(t, h.ReadFile("/etc/resolv.conf"), "# wgctl: the file with what was here before is gone.\n")
	h.WriteFileMode("/etc/resolv.conf", old, 0o644)
	said(t, wgctlFails(h, 1, "down", "wg0").Stderr, "wg0 is not up")
	h.Unchanged(before)
}
