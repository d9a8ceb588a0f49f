// SPDX-License-Identifier: MIT

package integration

import (
	"testing"
	"time"
)

// A user who holds a lock on /etc, which anybody can take, keeps no tunnel from
// coming up, changing or going down; nor does who changes resolv.conf for long,
// without a word.
func TestDNSLockHeld(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	Need(t, "flock", "setpriv")
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	nobody := h.Start("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "flock", "-x", "/etc", "sh", "-c", "echo locked; exec sleep 1000")
	nobody.Expect(10*time.Second, "locked")
	waitForSleep(h)
	before := h.Snapshot()
	start := time.Now()
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
	wgctlOK(h, "up", "wg0")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.54"))
	wgctlOK(h, "reload", "wg0")
	wgctlOK(h, "down", "wg0")
	if took := time.Since(start); took > Timeout(10*time.Second) {
		t.Errorf("took %v", took)
	}
	h.Unchanged(before)

	h.Sh("mkdir -p -m 700 /run/wgctl")
	root := h.Start("flock", "-x", "/run/wgctl", "sh", "-c", "echo locked; exec sleep 1000")
	root.Expect(10*time.Second, "locked")
	said(t, wgctlFails(h, 1, "up", "wg0").Stderr, "locking /run/wgctl: another program has it")
}
