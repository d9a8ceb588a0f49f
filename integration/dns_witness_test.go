// SPDX-License-Identifier: MIT

package integration

import (
	"path/filepath"
	"strings"
	"time"
)

// dnsmasq starts the real one on a host, in the foreground: on port 53 of these
// addresses, by UDP and TCP, it knows one IPv4 address for all names but
// nowhere.example, also where that is searched below another.
func (h *Host) dnsmasq(answer string, addresses ...string) *Process {
	h.t.Helper()
	args := []string{
		filepath.Join(unpackedResolver(h.t, "dnsmasq-base"), "usr/sbin/dnsmasq"), "--no-daemon", "--conf-file=/dev/null", "--user=root",
		"--pid-file=", "--bind-interfaces", "--no-resolv", "--no-hosts", "--local-ttl=1", "--address=/#/" + answer,
		"--address=/nowhere.example/nowhere.example.corp.example/nowhere.example.lan.example/", "--local=/#/", // of the other types there is none: else it refuses them, and who asks turns to the next nameserver
	}
	for _, a := range addresses {
		args = append(args, "--listen-address="+a)
	}
	p := h.Start(args...)
	p.Expect(10*time.Second, "started, version")
	return p
}

// A witness is what tcpdump sees of look-ups on both sides: on the client's
// cable, and where the tunnel ends at the hub.
type witness struct{ outside, inside capture }

// watch starts looking at both sides, at look-ups in the clear and by TLS.
func (s *dnsSite) watch() witness {
	s.client.t.Helper()
	return witness{s.captureLookUps(), s.capture(s.hub, "wg0", toNameservers)}
}

// onlyInside ends the watch, and fails the test unless the names were asked
// for inside and nothing went out.
func (w witness) onlyInside(names ...string) {
	w.outside.p.h.t.Helper()
	w.outside.none()
	w.inside.some(questions(names)...)
}

// onlyOutside ends the watch, and fails the test unless the names were asked
// for outside and nothing went in.
func (w witness) onlyOutside(names ...string) {
	w.outside.p.h.t.Helper()
	w.outside.some(questions(names)...)
	w.inside.none()
}

// parted ends the watch, and fails the test unless either name was asked for on
// its side alone.
func (w witness) parted(inside, outside string) {
	t := w.outside.p.h.t
	t.Helper()
	w.inside.await(questions([]string{inside})...)
	w.outside.await(questions([]string{outside})...)
	in, out := strings.Join(w.inside.packets(), "\n"), strings.Join(w.outside.packets(), "\n")
	said(t, in, questions([]string{inside})...)
	said(t, out, questions([]string{outside})...)
	if strings.Contains(in, " "+outside+".") || strings.Contains(out, " "+inside+".") {
		t.Errorf("%s and %s were not kept apart: inside\n%s\noutside\n%s", inside, outside, in, out)
	}
}

// questions are how tcpdump shows that it is asked for the address of each name.
func questions(names []string) []string {
	var words []string
	for _, n := range names {
		words = append(words, " A? "+n+". ")
	}
	return words
}
