// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"syscall"
	"testing"
)

// unitCapabilities is root with what packaging/systemd/wgctl@.service leaves.
func unitCapabilities(words ...string) []string {
	const kept = "-all,+net_admin,+net_raw,+net_bind_service"
	return append([]string{"setpriv", "--inh-caps=-all", "--bounding-set=" + kept}, words...)
}

// With the capabilities of the unit root can't write a file of somebody else's.
// If resolv.conf is one, that is said before anything is done, and DNSFailure
// lets the tunnel come up without; if it is root's, all works.
func TestDNSForeignOwnerInUnit(t *testing.T) {
	Only(t, Userspace)
	Need(t, "setpriv", "resolvconf")
	for name, prepare := range map[string]string{
		"file": "", "file of a container": "cp /etc/resolv.conf /run/theirs; mount --bind /run/theirs /etc/resolv.conf",
		"openresolv": keepsFolders + "echo nameserver 192.0.2.9 | resolvconf -a eth0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newTunnelHost(t, "h")
			if name != "openresolv" {
				h.Hide("resolvconf")
			}
			h.Sh(prepare + "\nchown 7:8 /etc/resolv.conf")
			before := h.Snapshot()
			h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
			out := h.Run(unitCapabilities(Bin(t), "up", "wg0")...)
			said(t, out.Stderr, "[Interface] DNS: ", "writing /etc/resolv.conf: permission denied")
			if lines := errorLines(out); out.Code != 1 || len(lines) != 1 || strings.Contains(out.Stderr, "[#] ") {
				t.Errorf("not one line, before the first step: %v", out)
			}
			h.Unchanged(before)
			h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53", "DNSFailure = warn"))
			said(t, h.Must(unitCapabilities(Bin(t), "up", "wg0")...).Stderr, "comes up without its nameservers: ", "permission denied")
			whole(h, "wg0")
			h.Must(unitCapabilities(Bin(t), "down", "wg0")...)
			h.Unchanged(before)

			h.Must("chown", "0:0", "/etc/resolv.conf")
			before = h.Snapshot()
			h.Must(unitCapabilities(Bin(t), "up", "wg0")...)
			said(t, h.ReadFile("/etc/resolv.conf"), "nameserver 10.8.0.53\n")
			whole(h, "wg0")
			h.Must(unitCapabilities(Bin(t), "down", "wg0")...)
			h.Unchanged(before)
		})
	}
}

// With those capabilities whoever else manages look-ups is told, and forgets.
func TestDNSBackendsInUnit(t *testing.T) {
	Only(t, Userspace)
	Need(t, "setpriv", "resolvconf")
	for _, name := range []string{"NetworkManager", "openresolv", "Debian's resolvconf"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDNSWreck(t, killedBackends[name])
			for _, c := range []struct{ verb, shape string }{{"down", w.down}, {"up", w.asB}, {"reload", w.asA}, {"down", w.down}} {
				if c.verb == "reload" {
					w.tunnel(w.a)
				}
				w.Must(unitCapabilities(Bin(t), c.verb, "wg0")...)
				w.is(c.shape)
			}
		})
	}
}

// With those capabilities systemd-resolved's folder can't be read: it is asked
// for what it has. Up, status, a reload and down see the same as root with all,
// and one that hangs keeps no tunnel from going down.
func TestDNSResolvedInUnit(t *testing.T) {
	Only(t, Userspace)
	Need(t, "setpriv")
	t.Parallel()
	s := newDNSSite(t)
	h := s.client
	r := startResolved(t, h)
	view := r.view()
	unit := func(words ...string) Output {
		t.Helper()
		return h.Must(unitCapabilities(append([]string{Bin(t)}, words...)...)...)
	}
	for _, hangs := range []bool{false, true} {
		s.tunnel(fullAllowed, "DNS = 10.8.0.1, corp.example")
		said(t, unit("up", "wg0").Stderr, "resolvectl dns wg0 (1 nameserver, 1 search domain)")
		said(t, unit("status", "wg0").Stdout, "10.8.0.1, corp.example", "drift:        none")
		whole(h, "wg0")
		s.answers("up.example", insideAnswer)
		s.tunnel(fullAllowed, "DNS = 10.8.0.53, ~inside.example")
		unit("reload", "wg0")
		said(t, unit("status", "wg0").Stdout, "10.8.0.53, ~inside.example", "drift:        none")
		whole(h, "wg0")
		s.answers("a.inside.example", insideAnswer)
		s.answers("a.example", outsideAnswer)
		r.ctl("revert", "wg0")
		if out := unit("status", "wg0").Stdout; strings.Contains(out, "drift:        none") {
			t.Errorf("what systemd-resolved has forgotten isn't seen: %s", out)
		}
		unit("reload", "wg0")
		whole(h, "wg0")
		if hangs {
			r.process.Signal(syscall.SIGSTOP)
		}
		unit("down", "wg0")
		r.process.Signal(syscall.SIGCONT)
		if after := r.view(); after != view {
			t.Errorf("resolvectl shows\n%s", Diff(view, after))
		}
		s.answers("after.example", outsideAnswer)
	}
}
