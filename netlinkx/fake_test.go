// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// newTunnelOnFake returns a host with an uplink and a tunnel, on which each
// verb of a changing kind has something to do.
func newTunnelOnFake(t *testing.T) (*Fake, []func() error) {
	t.Helper()
	f := NewFake()
	f.AddLink(Link{Name: "eth0", Up: true}, netip.MustParsePrefix("192.0.2.2/24"))
	f.AddRoute("eth0", InstalledRoute{Route: routes.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Table: 254}})
	ctx := t.Context()
	key := testKey("A")
	c := manyPeers(1, 2, 3)
	c.PrivateKey = &key
	address := netip.MustParsePrefix("10.8.0.1/24")
	route := routes.Route{Dst: netip.MustParsePrefix("10.0.0.0/8"), Table: 51820}
	rule := routes.Rule{Family: routes.V4, Priority: 100, Table: 51820, Mark: 0xca6c, Invert: true}
	return f, []func() error{
		func() error { return f.LinkAdd(ctx, "wg0") },
		func() error { return f.Configure(ctx, "wg0", c) },
		func() error { return f.AddressAdd(ctx, "wg0", address) },
		func() error { return f.LinkSet(ctx, "wg0", 1420, true) },
		func() error { return f.SetSysctl(ctx, "net.ipv4.conf.all.src_valid_mark", "1") },
		func() error { return f.RouteAdd(ctx, "wg0", route) },
		func() error { return f.RuleAdd(ctx, rule) },
		func() error { return f.StartUserspace(ctx, "wg1") },
		func() error { return f.RuleDel(ctx, rule) },
		func() error { return f.RouteDel(ctx, "wg0", route) },
		func() error { return f.AddressDel(ctx, "wg0", address) },
		func() error { return f.LinkDel(ctx, "wg0") },
	}
}

func TestFakeFailsWhereItIsTold(t *testing.T) {
	_, verbs := newTunnelOnFake(t)
	for n := range verbs {
		f, verbs := newTunnelOnFake(t)
		f.FailAt(n+1, unix.ENOMEM)
		for i, verb := range verbs[:n+1] {
			before := f.String()
			err := verb()
			if i < n && err != nil {
				t.Fatalf("verb %d: %v", i, err)
			}
			if i == n && (err != unix.ENOMEM || f.String() != before) {
				t.Errorf("verb %d: %v, and the host is\n%s", i, err, f)
			}
		}
		if err := verbs[n](); err != nil {
			t.Errorf("verb %d, called again: %v", n, err)
		}
		if f.Calls() != n+2 {
			t.Errorf("%d calls counted of %d", f.Calls(), n+2)
		}
	}
}

func TestFakeFailsHalfWay(t *testing.T) {
	f, verbs := newTunnelOnFake(t)
	f.FailHalf(2, unix.ENOMEM)
	if err := verbs[0](); err != nil {
		t.Fatal(err)
	}
	if err := verbs[1](); err != unix.ENOMEM {
		t.Errorf("got %v", err)
	}
	if d, err := f.Device(t.Context(), "wg0"); err != nil || d.PrivateKey.IsZero() || len(d.Peers) != 1 {
		t.Errorf("half of three peers are %d, %v", len(d.Peers), err)
	}
	f.FailHalf(1, unix.ENOMEM)
	before := f.String()
	if err := verbs[2](); err != unix.ENOMEM || f.String() != before {
		t.Errorf("a verb that can't be half done: %v", err)
	}
}

func TestFakeAsksItsHook(t *testing.T) {
	f, verbs := newTunnelOnFake(t)
	var said []string
	f.OnCall = func(verb string) error {
		said = append(said, verb)
		if verb == "SetSysctl" {
			return &os.PathError{Op: "open", Path: "/proc/sys", Err: unix.EROFS}
		}
		_ = f.String() // may look at the host
		return nil
	}
	for i, verb := range verbs {
		if err := verb(); (err != nil) != (i == 4) || err != nil && !errors.Is(err, unix.EROFS) {
			t.Errorf("verb %d: %v", i, err)
		}
	}
	want := "LinkAdd Configure AddressAdd LinkSet SetSysctl RouteAdd RuleAdd StartUserspace RuleDel RouteDel AddressDel LinkDel"
	if got := strings.Join(said, " "); got != want {
		t.Errorf("got %s", got)
	}
}

