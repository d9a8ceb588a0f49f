// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

func TestDumpRetriesWhileInterrupted(t *testing.T) {
	for _, fault := range []error{netlink.ErrDumpInterrupted, fmt.Errorf("dumping: %w", unix.EINTR)} {
		k := newNamespace(t)
		left := dumpTries - 1
		k.fault = func() error {
			if left == 0 {
				return nil
			}
			left--
			return fault
		}
		rules, err := k.Rules(t.Context())
		if err != nil || len(rules) != 5 || left != 0 {
			t.Errorf("after %v: %d rules, %v, with %d faults left", fault, len(rules), err, left)
		}
		calls := 0
		k.fault = func() error { calls++; return fault }
		if _, err := k.Routes(t.Context(), "lo"); !errors.Is(err, unix.EINTR) || calls != dumpTries {
			t.Errorf("for ever %v: %v after %d tries", fault, err, calls)
		}
	}
}

func TestDumpStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	k := new(Kernel)
	calls := 0
	err := k.dump(ctx, func() error { calls++; cancel(); return unix.EINTR })
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("got %v after %d calls", err, calls)
	}
	err = k.dump(t.Context(), func() error { calls++; return unix.EPERM })
	if err != unix.EPERM || calls != 2 {
		t.Errorf("got %v after %d calls", err, calls)
	}
}

func TestVerbsHeedTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k := newNamespace(t)
	p := netip.MustParsePrefix("10.0.0.1/24")
	for name, err := range map[string]error{
		"LinkAdd":    k.LinkAdd(ctx, "wg0"),
		"LinkDel":    k.LinkDel(ctx, "lo"),
		"LinkSet":    k.LinkSet(ctx, "lo", 0, false),
		"AddressAdd": k.AddressAdd(ctx, "lo", p),
		"RouteAdd":   k.RouteAdd(ctx, "lo", routes.Route{Dst: p.Masked(), Table: 254}),
		"RuleAdd":    k.RuleAdd(ctx, routes.Rule{Family: routes.V4, Priority: 5, Table: 5}),
		"Configure":  k.Configure(ctx, "lo", DeviceChange{}),
		"SetSysctl":  k.SetSysctl(ctx, "net.ipv4.ip_forward", "1"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if l, err := k.Link(t.Context(), "lo"); err != nil || !l.Up {
		t.Errorf("lo is %+v, %v", l, err)
	}
}

// Two namespaces in one process keep apart, whatever thread calls them, and one
// can be opened by its path.
func TestNamespacesKeepApart(t *testing.T) {
	a, b := newNamespace(t), newNamespace(t)
	for name, k := range map[string]*Kernel{"a0": a, "b0": b} {
		newTUN(t, k, name)
		if err := k.SetSysctl(t.Context(), "net.ipv4.ip_forward", map[string]string{"a0": "1", "b0": "0"}[name]); err != nil {
			t.Fatal(err)
		}
	}
	again, err := NewKernelAt(fmt.Sprintf("/proc/self/fd/%d", int(a.ns)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	for _, k := range []*Kernel{a, again} {
		if l, err := k.Link(t.Context(), "a0"); err != nil || l.Name != "a0" {
			t.Errorf("a0: %+v, %v", l, err)
		}
		if _, err := k.Link(t.Context(), "b0"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("b0 in the namespace of a0: %v", err)
		}
		if v, err := k.Sysctl(t.Context(), "net.ipv4.ip_forward"); v != "1" || err != nil {
			t.Errorf("ip_forward: %q, %v", v, err)
		}
	}
	if v, err := b.Sysctl(t.Context(), "net.ipv4.ip_forward"); v != "0" || err != nil {
		t.Errorf("ip_forward of b: %q, %v", v, err)
	}
	if _, err := NewKernelAt(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("opening no namespace: %v", err)
	}
}

// A link is ours from the very message that makes it: what a crash leaves
// between that and the alias can be removed.
func TestNewbornLinkIsOurs(t *testing.T) {
	k := newNamespace(t)
	ip(t, k, fmt.Sprintf("link add dev half group %d type bridge", newbornGroup))
	ip(t, k, "link add dev other type bridge")
	if l, err := k.Link(t.Context(), "half"); err != nil || l.Alias != Alias {
		t.Errorf("half made: %+v, %v", l, err)
	}
	if err := k.LinkDel(t.Context(), "half"); err != nil {
		t.Error(err)
	}
	if err := k.LinkDel(t.Context(), "other"); err != unix.EPERM {
		t.Errorf("removing another's link: %v", err)
	}
	if err := k.linkAdd(t.Context(), "whole", "bridge"); err != nil {
		t.Fatal(err)
	}
	out := ip(t, k, "-details link show dev whole")
	if !strings.Contains(out, "alias "+Alias) || !strings.Contains(out, "group default") {
		t.Errorf("ip shows %s", out)
	}
	if err := k.linkAdd(t.Context(), "whole", "bridge"); err != unix.EEXIST {
		t.Errorf("adding it again: %v", err)
	}
	if err := k.linkAdd(t.Context(), "odd", "nosuchkind"); !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("adding a link of no kind: %v", err)
	}
}

func TestLinkAddWhereTheKernelHasNoWireGuard(t *testing.T) {
	k := newNamespace(t)
	has, err := k.KernelHasWireGuard(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = k.LinkAdd(t.Context(), "wg0")
	if has && err != nil || !has && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("the kernel has it: %v; adding a link: %v", has, err)
	}
	l, err := k.Link(t.Context(), "wg0")
	if has != (err == nil) || has && (l.Kind != kindWireGuard || l.Alias != Alias) {
		t.Errorf("then the link is %+v, %v", l, err)
	}
}

// MTU and flag go in one message: a bad MTU leaves the link down.
func TestLinkSetIsOneMessage(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0")
	if err := k.LinkSet(t.Context(), "t0", 1<<20, true); !errors.Is(err, unix.EINVAL) {
		t.Errorf("an MTU of a megabyte: %v", err)
	}
	if l, err := k.Link(t.Context(), "t0"); err != nil || l.Up || l.MTU != 1500 {
		t.Errorf("then the link is %+v, %v", l, err)
	}
}

func TestAlternativeNamesAreNotNames(t *testing.T) {
	k := newNamespace(t)
	ip(t, k, "link add dev br0 type bridge")
	ip(t, k, "link property add dev br0 altname second")
	if l, err := k.Link(t.Context(), "second"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("found %+v, %v", l, err)
	}
	if _, err := k.Link(t.Context(), "a-name-of-more-than-15"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a long name: %v", err)
	}
}

func TestAddressesAsIPShowsThem(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0")
	if err := k.LinkSet(t.Context(), "t0", 0, true); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"10.8.0.1/24", "fd00:8::1/64"} {
		if err := k.AddressAdd(t.Context(), "t0", netip.MustParsePrefix(p)); err != nil {
			t.Fatal(err)
		}
	}
	// The kernel's worker takes the tentative flag away at once where a link has no
	// neighbours to ask; asking them takes a second and more.
	out := ip(t, k, "address show dev t0")
	for wait := 0; strings.Contains(out, "tentative") && wait < 50; wait++ {
		time.Sleep(10 * time.Millisecond)
		out = ip(t, k, "address show dev t0")
	}
	for _, want := range []string{"inet 10.8.0.1/24 scope global t0", "inet6 fd00:8::1/64 scope global"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	if strings.Contains(out, "brd") || strings.Contains(out, "tentative") {
		t.Errorf("broadcast or duplicate detection: %s", out)
	}
	ip(t, k, "address add 10.9.0.1 peer 10.9.0.2/30 dev t0")
	list, err := k.Addresses(t.Context(), "t0")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range list {
		if a.KernelMade {
			got = append(got, a.Prefix.Masked().String()+" by the kernel")
		} else {
			got = append(got, a.Prefix.String())
		}
	}
	slices.Sort(got)
	want := []string{"10.8.0.1/24", "10.9.0.1/30", "fd00:8::1/64", "fe80::/64 by the kernel"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestKernelMade(t *testing.T) {
	for _, c := range []struct {
		prefix   string
		protocol int
		kind     string
		want     bool
	}{
		{"fe80::1/64", netlink.IFAPROT_KERNEL_LL, "tun", true},
		{"fe80::1/64", netlink.IFAPROT_KERNEL_LL, "wireguard", true},
		{"fe80::1/64", Protocol, "tun", false},
		{"fe80::1/64", 0, "tun", true},
		{"fe80::1/64", 0, "wireguard", false},
		{"fe80::1/128", 0, "tun", false},
		{"fd00::1/64", 0, "tun", false},
		{"169.254.0.1/16", 0, "tun", false},
	} {
		if got := kernelMade(netip.MustParsePrefix(c.prefix), c.protocol, c.kind); got != c.want {
			t.Errorf("%+v: got %v", c, got)
		}
	}
}

func TestParseRuleRefusesShortMessages(t *testing.T) {
	if _, _, err := parseRule(make([]byte, 5)); err == nil {
		t.Error("no error for 5 bytes")
	}
	msg := (&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_BRIDGE}}).Serialize()
	if _, ok, err := parseRule(msg); ok || err != nil {
		t.Errorf("a rule of another family: %v, %v", ok, err)
	}
}

func TestSysctlPath(t *testing.T) {
	for key, want := range map[string]string{
		"net.ipv4.ip_forward":              "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/ip_forward":              "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.7/rp_filter":   "/proc/sys/net/ipv4/conf/eth0.7/rp_filter",
		"net.ipv4.conf.eth0/7.rp_filter":   "/proc/sys/net/ipv4/conf/eth0.7/rp_filter",
		"net/ipv4/conf/../../../etc":       "",
		"net.ipv4.conf.//.rp_filter":       "",
		"../../etc/passwd":                 "",
		"/etc/passwd":                      "",
		"net.ipv4..ip_forward":             "",
		".":                                "",
		"":                                 "",
		"net/ipv4/conf/eth0/rp_filter/../": "",
	} {
		got, err := sysctlPath(t.Context(), key)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v", key, got, err)
		}
	}
}

func TestSysctlOfALinkWithADot(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0.7")
	const key = "net/ipv4/conf/t0.7/rp_filter"
	if err := k.SetSysctl(t.Context(), key, "2"); err != nil {
		t.Fatal(err)
	}
	if v, err := k.Sysctl(t.Context(), key); v != "2" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
	if err := k.SetSysctl(t.Context(), key, "many"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a bad value: %v", err)
	}
	if err := k.SetSysctl(t.Context(), "net.ipv4.nothing", "1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such key: %v", err)
	}
}

