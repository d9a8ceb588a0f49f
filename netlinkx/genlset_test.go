// SPDX-License-Identifier: MIT

package netlinkx

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// What the kernel is sent says what was asked for: read as what the kernel
// sends, which has the same form.
func TestPeersInMessages(t *testing.T) {
	keepalive, psk := uint16(25), Secret{9}
	c := manyPeers(0, 1, 700, 300, 2)
	c.Peers[1].Endpoint = netip.MustParseAddrPort("192.0.2.1:51820")
	c.Peers[2].Endpoint = netip.MustParseAddrPort("[fe80::1%t7]:51820")
	c.Peers[3].Endpoint = netip.MustParseAddrPort("[::ffff:192.0.2.7]:7")
	c.Peers[1].PersistentKeepalive, c.Peers[1].PresharedKey = &keepalive, &psk
	c.Peers[1].AllowedIPs = append(c.Peers[1].AllowedIPs, netip.MustParsePrefix("::ffff:10.0.0.0/104"), netip.MustParsePrefix("::/0"),
		netip.MustParsePrefix("0.0.0.0/0"))
	z := zones{scope: map[string]uint32{"t7": 7}}
	var d Device
	var peers peerList
	for part := range parts(c, kernelPeers, kernelIPs) {
		m := z.appendPeers(appendDevice(nil, unix.WG_CMD_SET_DEVICE, "wg0"), part.Peers)
		if len(m) > batchBytes/2 {
			t.Errorf("a message of %d bytes", len(m))
		}
		if err := d.merge(m, &peers); err != nil {
			t.Fatal(err)
		}
	}
	if d.Peers = peers.all(); len(d.Peers) != len(c.Peers) {
		t.Fatalf("%d peers of %d", len(d.Peers), len(c.Peers))
	}
	endpoints := []string{"invalid AddrPort", "192.0.2.1:51820", "[fe80::1%7]:51820", "192.0.2.7:7", "invalid AddrPort"}
	for i, p := range d.Peers {
		want := c.Peers[i]
		if p.PublicKey != want.PublicKey || p.PresharedKey != *want.PresharedKey || !slices.Equal(p.AllowedIPs, want.AllowedIPs) {
			t.Errorf("peer %d reads back with %d of %d allowed IPs", i, len(p.AllowedIPs), len(want.AllowedIPs))
		}
		if p.Endpoint.String() != endpoints[i] || (p.PersistentKeepalive != 0) != (i == 1) {
			t.Errorf("peer %d reads back with %v, %d", i, p.Endpoint, p.PersistentKeepalive)
		}
	}
}

func TestPeerFlags(t *testing.T) {
	for _, c := range []struct {
		p    PeerChange
		want uint32
	}{
		{PeerChange{}, 0},
		{PeerChange{Remove: true}, 1},
		{PeerChange{ReplaceAllowedIPs: true}, 2},
		{PeerChange{UpdateOnly: true}, 4},
		{PeerChange{Remove: true, UpdateOnly: true}, 5},
	} {
		if got := peerFlags(&c.p); got != c.want {
			t.Errorf("%+v: %d, want %d", c.p, got, c.want)
		}
	}
}

func TestEndpointOf(t *testing.T) {
	v4 := []byte{unix.AF_INET, 0, 0xca, 0x6c, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0}
	if got := endpointOf(v4); got != netip.MustParseAddrPort("192.0.2.1:51820") {
		t.Errorf("got %v", got)
	}
	if got := endpointOf(v4[:7]); got.IsValid() {
		t.Errorf("got %v from 7 bytes", got)
	}
	b := appendEndpoint(nil, netip.MustParseAddrPort("192.0.2.1:51820"), 0)
	if got := b[4:]; !slices.Equal(got, v4) {
		t.Errorf("sent as %v", got)
	}
}

// What is cut off or makes no sense is passed over, and reads nothing that
// isn't there.
func TestAttributesOfNonsense(t *testing.T) {
	whole := appendUint32(appendAttribute(nil, 5, 1, 2, 3), 6, 7)
	for cut := range len(whole) + 1 {
		n := 0
		for range attributes(whole[:cut]) {
			n++
		}
		want := map[bool]int{cut >= 7: 1}[true]
		if cut == len(whole) {
			want = 2
		}
		if n != want {
			t.Errorf("%d attributes in %d bytes", n, cut)
		}
	}
	for _, b := range [][]byte{{0, 0, 1, 0}, {3, 0, 1, 0, 0}, {255, 255, 1, 0}} {
		for kind, v := range attributes(b) {
			t.Errorf("% x: attribute %d, %s", b, kind, fmt.Sprint(v))
		}
	}
	if err := new(Device).merge([]byte{1}, new(peerList)); err == nil {
		t.Error("a message of one byte is a device")
	}
}

// A refused change is an error even if the last of the messages is well, and
// leaves what the others say.
func TestRefusedPeers(t *testing.T) {
	k := newNamespace(t)
	realWorld{k}.device(t, "wg0")
	ctx := t.Context()
	c := manyPeers(slices.Repeat([]int{1}, 100)...)
	c.Peers[40].AllowedIPs = []netip.Prefix{{}} // which has -1 bits
	err := k.Configure(ctx, "wg0", c)
	if !errors.Is(err, unix.EINVAL) {
		t.Errorf("got %v", err)
	}
	d, err := k.Device(ctx, "wg0")
	if err != nil || len(d.Peers) < 40 {
		t.Errorf("%d peers, %v", len(d.Peers), err)
	}
}

// However many peers there are, each is there once and in its place.
func TestPeerList(t *testing.T) {
	for _, n := range []int{0, 1, smallestBlock, smallestBlock + 1, 3 * largestBlock} {
		var l peerList
		for i := range n {
			l.add().TransmitBytes = int64(i)
		}
		all := l.all()
		if len(all) != n {
			t.Errorf("%d peers of %d", len(all), n)
		}
		for i, p := range all {
			if p.TransmitBytes != int64(i) {
				t.Fatalf("of %d peers, %d is in the place of %d", n, p.TransmitBytes, i)
			}
		}
	}
}
