// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

func TestChooseBackend(t *testing.T) {
	noTUN := errors.New("no /dev/net/tun")
	tests := []struct {
		facts backendFacts
		want  netlinkx.Backend
		trace string
		err   string
	}{
		{backendFacts{Module: true}, netlinkx.BackendKernel, "backend: [want=auto module=yes tun=unasked ret=kernel]", ""},
		{backendFacts{}, netlinkx.BackendUserspace, "backend: [want=auto module=no tun=ok ret=userspace]", ""},
		{backendFacts{Userspace: noTUN}, "", "backend: [want=auto module=no tun=no ret=none]", "this kernel has no WireGuard, and the embedded device can't run: no /dev/net/tun"},
		{backendFacts{Module: true, File: "userspace"}, netlinkx.BackendUserspace, "backend: [want=userspace module=yes tun=ok ret=userspace]", ""},
		{backendFacts{Module: true, File: "userspace", Userspace: noTUN}, "", "backend: [want=userspace module=yes tun=no ret=none]", "the embedded device can't run: no /dev/net/tun"},
		{backendFacts{File: "kernel"}, "", "backend: [want=kernel module=no tun=unasked ret=none]", "this kernel has no WireGuard: install the wireguard module, or allow the embedded device with Backend = auto"},
		{backendFacts{Module: true, File: "userspace", Forced: "kernel"}, netlinkx.BackendKernel, "backend: [want=kernel module=yes tun=unasked ret=kernel]", ""},
		{backendFacts{File: "kernel", Forced: "auto"}, netlinkx.BackendUserspace, "backend: [want=auto module=no tun=ok ret=userspace]", ""},
		{backendFacts{Module: true, Running: netlinkx.BackendUserspace}, netlinkx.BackendUserspace, "backend: [want=auto module=yes tun=ok ret=userspace]", ""},
		{backendFacts{Module: true, File: "kernel", Running: netlinkx.BackendUserspace}, "", "backend: [want=kernel module=yes tun=unasked ret=none]", "the tunnel runs on the userspace backend, and another needs a new link: take it down and up again"},
	}
	for _, tt := range tests {
		got, trace, err := chooseBackend(tt.facts)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if got != tt.want || trace != tt.trace || text != tt.err {
			t.Errorf("chooseBackend(%+v) =\n%s, %s, %q; want\n%s, %s, %q", tt.facts, got, trace, text, tt.want, tt.trace, tt.err)
		}
	}
}

// TestPeersOf holds the playing through of a file against what wg does with it
// on a fresh device.
func TestPeersOf(t *testing.T) {
	tests := []struct{ name, peers, want string }{
		{"a peer twice: the second list wins", "a:10.0.0.1/32,10.0.0.2/32 b:10.0.0.3/32 a:10.0.0.4/32", "a:10.0.0.4/32 b:10.0.0.3/32"},
		{"a prefix twice: the last peer has it", "a:10.0.0.1/32,10.0.0.2/32 b:10.0.0.1/32", "a:10.0.0.2/32 b:10.0.0.1/32"},
		{"a signed item makes the list a change", "a:10.0.0.1/32 a:+10.0.0.2/32,10.0.0.3/32", "a:10.0.0.1/32,10.0.0.2/32,10.0.0.3/32"},
		{"minus takes away", "a:10.0.0.1/32,10.0.0.2/32 a:-10.0.0.1/32", "a:10.0.0.2/32"},
		{"minus takes nothing from another", "a:10.0.0.1/32 b:-10.0.0.1/32", "a:10.0.0.1/32 b:"},
		{"there and back", "a:10.0.0.1/32 b:10.0.0.1/32 a:+10.0.0.1/32", "a:10.0.0.1/32 b:"},
		{"the same twice in a list", "a:10.0.0.1/32,10.0.0.1/32", "a:10.0.0.1/32"},
		{"a list emptied", "a:10.0.0.1/32 a:", "a:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var file strings.Builder
			file.WriteString("[Interface]\n")
			for _, p := range strings.Fields(tt.peers) {
				name, list, _ := strings.Cut(p, ":")
				fmt.Fprintf(&file, "[Peer]\nPublicKey = %s\n", key(name))
				if list != "" {
					fmt.Fprintf(&file, "AllowedIPs = %s\n", list)
				}
			}
			cfg := parse(t, file.String())
			var got []string
			for _, p := range peersOf(cfg.Peers, make([]netip.AddrPort, len(cfg.Peers))) {
				var ips []string
				for _, a := range p.AllowedIPs {
					ips = append(ips, a.String())
				}
				got = append(got, strings.TrimRight(string(p.PublicKey[:]), "\x00")+":"+strings.Join(ips, ","))
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("got %q, want %q", s, tt.want)
			}
		})
	}
}

