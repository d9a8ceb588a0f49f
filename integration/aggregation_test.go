// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Routes that are merged lead every packet where single ones lead it: asked of
// the kernel, address by address, and shown by traffic, which goes on while a reload
// merges them and takes them apart.
func TestRouteAggregation(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	third := peerSection(newKeyPair(t), "AllowedIPs = 10.22.1.0/24, fd22:0:0:1::/64")
	const (
		fars = "10.8.0.1/32, 10.20.0.0/24, 10.20.1.0/24, 10.20.2.0/23, 10.20.0.128/25, 10.21.0.0/23, 10.21.2.0/23, 10.22.0.0/24, fd22::/64"
		// The host routes a part of this another way, which stays so.
		elsewhere = "10.21.1.0/24"
	)
	inside := []string{"10.20.0.1", "10.20.0.200", "10.20.1.1", "10.20.3.254", "10.21.0.1", "10.21.2.1", "10.21.3.254", "10.22.0.1"}
	outside := []string{"10.19.255.255", "10.20.4.0", "10.21.1.7", "10.21.4.0", "10.22.2.0", "192.0.2.77"}
	conf := func(lines string) string {
		return interfaceSection(p.nearKey, "Address = 10.8.0.2/24, fd08::2/64", lines) +
			peerSection(p.farKey, "Endpoint = 192.0.2.1:51820", "AllowedIPs = "+fars) + third
	}
	p.near.Sh("ip route add default via 192.0.2.1 dev eth0; ip route add " + elsewhere + " via 192.0.2.1 dev eth0")
	for _, a := range inside {
		p.far.Sh("ip address add " + a + "/32 dev lo")
	}
	before := p.near.Snapshot()
	p.write(conf(""))
	wgctlOK(p.near, "up", "wg0")
	routed := func() (list []string) {
		for _, family := range []string{"-4", "-6"} {
			for line := range strings.Lines(p.near.Must("ip", family, "route", "show", "dev", "wg0", "proto", "87").Stdout) {
				list = append(list, strings.Fields(line)[0])
			}
		}
		slices.Sort(list)
		return list
	}
	ways := func() string {
		var lines strings.Builder
		for _, a := range append(slices.Clone(inside), outside...) {
			fmt.Fprintf(&lines, "route get %s\n", a)
		}
		return p.near.RunInput(lines.String(), "ip", "-o", "-batch", "-").Stdout
	}
	single, singleWays := routed(), ways()
	for i, line := range strings.Split(strings.TrimSpace(singleWays), "\n") {
		if through := strings.Contains(line, " dev wg0 "); through != (i < len(inside)) {
			t.Fatalf("the kernel says of route %d: %s", i, line)
		}
	}
	p.near.MustPing("10.20.3.254")
	ping := p.near.Start("ping", "-n", "-i", "0.02", "10.20.1.1")
	for range rounds(3, 1) {
		p.write(conf("RouteAggregation = on"))
		wgctlOK(p.near, "reload", "wg0")
		if got, want := routed(), []string{"10.20.0.0/22", "10.21.0.0/23", "10.21.2.0/23", "10.22.0.0/23", "fd22::/63"}; !slices.Equal(got, want) {
			t.Fatalf("merged routes %q, want %q of %q", got, want, single)
		}
		if now := ways(); now != singleWays {
			t.Errorf("merged routes lead elsewhere:\n%s", Diff(singleWays, now))
		}
		for _, a := range inside {
			p.near.MustPing(a)
		}
		if out := wgctlOK(p.near, "reload", "wg0"); len(steps(out.Stderr)) > 0 {
			t.Errorf("a second reload: %v", out)
		}
		whole(p.near, "wg0")
		p.write(conf("RouteAggregation = off"))
		wgctlOK(p.near, "reload", "wg0")
		if got := routed(); !slices.Equal(got, single) {
			t.Fatalf("taken apart they are %q, and were %q", got, single)
		}
	}
	ping.Signal(syscall.SIGINT)
	out := ping.Wait(20 * time.Second)
	if missing, top := lostPings(out.Stdout); len(missing) > 0 || top < 10 {
		t.Errorf("of %d packets are lost %v: %v", top, missing, out)
	}
	wgctlOK(p.near, "down", "wg0")
	p.near.Unchanged(before)
}
