// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// within fails the test if a command takes longer than it may with a bus on which
// nobody answers.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	start := time.Now()
	f()
	took := time.Since(start)
	t.Logf("%s took %v", what, took)
	if took > Timeout(5*time.Second) {
		t.Errorf("%s took %v", what, took)
	}
}

// A systemd-resolved that answers no more costs each command one time limit, not
// one for all that it has to say, also when it stops between the choice and the
// step: 5 seconds at the most, one line, and the host as before.
func TestResolvedHangsShort(t *testing.T) {
	Only(t, Userspace) // and not beside other tests: of 5 seconds 4 are the limit
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up; ip address add 192.0.2.2/24 dev eth0")
	r := startResolved(t, h)
	r.ctl("domain", "eth0", "lan")
	view := r.view()
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53", "PreUp = kill -STOP $(cat /run/resolved.pid)"))
	h.Sh("for p in /proc/[0-9]*; do grep -qs systemd-resolve $p/comm && echo ${p#/proc/} >/run/resolved.pid; done; test -s /run/resolved.pid")
	before := shapeOf(h)
	within(t, "up that is cut off", func() {
		out := h.Wgctl("up", "wg0")
		if lines := errorLines(out); out.Code == 0 || len(lines) != 1 {
			t.Errorf("not one line: %v", out)
		}
	})
	within(t, "dns", func() { said(t, wgctlOK(h, "dns").Stdout, "nobody: systemd-resolved did not answer") })
	within(t, "plan", func() { wgctlFails(h, 1, "plan", "up", "wg0") })
	within(t, "up", func() { wgctlFails(h, 1, "up", "wg0") })
	r.process.Signal(syscall.SIGCONT)
	if after := r.view(); after != view {
		t.Errorf("resolvectl shows\n%s\nwas\n%s", after, view)
	}
	WaitFor(t, 5*time.Second, "the host to be as before", func() bool { return shapeOf(h) == before })

	// Down can't give eth0 its domains back: it says so, and does when it can.
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
	wgctlOK(h, "up", "wg0")
	r.process.Signal(syscall.SIGSTOP)
	within(t, "reload", func() {
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.54"))
		wgctlFails(h, 1, "reload", "wg0")
	})
	within(t, "down", func() { said(t, wgctlFails(h, 3, "down", "wg0").Stderr, "resolvectl domain eth0 lan") })
	r.process.Signal(syscall.SIGCONT)
	wgctlOK(h, "down", "wg0")
	if after := r.view(); after != view {
		t.Errorf("resolvectl shows\n%s\nwas\n%s", after, view)
	}
}

// What only looks starts no daemon; up does.
func TestDNSLooksOnly(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	Need(t, "dbus-daemon")
	h := newTunnelHost(t, "h")
	h.Hide("resolvconf")
	h.Sh(`mkdir -p /run/dbus /run/services /run/systemd/resolve
		echo nameserver 127.0.0.53 >/run/systemd/resolve/stub-resolv.conf; ln -sf /run/systemd/resolve/stub-resolv.conf /etc/resolv.conf`)
	h.WriteFileMode("/run/started.sh", "#!/bin/sh\ntouch /run/started\n", 0o755)
	h.WriteFileMode("/run/services/org.freedesktop.resolve1.service", "[D-BUS Service]\nName=org.freedesktop.resolve1\nExec=/run/started.sh\n", 0o644)
	h.WriteFileMode("/run/bus.conf", strings.Replace(anybody, "<auth>", "<servicedir>/run/services</servicedir><auth>", 1), 0o644)
	h.Start("dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile")
	WaitFor(t, 10*time.Second, "the bus", func() bool { return h.Exists("/run/dbus/system_bus_socket") })
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.53"))
	said(t, wgctlOK(h, "dns").Stdout, "rc=stub resolved=yes ret=resolved")
	said(t, wgctlOK(h, "plan", "up", "wg0").Stdout, "resolvectl dns wg0")
	h.Wgctl("check", "wg0")
	if h.Exists("/run/started") {
		t.Errorf("systemd-resolved was started")
	}
	h.Wgctl("up", "wg0")
	if !h.Exists("/run/started") {
		t.Errorf("systemd-resolved was not started by up")
	}
}

// A NetworkManager that hangs when the tunnel goes is still to be told, and down
// says so; look-ups go as before all the same.
func TestNetworkManagerHangsDown(t *testing.T) {
	Only(t, Userspace) // and not beside other tests, as TestResolvedHangsShort
	s := newDNSSite(t)
	n := startNetworkManager(t, s.client)
	before := n.view()
	s.tunnel(fullAllowed, "DNS = 10.8.0.1")
	wgctlOK(s.client, "up", "wg0")
	s.answers("up.example", insideAnswer)
	n.process.Signal(syscall.SIGSTOP)
	within(t, "down", func() { said(t, wgctlFails(s.client, 3, "down", "wg0").Stderr, "nmcli general reload (without wg0)") })
	s.answers("hangs.example", outsideAnswer)
	n.process.Signal(syscall.SIGCONT)
	wgctlOK(s.client, "down", "wg0")
	s.answers("after.example", outsideAnswer)
	if after := n.view(); after != before {
		t.Errorf("NetworkManager shows\n%s\nwas\n%s", after, before)
	}
}