// slowNames answers after a second, and the first tries of "flaky" fail.
type slowNames struct {
	fakeNames
	flaky atomic.Int32
	calls atomic.Int32
}

func (n *slowNames) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	n.calls.Add(1)
	time.Sleep(time.Second)
	switch {
	case name == "missing":
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	case name == "flaky" && n.flaky.Add(1) < 3, name == "dead":
		return nil, &net.DNSError{Err: "server misbehaving", Name: name, IsTemporary: true}
	}
	return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, nil
}

func fileOfHosts(hosts ...string) string {
	var b strings.Builder
	b.WriteString("[Interface]\n")
	for i, h := range hosts {
		fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nEndpoint = %s\n", key(fmt.Sprint(i)), h)
	}
	return b.String()
}

func TestEndpointsAreLookedUpAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := &slowNames{}
		cfg := parse(t, fileOfHosts("one:1", "two:2", "one:1", "three:domain", "[2001:db8::7]:9", "fe80::1%eth0:5"))
		begin := time.Now()
		got, err := Lookup{}.Endpoints(t.Context(), names, cfg)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:1", "192.0.2.1:53", "[2001:db8::7]:9", "[fe80::1%eth0]:5"}
		for i, w := range want {
			if got[i].String() != w {
				t.Errorf("endpoint %d is %v, want %s", i, got[i], w)
			}
		}
		if d := time.Since(begin); d != time.Second || names.calls.Load() != 3 {
			t.Errorf("%d look-ups took %v, want 3 in 1s", names.calls.Load(), d)
		}
	})
}

func TestEndpointRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var delays []time.Duration
		l := Lookup{Retries: 5, Waiting: func(_, _ string, _ error, d time.Duration) { delays = append(delays, d) }}
		names := &slowNames{}
		if _, err := l.Endpoints(t.Context(), names, parse(t, fileOfHosts("flaky:1"))); err != nil {
			t.Fatal(err)
		}
		if want := []time.Duration{time.Second, 1200 * time.Millisecond}; !slices.Equal(delays, want) {
			t.Errorf("delays %v, want %v", delays, want)
		}
		delays = nil
		begin := time.Now()
		_, err := l.Endpoints(t.Context(), names, parse(t, fileOfHosts("missing:1", "flaky:1", "dead:2")))
		if err == nil || len(delays) != 5 {
			t.Errorf("error %v after %d delays", err, len(delays))
		}
		for _, want := range []string{"wg0.conf:4: [Peer] Endpoint: no such host: missing", "wg0.conf:10: [Peer] Endpoint: looking up dead: "} {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("error %v lacks %q", err, want)
			}
		}
		if d := time.Since(begin); d > 20*time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestEndpointLookupIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := Lookup{Retries: -1}.Endpoints(ctx, &slowNames{}, parse(t, fileOfHosts("dead:1")))
		if err == nil || !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
			t.Errorf("error %v", err)
		}
	})
}

// An IPv6 route on a link that is too small for IPv6 is refused before the
// kernel would, in the middle, with "no such device".
func TestIPv6TakesAnMTU(t *testing.T) {
	h := newFakeHost(t)
	have, err := Observe(t.Context(), h.host(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := parse(t, strings.Replace(files[10], "10.8.0.0/24", "10.8.0.0/24, fd00::/64", 1))
	_, err = Resolve(t.Context(), h.host(), cfg, make([]netip.AddrPort, 1), have, Options{})
	want := "wg0.conf:7: [Peer] AllowedIPs: fd00::/64 needs an IPv6 route, and an MTU of 576 is less than the 1280 bytes that IPv6 takes"
	if fmt.Sprint(err) != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
}

func TestIPv6IsCheckedFirst(t *testing.T) {
	h := newFakeHost(t)
	if err := h.SetSysctl(t.Context(), "net.ipv6.conf.default.disable_ipv6", "1"); err != nil {
		t.Fatal(err)
	}
	before, calls := h.String(), h.calls
	cfg := parse(t, files[1])
	have, err := Observe(t.Context(), h.host(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Resolve(t.Context(), h.host(), cfg, make([]netip.AddrPort, 1), have, Options{})
	want := "wg0.conf:4: [Interface] Address: fd00::2/64 is an IPv6 address, and IPv6 is disabled here (sysctl net.ipv6.conf.default.disable_ipv6=1)\n" +
		"wg0.conf:8: [Peer] AllowedIPs: ::/0 needs an IPv6 route, and IPv6 is disabled here (sysctl net.ipv6.conf.default.disable_ipv6=1)"
	if fmt.Sprint(err) != want {
		t.Errorf("error\n%v\nwant\n%s", err, want)
	}
	if h.String() != before || h.calls != calls {
		t.Error("the host was changed")
	}
	var c *config.Error
	if !errors.As(err, &c) || c.Line != 4 {
		t.Errorf("the place is lost: %v", c)
	}
}
