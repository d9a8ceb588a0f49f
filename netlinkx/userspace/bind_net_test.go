// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

var (
	fourHere   = []string{"10.0.0.1/24", "10.0.0.2/24", "10.0.0.3/24", "10.0.0.4/24", "fd00:aa::1/96", "fd00:aa::2/96", "fd00:aa::3/96", "fd00:aa::4/96"}
	oneThere   = []string{"10.0.0.100/24", "fd00:aa::100/96"}
	peerSocket = map[bool]string{true: "10.0.0.100:1", false: "[fd00:aa::100]:1"} // by: is it IPv4
)

// Whichever of many addresses of a link a peer contacts, the answer comes from
// there, also when the kernel joins the peer's packets.
func TestBindAnswersFromContactedAddress(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLab(t, fourHere, oneThere)
	peers := map[bool]*net.UDPConn{true: l.peer(peerSocket[true]), false: l.peer(peerSocket[false])}
	joined := map[int]int{}
	for range repeats {
		for _, p := range fourHere {
			a := netip.MustParsePrefix(p).Addr()
			for _, count := range []int{20, 1, 60} {
				ep := l.contact(peers[a.Is4()], a.String(), count)
				if l.at[familyOf(a)].at.segment > 0 {
					joined[familyOf(a)]++
				}
				l.wantAnswer(ep, peers[a.Is4()], a.String())
			}
		}
	}
	if joined[unix.AF_INET] == 0 || joined[unix.AF_INET6] == 0 {
		t.Errorf("the kernel joined no packets: this test no longer tests that: %v", joined)
	}
}

