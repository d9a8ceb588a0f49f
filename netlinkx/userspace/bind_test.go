// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// One address after another goes into the same place, of either family, and
// comes out whole: nothing of the last one stays, nothing is cut off.
func TestSockaddr(t *testing.T) {
	var sa sockaddr
	for _, c := range []struct {
		addr  string
		scope uint32
		want  string // the bytes that bind(7) and ipv6(7) ask for, after the family
	}{
		{"192.0.2.1:51820", 0, "ca6c c0000201 0000000000000000"},
		{"[fd00:aa::1]:51820", 0, "ca6c 00000000 fd0000aa000000000000000000000001 00000000"},
		{"[fe80::1]:1", 0x01010101, "0001 00000000 fe800000000000000000000000000001 01010101"},
		{"10.0.0.1:65535", 0, "ffff 0a000001 0000000000000000"},
		{"[::1]:5", 0, "0005 00000000 00000000000000000000000000000001 00000000"},
	} {
		a := netip.MustParseAddrPort(c.addr)
		n := sa.set(a, c.scope)
		got := fmt.Sprintf("%x", unsafe.Slice((*byte)(unsafe.Pointer(&sa)), n)[2:])
		if want := strings.ReplaceAll(c.want, " ", ""); got != want {
			t.Errorf("%v is written as %s, want %s", a, got, want)
		}
		if back, scope := sa.get(); back != a || scope != c.scope {
			t.Errorf("%v scope %d reads back as %v scope %d", a, c.scope, back, scope)
		}
	}
}

func TestParseEndpoint(t *testing.T) {
	b := newBind(newIntake())
	for in, want := range map[string]string{
		"192.0.2.1:5":            "192.0.2.1:5",
		"[fd00::1]:5":            "[fd00::1]:5",
		"[fe80::1%eth0]:5":       "[fe80::1%eth0]:5",
		"[::ffff:192.0.2.1]:5":   "192.0.2.1:5", // else it would go out by the IPv6 socket, which can't
		"192.0.2.1":              "",
		"vpn.example:5":          "",
		"[fd00::1]:66000":        "",
		"[fd00::1%eth0":          "",
		"192.0.2.1:5 ":           "",
		"[::ffff:0:192.0.2.1]:5": "[::ffff:0:c000:201]:5",
	} {
		e, err := b.ParseEndpoint(in)
		if got := fmt.Sprint(err == nil); got != fmt.Sprint(want != "") {
			t.Errorf("%q: error %v", in, err)
			continue
		}
		if err != nil {
			continue
		}
		if e.DstToString() != want || e.SrcIP().IsValid() || e.DstIP() != netip.MustParseAddrPort(want).Addr() {
			t.Errorf("%q is %s from %v", in, e.DstToString(), e.SrcIP())
		}
	}
	one, _ := b.ParseEndpoint("192.0.2.1:5")
	other, _ := b.ParseEndpoint("192.0.2.1:6")
	if len(one.DstToBytes()) == 0 || bytes.Equal(one.DstToBytes(), other.DstToBytes()) {
		t.Errorf("cookies don't tell ports apart: %x, %x", one.DstToBytes(), other.DstToBytes())
	}
}

// What goes out as the address to send from is what comes in as the address
// that was contacted, with or without the length of segments beside it.
func TestControlMessages(t *testing.T) {
	for _, c := range []struct {
		addr string
		link uint32 // that comes back: only a link-local address goes with its link
	}{
		{"192.0.2.1", 0}, {"fd00:aa::1", 0}, {"fe80::1", 7},
	} {
		for _, segment := range []int{0, 1, 1452, 65535} {
			s := &source{addr: netip.MustParseAddr(c.addr), link: 7}
			control := appendSource(nil, s)
			if segment > 0 {
				control = appendControl(control, unix.SOL_UDP, unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, uint32(segment)))
			}
			if len(control) > controlSize {
				t.Errorf("%s with segments of %d takes %d bytes, more than %d", c.addr, segment, len(control), controlSize)
			}
			if got, want := readControl(control), (arrival{s.addr, c.link, segment}); got != want {
				t.Errorf("%s reads back as %+v, want %+v", c.addr, got, want)
			}
			for cut := range control {
				readControl(control[:cut]) // however damaged, it doesn't panic
			}
		}
	}
	control := appendSegmentSize(nil, 1452)
	msgs, err := unix.ParseSocketControlMessage(control)
	if err != nil || len(msgs) != 1 || msgs[0].Header.Level != unix.SOL_UDP || msgs[0].Header.Type != unix.UDP_SEGMENT ||
		binary.NativeEndian.Uint16(msgs[0].Data) != 1452 {
		t.Errorf("segment size: %+v, %v", msgs, err)
	}
}

