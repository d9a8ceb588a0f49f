// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// A resolv.conf that is systemd-resolved's list of the nameservers of all links
// leads past it: of a full tunnel it lists only those, and what it listed comes
// back. What names it can't send inside, up says.
func TestResolvedUplink(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	s := newDNSSite(t)
	s.client.Hide("resolvconf")
	r := startResolved(t, s.client)
	r.ctl("domain", "eth0", "lan")
	s.client.Sh("ln -sf ../run/systemd/resolve/resolv.conf /etc/resolv.conf")
	s.answers("before.example", outsideAnswer)
	list := func() string { return s.client.ReadFile("/etc/resolv.conf") }
	before, listed := r.view(), list()
	s.tunnel(fullAllowed, "DNS = 10.8.0.1")
	for _, end := range []string{"down", "reload", "link"} {
		out := wgctlOK(s.client, "up", "wg0")
		said(t, out.Stderr, "resolvectl dns wg0 (1 nameserver, 0 search domains); resolvectl dns eth0 ''; resolvectl domain eth0 ''")
		if strings.Contains(out.Stderr, "programs that read") {
			t.Errorf("a note: %s", out.Stderr)
		}
		around := s.captureLookUps()
		s.lookUps(40, insideAnswer)
		s.answers("a.lan", insideAnswer)
		r.restart()
		s.lookUps(10, insideAnswer)
		around.none()
		whole(s.client, "wg0")
		// The network pushes its nameserver again.
		r.ctl("dns", "eth0", hubLAN4)
		if got := driftSteps(s.client, "wg0"); len(got) != 1 || !strings.Contains(got[0], "; resolvectl dns eth0 ''") {
			t.Errorf("drift %q", got)
		}
		wgctlOK(s.client, "reload", "wg0")
		around = s.captureLookUps()
		s.lookUps(10, insideAnswer)
		around.none()
		switch end {
		case "reload":
			s.tunnel(fullAllowed, "DNS = 10.8.0.1, ~corp.example")
			said(t, wgctlOK(s.client, "reload", "wg0").Stderr, note)
			said(t, r.ctl("dns", "eth0"), hubLAN4)
			s.tunnel(fullAllowed, "DNS = 10.8.0.1")
			wgctlOK(s.client, "reload", "wg0")
			s.lookUps(5, insideAnswer)
		case "link":
			s.client.Must("ip", "link", "delete", "wg0")
		}
		wgctlOK(s.client, "down", "wg0")
		if after := r.view(); after != before {
			t.Errorf("resolvectl shows\n%s\nwas\n%s", after, before)
		}
		WaitFor(t, 5*time.Second, "the list to be as before", func() bool { return list() == listed })
		s.answers("after.example", outsideAnswer)
	}

	// A resolv.conf that somebody wrote stays, and who reads it asks whom it names.
	s.client.Sh("sed -i 's/^hosts:.*/hosts: files resolve [!UNAVAIL=return] dns/' /etc/nsswitch.conf; rm /etc/resolv.conf")
	s.client.WriteFileMode("/etc/resolv.conf", outsideNameserver, 0o644)
	said(t, wgctlOK(s.client, "up", "wg0").Stderr, note, "resolvectl dns wg0")
	wgctlOK(s.client, "down", "wg0")
}

const note = "wg0: programs that read /etc/resolv.conf themselves ask 192.0.2.1"