func TestFakeHeedsTheContext(t *testing.T) {
	f := NewFake()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.LinkAdd(ctx, "wg0"); !errors.Is(err, context.Canceled) || f.Calls() != 0 {
		t.Errorf("got %v after %d calls", err, f.Calls())
	}
	if _, err := f.Rules(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestFakePrintsItself(t *testing.T) {
	f, verbs := newTunnelOnFake(t)
	for _, verb := range verbs[:7] {
		if err := verb(); err != nil {
			t.Fatal(err)
		}
	}
	f.EditDevice("wg0", func(d *Device) { d.Peers[0].Endpoint = netip.MustParseAddrPort("192.0.2.1:5") })
	got := f.String()
	for _, want := range []string{
		"# eth0 is hardware\n",
		"ip route add 0.0.0.0/0 dev eth0 proto boot # and more\n",
		"ip link add dev wg0 type wireguard\nip link set dev wg0 alias wgctl\nip link set mtu 1420 up dev wg0\n" +
			"ip address add 10.8.0.1/24 dev wg0\n",
		"ip route add 10.0.0.0/8 table 51820 dev wg0 proto 87\n",
		"ip -4 rule add not fwmark 0xca6c table 51820 priority 100 proto 87\n",
		"wg set wg0 private-key ",
		" listen-port 32768 fwmark 0x0\n",
		" endpoint 192.0.2.1:5 allowed-ips 10.0.0.1/32\n",
		"sysctl -w net.ipv4.conf.all.src_valid_mark=1\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	f.DropLink("wg0")
	if s := f.String(); strings.Contains(s, "wg0") || !strings.Contains(s, "fwmark 0xca6c") {
		t.Errorf("without the link:\n%s", s)
	}
}

// What a caller does to a list that it got is its own affair.
func TestFakeHandsOutCopies(t *testing.T) {
	f, verbs := newTunnelOnFake(t)
	for _, verb := range verbs[:7] {
		if err := verb(); err != nil {
			t.Fatal(err)
		}
	}
	before := f.String()
	d, _ := f.Device(t.Context(), "wg0")
	d.Peers[0].AllowedIPs[0] = netip.MustParsePrefix("0.0.0.0/0")
	d.Peers[1] = Peer{}
	rules, _ := f.Rules(t.Context())
	rules[0] = InstalledRule{}
	rts, _ := f.Routes(t.Context(), "wg0")
	rts[0] = InstalledRoute{}
	addrs, _ := f.Addresses(t.Context(), "wg0")
	addrs[0] = Address{}
	if got := f.String(); got != before {
		t.Errorf("before\n%s\nafter\n%s", before, got)
	}
}

func TestFakeWithoutWireGuard(t *testing.T) {
	f := NewFake()
	f.NoWireGuard = true
	if err := f.LinkAdd(t.Context(), "wg0"); err != unix.EOPNOTSUPP {
		t.Errorf("got %v", err)
	}
	if has, err := f.KernelHasWireGuard(t.Context()); has || err != nil {
		t.Errorf("got %v, %v", has, err)
	}
	if err := f.StartUserspace(t.Context(), "wg0"); err != nil {
		t.Fatal(err)
	}
	if err := f.StartUserspace(t.Context(), "wg0"); err != unix.EEXIST {
		t.Errorf("got %v", err)
	}
	if d, err := f.Device(t.Context(), "wg0"); err != nil || d.Backend != BackendUserspace {
		t.Errorf("got %+v, %v", d, err)
	}
}
