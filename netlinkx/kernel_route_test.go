// SPDX-License-Identifier: MIT

package netlinkx

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// A full table of an allowed-IPs list, as it is added, read and removed.
func TestManyRoutes(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0")
	ctx := t.Context()
	if err := k.LinkSet(ctx, "t0", 0, true); err != nil {
		t.Fatal(err)
	}
	all := manyRoutes(10_000)
	if err := k.RoutesAdd(ctx, "t0", all); err != nil {
		t.Fatal(err)
	}
	got, err := k.Routes(ctx, "t0")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[routes.Route]bool)
	for _, r := range got {
		if r.Protocol == Protocol && r.Plain {
			found[r.Route] = true
		}
	}
	if len(found) != len(all) {
		t.Errorf("%d of %d routes read back", len(found), len(all))
	}
	for _, r := range all {
		if !found[r] {
			t.Fatalf("route %v doesn't read back", r)
		}
	}
	if err := k.RoutesDel(ctx, "t0", all); err != nil {
		t.Fatal(err)
	}
	got, err = k.Routes(ctx, "t0")
	if err != nil || slices.ContainsFunc(got, func(r InstalledRoute) bool { return r.Protocol == Protocol }) {
		t.Errorf("%d routes are left, %v", len(got), err)
	}
}

// manyRoutes returns n routes, every fifth of them IPv6.
func manyRoutes(n int) []routes.Route {
	out := make([]routes.Route, n)
	for i := range out {
		var b [16]byte
		binary.BigEndian.PutUint32(b[4:], uint32(i))
		b[0], b[1] = 0xfd, 0x77
		p := netip.PrefixFrom(netip.AddrFrom16(b), 64)
		if i%5 != 0 {
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		}
		out[i] = routes.Route{Dst: p, Table: 51820}
	}
	return out
}

