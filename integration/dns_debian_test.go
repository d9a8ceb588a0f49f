// SPDX-License-Identifier: MIT

package integration

import (
	"syscall"
	"testing"
	"time"
)

// wgctl is killed while Debian's resolvconf does what it was told: down alone
// leads to the host as it was.
func TestDebianKilled(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	prepareDebian(&dnsSite{site: &site{client: h}})
	h.WriteFileMode("/etc/resolvconf/update.d/zz", "#!/bin/sh\n[ ! -e /run/slow ] || sleep 1000\n", 0o755)
	h.Sh("resolvconf -u")
	before := shapeOf(h)
	for _, verb := range []string{"up", "reload", "down"} {
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53, corp.example"))
		if verb != "up" {
			wgctlOK(h, "up", "wg0")
			said(t, h.ReadFile("/etc/resolv.conf"), "nameserver 10.8.0.53\nnameserver 192.0.2.1\nsearch corp.example\n")
		}
		if verb == "reload" {
			h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.54"))
		}
		h.Sh("touch /run/slow")
		p := h.Start(Bin(t), verb, "wg0")
		waitForSleep(h)
		h.Sh("rm /run/slow")
		p.Signal(syscall.SIGKILL)
		h.Must("pkill", "-KILL", "-x", "sleep") // which outlives it
		p.Wait(20 * time.Second)
		wgctlOK(h, "down", "wg0")
		WaitFor(t, 5*time.Second, "the host to be as before", func() bool { return shapeOf(h) == before })
	}
}
