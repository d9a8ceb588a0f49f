// SPDX-License-Identifier: MIT

package firewall

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"
)

// A crossing is a host that forwards between a machine on its LAN and one
// behind the tunnel: a veth called wg0 will do.
type crossing struct {
	t        *testing.T
	lan, far neighbour
	port     int // of the last datagram: connection tracking knows the earlier ones
}

func newCrossing(t *testing.T) *crossing {
	t.Helper()
	enterNetns(t)
	need(t, "ip", "nft", "iptables-nft", "iptables-legacy")
	c := &crossing{t: t, lan: newNeighbour(t), far: newNeighbour(t), port: 5000}
	connect(t, c.lan, "eth0", "192.168.7.1", "192.168.7.2", "fd07::1", "fd07::2")
	connect(t, c.far, "wg0", "10.8.0.1", "10.8.0.2", "fd00::1", "fd00::2")
	sh(t, `for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; do echo 1 >$f; done`)
	return c
}

// A way is one direction through the crossing.
type way struct {
	name         string
	from, to     neighbour
	dial, listen string // addresses
}

func (c *crossing) ways() []way {
	return []way{
		{"in", c.far, c.lan, "192.168.7.2", "192.168.7.2"},
		{"out", c.lan, c.far, "10.8.0.2", "10.8.0.2"},
		{"in6", c.far, c.lan, "fd07::2", "fd07::2"},
		{"out6", c.lan, c.far, "fd00::2", "fd00::2"},
	}
}

// open returns the names of the ways by which a datagram gets through. Those
// that should be open are waited for; for the others there is a moment, after
// the datagrams that do get through have had theirs.
func (c *crossing) open(ways []way, want ...string) (open []string) {
	c.t.Helper()
	listeners, ports := make([]net.PacketConn, len(ways)), make([]string, len(ways))
	for i, w := range ways {
		c.port++
		ports[i] = fmt.Sprint(c.port)
		var err error
		w.to.do(func() { listeners[i], err = net.ListenPacket("udp", net.JoinHostPort(w.listen, ports[i])) })
		if err != nil {
			c.t.Fatal(err)
		}
		defer listeners[i].Close()
	}
	got := make([]bool, len(ways))
	for try := 0; try < 20; try++ {
		missing := false
		for i, w := range ways {
			if !got[i] {
				w.from.send(c.t, net.JoinHostPort(w.dial, ports[i]))
				missing = missing || slices.Contains(want, w.name)
			}
		}
		end := time.Now().Add(100 * time.Millisecond)
		for i, l := range listeners {
			if !got[i] {
				l.SetReadDeadline(later(end, time.Now().Add(10*time.Millisecond))) // a deadline that is over reads nothing
				_, _, err := l.ReadFrom(make([]byte, 64))
				got[i] = err == nil
			}
		}
		if try > 0 && !missing {
			break
		}
	}
	for i, w := range ways {
		if got[i] {
			open = append(open, w.name)
		}
	}
	return open
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// forwards fails the test unless all ways are open, or none is.
func (c *crossing) forwards(when string, open bool) {
	c.t.Helper()
	var want []string
	if open {
		want = []string{"in", "out", "in6", "out6"}
	}
	if got := c.open(c.ways(), want...); !slices.Equal(got, want) {
		c.t.Errorf("%s: open are %v, want %v", when, got, want)
	}
}

// answers fails the test unless a datagram from the LAN to an address gets to
// the listener behind the tunnel, and its answer back.
func (c *crossing) answers(dial, listen string) {
	c.t.Helper()
	var l net.PacketConn
	var conn net.Conn
	var err1, err2 error
	c.far.do(func() { l, err1 = net.ListenPacket("udp", listen) })
	c.lan.do(func() { conn, err2 = net.Dial("udp", dial) })
	if err := errors.Join(err1, err2); err != nil {
		c.t.Fatal(err)
	}
	defer l.Close()
	defer conn.Close()
	b := make([]byte, 8)
	for range 20 {
		conn.Write([]byte("ask"))
		l.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, from, err := l.ReadFrom(b); err == nil {
			l.WriteTo([]byte("answer"), from)
		}
		conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, err := conn.Read(b); err == nil && string(b[:n]) == "answer" {
			return
		}
	}
	c.t.Error("no answer comes back")
}
