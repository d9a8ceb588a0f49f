// SPDX-License-Identifier: MIT

package integration

import (
	"slices"
	"strings"
	"testing"
)

// An ordinary user without any capability is shown the very plan that root is,
// on a host that gives him neither the TUN device nor the packet filter.
func TestPlanAsOrdinaryUser(t *testing.T) {
	t.Parallel()
	Need(t, "setpriv", "nft")
	for _, tt := range []struct {
		name string
		file func(t *testing.T) string
	}{
		{"split", func(t *testing.T) string {
			return interfaceSection(newKeyPair(t), "Address = 10.8.0.1/24") + peerSection(newKeyPair(t), "AllowedIPs = 10.8.0.2/32, 10.9.0.0/16")
		}},
		{"full", func(t *testing.T) string { return fullTunnel(t, 0) }},
		{"gateway", func(t *testing.T) string {
			return fullTunnel(t, 0, "Forward = on", "Masquerade = eth0", "KillSwitch = on", "PortForward = tcp/2222 -> 10.8.0.3:22")
		}},
		{"userspace", func(t *testing.T) string { return fullTunnel(t, 0, "Backend = userspace") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newTunnelHost(t, "h")
			underlay(h)
			h.Sh("mount -t tmpfs none /dev/net; chmod 755 /dev/net; mknod /dev/net/tun c 10 200; chmod 600 /dev/net/tun; chmod 755 /run; mkdir /run/user; chown " + ordinaryUser + " /run/user")
			const conf = "/run/user/wg0.conf"
			h.WriteFile(conf, tt.file(t))
			h.Must("chown", ordinaryUser, conf)
			before := h.Snapshot()
			roots := wgctlOK(h, "plan", "up", conf)
			for _, words := range [][]string{{"plan", "up", conf}, {"plan", conf}, {"plan", "up", "-v", conf}} {
				out := h.Run(ordinary(append([]string{Bin(t)}, words...)...)...)
				if out.Code != 0 || len(steps(roots.Stdout)) < 5 || !slices.Equal(steps(out.Stdout), steps(roots.Stdout)) {
					t.Errorf("%v\nand root's is\n%s", out, roots.Stdout)
				}
				if !strings.Contains(out.Stderr, "without root") {
					t.Errorf("nothing says what an ordinary user isn't told: %v", out)
				}
			}
			if out := h.Run(ordinary(Bin(t), "plan", "--check", conf)...); out.Code != 4 {
				t.Errorf("%v", out)
			}
			h.Unchanged(before)
		})
	}
}
