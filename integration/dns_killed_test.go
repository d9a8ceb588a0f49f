// SPDX-License-Identifier: MIT

package integration

import (
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A killedBackend is a host on which wgctl is killed while it tells who manages
// look-ups.
type killedBackend struct {
	prepare func(t testing.TB, h *Host) (view func() string)
	names   string // the calls that have to do with it
	every   bool   // each is met, not a sample
	thrice  bool   // and each of the commands comes next, not one in turn
	b       string // the DNS that a reload changes to
	passing string // lines that come and go by themselves
	calls   int    // that at least there are of each verb
	slow    string // where a script goes that may stop: resolvconf's own
}

// stops is a script of the shell that runs some times while resolvconf works: at
// the time that /run/slow names it stops.
const stops = `
	if [ -s /run/slow ]; then
		echo x >>/run/times
		[ "$(wc -l </run/times)" -ne "$(cat /run/slow)" ] || sleep 1000
	fi
`

var killedBackends = map[string]killedBackend{
	"file": {prepare: func(t testing.TB, h *Host) func() string {
		h.Hide("resolvconf")
		h.Sh("chown 7:8 /etc/resolv.conf; chmod 640 /etc/resolv.conf")
		return nil
	}, names: "resolv.conf", every: true, thrice: true, calls: 1},
	"file by a link": {prepare: func(t testing.TB, h *Host) func() string {
		h.Hide("resolvconf")
		h.Sh("mkdir /run/elsewhere; mv /etc/resolv.conf /run/elsewhere/; ln -s ../run/elsewhere/resolv.conf /etc/resolv.conf; chown -h 7:8 /etc/resolv.conf")
		return nil
	}, names: "resolv.conf", every: true, calls: 1},
	"file of a container": {prepare: func(t testing.TB, h *Host) func() string {
		h.Hide("resolvconf")
		h.Sh("cp /etc/resolv.conf /run/theirs; chown 7:8 /run/theirs; mount --bind /run/theirs /etc/resolv.conf")
		return nil
	}, names: "resolv.conf", every: true, calls: 3},
	"resolved": {prepare: func(t testing.TB, h *Host) func() string {
		h.Hide("resolvconf")
		r := startResolved(t, h)
		return func() string { return numberedLink.ReplaceAllString(r.view(), "Link") }
	}, names: tellsResolved, every: true, thrice: true, b: "DNS = 10.8.0.54, ~inside.example", calls: 2, passing: `.*/systemd/resolve/netif/\d+`},
	"NetworkManager": {prepare: func(t testing.TB, h *Host) func() string {
		return startNetworkManager(t, h).view
	}, names: "NetworkManager", calls: 5, passing: `.*/NetworkManager/devices/.*`},
	"openresolv": {prepare: func(t testing.TB, h *Host) func() string {
		h.Sh("rm -rf /etc/resolvconf; echo nameserver " + hubLAN4 + " | resolvconf -a eth0")
		return func() string { return h.Must("resolvconf", "-l").Stdout }
	}, names: "nameserver ", slow: "/etc/resolvconf.conf"},
	"Debian's resolvconf": {prepare: func(t testing.TB, h *Host) func() string {
		return prepareDebian(&dnsSite{site: &site{client: h}})
	}, names: "nameserver ", slow: "/etc/resolvconf/update.d/000 /etc/resolvconf/update.d/zz"},
}

var numberedLink = regexp.MustCompile(`Link \d+`)

// newDNSWreck is a host under a backend, with two files that differ in what they
// tell it.
func newDNSWreck(t testing.TB, b killedBackend) *wreck {
	t.Helper()
	w := &wreck{rig: &rig{Host: newTunnelHost(t, "h")}, names: b.names}
	w.Sh(`ip link add eth0 type veth peer name eth1
		for i in eth0 eth1; do ip link set $i addrgenmode none; ip link set $i up; done
		ip address add 192.0.2.2/24 dev eth0`)
	w.view = b.prepare(t, w.Host)
	for _, path := range strings.Fields(b.slow) {
		w.WriteFileMode(path, "#!/bin/sh\n"+stops, 0o755)
	}
	if b.passing != "" {
		w.passing = regexp.MustCompile(`(?m)^` + b.passing + `\n`)
	}
	const dns = "DNS = 10.8.0.53, corp.example"
	if b.b == "" {
		b.b = "DNS = 10.8.0.54, other.example"
	}
	w.a = fullTunnel(t, 0, "ListenPort = 51820", dns)
	w.b = strings.Replace(w.a, dns, b.b, 1)
	w.learn()
	return w
}

// Whoever manages look-ups: up, reload and down are killed before each call that
// tells him, and while resolvconf works; then a down alone leads to the host as
// it was, an up alone to the whole tunnel, and so does a reload: resolv.conf,
// its target, mode and owner, and what he himself shows.
func TestDNSKilled(t *testing.T) {
	Only(t, Userspace)
	Need(t, "resolvconf")
	for name, b := range killedBackends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDNSWreck(t, b)
			for _, verb := range []string{"up", "reload", "down"} {
				w.killedTelling(t, b, verb)
				if b.slow != "" {
					w.killedMeanwhile(t, verb)
				}
			}
		})
	}
}

