// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// repairs is how long run --repair may take to see that look-ups go elsewhere, and
// to lead them back: it doesn't wait for its next look from time to time. Who
// changes the same thing again and again is met later each time.
const repairs = 20 * time.Second

// startRun has wgctl run look after wg0, and returns when it is up.
func (s *dnsSite) startRun() *Process {
	s.client.t.Helper()
	p := s.client.Start(Bin(s.client.t), "run", "--repair", "wg0")
	WaitFor(s.client.t, 20*time.Second, "the tunnel to be up", func() bool {
		out := s.client.Wgctl("status", "wg0")
		return out.Code == 0 && !strings.Contains(out.Stdout, "not up")
	})
	return p
}

// resolvesInside waits until look-ups are answered inside.
func (s *dnsSite) resolvesInside(what string) {
	s.client.t.Helper()
	start := time.Now()
	WaitFor(s.client.t, repairs, what+" to be repaired", func() bool {
		return strings.HasPrefix(s.client.Run("getent", "ahostsv4", "n.example").Stdout, insideAnswer)
	})
	s.client.t.Logf("%s: repaired after %v", what, time.Since(start))
}

// run --repair has look-ups go into the tunnel again soon after systemd-resolved
// has forgotten it, by whatever way.
func TestResolvedRepair(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	s := newDNSSite(t)
	s.client.Hide("resolvconf")
	r := startResolved(t, s.client)
	s.tunnel(fullAllowed, "DNS = 10.8.0.1")
	p := s.startRun()
	s.resolvesInside("up")
	for _, change := range [][]string{{"revert", "wg0"}, {"domain", "wg0", "corp.example"}, {"domain", "eth0", "example"}} {
		time.Sleep(time.Second)
		r.ctl(change...)
		s.resolvesInside(strings.Join(change, " "))
		WaitFor(t, repairs, "all to be as it was", func() bool { return len(driftSteps(s.client, "wg0")) == 0 })
	}
	r.process.Signal(syscall.SIGTERM)
	r.process.Wait(20 * time.Second)
	s.client.Sh("rm -r /run/systemd/resolve/netif")
	r.start()
	r.ctl("dns", "eth0", hubLAN4)
	s.resolvesInside("a restart without its files")
	p.Signal(syscall.SIGTERM)
	p.Wait(20 * time.Second)
	s.answers("after.example", outsideAnswer)
}

// So it has after somebody has written or replaced resolv.conf; what was written
// last is there again after down.
func TestDNSFileRepair(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	s := newDNSSite(t)
	s.client.Hide("resolvconf")
	s.tunnel(fullAllowed, "DNS = 10.8.0.1")
	p := s.startRun()
	s.resolvesInside("up")
	last := "# by somebody\n" + outsideNameserver
	for what, script := range map[string]string{
		"written":  "printf '" + last + "' >/etc/resolv.conf",
		"replaced": "printf '" + last + "' >/etc/resolv.conf.new; mv /etc/resolv.conf.new /etc/resolv.conf",
	} {
		time.Sleep(time.Second)
		s.client.Sh(script)
		WaitFor(t, repairs, what, func() bool { return strings.Contains(s.client.ReadFile("/etc/resolv.conf"), "# tunnel wg0") })
		s.resolvesInside(what)
	}
	p.Signal(syscall.SIGTERM)
	p.Wait(20 * time.Second)
	if got := s.client.ReadFile("/etc/resolv.conf"); got != last {
		t.Errorf("after down: %q, want %q", got, last)
	}
}
