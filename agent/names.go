// SPDX-License-Identifier: MIT

package agent

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"slices"
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

	servers atomic.Pointer[[]netip.AddrPort] // outside of the tunnel
	mark    atomic.Uint32
	next    atomic.Uint32
}

// Mark has look-ups go past the tunnel from here on; 0: as the host's.
func (n *Names) Mark(mark uint32) { n.mark.Store(mark) }

// LookupHost returns the addresses of a name.
func (n *Names) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	if n.mark.Load() == 0 || n.servers.Load() == nil {
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
	servers := *n.servers.Load()
	server := servers[int(n.next.Add(1)-1)%len(servers)]
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

// SetServers tells which nameservers there are outside of the tunnel: those of the
// first text, in the words of resolv.conf, that names one which is reached over the
// network and isn't the tunnel's own. Where none does, those of before stay.
func (n *Names) SetServers(texts []string, own []netip.Addr) {
	for _, text := range texts {
		s := slices.DeleteFunc(nameservers(text), func(a netip.AddrPort) bool { return slices.Contains(own, a.Addr()) })
		if len(s) > 0 {
			n.servers.Store(&s)
			return
		}
	}
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
