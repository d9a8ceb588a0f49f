// SPDX-License-Identifier: MIT

package integration

import (
	"path/filepath"
	"testing"
	"time"
)

// byLink has the first resolvconf in PATH be a symbolic link, as alternatives
// make it, to another such link, to a program.
func (s *dnsSite) byLink(program string) {
	s.client.t.Helper()
	s.client.Sh("mkdir -p /run/bin /etc/alternatives; ln -sfn " + program + " /etc/alternatives/resolvconf; ln -s /etc/alternatives/resolvconf /run/bin/resolvconf")
	s.client.Setenv("PATH", "/run/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

// A resolvconf that is a symbolic link is known by what it leads to, and told as
// that wants it: all look-ups go inside, and in the end all is as it was.
func TestDNSResolvconfByLink(t *testing.T) {
	Only(t, Userspace)
	for name, trace := range map[string]string{
		"openresolv":          `resolvconf=/run/bin/resolvconf flavour=openresolv prefix="" ret=resolvconf]`,
		"Debian's resolvconf": `rc=debian resolvconf=/run/bin/resolvconf flavour=debian prefix="tun." ret=resolvconf]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDNSSite(t)
			view := dnsBackends[name].prepare(s)
			s.byLink("/usr/sbin/resolvconf")
			looks := func() string {
				text := s.client.Sh("stat -c '%N %a %U:%G' /etc/resolv.conf*; cat /etc/resolv.conf; resolvconf -l").Stdout
				if view != nil {
					text += view()
				}
				return text
			}
			before := looks()
			s.tunnel(fullAllowed, "DNS = 10.8.0.1, corp.example")
			said(t, wgctlOK(s.client, "up", "wg0").Stderr, "resolvconf -a wg0 -m 0 -x (1 nameserver, 1 search domain)")
			said(t, wgctlOK(s.client, "status", "-v").Stdout, trace)
			seen := s.watch()
			s.lookUps(10, insideAnswer)
			seen.onlyInside("n0.example", "n9.example")
			whole(s.client, "wg0")
			wgctlOK(s.client, "down", "wg0")
			s.answers("after.example", outsideAnswer)
			if after := looks(); after != before {
				t.Errorf("afterwards\n%s", Diff(before, after))
			}
		})
	}
}

// Systemd's resolvconf is of no use where systemd-resolved isn't: the file is
// written, be it a plain one or the link to the dead stub, and comes back. To
// ask for resolvconf is refused within a moment.
func TestDNSShimWithoutResolved(t *testing.T) {
	Only(t, Userspace)
	for name, c := range map[string]struct{ prepare, trace string }{
		"a plain file": {"", "rc=plain resolvconf=/run/bin/resolvconf flavour=systemd prefix=\"\" ret=file]"},
		"a dead stub": {"mkdir -p /run/systemd/resolve; echo nameserver 127.0.0.53 >/run/systemd/resolve/stub-resolv.conf; ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf",
			"rc=stub resolved=no resolvconf=/run/bin/resolvconf flavour=systemd prefix=\"\" ret=file]"},
	} {
		for _, bus := range []string{"no bus", "a bus"} {
			t.Run(name+" and "+bus, func(t *testing.T) {
				t.Parallel()
				s := newDNSSite(t)
				s.byLink(filepath.Join(unpackedResolver(t, "systemd-resolved"), "usr/bin/resolvectl"))
				s.client.Sh(c.prepare)
				if bus == "a bus" {
					startBus(t, s.client)
				}
				before := s.client.Snapshot()
				s.tunnel(fullAllowed, "DNS = 10.8.0.1", "DNSBackend = resolvconf")
				begin := time.Now()
				out := wgctlFails(s.client, 1, "up", "wg0")
				if took := time.Since(begin); took > Timeout(5*time.Second) {
					t.Errorf("took %v", took)
				}
				said(t, out.Stderr, "[Interface] DNS: systemd-resolved isn't on the system bus")
				if lines := errorLines(out); len(lines) != 1 {
					t.Errorf("not one line: %v", out)
				}
				s.client.Unchanged(before)

				s.tunnel(fullAllowed, "DNS = 10.8.0.1")
				said(t, wgctlOK(s.client, "up", "wg0").Stderr, "edit /etc/resolv.conf (wg0: 1 nameserver")
				said(t, wgctlOK(s.client, "dns").Stdout, "tunnels tell:")
				seen := s.watch()
				s.lookUps(5, insideAnswer)
				seen.onlyInside("n0.example", "n4.example")
				whole(s.client, "wg0")
				wgctlOK(s.client, "down", "wg0")
				s.client.Unchanged(before)
				said(t, wgctlOK(s.client, "dns").Stdout, c.trace)
			})
		}
	}
}
