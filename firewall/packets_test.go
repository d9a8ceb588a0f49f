// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"net"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A neighbour is another network namespace that is reached over a veth pair
// from the test's own: it runs functions on a thread of its own.
type neighbour struct {
	tid   int
	calls chan func()
}

func newNeighbour(t *testing.T) neighbour {
	t.Helper()
	n := neighbour{calls: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: see enterNetns
		n.tid = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range n.calls {
			f()
		}
	}()
	if err := <-ready; err != nil {
		skip(t, "making a network namespace: %v", err)
	}
	t.Cleanup(func() { close(n.calls) })
	return n
}

func (n neighbour) do(f func()) {
	done := make(chan struct{})
	n.calls <- func() { defer close(done); f() }
	<-done
}

// send sends one datagram from there.
func (n neighbour) send(t *testing.T, to string) {
	t.Helper()
	var err error
	n.do(func() {
		var c net.Conn
		if c, err = net.Dial("udp", to); err == nil {
			_, err = c.Write([]byte("spoof"))
			c.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// received reports whether something arrives soon.
func received(t *testing.T, c net.PacketConn) bool {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	_, _, err := c.ReadFrom(make([]byte, 64))
	return err == nil
}

// Three namespaces: the host, a machine on its LAN, and one behind the tunnel
// (a veth called wg0 will do). The host's tunnel address answers those behind
// the tunnel, and the LAN only as long as the rules aren't there.
func TestAntiSpoofDropsPackets(t *testing.T) {
	for _, backend := range []string{BackendNFTables, BackendIPTablesNFT, BackendIPTablesLegacy} {
		t.Run(backend, func(t *testing.T) {
			enterNetns(t)
			need(t, "ip")
			facts := Facts{}
			if mode, ok := strings.CutPrefix(backend, "iptables-"); ok {
				facts = Facts{Force: "iptables", Tools: found(tools(t, mode)...)}
			}
			fw, _ := New(facts)
			lan, far := newNeighbour(t), newNeighbour(t)
			connect(t, lan, "eth0", "192.168.7.1", "192.168.7.2", "fd07::1", "fd07::2")
			connect(t, far, "wg0", "10.8.0.1", "10.8.0.2", "fd00::1", "fd00::2")
			r := Ruleset{Interface: "wg0", AntiSpoof: addrs("10.8.0.1", "fd00::1")}
			for _, addr := range []string{"10.8.0.1:5353", "[fd00::1]:5353"} {
				c, err := net.ListenPacket("udp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				passes := func(from neighbour) bool { from.send(t, addr); return received(t, c) }
				arrives := func(from neighbour) bool { // at last: a busy machine takes its time
					for range 20 {
						if passes(from) {
							return true
						}
					}
					return false
				}
				if !arrives(lan) || !arrives(far) {
					t.Fatalf("%s: without rules nothing arrives: the test proves nothing", addr)
				}
				mustApply(t, fw, r)
				for received(t, c) { // what was sent more than once
				}
				if passes(lan) {
					t.Errorf("%s: a packet from the LAN arrived", addr)
				}
				if !arrives(far) {
					t.Errorf("%s: a packet from behind the tunnel was dropped", addr)
				}
				mustApply(t, fw, Ruleset{Interface: "wg0"})
				if !arrives(lan) {
					t.Errorf("%s: the rules' effect outlives them", addr)
				}
			}
		})
	}
}

// connect makes a link between this namespace and n, with addresses of both
// families on both ends and a default route there.
func connect(t *testing.T, n neighbour, link, here4, there4, here6, there6 string) {
	t.Helper()
	// The other end is made there by the kernel, by the id of its thread.
	sh(t, strings.NewReplacer("LINK", link, "TID", strconv.Itoa(n.tid), "HERE4", here4, "HERE6", here6).Replace(`
		ip link add LINK type veth peer name peer netns TID
		ip address add HERE4/24 dev LINK
		ip address add HERE6/64 dev LINK nodad
		ip link set LINK up`))
	n.do(func() {
		sh(t, strings.NewReplacer("HERE4", here4, "HERE6", here6, "THERE4", there4, "THERE6", there6).Replace(`
		ip link set lo up
		ip address add THERE4/24 dev peer
		ip address add THERE6/64 dev peer nodad
		ip link set peer up
		ip route add default via HERE4
		ip -6 route add default via HERE6`))
	})
}

// The mark of an outgoing datagram is on the answer to it before the routing
// decision, and not on the answer to an unmarked one.
func TestMarkIsRestored(t *testing.T) {
	const mark = 51820
	fw := openNFT(t)
	far := newNeighbour(t)
	connect(t, far, "eth0", "192.168.7.1", "192.168.7.2", "fd07::1", "fd07::2")
	sh(t, `nft -f - <<EOF
table inet witness {
	chain c {
		type filter hook prerouting priority -100; policy accept;
		meta l4proto udp meta mark 51820 counter comment "marked"
		meta l4proto udp meta mark != 51820 counter comment "plain"
	}
}
EOF`)
	echo := startEcho(t, far)
	mustApply(t, fw, Ruleset{Interface: "wg0", RestoreMark: mark})
	for _, c := range []struct {
		mark int
		want string
	}{
		{mark, "marked 1 plain 0"},
		{0, "marked 1 plain 1"},
		{mark, "marked 2 plain 1"},
	} {
		exchange(t, echo, c.mark)
		got := strings.Join(strings.Fields(sh(t, `nft list table inet witness | sed -n 's/.*packets \([0-9]*\) .*"\(.*\)"/\2 \1/p'`)), " ")
		if got != c.want {
			t.Errorf("after a datagram with mark %d: %s, want %s", c.mark, got, c.want)
		}
	}
}

// startEcho answers datagrams there, and returns the address.
func startEcho(t *testing.T, n neighbour) string {
	t.Helper()
	var c net.PacketConn
	var err error
	n.do(func() { c, err = net.ListenPacket("udp4", "192.168.7.2:7") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 64)
		for {
			k, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			c.WriteTo(b[:k], from)
		}
	}()
	return c.LocalAddr().String()
}

// exchange sends a datagram with that mark and waits for the answer.
func exchange(t *testing.T, to string, mark int) {
	t.Helper()
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
		return err
	}}
	c, err := d.DialContext(context.Background(), "udp4", to)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 8)); err != nil {
		t.Fatalf("no answer: %v", err)
	}
}
