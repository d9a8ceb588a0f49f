// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"net"
	"net/netip"
	"os"

	"github.com/wgctl/wgctl/namespace"
)

// SystemNames looks names up as any program of the host does.
type SystemNames struct{}

// LookupHost returns the addresses of a name in the order of RFC 6724.
func (SystemNames) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// LookupPort returns the UDP port of a service.
func (SystemNames) LookupPort(ctx context.Context, service string) (uint16, error) {
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	return uint16(n), err
}

// NamesFrom returns what looks names up as programs of another network namespace
// with the files of this one do: the nameservers of /etc/resolv.conf are asked
// from there.
func NamesFrom(ns *os.File) Names { return namesFrom{ns} }

type namesFrom struct{ ns *os.File }

func (n namesFrom) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = namespace.Inside(n.ns, func() error {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}}
	return r.LookupNetIP(ctx, "ip", name)
}

func (n namesFrom) LookupPort(ctx context.Context, service string) (uint16, error) {
	return SystemNames{}.LookupPort(ctx, service)
}
