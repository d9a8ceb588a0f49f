// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A dnsBackend is a host whose look-ups somebody manages, the real thing.
type dnsBackend struct {
	prepare func(s *dnsSite) (view func() string) // what it shows, besides resolv.conf
	step    string                                // of up
	trace   string                                // a part of it
	lines   []string                              // more for the file
	splits  bool
	gaps    bool   // it has moments in which nobody answers, by its own doing
	first   string // of two tunnels wg0 and wg1, who answers; "" if it may be either
	server  string // that programs ask with the tunnel up
	forgets string // has it forget what it was told
}

var dnsBackends = map[string]dnsBackend{
	"file": {
		prepare: func(s *dnsSite) func() string { s.client.Hide("resolvconf"); return nil },
		step:    "edit /etc/resolv.conf (wg0: 1 nameserver, 1 search domain)",
		trace:   "rc=plain resolvconf=- ret=file]", first: "wg1", server: "10.8.0.1:53 over wg0",
	},
	"openresolv": {
		prepare: func(s *dnsSite) func() string {
			Need(s.client.t, "resolvconf")
			s.client.Sh("rm -rf /etc/resolvconf; echo nameserver " + hubLAN4 + " | resolvconf -a eth0")
			return nil
		},
		step:  "resolvconf -a wg0 -m 0 -x (1 nameserver, 1 search domain)",
		trace: `rc=openresolv resolvconf=`, gaps: true, first: "wg1", server: "10.8.0.1:53 over wg0",
		forgets: "resolvconf -d wg0 -f",
	},
	"openresolv with dnsmasq": {
		prepare: prepareDnsmasq, splits: true, gaps: true, first: "wg1",
		step:  "resolvconf -a wg0 -m 0 -x (1 nameserver, 1 search domain)",
		trace: `flavour=openresolv prefix="" local=dnsmasq ret=resolvconf]`, server: "127.0.0.1:53 over lo",
		forgets: "resolvconf -d wg0 -f",
	},
	"Debian's resolvconf": {
		prepare: prepareDebian,
		step:    "resolvconf -a wg0 -m 0 -x (1 nameserver, 1 search domain)",
		trace:   `flavour=debian prefix="tun." ret=resolvconf]`, first: "wg0", server: "10.8.0.1:53 over wg0",
		forgets: "resolvconf -d tun.wg0",
	},
	"resolved": {
		prepare: func(s *dnsSite) func() string { return startResolved(s.client.t, s.client).view },
		step:    "resolvectl dns wg0 (1 nameserver, 1 search domain)",
		trace:   "rc=stub resolved=yes ret=resolved]", splits: true, server: "10.8.0.1:53 over wg0",
	},
	"NetworkManager": {
		prepare: func(s *dnsSite) func() string { return startNetworkManager(s.client.t, s.client).view },
		step:    "nmcli general reload (wg0: 1 nameserver, 1 search domain)",
		trace:   "rc=networkmanager nm=yes mode=default rc-manager=symlink ret=networkmanager]", first: "wg1", server: "10.8.0.1:53 over wg0",
		forgets: "rm /run/NetworkManager/conf.d/zz-wgctl.conf; nmcli general reload",
	},
	"NetworkManager with dnsmasq": {
		prepare: func(s *dnsSite) func() string { return startNetworkManager(s.client.t, s.client, "dns=dnsmasq").view },
		step:    "nmcli general reload (wg0: 1 nameserver, 1 search domain)", splits: true, gaps: true,
		trace: "rc=networkmanager nm=yes mode=dnsmasq rc-manager=symlink ret=networkmanager]", first: "wg1", server: "127.0.0.1:53 over lo",
		forgets: "rm /run/NetworkManager/conf.d/zz-wgctl.conf; nmcli general reload",
	},
	"systemd's resolvconf": {
		prepare: func(s *dnsSite) func() string {
			r := startResolved(s.client.t, s.client)
			// With what is left of Debian's package, whose prefix is not for this one.
			s.client.Sh("mkdir -p /run/bin /etc/resolvconf; ln -s " + filepath.Join(r.root, "usr/bin/resolvectl") + " /run/bin/resolvconf; echo 'tun*' >/etc/resolvconf/interface-order")
			s.client.Setenv("PATH", "/run/bin:/usr/sbin:/usr/bin:/sbin:/bin")
			return r.view
		},
		step:  "resolvectl dns wg0 (1 nameserver, 1 search domain)",
		trace: `rc=stub resolved=yes forced=resolvconf resolvconf=/run/bin/resolvconf flavour=systemd prefix="" ret=resolved]`,
		lines: []string{"DNSBackend = resolvconf"}, splits: true, server: "10.8.0.1:53 over wg0",
		forgets: "resolvconf -d wg0",
	},
}