// An endpoint goes from one family to the other and back, and each packet goes
// to the address that was meant, none to one that looks like it.
func TestBindChangesFamily(t *testing.T) {
	if !isolated(t) {
		return
	}
	there := []string{"10.0.0.100/24", "fd00:aa::100/96", "fd00:aa::/96", "fd00::/64", "0a00:64::/64"}
	l := newLab(t, fourHere[3:5], there)
	var peers []*net.UDPConn
	for _, a := range []string{"10.0.0.100:1", "[fd00:aa::100]:1"} {
		peers = append(peers, l.peer(a))
	}
	for i := range repeats * 2 {
		c := peers[i%2]
		ep, err := l.b.ParseEndpoint(c.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		l.wantAnswer(ep, c, []string{"10.0.0.4", "fd00:aa::1"}[i%2])
	}
}

// An address that is gone isn't sent from: traffic goes on from another one,
// with what watches routing and, where that can't be had, without.
func TestBindNotTooSticky(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLab(t, []string{"10.0.0.1/24", "fd00:aa::1/96"}, oneThere)
	p4, p6 := l.peer(peerSocket[true]), l.peer(peerSocket[false])
	addrs := [][2]string{{"10.0.0.1/24", "10.0.0.10/24"}, {"fd00:aa::1/96", "fd00:aa::10/96"}}
	run(t, "sysctl", "-qw", "net.ipv4.conf.c0.promote_secondaries=1")
	bare := func(p string) string { return netip.MustParsePrefix(p).Addr().String() }
	add := func(p string) {
		run(t, "ip", "addr", "add", p, "dev", "c0", "nodad")
		settled(t, "", p)
	}
	for i := range repeats {
		if i == repeats/2 {
			l.b.routing.Swap(nil).close()
		}
		ep4, ep6 := l.contact(p4, bare(addrs[0][i%2]), 1), l.contact(p6, bare(addrs[1][i%2]), 1)
		l.wantAnswer(ep4, p4, bare(addrs[0][i%2]))
		for _, pair := range addrs {
			add(pair[1-i%2])
			run(t, "ip", "addr", "del", pair[i%2], "dev", "c0")
		}
		l.wantAnswer(ep4, p4, bare(addrs[0][1-i%2]))
		l.wantAnswer(ep6, p6, bare(addrs[1][1-i%2]))
	}
}

// When the way to a peer changes to another link, the old link's address isn't
// sent from any more; when it stays, so does the address.
func TestBindFollowsRoutes(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLab(t, []string{"10.0.0.1/24", "10.0.0.2/24"}, []string{"10.0.0.100/24"})
	cable(t, "c1", "p1", []string{"10.1.0.1/24"}, []string{"10.1.0.100/24"})
	run(t, "ip", "-n", "peer", "addr", "add", "10.9.9.9/32", "dev", "lo")
	run(t, "ip", "route", "add", "10.9.9.9", "via", "10.0.0.100", "metric", "5")
	for _, key := range []string{"all", "c0", "c1"} {
		run(t, "sysctl", "-qw", "net.ipv4.conf."+key+".rp_filter=0")
	}
	c := l.peer("10.9.9.9:1")
	state := func() uint64 { return l.b.routing.Load().state.Load() }
	change := func(args ...string) {
		t.Helper()
		before := state()
		run(t, "ip", args...)
		eventually(t, "news of ip "+strings.Join(args, " "), func() bool { return state() != before })
	}
	for range repeats {
		ep := l.contact(c, "10.0.0.2", 1)
		l.wantAnswer(ep, c, "10.0.0.2")
		change("route", "add", "10.77.0.0/16", "via", "10.1.0.100") // no business of ours
		l.wantAnswer(ep, c, "10.0.0.2")
		change("route", "add", "10.9.9.9", "via", "10.1.0.100", "metric", "1")
		l.wantAnswer(ep, c, "10.1.0.1")
		change("route", "del", "10.9.9.9", "via", "10.1.0.100", "metric", "1")
		l.wantAnswer(ep, c, "10.0.0.1")
		run(t, "ip", "route", "del", "10.77.0.0/16")
	}
}

// A mark reaches the packets of both sockets, and the question by which link a
// marked packet goes out.
func TestBindMark(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLab(t, []string{"10.0.0.1/24", "fd00:aa::1/96"}, oneThere)
	cable(t, "c1", "p1", []string{"10.1.0.1/24", "fd00:bb::1/96"}, []string{"10.1.0.100/24", "fd00:bb::100/96"})
	for _, c := range []struct{ family, there, table, main string }{
		{"-4", "10.9.9.9/32", "via 10.1.0.100", "via 10.0.0.100"},
		{"-6", "fd00:9::9/128", "via fd00:bb::100", "via fd00:aa::100"},
	} {
		bare := netip.MustParsePrefix(c.there).Addr()
		run(t, "ip", "-n", "peer", "addr", "add", c.there, "dev", "lo")
		settled(t, "peer", c.there)
		run(t, "ip", append([]string{c.family, "route", "add", c.there}, strings.Fields(c.main)...)...)
		run(t, "ip", append([]string{c.family, "route", "add", c.there, "table", "77"}, strings.Fields(c.table)...)...)
		run(t, "ip", c.family, "rule", "add", "fwmark", "0x80001234", "table", "77", "priority", "100")
		run(t, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.c0.rp_filter=0", "net.ipv4.conf.c1.rp_filter=0")
		peer := l.peer(netip.AddrPortFrom(bare, 1).String())
		unmarked := map[bool]string{true: "10.0.0.1", false: "fd00:aa::1"}[bare.Is4()]
		marked := map[bool]string{true: "10.1.0.1", false: "fd00:bb::1"}[bare.Is4()]
		for range repeats {
			ep, err := l.b.ParseEndpoint(peer.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			if err := l.b.SetMark(0); err != nil {
				t.Fatal(err)
			}
			l.wantAnswer(ep, peer, unmarked)
			if bare.Is4() {
				ep = l.contact(peer, unmarked, 1) // a source that the mark leads away from
			}
			if err := l.b.SetMark(0x80001234); err != nil {
				t.Fatal(err)
			}
			l.wantAnswer(ep, peer, marked)
		}
	}
}

// Link-local addresses work: each side is found with its link.
func TestBindLinkLocal(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLab(t, []string{"fe80::1/64", "fe80::2/64"}, []string{"fe80::100/64"})
	cable(t, "c1", "p1", []string{"fe80::1/64"}, []string{"fe80::200/64"})
	c := l.peer("[fe80::100%p0]:1")
	for range repeats {
		for _, a := range []string{"fe80::1", "fe80::2"} {
			to := netip.AddrPortFrom(netip.MustParseAddr(a).WithZone("p0"), l.port())
			var err error
			_ = inNamespace("peer", func() error { // where the zone has a meaning
				_, err = c.WriteToUDPAddrPort([]byte("x"), to)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			_, eps := l.receive(unix.AF_INET6, 1)
			if got := eps[0].DstToString() + " " + eps[0].SrcToString(); got != "[fe80::100%c0]:1 "+a {
				t.Errorf("got %s", got)
			}
			l.wantAnswer(eps[0], c, a)
		}
	}
	ep, err := l.b.ParseEndpoint("[fe80::100%c0]:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.b.Send(packetsOf(50), ep); err != nil {
		t.Errorf("to the name of a link: %v", err)
	}
	ep, _ = l.b.ParseEndpoint("[fe80::100%c9]:1")
	if err := l.b.Send(packetsOf(50), ep); !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "c9") {
		t.Errorf("to a link that isn't: %v", err)
	}
}

// Packets that are longer than the route's MTU are fragmented, though the
// kernel doesn't cut segments that are.
func TestBindLongPackets(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLab(t, []string{"10.0.0.1/24", "fd00:aa::1/96"}, oneThere)
	run(t, "ip", "link", "set", "c0", "mtu", "1280")
	for _, is4 := range []bool{true, false} {
		c := l.peer(peerSocket[is4])
		ep, err := l.b.ParseEndpoint(c.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		want := packetsOf(1400, 1400, 1400, 1000, 1000)
		for range repeats {
			if err := l.b.Send(want, ep); err != nil {
				t.Fatal(err)
			}
			for i, w := range want {
				buf := make([]byte, 2000)
				_ = c.SetReadDeadline(time.Now().Add(patience))
				if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], w) {
					t.Fatalf("packet %d: %d bytes, %v", i+1, n, err)
				}
			}
		}
	}
	if !l.b.v4.Load().segments.Load() || !l.b.v6.Load().segments.Load() {
		t.Error("segments were given up for good")
	}
}

// A link that can't compute checksums can't cut segments, in kernels before
// 6.11: then they go out one by one, from the first that was refused on.
func TestBindWithoutChecksums(t *testing.T) {
	if !isolated(t) {
		return
	}
	l := newLab(t, []string{"10.0.0.1/24", "fd00:aa::1/96"}, oneThere)
	if err := withoutChecksums(l.b.v4.Load(), "c0"); err != nil {
		t.Fatal(err)
	}
	for _, is4 := range []bool{true, false} {
		c := l.peer(peerSocket[is4])
		ep := l.contact(c, map[bool]string{true: "10.0.0.1", false: "fd00:aa::1"}[is4], 1)
		for range repeats {
			l.wantAnswer(ep, c, ep.SrcToString())
		}
	}
	t.Logf("segments after it: IPv4 %v, IPv6 %v", l.b.v4.Load().segments.Load(), l.b.v6.Load().segments.Load())
}

// withoutChecksums makes a link not compute checksums of what it sends.
func withoutChecksums(s *udpSocket, link string) error {
	const setTxChecksums = 0x17 // ETHTOOL_STXCSUM
	value := struct{ cmd, data uint32 }{cmd: setTxChecksums}
	req := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(req.name[:], link)
	return s.control(func(fd int) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&req))); errno != 0 {
			return errno
		}
		return nil
	})
}

