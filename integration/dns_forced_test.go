// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// A forced is a host on which auto takes another than whom the flag or the file
// names.
type forced struct {
	prepare   func(s *dnsSite) (view, asks func() string) // asks has it answer forced.example itself
	auto      string                                      // the step that auto would take
	step      string                                      // the one that is taken
	programs  string                                      // what programs are answered with the tunnel up
	takesOver bool                                        // resolv.conf is the backend's from then on
}

var forcedBackends = map[string]forced{
	"resolved": {
		prepare: func(s *dnsSite) (view, asks func() string) {
			s.client.Hide("resolvconf")
			r := startResolved(s.client.t, s.client)
			s.client.Sh("rm /etc/resolv.conf; printf '" + outsideNameserver + "' >/etc/resolv.conf")
			return r.view, func() string { return r.ctl("query", "-4", "forced.example") }
		},
		auto: "edit /etc/resolv.conf (wg0: ", step: "resolvectl dns wg0 (", programs: outsideAnswer,
	},
	"networkmanager": {
		prepare: func(s *dnsSite) (view, asks func() string) {
			startNetworkManager(s.client.t, s.client)
			s.client.Hide("resolvconf")
			s.client.Sh("printf '" + outsideNameserver + "' >/etc/resolv.conf")
			return func() string { return "" }, func() string { return s.client.Must("getent", "ahostsv4", "forced.example").Stdout }
		},
		auto: "edit /etc/resolv.conf (wg0: ", step: "nmcli general reload (wg0: ", programs: insideAnswer, takesOver: true,
	},
	"resolvconf": {
		prepare: func(s *dnsSite) (view, asks func() string) {
			view = prepareDebian(s)
			s.client.Sh("rm /etc/resolv.conf; printf '" + outsideNameserver + "' >/etc/resolv.conf")
			return view, func() string {
				return s.client.Must("unshare", "-m", "sh", "-c", "mount --bind /run/resolvconf/resolv.conf /etc/resolv.conf && getent ahostsv4 forced.example").Stdout
			}
		},
		auto: "edit /etc/resolv.conf (wg0: ", step: "resolvconf -a wg0 -m 0 -x (", programs: outsideAnswer,
	},
}

// Whoever the flag or the file names is told, though look-ups don't go by him:
// he answers from inside, a reload without either word stays with him, and after
// down he is as before. Auto would have taken another.
func TestDNSForced(t *testing.T) {
	Only(t, Userspace)
	for name, f := range forcedBackends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDNSSite(t)
			h := s.client
			view, asks := f.prepare(s)
			said(t, asks(), outsideAnswer) // systemd-resolved reads the file when it is asked
			before, file := view(), strings.Join(h.resolvConf(), "\n")
			s.tunnel(fullAllowed, "DNS = 10.8.0.1")
			said(t, wgctlOK(h, "plan", "up", "wg0").Stdout, f.auto)
			told := func() {
				t.Helper()
				whole(h, "wg0")
				said(t, asks(), insideAnswer)
				s.answers("programs.example", f.programs)
				if now := strings.Join(h.resolvConf(), "\n"); !f.takesOver && now != file {
					t.Errorf("resolv.conf is\n%s\nwas\n%s", now, file)
				}
			}
			down := func() {
				t.Helper()
				wgctlOK(h, "down", "wg0")
				if now := view(); now != before {
					t.Errorf("afterwards\n%s", Diff(before, now))
				}
				s.answers("after.example", outsideAnswer)
			}
			said(t, wgctlOK(h, "up", "--dns-backend", name, "wg0").Stderr, f.step)
			said(t, wgctlOK(h, "status", "-v").Stdout, " forced="+name, " ret="+name+"]")
			told()
			s.tunnel(fullAllowed, "DNS = 10.8.0.53")
			said(t, wgctlOK(h, "reload", "wg0").Stderr, f.step)
			told()
			down()

			if f.takesOver {
				h.Sh("printf '" + outsideNameserver + "' >/etc/resolv.conf")
			}
			s.tunnel(fullAllowed, "DNS = 10.8.0.1", "DNSBackend = "+name)
			said(t, wgctlOK(h, "up", "wg0").Stderr, f.step)
			told()

			// Off takes away what stands, and then nobody is told.
			s.tunnel(fullAllowed, "DNS = 10.8.0.1", "DNSBackend = off")
			wgctlOK(h, "reload", "wg0")
			whole(h, "wg0")
			s.answers("off.example", outsideAnswer)
			down()
		})
	}
}

// With DNSBackend = off, or the flag, a tunnel with DNS comes and goes and
// nobody is told of it, on a host on which somebody could be; the flag beats the
// file either way.
func TestDNSOff(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	s := newDNSSite(t)
	h := s.client
	h.Hide("resolvconf")
	r := startResolved(t, h)
	before, view := shapeOf(h), r.view()
	for _, c := range []struct{ line, flag, answer string }{
		{"off", "", outsideAnswer}, {"auto", "off", outsideAnswer}, {"off", "auto", insideAnswer},
	} {
		s.tunnel(fullAllowed, "DNS = 10.8.0.1", "DNSBackend = "+c.line)
		words := []string{"up", "wg0"}
		if c.flag != "" {
			words = []string{"up", "--dns-backend", c.flag, "wg0"}
		}
		out := wgctlOK(h, words...)
		if told := strings.Contains(out.Stderr, "resolvectl dns wg0"); told != (c.answer == insideAnswer) {
			t.Errorf("DNSBackend = %s, --dns-backend %s: %v", c.line, c.flag, out)
		}
		s.answers(c.line+c.flag+".example", c.answer)
		if c.answer == outsideAnswer {
			if got := oneSpace(r.ctl("dns", "wg0")); strings.Contains(got, "10.8.0.1") {
				t.Errorf("systemd-resolved was told: %s", got)
			}
			whole(h, "wg0")
		}
		wgctlOK(h, "down", "wg0")
		WaitFor(t, 5*time.Second, "the host to be as before", func() bool { return shapeOf(h) == before })
		if after := r.view(); after != view {
			t.Errorf("resolvectl shows\n%s", Diff(view, after))
		}
	}
}
