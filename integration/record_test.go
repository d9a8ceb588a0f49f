// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"testing"
)

// A record that was cut anywhere, as a power loss may, is whole or lost: every
// command finds its way, and in the end nothing is left.
func TestRecordCutAnywhere(t *testing.T) {
	t.Parallel()
	onceForAll(t)
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "Backend = userspace", "Table = 4242")) // what no mark tells of
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	const path = "/run/wgctl/wg0.json"
	all := len(h.ReadFile(path))
	sample, rnd := 12, seeded(t)
	if wholeSweep() {
		sample = all / 8
	}
	for n := range sample {
		at := rnd.IntN(all)
		if wholeSweep() {
			at = 8 * n
		}
		h.Must("truncate", "-s", fmt.Sprint(at), path)
		if s := statuses(h)["wg0"]; s.State != "up, but its record is lost" {
			t.Errorf("cut at %d of %d: %q", at, all, s.State)
		}
		switch n % 3 {
		case 0:
			wgctlOK(h, "reload", "wg0")
		case 1:
			wgctlOK(h, "up", "wg0")
		case 2:
			wgctlOK(h, "down", "wg0")
			h.Unchanged(before)
			wgctlOK(h, "up", "wg0")
		}
		whole(h, "wg0")
		all = len(h.ReadFile(path))
	}
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// With /run full a reload changes nothing, status works, and down takes the
// whole tunnel away all the same; with /run read-only, where nobody can be kept
// from doing the same at once, down says so and changes nothing.
func TestRunIsUnwritable(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	file := fullTunnel(t, 0, "MTU = 1400")
	h.WriteFile(configOf("wg0"), file)
	h.Sh("mount -o remount,size=64k /run")
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	h.WriteFile(configOf("wg0"), file+"PersistentKeepalive = 25\n")

	up := h.Snapshot()
	h.Sh("mount -o remount,ro /run")
	for _, verb := range []string{"reload", "up", "down"} {
		if out := wgctlFails(h, 1, verb, "wg0"); len(errorLines(out)) != 1 {
			t.Errorf("read-only: %v", out)
		} else {
			said(t, out.Stderr, "/run/wgctl", "read-only file system")
		}
	}
	whole(h, "wg0")
	h.Sh("mount -o remount,rw /run")
	h.Unchanged(up)

	h.Sh("dd if=/dev/zero of=/run/full bs=1k 2>/dev/null || :")
	if out := wgctlFails(h, 1, "reload", "wg0"); len(errorLines(out)) != 1 {
		t.Errorf("full: %v", out)
	} else {
		said(t, out.Stderr, "record of wg0", "no space left")
	}
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	h.Sh("rm /run/full")
	h.Unchanged(before)
}
