// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// After an accident to a tunnel that has nameservers, whoever manages look-ups,
// status says what happened, and one command finds its way: down to the host as
// it was before up, resolv.conf and what its manager shows included, up and
// reload to the whole tunnel.
func TestDNSAccidents(t *testing.T) {
	Only(t, Userspace)
	Need(t, "resolvconf")
	for n, name := range []string{"file", "resolved", "NetworkManager", "openresolv", "Debian's resolvconf"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDNSWreck(t, killedBackends[name])
			for i, a := range accidents {
				if a.do == reboot || strings.HasPrefix(a.name, "record ") && a.name != "record lost" {
					continue // what that leaves of nameservers is on disk, or no news
				}
				nexts := []string{"down", "up", "reload"}
				if a.forgets {
					nexts = nexts[(n+i)%3 : (n+i)%3+1]
				}
				for _, next := range nexts {
					w.bring("a")
					w.rested = ""
					w.Sh(a.do)
					WaitFor(t, 5*time.Second, "the link to go", func() bool {
						return !strings.HasPrefix(a.do, "ip link") && a.only == "" || w.Run("ip", "link", "show", "wg0").Code != 0
					})
					if a.state != "" {
						said(t, statuses(w.Host)["wg0"].State, a.state)
					}
					if a.forgets {
						w.Sh("sysctl -qw net.ipv4.conf.all.src_valid_mark=0") // what only record and link knew
					}
					out := wgctlOK(w.Host, next, "wg0")
					if next != "down" {
						whole(w.Host, "wg0")
						if diff := w.comesTo(w.asA); diff != "" {
							t.Fatalf("%s, then %s: %v\n%s", a.name, next, out, diff)
						}
						wgctlOK(w.Host, "down", "wg0")
					}
					if diff := w.comesTo(w.down); diff != "" {
						t.Fatalf("%s, then %s, and down: %v\n%s", a.name, next, out, diff)
					}
					w.rested = "down"
				}
			}
		})
	}
}
