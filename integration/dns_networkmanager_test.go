// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// NetworkManager that makes resolv.conf answers from inside for all names of a
// full tunnel; it keeps that over its own restart, and after down all is as it
// was, NetworkManager's own view as well.
func TestDNSNetworkManager(t *testing.T) {
	Only(t, Userspace)
	s := newDNSSite(t)
	n := startNetworkManager(t, s.client)
	before := n.view()
	s.answers("before.example", outsideAnswer)

	s.tunnel(fullAllowed, "DNS = 10.8.0.1, corp.example")
	said(t, wgctlOK(s.client, "up", "wg0").Stderr, "nmcli general reload (wg0: 1 nameserver, 1 search domain)")
	s.leaked()
	seen := s.watch()
	s.lookUps(50, insideAnswer)
	said(t, wgctlOK(s.client, "status", "-v").Stdout, "dns: [rc=networkmanager nm=yes mode=default rc-manager=symlink ret=networkmanager]")
	said(t, wgctlOK(s.client, "dns", "--query", "x.example").Stdout, "networkmanager", "10.8.0.1, corp.example (all other names)", insideAnswer)
	links := s.client.Must("ip", "address", "show", "wg0").Stdout + s.client.Must("ip", "route", "show", "table", "all").Stdout
	n.restart()
	whole(s.client, "wg0")
	if now := s.client.Must("ip", "address", "show", "wg0").Stdout + s.client.Must("ip", "route", "show", "table", "all").Stdout; now != links {
		t.Errorf("a restart of NetworkManager changes addresses and routes:\n%s", Diff(links, now))
	}
	s.client.Must("nmcli", "connection", "up", "lan") // which writes resolv.conf anew
	whole(s.client, "wg0")
	s.lookUps(20, insideAnswer)

	s.tunnel(fullAllowed, "DNS = 10.8.0.53")
	said(t, wgctlOK(s.client, "reload", "wg0").Stderr, "nmcli general reload (wg0: 1 nameserver")
	said(t, s.client.ReadFile("/etc/resolv.conf"), "nameserver 10.8.0.53\n")
	whole(s.client, "wg0")
	s.lookUps(20, insideAnswer)
	seen.onlyInside("n0.example", "n49.example", "x.example")
	if n := s.leaked(); n != 0 {
		t.Errorf("%d packets for nameservers went around the tunnel", n)
	}

	// Somebody takes it from NetworkManager, or writes resolv.conf himself:
	// that is drift, and reload mends it.
	for _, do := range []string{
		"rm /run/NetworkManager/conf.d/zz-wgctl.conf; nmcli general reload",
		"echo nameserver 192.0.2.9 >/etc/resolv.conf",
	} {
		s.client.Sh(do)
		if got := driftSteps(s.client, "wg0"); len(got) != 1 || !strings.HasPrefix(got[0], "nmcli general reload (wg0") {
			t.Errorf("%s: drift %q", do, got)
		}
		wgctlOK(s.client, "reload", "wg0")
		whole(s.client, "wg0")
		s.answers("mended.example", insideAnswer)
	}
	wgctlOK(s.client, "down", "wg0")
	if after := n.view(); after != before {
		t.Errorf("NetworkManager shows\n%s", Diff(before, after))
	}
	seen = s.watch()
	s.answers("after.example", outsideAnswer)
	seen.onlyOutside("after.example")
}

// Likewise beside a link of the kernel's, of which NetworkManager makes a device
// of its own kind, and whose addresses and routes it leaves as they are.
func TestDNSNetworkManagerKernel(t *testing.T) {
	Only(t, Kernel)
	if len(guestShare(t, []string{"NetworkManager"})) == 0 {
		t.Skip("the other kernel's guest has it, and it takes a minute there")
	}
	h := newTunnelHost(t, "h")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")
	n := startNetworkManager(t, h)
	before := h.ReadFile("/etc/resolv.conf")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.1, corp.example"))
	wgctlOK(h, "up", "wg0")
	said(t, h.ReadFile("/etc/resolv.conf"), "search corp.example\nnameserver 10.8.0.1\n")
	WaitFor(t, 10*time.Second, "NetworkManager to see the link", func() bool {
		return strings.Contains(h.Must("nmcli", "-t", "device").Stdout, "wg0:wireguard:connected (externally)")
	})
	whole(h, "wg0")
	n.restart()
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	if now := h.ReadFile("/etc/resolv.conf"); now != before {
		t.Errorf("resolv.conf is\n%swas\n%s", now, before)
	}
}

