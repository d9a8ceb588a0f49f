// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// repeats is how often a test goes through what has to hold every time.
const repeats = 20

// A lab is a bind in the test's own network namespace, and the namespace
// "peer" at the other end of a cable.
type lab struct {
	t  *testing.T
	b  *bind
	at map[int]*receiver // by family
}

// newLab lays the cable, here and there with these addresses, and opens the
// bind.
func newLab(t *testing.T, here, there []string) *lab {
	t.Helper()
	run(t, "ip", "netns", "add", "peer")
	run(t, "ip", "-n", "peer", "link", "set", "lo", "up")
	cable(t, "c0", "p0", here, there)
	l := &lab{t: t, b: new(bind), at: make(map[int]*receiver)}
	l.open(0)
	return l
}

// cable joins the two namespaces.
func cable(t *testing.T, c, p string, here, there []string) {
	t.Helper()
	run(t, "ip", "link", "add", c, "type", "veth", "peer", "name", p, "netns", "peer")
	for _, a := range here {
		run(t, "ip", "addr", "add", a, "dev", c, "nodad")
	}
	for _, a := range there {
		run(t, "ip", "-n", "peer", "addr", "add", a, "dev", p, "nodad")
	}
	run(t, "ip", "link", "set", c, "up")
	run(t, "ip", "-n", "peer", "link", "set", p, "up")
	for _, a := range here {
		settled(t, "", a)
	}
	for _, a := range there {
		settled(t, "peer", a)
	}
}

// settled waits until an address of a namespace is served: an IPv6 one is a
// moment after ip(8) returns.
func settled(t *testing.T, ns, prefix string) {
	t.Helper()
	a := netip.MustParsePrefix(prefix).Addr()
	args := []string{"route", "show", "table", "local", "type", "local", a.String()}
	if a.Is6() {
		args = slices.Insert(args, 0, "-6")
	}
	if ns != "" {
		args = slices.Insert(args, 0, "-n", ns)
	}
	eventually(t, prefix+" is local", func() bool { return run(t, "ip", args...) != "" })
}

func (l *lab) open(port uint16) {
	l.t.Helper()
	_, port, err := l.b.Open(port)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = l.b.Close() })
	for _, s := range []*udpSocket{l.b.v4.Load(), l.b.v6.Load()} {
		if s == nil || s.port != port {
			l.t.Fatalf("port %d, but socket %+v", port, s)
		}
		// Not the receivers that Open made, to see what they see.
		l.at[s.family] = newReceiver(s)
	}
}

func (l *lab) port() uint16 { return l.b.v4.Load().port }

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// receive returns n packets of a family and the endpoints that they came from.
func (l *lab) receive(family, n int) (packets [][]byte, eps []conn.Endpoint) {
	l.t.Helper()
	r := l.at[family]
	if err := r.s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		l.t.Fatal(err)
	}
	for len(packets) < n {
		bufs, sizes, from := packetsOf(slices.Repeat([]int{2000}, batchSize)...), make([]int, batchSize), make([]conn.Endpoint, batchSize)
		got, err := r.receive(bufs, sizes, from)
		if err != nil {
			l.t.Fatalf("receiving packet %d of %d: %v", len(packets)+1, n, err)
		}
		for i := range got {
			packets = append(packets, bufs[i][:sizes[i]])
			eps = append(eps, from[i])
		}
	}
	return packets, eps
}

// peer opens a socket of the other side, on one address.
func (l *lab) peer(addr string) *net.UDPConn {
	l.t.Helper()
	var c *net.UDPConn
	err := inNamespace("peer", func() (err error) {
		c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr)))
		return err
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return c
}

// inNamespace calls f on a thread in another network namespace, which isn't
// used again.
func inNamespace(name string, f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.GetFromName(name)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			err = f()
		}
		result <- err
	}()
	return <-result
}

// contact sends packets to an address of the bind, joined if they are many,
// and returns the endpoint from which they arrive.
func (l *lab) contact(c *net.UDPConn, addr string, count int) conn.Endpoint {
	l.t.Helper()
	a := netip.MustParseAddr(addr)
	sendJoined(l.t, c, netip.AddrPortFrom(a, l.port()), count)
	packets, eps := l.receive(familyOf(a), count)
	for i, p := range packets {
		if !bytes.Equal(p, bytes.Repeat([]byte{byte(i + 1)}, 1000)) {
			l.t.Errorf("packet %d of %d to %s came in wrong: %d bytes", i+1, count, addr, len(p))
		}
		if src := eps[i].SrcIP(); src != a {
			l.t.Errorf("packet %d of %d to %s seems to have come to %v", i+1, count, addr, src)
		}
	}
	if len(packets) != count {
		l.t.Errorf("%d packets of %d came in", len(packets), count)
	}
	return eps[len(eps)-1]
}

// sendJoined sends packets of 1000 bytes as one message that the kernel cuts,
// or doesn't as long as it stays on this machine.
func sendJoined(t *testing.T, c *net.UDPConn, to netip.AddrPort, count int) {
	t.Helper()
	data := bytes.Join(packetsOf(slices.Repeat([]int{1000}, count)...), nil)
	if _, _, err := c.WriteMsgUDPAddrPort(data, appendSegmentSize(nil, 1000), to); err != nil {
		t.Fatal(err)
	}
}

// wantAnswer sends to an endpoint and checks what the peer sees.
func (l *lab) wantAnswer(ep conn.Endpoint, c *net.UDPConn, from string) {
	l.t.Helper()
	for _, count := range []int{1, 3} { // as a packet, and as segments
		if err := l.b.Send(packetsOf(slices.Repeat([]int{50}, count)...), ep); err != nil {
			l.t.Errorf("answering %s: %v", ep.DstToString(), err)
			return
		}
		for range count {
			buf := make([]byte, 2000)
			_ = c.SetReadDeadline(time.Now().Add(patience))
			n, src, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				l.t.Errorf("waiting at %s for the answer: %v", c.LocalAddr(), err)
				return
			}
			if got := src.Addr().Unmap().WithZone("").String(); got != from || src.Port() != l.port() || n != 50 {
				l.t.Errorf("at %s an answer of %d bytes came from %v, want it from %s", c.LocalAddr(), n, src, from)
			}
		}
	}
}