// packetsOf returns packets of these lengths, each filled with its number.
func packetsOf(lengths ...int) (packets [][]byte) {
	for i, n := range lengths {
		packets = append(packets, bytes.Repeat([]byte{byte(i + 1)}, n))
	}
	return packets
}

func TestFill(t *testing.T) {
	for _, c := range []struct {
		name    string
		lengths []int
		limit   int
		want    string // of each message: packets x length of the first, + the rest of the last
	}{
		{"one", []int{100}, maxPayload4, "1x100"},
		{"equal", []int{100, 100, 100}, maxPayload4, "3x100"},
		{"a shorter one ends it", []int{100, 100, 40, 100, 100}, maxPayload4, "3x100 2x100"},
		{"a longer one begins another", []int{100, 200, 200}, maxPayload4, "1x100 2x200"},
		{"falling", []int{300, 200, 100}, maxPayload4, "2x300 1x100"},
		{"rising", []int{100, 200, 300}, maxPayload4, "1x100 1x200 1x300"},
		{"without segments", []int{100, 100}, 0, "1x100 1x100"},
		{"up to the limit", slices.Repeat([]int{1452}, 50), maxPayload4, "45x1452 5x1452"},
		{"IPv6 takes more", slices.Repeat([]int{65527 / 7}, 8), maxPayload6, "7x9361 1x9361"},
		{"at most 64", slices.Repeat([]int{10}, 128), maxPayload4, "64x10 64x10"},
		{"an empty one stands alone", []int{10, 0, 10}, maxPayload4, "1x10 1x0 1x10"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := outgoings.New().(*outgoing)
			o.toLen = o.to.set(netip.MustParseAddrPort("192.0.2.1:5"), 0)
			packets := packetsOf(c.lengths...)
			src := &source{addr: netip.MustParseAddr("192.0.2.7")}
			for range 2 { // the second time over what is left of the first
				o.fill(packets, src, c.limit)
			}
			var got []string
			var sent [][]byte
			for i, m := range o.msgs[:o.n] {
				first := o.packets[len(sent)]
				got = append(got, fmt.Sprintf("%dx%d", o.counts[i], first.Len))
				for _, iov := range unsafe.Slice(m.hdr.Iov, m.hdr.Iovlen) {
					sent = append(sent, unsafe.Slice(iov.Base, iov.Len))
				}
				control := unsafe.Slice(m.hdr.Control, m.hdr.Controllen)
				want := appendSource(nil, src)
				if o.counts[i] > 1 {
					want = appendSegmentSize(want, int(first.Len))
				}
				if !bytes.Equal(control, want) {
					t.Errorf("message %d has control %x, want %x", i, control, want)
				}
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
			if !slices.EqualFunc(sent, packets, bytes.Equal) {
				t.Error("what goes out isn't what came in")
			}
		})
	}
}

// arrive puts a message into a receiver as the kernel would.
func (r *receiver) arrive(from string, to string, segment int, data []byte) {
	i := r.n
	r.n++
	r.from[i].set(netip.MustParseAddrPort(from), 0)
	copy(r.data[i*maxMessage:], data)
	control := appendSource(nil, &source{addr: netip.MustParseAddr(to)})
	if segment > 0 {
		control = appendControl(control, unix.SOL_UDP, unix.UDP_GRO, binary.NativeEndian.AppendUint32(nil, uint32(segment)))
	}
	copy(r.controls[i*controlSize:], control)
	r.msgs[i].len = uint32(len(data))
	r.msgs[i].hdr.SetControllen(len(control))
}