// Keys that several routines use at once stay with their own answers.
func TestConcurrentUse(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0")
	ctx := t.Context()
	if err := k.LinkSet(ctx, "t0", 0, true); err != nil {
		t.Fatal(err)
	}
	all := manyRoutes(400)
	errs := make(chan error)
	for part := range slices.Chunk(all, 100) {
		go func() {
			var err error
			for _, r := range part {
				_, rerr := k.Routes(ctx, "t0")
				_, perr := k.Rules(ctx)
				err = errors.Join(err, k.RouteAdd(ctx, "t0", r), rerr, perr)
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	got, err := k.Routes(ctx, "t0")
	ours := slices.DeleteFunc(got, func(r InstalledRoute) bool { return r.Protocol != Protocol })
	if err != nil || len(ours) != len(all) {
		t.Errorf("%d routes, %v", len(ours), err)
	}
}

// A link that is made from another namespace is where it belongs, whole, and
// nowhere else.
func TestLinkAddFromAnotherNamespace(t *testing.T) {
	k, outer := newNamespace(t), newNamespace(t)
	k.CreateFrom(outer)
	if err := k.linkAdd(t.Context(), "whole", "bridge"); err != nil {
		t.Fatal(err)
	}
	if l, err := k.Link(t.Context(), "whole"); err != nil || l.Alias != Alias {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := outer.Link(t.Context(), "whole"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("outside: %v", err)
	}
	if err := k.linkAdd(t.Context(), "whole", "bridge"); err != unix.EEXIST {
		t.Errorf("again: %v", err)
	}
}