func TestBindLife(t *testing.T) {
	if !isolated(t) {
		return
	}
	b := new(bind)
	var port uint16
	for range repeats {
		fns, got, err := b.Open(port)
		if err != nil || len(fns) != 2 || got == 0 || port != 0 && got != port {
			t.Fatalf("opening port %d: %d functions, port %d, %v", port, len(fns), got, err)
		}
		port = got
		if _, _, err := b.Open(0); !errors.Is(err, conn.ErrBindAlreadyOpen) {
			t.Errorf("opening twice: %v", err)
		}
		if _, _, err := new(bind).Open(port); !errors.Is(err, unix.EADDRINUSE) {
			t.Errorf("a port that is taken: %v", err)
		}
		names := []string{fns[0].PrettyName(), fns[1].PrettyName()}
		if !slices.Equal(names, []string{"v4", "v6"}) {
			t.Errorf("the functions are called %v", names)
		}
		ended := make(chan error)
		for _, receive := range fns {
			go func() {
				_, err := receive(packetsOf(100), make([]int, 1), make([]conn.Endpoint, 1))
				ended <- err
			}()
		}
		if err := b.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
		for range fns {
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Errorf("a receiver of a closed bind: %v", err)
			}
		}
		ep, _ := b.ParseEndpoint("127.0.0.1:1")
		if err := b.Send(packetsOf(1), ep); !errors.Is(err, net.ErrClosed) {
			t.Errorf("sending by a closed bind: %v", err)
		}
	}
	if err := b.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if err := b.Send(nil, new(conn.StdNetEndpoint)); !errors.Is(err, conn.ErrWrongEndpointType) {
		t.Errorf("another bind's endpoint: %v", err)
	}
	eventually(t, "descriptors closed", func() bool { return len(openSockets(t)) == 0 })
}

// openSockets returns the sockets that this process has open.
func openSockets(t *testing.T) (out []string) {
	t.Helper()
	for _, fd := range openFDs() {
		if at, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && strings.HasPrefix(at, "socket:") {
			out = append(out, at)
		}
	}
	return out
}

// Where the kernel lacks a family, the other one does.
func TestBindOneFamily(t *testing.T) {
	if !isolated(t) {
		return
	}
	for _, lacks := range []int{unix.AF_INET, unix.AF_INET6} {
		result := make(chan error)
		go func() {
			result <- func() error {
				runtime.LockOSThread() // and the thread ends with the goroutine
				if err := refuseFamily(lacks); err != nil {
					return err
				}
				b := new(bind)
				defer b.Close()
				fns, port, err := b.Open(0)
				if err != nil || len(fns) != 1 || port == 0 {
					return fmt.Errorf("%d functions, port %d: %w", len(fns), port, err)
				}
				there, _ := b.ParseEndpoint(map[int]string{unix.AF_INET: "[::1]:9", unix.AF_INET6: "127.0.0.1:9"}[lacks])
				if err := b.Send(packetsOf(10), there); err != nil {
					return fmt.Errorf("sending by the family that is there: %w", err)
				}
				lacking, _ := b.ParseEndpoint(map[int]string{unix.AF_INET6: "[::1]:9", unix.AF_INET: "127.0.0.1:9"}[lacks])
				if err := b.Send(packetsOf(10), lacking); err != unix.EAFNOSUPPORT {
					return fmt.Errorf("sending by the other: %w", err)
				}
				return b.SetMark(5)
			}()
		}()
		if err := <-result; err != nil {
			t.Errorf("without family %d: %v", lacks, err)
		}
	}
}

// refuseFamily makes socket(2) fail on this thread as in a kernel that lacks a
// family: seccomp(2).
func refuseFamily(family int) error {
	const nr, arg0 = 0, 16 // offsets in struct seccomp_data
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: nr},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: arg0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(family), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
