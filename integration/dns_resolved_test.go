// SPDX-License-Identifier: MIT

package integration

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// anybody is a system bus on which everybody may do everything.
const anybody = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
<type>system</type>
<listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth>
<policy context="default">
<allow user="*"/><allow own="*"/>
<allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/>
</policy>
</busconfig>
`

// startBus runs a system bus on a host.
func startBus(t testing.TB, h *Host) {
	t.Helper()
	Need(t, "dbus-daemon")
	h.Must("mkdir", "-p", "/run/dbus")
	h.WriteFileMode("/run/bus.conf", anybody, 0o644)
	h.Start("dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile")
	WaitFor(t, 10*time.Second, "the bus", func() bool { return h.Exists("/run/dbus/system_bus_socket") })
}

// A resolved is a host's systemd-resolved.
type resolved struct {
	h       *Host
	root    string
	process *Process
}

// startResolved runs Debian's systemd-resolved on a host, with a bus of its own,
// and has look-ups go to it; the link eth0 has the nameserver outside.
func startResolved(t testing.TB, h *Host) *resolved {
	t.Helper()
	startBus(t, h)
	r := startResolvedOn(t, h)
	r.ctl("dns", "eth0", hubLAN4)
	r.ctl("default-route", "eth0", "yes")
	return r
}

// startResolvedOn is startResolved on a bus that is there, without a word of
// eth0.
func startResolvedOn(t testing.TB, h *Host) *resolved {
	t.Helper()
	r := &resolved{h: h, root: unpackedResolver(t, "systemd-resolved")}
	h.Sh(`grep -q ^systemd-resolve: /etc/passwd || echo 'systemd-resolve:x:982:982::/:/usr/sbin/nologin' >>/etc/passwd
		grep -q ^systemd-resolve: /etc/group || echo 'systemd-resolve:x:982:' >>/etc/group
		mkdir -p /run/systemd/resolve
		chown systemd-resolve:systemd-resolve /run/systemd/resolve
		ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf`)
	h.WriteFileMode("/etc/systemd/resolved.conf", "[Resolve]\nLLMNR=no\nMulticastDNS=no\nFallbackDNS=\nCache=no\n", 0o644)
	r.start()
	return r
}

func (r *resolved) start() {
	r.h.t.Helper()
	r.process = r.h.Start(filepath.Join(r.root, "usr/lib/systemd/systemd-resolved"))
	WaitFor(r.h.t, 20*time.Second, "systemd-resolved", func() bool {
		if !r.process.Running() {
			r.h.t.Fatalf("systemd-resolved has ended: %v", r.process.Output())
		}
		return r.h.Run(filepath.Join(r.root, "usr/bin/resolvectl"), "status").Code == 0
	})
}

func (r *resolved) ctl(args ...string) string {
	r.h.t.Helper()
	return r.h.Must(append([]string{filepath.Join(r.root, "usr/bin/resolvectl")}, args...)...).Stdout
}

// restart kills systemd-resolved and starts another.
func (r *resolved) restart() {
	r.h.t.Helper()
	r.process.Signal(syscall.SIGTERM)
	r.process.Wait(20 * time.Second)
	r.start()
}

// view is what resolvectl shows of all links but for what comes and goes by
// itself.
func (r *resolved) view() string {
	r.h.t.Helper()
	var kept []string
	for line := range strings.Lines(r.ctl("status")) {
		if !strings.Contains(line, "Current DNS Server") {
			kept = append(kept, strings.Join(strings.Fields(line), " ")) // its columns move with other links
		}
	}
	return strings.Join(kept, "\n")
}

// systemd-resolved answers from inside for all names of a full tunnel, and for
// some of a split one; it keeps that over its own restart, and after down it is
// as it was.
func TestDNSResolved(t *testing.T) {
	Only(t, Userspace)
	s := newDNSSite(t)
	r := startResolved(t, s.client)
	before, link := r.view(), s.client.Must("stat", "-c", "%N %a %U:%G", "/etc/resolv.conf").Stdout
	s.answers("before.example", outsideAnswer)

	s.tunnel(fullAllowed, "DNS = 10.8.0.1, corp.example")
	said(t, wgctlOK(s.client, "up", "wg0").Stderr, "resolvectl dns wg0 (1 nameserver, 1 search domain)")
	said(t, wgctlOK(s.client, "status", "-v").Stdout, "dns: [rc=stub resolved=yes ret=resolved]")
	said(t, r.ctl("status", "wg0"), "10.8.0.1", "corp.example", "~.", "+DefaultRoute")
	s.leaked()
	around := s.captureLookUps()
	s.lookUps(200, insideAnswer)
	said(t, wgctlOK(s.client, "dns", "--query", "x.example").Stdout, insideAnswer+" (by 10.8.0.1:53 over wg0)", "10.8.0.1, corp.example, ~. (all other names)")
	r.restart()
	whole(s.client, "wg0")
	s.lookUps(20, insideAnswer)
	s.tunnel(fullAllowed, "DNS = 10.8.0.53, corp.example")
	wgctlOK(s.client, "reload", "wg0")
	s.lookUps(20, insideAnswer)
	around.none()
	if n := s.leaked(); n != 0 {
		t.Errorf("%d packets for nameservers went around the tunnel", n)
	}

	// Somebody makes it forget: that is drift, and reload mends it.
	r.ctl("revert", "wg0")
	if got := driftSteps(s.client, "wg0"); len(got) != 1 || !strings.HasPrefix(got[0], "resolvectl dns wg0") {
		t.Errorf("drift %q", got)
	}
	wgctlOK(s.client, "reload", "wg0")
	whole(s.client, "wg0")

	s.tunnel(fullAllowed, "DNS = 10.8.0.53, ~inside.example")
	wgctlOK(s.client, "reload", "wg0")
	said(t, r.ctl("status", "wg0"), "10.8.0.53", "~inside.example", "-DefaultRoute")
	s.answers("a.inside.example", insideAnswer)
	s.answers("a.example", outsideAnswer)
	whole(s.client, "wg0")

	wgctlOK(s.client, "down", "wg0")
	if after := r.view(); after != before {
		t.Errorf("resolvectl shows\n%swas\n%s", after, before)
	}
	if got := s.client.Must("stat", "-c", "%N %a %U:%G", "/etc/resolv.conf").Stdout; got != link {
		t.Errorf("resolv.conf is %swas %s", got, link)
	}
	around = s.captureLookUps()
	s.answers("after.example", outsideAnswer)
	around.some("192.0.2.1.53: ")
}

// systemd-resolved of another network namespace, seen by a shared /run, is not
// told of a link that it doesn't see.
func TestDNSResolvedElsewhere(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.2/24 dev eth0")
	h.Hide("resolvconf")
	r := startResolved(t, h)
	before := r.view()
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.1"))
	out := wgctlElsewhere(h, "plan", "up", "-v", "wg0")
	said(t, out.Stdout, "rc=stub resolved=elsewhere", "edit /etc/resolv.conf")
	if after := r.view(); after != before {
		t.Errorf("resolvectl shows\n%swas\n%s", after, before)
	}
}

// wgctlElsewhere runs wgctl in a network namespace of its own on the host.
func wgctlElsewhere(h *Host, args ...string) Output {
	h.t.Helper()
	return h.Must(append([]string{"unshare", "-n", Bin(h.t)}, args...)...)
}