// Routes that say more than routes.Route can are seen and aren't plain.
func TestRoutesThatAreNotPlain(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0")
	newTUN(t, k, "t1")
	for _, args := range []string{
		"link set t0 up", "link set t1 up", "address add 10.8.0.1/24 dev t0",
		"route add 10.1.0.0/16 dev t0 proto 87",
		"route add 10.2.0.0/16 via 10.8.0.2 proto 87",
		"route add 10.3.0.0/16 dev t0 src 10.8.0.1 proto 87",
		"route add 10.4.0.0/16 proto 87 nexthop dev t1 nexthop dev t0",
		"route add 10.5.0.0/16 dev t0 tos 8 proto 87",
		"route add unreachable 10.6.0.0/16 proto 87 table 7",
	} {
		ip(t, k, args)
	}
	list, err := k.Routes(t.Context(), "t0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]bool)
	for _, r := range list {
		if r.Protocol == Protocol {
			got[r.Dst.String()] = r.Plain
		}
	}
	want := map[string]bool{
		"10.1.0.0/16": true, "10.2.0.0/16": false, "10.3.0.0/16": false, "10.4.0.0/16": false, "10.5.0.0/16": false,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if owner, err := k.RouteOwner(t.Context(), routes.Route{
		Dst: netip.MustParsePrefix("10.6.0.0/16"), Table: 7,
	}); owner != "" || err != nil {
		t.Errorf("an unreachable route is owned by %q, %v", owner, err)
	}
}

func TestPathToTakesTheRoutesOwnMTU(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0")
	for _, args := range []string{
		"link set t0 up", "address add 10.8.0.1/24 dev t0", "address add fd00:8::1/64 dev t0",
		"route add 10.1.0.0/16 dev t0 mtu 1337", "route add fd01::/16 dev t0 mtu 1338",
		"route add default dev t0 metric 7 mtu 1339", "route add default dev lo metric 8",
	} {
		ip(t, k, args)
	}
	for a, want := range map[string]int{"10.1.0.1": 1337, "fd01::1": 1338, "10.8.0.9": 1500, "192.0.2.1": 1339, "": 1339} {
		addr, _ := netip.ParseAddr(a)
		if p, err := k.PathTo(t.Context(), addr, 0); err != nil || p != (RoutePath{Link: "t0", MTU: want}) {
			t.Errorf("%q: %+v, %v", a, p, err)
		}
	}
}

// Rules that say more than routes.Rule can aren't plain, and RuleDel leaves
// them, even if they have our protocol number and ip(8) would take them.
func TestRulesThatAreNotPlain(t *testing.T) {
	k := newNamespace(t)
	for i, extra := range []string{
		"iif lo", "oif lo", "fwmark 0x1/0xff", "uidrange 0-5", "ipproto tcp",
		"sport 5", "dport 5", "tos 8", "suppress_prefixlength 1", "suppress_ifgroup 1", "realms 5",
	} {
		ip(t, k, fmt.Sprintf("rule add priority %d table 5 protocol %d %s", 100+i, Protocol, extra))
		if err := k.RuleDel(t.Context(), routes.Rule{Family: routes.V4, Priority: uint32(100 + i), Table: 5}); err != unix.ENOENT {
			t.Errorf("removing the rule with %q: %v", extra, err)
		}
	}
	for _, args := range []string{"priority 200 unreachable", "priority 201 goto 300"} {
		ip(t, k, fmt.Sprintf("rule add %s protocol %d", args, Protocol))
	}
	rules, err := k.Rules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ours := 0
	for _, r := range rules {
		if r.Protocol != Protocol {
			continue
		}
		ours++
		if r.Plain {
			t.Errorf("plain: %+v", r)
		}
	}
	if ours != 13 {
		t.Errorf("%d rules", ours)
	}
}

func TestRulesAsIPShowsThem(t *testing.T) {
	k := newNamespace(t)
	for _, r := range []routes.Rule{
		{Family: routes.V4, Priority: 100, Table: 51820, Mark: 0xca6c, Invert: true},
		{Family: routes.V4, Priority: 99, Table: routes.TableMain, Suppress: true},
		{Family: routes.V4, Priority: 98, Table: 7, From: netip.MustParsePrefix("10.9.0.0/16"), To: netip.MustParsePrefix("10.1.2.3/32")},
		{Family: routes.V6, Priority: 97, Table: 7, From: netip.MustParsePrefix("fd00:9::/32")},
	} {
		if err := k.RuleAdd(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	out := ip(t, k, "rule show") + ip(t, k, "-6 rule show")
	for _, want := range []string{
		"99:\tfrom all lookup main suppress_prefixlength 0 proto 87\n",
		"100:\tnot from all fwmark 0xca6c lookup 51820 proto 87\n",
		"98:\tfrom 10.9.0.0/16 to 10.1.2.3 lookup 7 proto 87\n",
		"97:\tfrom fd00:9::/32 lookup 7 proto 87\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}

func BenchmarkRouteAdd(b *testing.B) {
	k := newNamespace(b)
	newTUN(b, k, "t0")
	ctx := b.Context()
	if err := k.LinkSet(ctx, "t0", 0, true); err != nil {
		b.Fatal(err)
	}
	all := manyRoutes(b.N)
	b.ResetTimer()
	for _, r := range all {
		if err := k.RouteAdd(ctx, "t0", r); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoutesAdd(b *testing.B) {
	k := newNamespace(b)
	newTUN(b, k, "t0")
	ctx := b.Context()
	if err := k.LinkSet(ctx, "t0", 0, true); err != nil {
		b.Fatal(err)
	}
	all := manyRoutes(b.N)
	b.ResetTimer()
	if err := k.RoutesAdd(ctx, "t0", all); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkRoutes10000(b *testing.B) {
	k := newNamespace(b)
	newTUN(b, k, "t0")
	ctx := b.Context()
	if err := k.LinkSet(ctx, "t0", 0, true); err != nil {
		b.Fatal(err)
	}
	if err := k.RoutesAdd(ctx, "t0", manyRoutes(10_000)); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		if _, err := k.Routes(ctx, "t0"); err != nil {
			b.Fatal(err)
		}
	}
}
