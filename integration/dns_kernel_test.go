// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// A link of the kernel's is no other to whoever manages look-ups: he is told of
// its nameservers, of others by a reload, and forgets them with the tunnel.
func TestDNSKernelLink(t *testing.T) {
	Only(t, Kernel)
	oneGuest(t, "odd")
	for _, name := range []string{"file", "resolved", "openresolv", "Debian's resolvconf"} {
		t.Run(name, func(t *testing.T) {
			h := newTunnelHost(t, "h")
			h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.2/24 dev eth0")
			view := killedBackends[name].prepare(t, h)
			looks := func() string {
				text := strings.Join(h.resolvConf(), "\n") + "\n"
				if view != nil {
					text += view()
				}
				return text
			}
			before := looks()
			file := fullTunnel(t, 0, "DNS = 10.8.0.53, corp.example")
			h.WriteFile(configOf("wg0"), file)
			wgctlOK(h, "up", "wg0")
			h.WriteFile(configOf("wg0"), strings.Replace(file, "10.8.0.53", "10.8.0.54", 1))
			wgctlOK(h, "reload", "wg0")
			said(t, oneSpace(wgctlOK(h, "dns").Stdout), "wg0: 10.8.0.54, corp.example")
			if s := whole(h, "wg0"); s.Backend != Kernel {
				t.Errorf("the tunnel is %s", s.Backend)
			}
			wgctlOK(h, "down", "wg0")
			WaitFor(t, 5*time.Second, "look-ups to be as before", func() bool { return looks() == before })
		})
	}
}