// killedTelling kills the verb at the calls that tell.
func (w *wreck) killedTelling(t *testing.T, b killedBackend, verb string) {
	t.Helper()
	plain := w.kill(verb, 0)
	if plain.Code != 0 || plain.Calls < b.calls {
		t.Fatalf("%s without a fault: %v, %d calls", verb, plain, plain.Calls)
	}
	const sample = 3
	points, killed := []int(nil), 0
	switch {
	case b.every || plain.Calls <= sample:
		for at := 1; at <= plain.Calls; at++ {
			points = append(points, at)
		}
	default:
		points = crashPoints(t, plain.Calls, sample)
	}
	for i, at := range points {
		nexts := []string{"down", "up", "reload"}
		if !b.thrice && !wholeSweep() {
			nexts = nexts[i%3 : i%3+1]
		}
		for _, next := range nexts {
			i := w.kill(verb, at)
			if i.Hit == "" {
				continue
			}
			if killed++; i.Code != 128+int(syscall.SIGKILL) {
				t.Errorf("%s at %d: not killed: %v", verb, at, i)
			}
			if wrong := w.heal(crash{verb, next}); wrong != "" {
				t.Fatalf("%s killed at call %d of %d, %s, then %s:\n%v\n%s", verb, at, plain.Calls, i.Hit, next, i, wrong)
			}
		}
	}
	t.Logf("%s has %d calls; killed %d times", verb, plain.Calls, killed)
	if killed < min(b.calls, sample) {
		t.Errorf("%s was killed only %d times", verb, killed)
	}
}

// killedMeanwhile kills the verb while resolvconf runs, at each time that a
// script of the host's is run by it.
func (w *wreck) killedMeanwhile(t *testing.T, verb string) {
	t.Helper()
	times := 0
	for ; ; times++ {
		ended := false
		for i, next := range []string{"down", "up", "reload"} {
			if !wholeSweep() && i != times%3 && next != verb {
				continue
			}
			words := w.ready(verb)
			w.Sh("rm -f /run/times")

			w.WriteFile("/run/slow", strconv.Itoa(times+1))
			p := w.Start(append([]string{Bin(t)}, words...)...)
			WaitFor(t, 20*time.Second, "the script, or the end", func() bool {
				ended = !p.Running()
				return ended || w.Run("pgrep", "-x", "sleep").Code == 0
			})
			w.Sh("rm -f /run/slow /run/times")
			if ended {
				break
			}
			p.Signal(syscall.SIGKILL)
			out := p.Wait(20 * time.Second)
			w.Must("pkill", "-KILL", "-x", "sleep") // which outlives it
			WaitFor(t, 5*time.Second, "resolvconf to end", func() bool {
				return !strings.Contains(strings.Join(w.Processes(), "\n"), "resolvconf")
			})
			if wrong := w.heal(crash{verb, next}); wrong != "" {
				t.Fatalf("%s killed when resolvconf was at its script number %d, then %s: %v\n%s", verb, times+1, next, out, wrong)
			}
		}
		if ended {
			break
		}
	}
	t.Logf("%s was killed at %d scripts", verb, times)
	if times == 0 {
		t.Errorf("%s was never killed while resolvconf worked", verb)
	}
}
