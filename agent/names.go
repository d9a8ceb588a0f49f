// SPDX-License-Identifier: MIT

package agent

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Names looks up the names of endpoints while the tunnel is up: where it takes
// the default route, or has a kill switch, an ordinary query for the address of
// its own endpoint would go into it, or nowhere. These go as the tunnel's own
// packets do, by its mark, and to the nameservers that the host had before.
type Names struct {
	System interface { // how the host looks names up
		LookupHost(ctx context.Context, name string) ([]netip.Addr, error)
		LookupPort(ctx context.Context, service string) (uint16, error)
	}
	Servers []netip.AddrPort // outside of the tunnel

	mark atomic.Uint32
	next atomic.Uint32
}

// Mark has look-ups go past the tunnel from here on; 0: as the host's.
func (n *Names) Mark(mark uint32) { n.mark.Store(mark) }

// LookupHost returns the addresses of a name.
func (n *Names) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	if n.mark.Load() == 0 || len(n.Servers) == 0 {
		return n.System.LookupHost(ctx, name)
	}
	outside := net.Resolver{PreferGo: true, Dial: n.dial}
	return outside.LookupNetIP(ctx, "ip", name)
}

// LookupPort returns the UDP port of a service.
func (n *Names) LookupPort(ctx context.Context, service string) (uint16, error) {
	return n.System.LookupPort(ctx, service)
}

// dial opens a socket to one nameserver after the other, whichever the resolver
// found in a file that may be the tunnel's by now.
func (n *Names) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	server := n.Servers[int(n.next.Add(1)-1)%len(n.Servers)]
	d := net.Dialer{
		Timeout: 5 * time.Second,
		Control: func(_, _ string, c syscall.RawConn) (err error) {
			mark := int(n.mark.Load())
			if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) }); e != nil {
				return e
			}
			return err
		},
	}
	return d.DialContext(ctx, network, server.String())
}

// The files that name nameservers: what the host uses, and where that is
// systemd-resolved on loopback, whom that asks.
const (
	resolvConf  = "/etc/resolv.conf"
	resolvedOwn = "/run/systemd/resolve/resolv.conf"
)

// Nameservers returns those of the host that are reached over the network.
func Nameservers() []netip.AddrPort {
	for _, path := range []string{resolvConf, resolvedOwn} {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		if s := nameservers(string(b)); len(s) > 0 {
			return s
		}
	}
	return nil
}

// nameservers are those of a resolv.conf that are not on loopback.
func nameservers(text string) (out []netip.AddrPort) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil && !a.IsLoopback() {
			out = append(out, netip.AddrPortFrom(a, 53))
		}
	}
	return out
}
