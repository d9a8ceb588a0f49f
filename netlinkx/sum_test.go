// SPDX-License-Identifier: MIT

package netlinkx

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/wgctl/wgctl/routes"
)

// Sums of what is read one after the other are those of the lists, with a real
// device, one whose peers need several messages included, and on the fake.
func TestSumsAreOfTheLists(t *testing.T) {
	for _, w := range []world{fakeWorld{NewFake()}, realWorld{newNamespace(t)}} {
		w.device(t, "wg0")
		ctx := t.Context()
		c := manyPeers(1, 0, 700, 2, 2)
		c.Peers[1].Endpoint = netip.MustParseAddrPort("192.0.2.1:5")
		verbs := w.(interface {
			Devices
			Links
			Routes
		})
		if err := verbs.Configure(ctx, "wg0", c); err != nil {
			t.Fatal(err)
		}
		if err := verbs.LinkSet(ctx, "wg0", 0, true); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{"10.9.0.0/16", "fd09::/64"} {
			if err := verbs.RouteAdd(ctx, "wg0", routes.Route{Dst: netip.MustParsePrefix(p), Table: routes.TableMain}); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := verbs.Device(ctx, "wg0")
		if err != nil {
			t.Fatal(err)
		}
		d, sum, err := verbs.DeviceSum(ctx, "wg0")
		if err != nil || sum != SumOfPeers(&whole) || d.Peers != nil || d.PrivateKey != whole.PrivateKey || d.Backend != whole.Backend {
			t.Errorf("%T: sum %+v of %d peers: %v", w, sum, len(whole.Peers), err)
		}
		list, err := verbs.Routes(ctx, "wg0")
		if err != nil {
			t.Fatal(err)
		}
		if sum, err := verbs.RoutesSum(ctx, "wg0"); err != nil || sum != SumOfRoutes(list) || len(list) < 2 {
			t.Errorf("%T: sum %+v of %d routes: %v", w, sum, len(list), err)
		}
	}
}

// A sum is of what a peer is configured to be, each bit of it, and of nothing
// else but the kernel's order of peers.
func TestSumOfPeers(t *testing.T) {
	peers := func() []Peer {
		var out []Peer
		for _, c := range manyPeers(2, 0, 3).Peers {
			out = append(out, Peer{PublicKey: c.PublicKey, PresharedKey: *c.PresharedKey, AllowedIPs: c.AllowedIPs})
		}
		return out
	}
	of := func(list []Peer) Sum { return SumOfPeers(&Device{Backend: BackendKernel, Peers: list}) }
	whole := of(peers())
	for name, c := range map[string]struct {
		change func([]Peer) []Peer
		same   bool
	}{
		"order":         {func(p []Peer) []Peer { slices.Reverse(p); return p }, false},
		"traffic":       {func(p []Peer) []Peer { p[0].ReceiveBytes = 7; return p }, true},
		"key":           {func(p []Peer) []Peer { p[1].PublicKey[31] ^= 1; return p }, false},
		"preshared key": {func(p []Peer) []Peer { p[1].PresharedKey[31] ^= 128; return p }, false},
		"keepalive":     {func(p []Peer) []Peer { p[1].PersistentKeepalive = 256; return p }, false},
		"endpoint":      {func(p []Peer) []Peer { p[1].Endpoint = netip.MustParseAddrPort("[::1]:1"); return p }, false},
		"prefix length": {func(p []Peer) []Peer {
			p[0].AllowedIPs[1] = netip.PrefixFrom(p[0].AllowedIPs[1].Addr(), 31)
			return p
		}, false},
		"moved": {func(p []Peer) []Peer {
			p[1].AllowedIPs, p[2].AllowedIPs = p[2].AllowedIPs[:1], p[2].AllowedIPs[1:]
			return p
		}, false},
		"twice":  {func(p []Peer) []Peer { return append(p, p[0]) }, false},
		"one of": {func(p []Peer) []Peer { return p[1:] }, false},
		"none":   {func([]Peer) []Peer { return nil }, false},
	} {
		if got := of(c.change(peers())); (got == whole) != c.same {
			t.Errorf("%s: the same: %t", name, !c.same)
		}
	}
	there, back := Device{Backend: BackendUserspace, Peers: peers()}, Device{Backend: BackendUserspace, Peers: peers()}
	slices.Reverse(back.Peers)
	if SumOfPeers(&there) != SumOfPeers(&back) || there.Peers[0].PublicKey != peers()[0].PublicKey {
		t.Error("the order of a userspace device's peers counts, or was changed")
	}
	text, _ := whole.MarshalText()
	var read Sum
	if err := read.UnmarshalText(text); err != nil || read != whole {
		t.Errorf("%s is read as %+v: %v", text, read, err)
	}
	for _, bad := range []string{"", string(text[1:]), "x" + string(text[1:])} {
		if read.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// A sum of routes is of each bit of them, and of their order within a family.
func TestSumOfRoutes(t *testing.T) {
	list := func() []InstalledRoute {
		var out []InstalledRoute
		for _, dst := range []string{"10.0.0.0/8", "10.1.0.0/16", "::/0"} {
			out = append(out, InstalledRoute{Route: routes.Route{Dst: netip.MustParsePrefix(dst), Table: routes.TableMain}, Plain: true})
		}
		return out
	}
	whole := SumOfRoutes(list())
	for name, c := range map[string]struct {
		change func([]InstalledRoute) []InstalledRoute
		same   bool
	}{
		"families":    {func(l []InstalledRoute) []InstalledRoute { return append(l[2:], l[:2]...) }, true},
		"order":       {func(l []InstalledRoute) []InstalledRoute { l[0], l[1] = l[1], l[0]; return l }, false},
		"destination": {func(l []InstalledRoute) []InstalledRoute { l[1].Dst = netip.MustParsePrefix("10.1.0.0/17"); return l }, false},
		"family":      {func(l []InstalledRoute) []InstalledRoute { l[2].Dst = netip.MustParsePrefix("0.0.0.0/0"); return l }, false},
		"table":       {func(l []InstalledRoute) []InstalledRoute { l[0].Table++; return l }, false},
		"metric":      {func(l []InstalledRoute) []InstalledRoute { l[2].Metric = 1 << 31; return l }, false},
		"kind":        {func(l []InstalledRoute) []InstalledRoute { l[0].Kind = routes.Unreachable; return l }, false},
		"protocol":    {func(l []InstalledRoute) []InstalledRoute { l[0].Protocol = 3; return l }, false},
		"odd":         {func(l []InstalledRoute) []InstalledRoute { l[1].Plain = false; return l }, false},
		"twice":       {func(l []InstalledRoute) []InstalledRoute { return append(l, l[2]) }, false},
		"one of":      {func(l []InstalledRoute) []InstalledRoute { return l[1:] }, false},
		"none":        {func([]InstalledRoute) []InstalledRoute { return nil }, false},
	} {
		if got := SumOfRoutes(c.change(list())); (got == whole) != c.same {
			t.Errorf("%s: the same: %t", name, !c.same)
		}
	}
}