// With dns=dnsmasq names below some domains go inside and all others outside; a
// tunnel for all names has them all, and two tunnels get along.
func TestDNSNetworkManagerDnsmasq(t *testing.T) {
	Only(t, Userspace)
	s := newDNSSite(t)
	n := startNetworkManager(t, s.client, "dns=dnsmasq")
	before := n.view()
	s.answers("before.example", outsideAnswer)
	s.client.WriteFile(configOf("wg1"), fullTunnel(t, 1, "Table = off", "DNS = 10.8.0.53, corp.example"))

	s.tunnel(fullAllowed, "DNS = 10.8.0.1, ~inside.example")
	said(t, wgctlOK(s.client, "up", "wg0").Stderr, "nmcli general reload dns-full (wg0: 1 nameserver, 0 search domains, 1 routing domain)")
	seen := s.watch()
	s.answers("a.inside.example", insideAnswer)
	s.answers("a.example", outsideAnswer)
	seen.parted("a.inside.example", "a.example")
	said(t, wgctlOK(s.client, "status", "-v").Stdout, "dns: [rc=networkmanager nm=yes mode=dnsmasq rc-manager=symlink ret=networkmanager]")
	said(t, wgctlOK(s.client, "dns").Stdout, "10.8.0.1, ~inside.example\n")
	n.restart()
	whole(s.client, "wg0")
	s.answers("b.inside.example", insideAnswer)
	s.answers("b.example", outsideAnswer)

	wgctlOK(s.client, "up", "wg1")
	s.leaked()
	seen = s.watch()
	s.lookUps(20, insideAnswer)
	seen.onlyInside("n0.example", "n19.example")
	if n := s.leaked(); n != 0 {
		t.Errorf("%d packets for nameservers went around the tunnel", n)
	}
	whole(s.client, "wg0")
	whole(s.client, "wg1")
	wgctlOK(s.client, "down", "wg1")
	s.answers("c.inside.example", insideAnswer)
	s.answers("c.example", outsideAnswer)

	s.tunnel(fullAllowed, "DNS = 10.8.0.53, corp.example")
	wgctlOK(s.client, "reload", "wg0")
	whole(s.client, "wg0")
	s.leaked()
	seen = s.watch()
	s.lookUps(20, insideAnswer)
	seen.onlyInside("n0.example", "n19.example")
	if n := s.leaked(); n != 0 {
		t.Errorf("%d packets for nameservers went around the tunnel", n)
	}
	wgctlOK(s.client, "down", "wg0")
	if after := n.view(); after != before {
		t.Errorf("NetworkManager shows\n%s", Diff(before, after))
	}
	s.answers("after.example", outsideAnswer)
}

// Where NetworkManager hands its nameservers to systemd-resolved, that is told,
// and keeps what it was told of the tunnel whatever NetworkManager does.
func TestDNSNetworkManagerResolved(t *testing.T) {
	Only(t, Userspace)
	s := newDNSSite(t)
	n := startNetworkManager(t, s.client, "dns=systemd-resolved")
	r := startResolvedOn(t, s.client)
	s.client.Must("nmcli", "connection", "up", "lan")
	s.answers("before.example", outsideAnswer)
	before := r.view()

	s.tunnel(fullAllowed, "DNS = 10.8.0.1, ~inside.example")
	wgctlOK(s.client, "up", "wg0")
	said(t, wgctlOK(s.client, "status", "-v").Stdout, "dns: [rc=stub resolved=yes ret=resolved]")
	for _, do := range []string{"nmcli general reload", "nmcli connection up lan", "restart"} {
		if do == "restart" {
			n.restart()
		} else {
			s.client.Sh(do)
		}
		whole(s.client, "wg0")
		seen := s.watch()
		s.answers("a.inside.example", insideAnswer)
		s.answers("a.example", outsideAnswer)
		seen.parted("a.inside.example", "a.example")
	}

	// All names: none goes out until the tunnel is down again.
	s.tunnel(fullAllowed, "DNS = 10.8.0.1, corp.example")
	wgctlOK(s.client, "reload", "wg0")
	seen := s.watch()
	s.lookUps(50, insideAnswer)
	s.client.Sh("nmcli general reload; nmcli connection up lan")
	s.lookUps(20, insideAnswer)
	s.tunnel(fullAllowed, "DNS = 10.8.0.53")
	wgctlOK(s.client, "reload", "wg0")
	s.lookUps(20, insideAnswer)
	seen.onlyInside("n0.example", "n49.example")
	whole(s.client, "wg0")
	wgctlOK(s.client, "down", "wg0")
	if after := r.view(); after != before {
		t.Errorf("resolvectl shows\n%s", Diff(before, after))
	}
	s.answers("after.example", outsideAnswer)
}