// Joined messages are taken apart, every packet of them keeps the address that
// it was sent to, and what doesn't fit into one call comes with the next.
func TestReceiverSplits(t *testing.T) {
	r := newReceiver(&udpSocket{family: unix.AF_INET, coalesces: true})
	joined := bytes.Join(packetsOf(100, 100, 100, 30), nil)
	r.arrive("192.0.2.1:1", "10.0.0.1", 100, joined)
	r.arrive("192.0.2.1:1", "10.0.0.2", 0, []byte("single"))
	r.arrive("192.0.2.2:2", "10.0.0.1", 0, nil)                              // empty
	r.arrive("192.0.2.2:2", "10.0.0.1", 0, bytes.Repeat([]byte{9}, 1<<16-1)) // longer than its room
	r.msgs[3].hdr.Flags = unix.MSG_TRUNC
	r.arrive("192.0.2.2:2", "10.0.0.1", 100, []byte("short"))
	want := []string{
		"100 192.0.2.1:1 10.0.0.1", "100 192.0.2.1:1 10.0.0.1", "100 192.0.2.1:1 10.0.0.1", "30 192.0.2.1:1 10.0.0.1",
		"6 192.0.2.1:1 10.0.0.2", "5 192.0.2.2:2 10.0.0.1",
	}
	var got []string
	var data []byte
	var last conn.Endpoint
	for range 2 {
		packets, sizes, eps := packetsOf(200, 200, 200), make([]int, 3), make([]conn.Endpoint, 3)
		n, err := r.receive(packets, sizes, eps)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			got = append(got, fmt.Sprintf("%d %s %s", sizes[i], eps[i].DstToString(), eps[i].SrcToString()))
			data = append(data, packets[i][:sizes[i]]...)
		}
		if last != nil && eps[0] != last {
			t.Error("one message gave two endpoints")
		}
		last = eps[2]
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if want := string(joined) + "singleshort"; string(data) != want {
		t.Errorf("got %q, want %q", data, want)
	}
}

// An endpoint is used again for the packets that come the same way, until
// somebody clears its source: the next packet brings it back.
func TestReceiverSharesEndpoints(t *testing.T) {
	r := newReceiver(&udpSocket{family: unix.AF_INET, coalesces: true})
	next := func(from, to string) conn.Endpoint {
		r.next, r.n = 0, 0
		r.arrive(from, to, 0, []byte("x"))
		packets, sizes, eps := packetsOf(10), make([]int, 1), make([]conn.Endpoint, 1)
		if n, err := r.receive(packets, sizes, eps); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		return eps[0]
	}
	first := next("192.0.2.1:1", "10.0.0.1")
	if next("192.0.2.1:1", "10.0.0.1") != first {
		t.Error("the same way gives another endpoint")
	}
	if e := next("192.0.2.1:1", "10.0.0.2"); e == first || e.SrcToString() != "10.0.0.2" {
		t.Errorf("another address of ours gives %s", e.SrcToString())
	}
	second := next("192.0.2.1:2", "10.0.0.2")
	if second.DstToString() != "192.0.2.1:2" {
		t.Errorf("another port gives %s", second.DstToString())
	}
	second.ClearSrc()
	if second.SrcIP().IsValid() {
		t.Errorf("cleared, the source is %s", second.SrcToString())
	}
	if e := next("192.0.2.1:2", "10.0.0.2"); e == second || e.SrcToString() != "10.0.0.2" {
		t.Errorf("after it was cleared, the source is %s", e.SrcToString())
	}
	if first.SrcToString() != "10.0.0.1" || first.DstToString() != "192.0.2.1:1" {
		t.Errorf("the first endpoint changed to %s from %s", first.DstToString(), first.SrcToString())
	}
}

func TestReceiverAllocatesLittle(t *testing.T) {
	r := newReceiver(&udpSocket{family: unix.AF_INET, coalesces: true})
	r.arrive("192.0.2.1:1", "10.0.0.1", 1000, bytes.Join(packetsOf(slices.Repeat([]int{1000}, 60)...), nil))
	packets, sizes, eps := packetsOf(slices.Repeat([]int{2000}, 128)...), make([]int, 128), make([]conn.Endpoint, 128)
	per := testing.AllocsPerRun(100, func() {
		r.next = 0
		if n, err := r.receive(packets, sizes, eps); n != 60 || err != nil {
			t.Fatal(n, err)
		}
	})
	if per > 0 {
		t.Errorf("%v allocations for 60 packets", per)
	}
}
