// SPDX-License-Identifier: MIT

package integration

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A capture is what tcpdump sees go by a link.
type capture struct {
	p    *Process
	file string
}

// capture starts tcpdump on a host's link.
func (s *dnsSite) capture(h *Host, link, filter string) capture {
	h.t.Helper()
	Need(h.t, "tcpdump")
	file := filepath.Join("/run", "capture."+link)
	p := h.Start("tcpdump", "-Z", "root", "--immediate-mode", "-U", "-ni", link, "-w", file, filter)
	p.Expect(20*time.Second, "listening on")
	return capture{p, file}
}

// toNameservers is what is sent to one, in the clear or by TLS. What one sends is
// left out: it goes on answering a connection that was begun before the capture.
const toNameservers = "dst port 53 or dst port 853"

// captureLookUps takes what the client sends around the tunnel to a nameserver.
func (s *dnsSite) captureLookUps() capture {
	s.client.t.Helper()
	return s.capture(s.client, "eth0", toNameservers)
}

// await waits a moment until tcpdump has written a packet with each of these words:
// one that has had no turn yet when it is told to end loses what it was to write.
func (c capture) await(words ...string) {
	h := c.p.h
	h.t.Helper()
	for deadline := time.Now().Add(Timeout(5 * time.Second)); time.Now().Before(deadline); time.Sleep(Timeout(20 * time.Millisecond)) {
		text := h.Run("tcpdump", "-nr", c.file).Stdout
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			return
		}
	}
}

// packets ends the capture and returns a line for each.
func (c capture) packets() []string {
	h := c.p.h
	h.t.Helper()
	c.p.Signal(syscall.SIGINT)
	c.p.Wait(20 * time.Second)
	text := h.Must("tcpdump", "-nr", c.file).Stdout
	h.Must("rm", c.file)
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// none fails the test if there was a packet.
func (c capture) none() {
	c.p.h.t.Helper()
	if p := c.packets(); len(p) != 0 {
		c.p.h.t.Errorf("%d packets for nameservers went around the tunnel:\n%s", len(p), strings.Join(p, "\n"))
	}
}

// some fails the test unless each of these words is in a packet: what is
// captured when it should be.
func (c capture) some(words ...string) {
	c.p.h.t.Helper()
	c.await(words...)
	said(c.p.h.t, strings.Join(c.packets(), "\n"), words...)
}

// asks sends a query to the nameserver that the client has had all along, by
// each way that there is, and looks a name up, until /run/stop is there.
const asks = `#!/bin/bash
	while [ ! -e /run/stop ]; do
		i=$((i+1))
		timeout 0.3 getent ahostsv4 n$i.example >/dev/null
		for port in 53 853; do
			for host in ` + hubLAN4 + " " + hubLAN6 + `; do
				echo x >/dev/udp/$host/$port
				timeout 0.1 bash -c "echo x >/dev/tcp/$host/$port"
			done
		done 2>/dev/null
		echo $i >/run/asked
	done
`

// everyWay is how tcpdump shows each way of asks.
var everyWay = []string{
	"> 192.0.2.1.53: Flags [S]", "> 192.0.2.1.853: Flags [S]", "> 2001:db8:2::1.53: Flags [S]", "> 2001:db8:2::1.853: Flags [S]",
	"> 192.0.2.1.53: domain", "> 192.0.2.1.853: UDP", "> 2001:db8:2::1.53: domain", "> 2001:db8:2::1.853: UDP",
}

// With the kill switch no look-up goes out from before the link is there until
// it is gone, whoever asks whomever: by UDP and TCP, IPv4 and IPv6, in the clear
// and by TLS.
func TestDNSKillSwitch(t *testing.T) {
	Only(t, Userspace)
	Need(t, "bash")
	for name, prepare := range map[string]func(s *dnsSite){
		"file":     func(s *dnsSite) { s.client.Hide("resolvconf") },
		"resolved": func(s *dnsSite) { startResolved(s.client.t, s.client) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDNSSite(t)
			prepare(s)
			s.client.WriteFileMode("/run/ask", asks, 0o755)
			s.tunnel(fullAllowed, "DNS = 10.8.0.1", "KillSwitch = on", "PreUp = /run/ask >/dev/null 2>&1 &")
			s.leaked()
			around := s.captureLookUps()
			wgctlOK(s.client, "up", "wg0")
			s.lookUps(200, insideAnswer)
			s.tunnel(fullAllowed, "DNS = 10.8.0.53", "KillSwitch = on")
			wgctlOK(s.client, "reload", "wg0")
			s.lookUps(20, insideAnswer)
			wgctlOK(s.client, "down", "--keep-killswitch", "wg0")
			s.asked(3) // it goes on after down
			around.none()
			if n := s.leaked(); n != 0 {
				t.Errorf("%d packets for nameservers arrived past the kill switch", n)
			}
			around = s.captureLookUps()
			wgctlOK(s.client, "down", "wg0")
			s.asked(10)
			s.client.Sh("touch /run/stop")
			around.some(everyWay...)
			s.answers("after.example", outsideAnswer)
		})
	}
}

// asked waits until asks has been round some more times.
func (s *dnsSite) asked(more int) {
	s.client.t.Helper()
	count := func() int {
		n, _ := strconv.Atoi(strings.TrimSpace(s.client.ReadFile("/run/asked")))
		return n
	}
	want := count() + more
	WaitFor(s.client.t, 60*time.Second, "look-ups to be tried", func() bool { return count() >= want })
}