// What NetworkManager can't be told is said before anything is done, a
// NetworkManager that hangs too; and where it has ended meanwhile, down does
// without.
func TestDNSNetworkManagerRefuses(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")
	n := startNetworkManager(t, h)
	before := n.shape()
	unchanged := func() {
		t.Helper()
		if diff := n.comesTo(before); diff != "" {
			t.Errorf("the host is not as it was:\n%s", diff)
		}
	}
	refused := func(want string, lines ...string) {
		t.Helper()
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, lines...))
		begin := time.Now()
		out := wgctlFails(h, 1, "up", "wg0")
		t.Logf("took %v", time.Since(begin))
		said(t, out.Stderr, "wgctl: /etc/wireguard/wg0.conf:4: [Interface] DNS: "+want)
		if lines := errorLines(out); len(lines) != 1 {
			t.Errorf("not one line: %v", out)
		}
		unchanged()
	}
	refused("networkmanager can't send ~corp.example alone to the tunnel: that takes systemd-resolved, or dns=dnsmasq in NetworkManager.conf",
		"DNS = 10.8.0.1, ~corp.example")
	refused("NetworkManager takes search domains only together with nameservers", "DNS = corp.example", "DNSBackend = networkmanager")
	const own = "/etc/NetworkManager/conf.d/own.conf"
	h.WriteFileMode(own, "[global-dns-domain-*]\nservers=192.0.2.77\n", 0o644)
	before = n.shape()
	refused("NetworkManager has nameservers for all names in "+own+", which count for more", "DNS = 10.8.0.1")
	h.Must("rm", own)
	before = n.shape()
	// Only NetworkManager itself knows that a file of that name hides ours.
	h.WriteFileMode("/etc/NetworkManager/conf.d/zz-wgctl.conf", "", 0o644)
	before = n.shape()
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.1"))
	out := wgctlFails(h, 1, "up", "wg0")
	said(t, out.Stderr, "NetworkManager did not take the nameservers: its own configuration says otherwise")
	if lines := errorLines(out); len(lines) != 1 {
		t.Errorf("not one line: %v", out)
	}
	unchanged()
	h.Must("rm", "/etc/NetworkManager/conf.d/zz-wgctl.conf")
	before = n.shape()
	n.freeze()
	refused("NetworkManager did not answer on the system bus within 4s", "DNS = 10.8.0.1")
	n.thaw()
	wgctlOK(h, "up", "wg0")
	whole(h, "wg0")
	said(t, h.ReadFile("/etc/resolv.conf"), "nameserver 10.8.0.1\n")
	n.stop()
	wgctlOK(h, "down", "wg0")
	said(t, h.ReadFile("/etc/resolv.conf"), "nameserver "+hubLAN4+"\n")
	n.start()
	unchanged()

	// A search domain goes beside NetworkManager's nameservers, in its file.
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = corp.example"))
	wgctlOK(h, "up", "wg0")
	said(t, h.ReadFile("/etc/resolv.conf"), "nameserver "+hubLAN4+"\n", "search corp.example")
	wgctlOK(h, "down", "wg0")
	unchanged()
}

// An up, a reload and a down that are killed at any call that has to do with
// NetworkManager's files leave a state from which one command finds its way.
func TestDNSNetworkManagerKilled(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")
	n := startNetworkManager(t, h, "dns=dnsmasq")
	some := fullTunnel(t, 0, "Table = off", "DNS = 10.8.0.1, ~inside.example")
	all := fullTunnel(t, 0, "Table = off", "DNS = 10.8.0.53, corp.example")
	before, view := n.shape(), n.view()
	for _, c := range []struct{ verb, was, file string }{
		{"up", "", some}, {"up", "", all}, {"reload", some, all}, {"reload", all, some}, {"down", some, some}, {"down", all, all},
	} {
		points, calls := []int{0}, 0
		for round := 0; round < len(points); round++ {
			at := points[round]
			if c.was != "" {
				h.WriteFile(configOf("wg0"), c.was)
				wgctlOK(h, "up", "wg0")
			}
			h.WriteFile(configOf("wg0"), c.file)
			i := h.Inject(Fault{Kind: FaultKill, At: at, Names: "NetworkManager"}, c.verb, "wg0")
			if at == 0 {
				if calls = i.Calls; i.Code != 0 || calls < 5 {
					t.Fatalf("without a fault: %d calls: %v", calls, i)
				}
				points = append(points, sweep{runs: 3}.points(t, calls)...)
			}
			if round%2 == 1 {
				wgctlOK(h, "apply", "wg0")
				whole(h, "wg0")
			}
			out := h.Wgctl("down", "wg0")
			if diff := n.comesTo(before); diff != "" || out.Code != 0 && !strings.Contains(out.Stderr, "wg0 is not up") {
				t.Fatalf("%s killed at call %d of %d, %s: %v\n%v\n%s", c.verb, at, calls, i.Hit, i, out, diff)
			}
		}
	}
	if after := n.view(); after != view {
		t.Errorf("NetworkManager shows\n%s", Diff(view, after))
	}
}