// prepareDebian has Debian's resolvconf write resolv.conf, as its package and
// ifupdown set it up.
func prepareDebian(s *dnsSite) func() string {
	h := s.client
	h.Sh(strings.ReplaceAll(`
		rm -rf /etc/resolvconf /etc/resolvconf.conf
		cp -a ROOT/etc/resolvconf /etc/
		mount -t overlay overlay -o lowerdir=ROOT/usr/sbin:/usr/sbin /usr/sbin
		mount -t overlay overlay -o lowerdir=ROOT/usr/lib:/usr/lib /usr/lib
		mkdir -p /run/resolvconf/interface
		resolvconf --enable-updates
		ln -sf ../run/resolvconf/resolv.conf /etc/resolv.conf
		echo nameserver `+hubLAN4+` | resolvconf -a eth0.inet`, "ROOT", unpackedResolver(h.t, "resolvconf")))
	return func() string { return h.Must("resolvconf", "-l").Stdout }
}

// prepareDnsmasq has programs ask dnsmasq on the host, which openresolv tells
// whom to ask.
func prepareDnsmasq(s *dnsSite) func() string {
	Need(s.client.t, "resolvconf")
	h := s.client
	h.Sh("mount -t overlay overlay -o lowerdir=" + unpackedResolver(h.t, "dnsmasq-base") + "/usr:/usr /usr; rm -rf /etc/resolvconf; mkdir -p /run/dnsmasq; touch /run/dnsmasq/domains /run/dnsmasq/resolv.conf")
	h.WriteFile("/run/dnsmasq/conf", "user=root\nlisten-address=127.0.0.1\nbind-interfaces\nno-hosts\ncache-size=0\npid-file=/run/dnsmasq/pid\nresolv-file=/run/dnsmasq/resolv.conf\nconf-file=/run/dnsmasq/domains\n")
	h.WriteFileMode("/run/dnsmasq/restart", `#!/bin/sh
		if [ -s /run/dnsmasq/pid ]; then
			old=$(cat /run/dnsmasq/pid); kill $old
			while kill -0 $old 2>/dev/null; do sleep 0.01; done
		fi
		exec dnsmasq --conf-file=/run/dnsmasq/conf
	`, 0o755)
	h.WriteFileMode("/etc/resolvconf.conf", "name_servers=127.0.0.1\ndnsmasq_conf=/run/dnsmasq/domains\ndnsmasq_resolv=/run/dnsmasq/resolv.conf\ndnsmasq_restart=/run/dnsmasq/restart\n", 0o644)
	h.Sh("echo nameserver " + hubLAN4 + " | resolvconf -a eth0; [ -s /run/dnsmasq/pid ] || /run/dnsmasq/restart")
	return func() string { return h.Sh("cat /run/dnsmasq/domains; sort /run/dnsmasq/resolv.conf").Stdout }
}

// Whoever manages the look-ups of a host: with a tunnel up they go inside; a
// reload changes the nameserver with no moment in which nobody answers; names
// go inside by their domain where that can be; two tunnels may come and go in
// any order; and in the end all is as it was.
func TestDNSBackends(t *testing.T) {
	Only(t, Userspace)
	for name, b := range dnsBackends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDNSSite(t)
			view := b.prepare(s)
			looks := func() string {
				text := s.client.Sh("stat -c '%N %a %U:%G' /etc/resolv.conf*; cat /etc/resolv.conf").Stdout
				if view != nil {
					text += view()
				}
				return text
			}
			seen := s.watch()
			s.answers("before.example", outsideAnswer)
			seen.onlyOutside("before.example")
			before := looks()

			s.tunnel(fullAllowed, append(b.lines, "DNS = 10.8.0.1, corp.example")...)
			said(t, wgctlOK(s.client, "up", "wg0").Stderr, b.step)
			seen = s.watch()
			said(t, wgctlOK(s.client, "status", "-v").Stdout, b.trace)
			s.lookUps(10, insideAnswer)
			said(t, wgctlOK(s.client, "dns", "--query", "x.example").Stdout, "wg0:", "10.8.0.1, corp.example", insideAnswer+" (by "+b.server+")")
			whole(s.client, "wg0")

			b.reloads(s)
			seen.onlyInside("n0.example", "n9.example", "x.example")
			if b.splits {
				b.split(s)
			}
			b.forgotten(s)

			// A file that no longer names any is as none at all.
			s.tunnel(fullAllowed, b.lines...)
			wgctlOK(s.client, "reload", "wg0")
			s.answers("without.example", outsideAnswer)
			s.tunnel(fullAllowed, append(b.lines, "DNS = 10.8.0.1, corp.example")...)
			wgctlOK(s.client, "reload", "wg0")
			seen = s.watch()
			s.answers("with.example", insideAnswer)
			seen.onlyInside("with.example")
			b.twoTunnels(s)
			wgctlOK(s.client, "down", "wg0")
			seen = s.watch()
			s.answers("after.example", outsideAnswer)
			seen.onlyOutside("after.example")
			if after := looks(); after != before {
				t.Errorf("afterwards\n%swas\n%s", after, before)
			}
		})
	}
}

