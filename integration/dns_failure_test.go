// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// Where names below a domain can't go to the tunnel alone, that is said before
// anything is done, and nothing is; with DNSFailure = warn the tunnel comes up
// without its nameservers, and look-ups go as before. A reload to it leaves
// nothing of the nameservers that stood.
func TestDNSSplitRefused(t *testing.T) {
	Only(t, Userspace)
	for _, name := range []string{"file", "openresolv", "Debian's resolvconf", "NetworkManager"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDNSWreck(t, killedBackends[name])
			who := map[string]string{"file": "file", "NetworkManager": "networkmanager"}[name]
			if who == "" {
				who = "resolvconf"
			}
			refusal := who + " can't send ~inside.example alone to the tunnel: that takes systemd-resolved"
			split := strings.Replace(w.a, "corp.example", "~inside.example", 1)
			lax := strings.Replace(split, "DNS = ", "DNSFailure = warn\nDNS = ", 1)

			w.bring("down")
			w.tunnel(split)
			out := wgctlFails(w.Host, 1, "up", "wg0")
			said(t, out.Stderr, "[Interface] DNS: "+refusal)
			if lines := errorLines(out); len(lines) != 1 {
				t.Errorf("not one line: %v", out)
			}
			w.is(w.down)
			w.tunnel(lax)
			resolvConf := w.resolvConf()
			said(t, wgctlOK(w.Host, "up", "wg0").Stderr, "wg0: comes up without its nameservers: "+refusal)
			whole(w.Host, "wg0")
			if got := w.resolvConf(); strings.Join(got, "\n") != strings.Join(resolvConf, "\n") {
				t.Errorf("resolv.conf is %q, was %q", got, resolvConf)
			}
			wgctlOK(w.Host, "down", "wg0")
			w.is(w.down)

			// A reload is no other story: it says no, or takes them away.
			w.rested = ""
			w.bring("a")
			w.tunnel(split)
			said(t, wgctlFails(w.Host, 1, "reload", "wg0").Stderr, "[Interface] DNS: "+refusal)
			w.is(w.asA)
			w.tunnel(lax)
			wgctlOK(w.Host, "reload", "wg0")
			whole(w.Host, "wg0")
			wgctlOK(w.Host, "down", "wg0")
			w.is(w.down)
		})
	}
}

// is fails the test unless the host comes to a shape.
func (w *wreck) is(shape string) {
	w.t.Helper()
	if diff := w.comesTo(shape); diff != "" {
		w.t.Fatal(diff)
	}
}

// A manager of look-ups that was there when the tunnel was planned, and fails at
// the step itself: the run is undone, or with DNSFailure = warn the tunnel comes
// up without, and either way the manager is as it was when it is back. A reload
// then gives the tunnel its nameservers.
func TestDNSFailsAtTheStep(t *testing.T) {
	Only(t, Userspace)
	for name, c := range map[string]struct{ process, said string }{
		"resolved":       {"systemd-resolved", "SetLinkDNS of systemd-resolved: no answer within "},
		"NetworkManager": {"NetworkManager", "Reload of NetworkManager: no answer within "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDNSWreck(t, killedBackends[name])
			w.bring("down")
			thaw := func() {
				w.Sh("kill -CONT $(pidof " + c.process + ")")
			}
			hook := "PreUp = kill -STOP $(pidof " + c.process + ")\nDNS = "
			w.tunnel(strings.Replace(w.a, "DNS = ", hook, 1))
			begin := time.Now()
			out := wgctlFails(w.Host, 1, "up", "wg0")
			t.Logf("took %v", time.Since(begin))
			said(t, out.Stderr, c.said)
			if lines := errorLines(out); len(lines) != 1 {
				t.Errorf("not one line: %v", out)
			}
			thaw()
			w.is(w.down)

			w.tunnel(strings.Replace(w.a, "DNS = ", "DNSFailure = warn\n"+hook, 1))
			begin = time.Now()
			out = wgctlOK(w.Host, "up", "wg0")
			t.Logf("took %v", time.Since(begin))
			said(t, out.Stderr, "wg0: comes up without its nameservers: ", c.said)
			thaw()
			whole(w.Host, "wg0")
			wgctlOK(w.Host, "reload", "wg0")
			w.tunnel(w.a)
			wgctlOK(w.Host, "reload", "wg0")
			w.is(w.asA)
			wgctlOK(w.Host, "down", "wg0")
			w.is(w.down)
		})
	}
}
