// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/wgctl/wgctl/netlinkx"
	"golang.org/x/sys/unix"
)

// noPath is a kernel that answers every question for a way with an error.
type noPath struct {
	kernel
	err error
}

// kernel is netlinkx.Routes under a name that isn't that of one of its methods.
type kernel interface{ netlinkx.Routes }

func (n noPath) PathTo(context.Context, netip.Addr, uint32) (netlinkx.RoutePath, error) {
	return netlinkx.RoutePath{}, n.err
}

// That there is no way to an endpoint is an answer; that the kernel had no
// memory for one is not, and the MTU, the masquerading and the parameters that
// go by it are no guess then.
func TestWayUnknown(t *testing.T) {
	for _, c := range []struct {
		lines string
		err   error
		fails bool
	}{
		{"", unix.ENETUNREACH, false},
		{"", unix.ENOBUFS, true},
		{"MTU = 1400\n", unix.ENOBUFS, true}, // whether another link has the address
		{"MTU = 1400\nMasquerade = auto\n", unix.EBUSY, true},
		{"Forward = on\n", unix.EAFNOSUPPORT, false},
	} {
		h := newFakeHost(t)
		host := h.host()
		host.Routes = noPath{host.Routes, c.err}
		cfg := parse(t, "[Interface]\nAddress = 10.8.0.1/24, fd08::1/64\n"+c.lines+"[Peer]\nPublicKey = "+key("a")+"\nEndpoint = 192.0.2.1:51820\nAllowedIPs = 10.9.0.0/16\n")
		have, err := Observe(t.Context(), host, "wg0", SharedSysctls...)
		if err != nil {
			t.Fatal(err)
		}
		_, err = Resolve(t.Context(), host, cfg, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}, have, Options{})
		if c.fails != errors.Is(err, c.err) || !c.fails && err != nil {
			t.Errorf("%q, %v: %v", c.lines, c.err, err)
		}
	}
}