// reloads changes the nameserver while programs look names up.
func (b dnsBackend) reloads(s *dnsSite) {
	t := s.client.t
	t.Helper()
	s.client.WriteFileMode("/run/loop", `#!/bin/sh
		while [ ! -e /run/stop ]; do
			i=$((i+1))
			getent ahostsv4 n$i.example >/dev/null || bad=$((bad+1))
			[ $i = 5 ] && echo begun
		done
		echo "done: $i look-ups, ${bad:-0} failed"
	`, 0o755)
	loop := s.client.Start("/run/loop")
	loop.Expect(10*time.Second, "begun")
	for _, server := range []string{"10.8.0.53", "10.8.0.1"} {
		s.tunnel(fullAllowed, append(b.lines, "DNS = "+server+", corp.example")...)
		wgctlOK(s.client, "reload", "wg0")
		whole(s.client, "wg0")
	}
	s.client.Sh("touch /run/stop")
	out := loop.Wait(20 * time.Second).Stdout
	s.client.Sh("rm /run/stop")
	t.Log(strings.TrimSpace(out))
	if !b.gaps && !strings.Contains(out, " 0 failed") {
		t.Error("look-ups failed during a reload")
	}
}

// split sends names below one domain inside, and others out.
func (b dnsBackend) split(s *dnsSite) {
	s.client.t.Helper()
	s.tunnel(fullAllowed, append(b.lines, "DNS = 10.8.0.53, ~inside.example")...)
	wgctlOK(s.client, "reload", "wg0")
	seen := s.watch()
	s.answers("a.inside.example", insideAnswer)
	s.answers("a.example", outsideAnswer)
	seen.parted("a.inside.example", "a.example")
	whole(s.client, "wg0")
	s.tunnel(fullAllowed, append(b.lines, "DNS = 10.8.0.1, corp.example")...)
	wgctlOK(s.client, "reload", "wg0")
	s.answers("a.example", insideAnswer)
	whole(s.client, "wg0")
}

// forgotten has somebody take the tunnel's nameservers away, which is drift
// that a reload puts right.
func (b dnsBackend) forgotten(s *dnsSite) {
	t := s.client.t
	t.Helper()
	if b.forgets == "" {
		return
	}
	s.client.Sh(b.forgets)
	if got := driftSteps(s.client, "wg0"); len(got) != 1 || got[0] != b.step {
		t.Errorf("drift %q, want %q", got, b.step)
	}
	wgctlOK(s.client, "reload", "wg0")
	s.answers("a.example", insideAnswer)
	whole(s.client, "wg0")
}

const secondAnswer = "10.9.0.99"

// twoTunnels brings a second one up, and takes either down first. In the end
// the first one is up.
func (b dnsBackend) twoTunnels(s *dnsSite) {
	t := s.client.t
	t.Helper()
	s.second(append(b.lines, "DNS = 10.9.0.1")...)
	for n, first := range []string{"wg1", "wg0"} {
		wgctlOK(s.client, "up", "wg1")
		name := fmt.Sprintf("both%d.example", n)
		got, _, _ := strings.Cut(s.client.Run("getent", "ahostsv4", name).Stdout, " ")
		want := map[string]string{"wg0": insideAnswer, "wg1": secondAnswer}[b.first]
		if b.first != "" && got != want || b.first == "" && got != insideAnswer && got != secondAnswer {
			t.Errorf("with both up %s is %q, want that of %s", name, got, b.first)
		}
		whole(s.client, "wg0")
		wgctlOK(s.client, "down", first)
		if first == "wg1" {
			s.answers("one.example", insideAnswer)
			continue
		}
		s.answers("other.example", secondAnswer)
		wgctlOK(s.client, "down", "wg1")
		wgctlOK(s.client, "up", "wg0")
	}
}

// second has the hub serve another tunnel, with a nameserver of its own inside,
// and writes the client's file.
func (s *dnsSite) second(lines ...string) {
	s.hub.t.Helper()
	hub, client := newKeyPair(s.hub.t), newKeyPair(s.hub.t)
	s.hub.WriteFile(configOf("wg1"), interfaceSection(hub, "Address = 10.9.0.1/24", "ListenPort = 51821")+peerSection(client, "AllowedIPs = 10.9.0.2/32"))
	wgctlOK(s.hub, "up", "wg1")
	s.hub.dnsmasq(secondAnswer, "10.9.0.1")
	lines = append([]string{"Address = 10.9.0.2/24"}, lines...)
	s.client.WriteFile(configOf("wg1"), interfaceSection(client, lines...)+
		peerSection(hub, "Endpoint = "+hubEndpoint4+":51821", "AllowedIPs = 10.9.0.0/24"))
}
