// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// prefixesOf returns n prefixes of one address each, from the first on.
func prefixesOf(first, n int) []netip.Prefix {
	out := make([]netip.Prefix, n)
	for i := range out {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 10<<24+uint32(first+i))
		out[i] = netip.PrefixFrom(netip.AddrFrom4(b), 32)
	}
	return out
}

// allowedIPs returns a peer's, sorted.
func allowedIPs(t *testing.T, d Device, k Key) []netip.Prefix {
	t.Helper()
	for _, p := range d.Peers {
		if p.PublicKey == k {
			return slices.SortedFunc(slices.Values(p.AllowedIPs), netip.Prefix.Compare)
		}
	}
	t.Fatalf("no peer %v", k)
	return nil
}

// However a device takes the flag, allowed IPs are removed and nothing else is:
// after every single message each peer has all that it keeps.
func TestRemovalByFlagAndWithout(t *testing.T) {
	for _, c := range []struct {
		name   string
		byFlag func(f *Fake, r removal) error
		want   string
	}{
		{"a device that knows the flag", func(f *Fake, r removal) error {
			return f.Configure(context.Background(), "wg0", DeviceChange{Peers: []PeerChange{{PublicKey: r.peer, RemoveAllowedIPs: r.prefixes}}})
		}, "flag flag flag"},
		{"one that refuses it", func(*Fake, removal) error { return unix.EINVAL }, "flag message message message"},
		{"one that overlooks it", func(f *Fake, r removal) error {
			return f.Configure(context.Background(), "wg0", DeviceChange{Peers: []PeerChange{{PublicKey: r.peer, AllowedIPs: r.prefixes}}})
		}, "flag flag flag message message message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := NewFake()
			if err := f.StartUserspace(t.Context(), "wg0"); err != nil {
				t.Fatal(err)
			}
			setup := DeviceChange{Peers: []PeerChange{
				{PublicKey: Key{1}, AllowedIPs: prefixesOf(0, 500), Endpoint: netip.MustParseAddrPort("192.0.2.1:1")},
				{PublicKey: Key{2}, AllowedIPs: prefixesOf(1000, 5)},
			}}
			if err := f.Configure(t.Context(), "wg0", setup); err != nil {
				t.Fatal(err)
			}
			get := func() (Device, error) { return f.Device(context.Background(), "wg0") }
			var did []string
			look := func(what string, err error) error {
				if did = append(did, what); len(did) == 1 {
					return err // the change itself
				}
				d, gerr := get()
				if gerr != nil {
					t.Fatal(gerr)
				}
				if have := allowedIPs(t, d, Key{1}); !slices.Equal(have[:200], prefixesOf(0, 200)) {
					t.Errorf("%s: an allowed IP that is kept was missing", what)
				}
				if have := allowedIPs(t, d, Key{2}); have[0] != prefixesOf(1000, 1)[0] || len(d.Peers) != 2 {
					t.Errorf("%s: %d peers, the other with %v", what, len(d.Peers), have)
				}
				return err
			}
			h := changer{
				device: get,
				configure: func(c DeviceChange) error {
					return look("message", f.Configure(context.Background(), "wg0", c))
				},
				byFlag: func(r removal) error { return look("flag", c.byFlag(f, r)) },
			}
			err := h.apply(DeviceChange{Peers: []PeerChange{
				{PublicKey: Key{1}, RemoveAllowedIPs: slices.Concat(prefixesOf(200, 300), prefixesOf(1000, 1), prefixesOf(7000, 9))},
				{PublicKey: Key{2}, RemoveAllowedIPs: prefixesOf(1001, 2)},
				{PublicKey: Key{3}, UpdateOnly: true, RemoveAllowedIPs: prefixesOf(0, 2)},
			}})
			if err != nil {
				t.Fatal(err)
			}
			d, _ := get()
			if got := allowedIPs(t, d, Key{1}); !slices.Equal(got, prefixesOf(0, 200)) {
				t.Errorf("the peer keeps %d allowed IPs", len(got))
			}
			if got := allowedIPs(t, d, Key{2}); !slices.Equal(got, []netip.Prefix{prefixesOf(1000, 1)[0], prefixesOf(1003, 1)[0], prefixesOf(1004, 1)[0]}) {
				t.Errorf("the other keeps %v", got)
			}
			if got := strings.Join(did[1:], " "); got != c.want {
				t.Errorf("took %s, want %s", got, c.want)
			}
		})
	}
}

// What can't be removed is said, and other errors are passed on.
func TestRemovalFails(t *testing.T) {
	d := Device{Peers: []Peer{{PublicKey: Key{1}, AllowedIPs: prefixesOf(0, 2)}}}
	h := changer{
		device:    func() (Device, error) { return d, nil },
		configure: func(DeviceChange) error { return nil },
		byFlag:    func(removal) error { return nil },
	}
	c := DeviceChange{Peers: []PeerChange{{PublicKey: Key{1}, RemoveAllowedIPs: prefixesOf(0, 1)}}}
	if err := h.apply(c); err == nil || !strings.Contains(err.Error(), "the device keeps them") {
		t.Errorf("a device that does nothing: %v", err)
	}
	h.byFlag = func(removal) error { return unix.EPERM }
	if err := h.apply(c); err != unix.EPERM {
		t.Errorf("a device that forbids it: %v", err)
	}
}

// A peer that is named again after it lost something gets the second change
// after the loss.
func TestRemovalKeepsOrder(t *testing.T) {
	w := realWorld{newNamespace(t)}
	w.device(t, "wg0")
	f := fakeWorld{NewFake()}
	f.device(t, "wg0")
	a, b, k := prefixesOf(1, 1), prefixesOf(2, 1), Key{1}
	c := DeviceChange{Peers: []PeerChange{
		{PublicKey: k, AllowedIPs: slices.Concat(a, b)},
		{PublicKey: k, RemoveAllowedIPs: a},
		{PublicKey: Key{2}, AllowedIPs: b, RemoveAllowedIPs: a},
		{PublicKey: k, AllowedIPs: a},
		{PublicKey: k, RemoveAllowedIPs: b},
	}}
	for _, w := range []world{w, f} {
		if err := w.Configure(t.Context(), "wg0", c); err != nil {
			t.Fatal(err)
		}
		d, err := w.Device(t.Context(), "wg0")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(allowedIPs(t, d, k), allowedIPs(t, d, Key{2})); got != fmt.Sprint(a, b) || len(d.Peers) != 2 {
			t.Errorf("%T: %d peers with %s", w, len(d.Peers), got)
		}
	}
}

// The peer that nobody knows leaves nothing on a real device either, which here
// is made to refuse the flag, and no other allowed IP moves.
func TestRemovalByStranger(t *testing.T) {
	k := newNamespace(t)
	realWorld{k}.device(t, "wg0")
	ctx := t.Context()
	key := testKey("A")
	c := manyPeers(600, 3)
	c.PrivateKey = &key
	if err := k.Configure(ctx, "wg0", c); err != nil {
		t.Fatal(err)
	}
	if err := k.LinkSet(ctx, "wg0", 0, true); err != nil {
		t.Fatal(err)
	}
	get := func() (Device, error) { return k.Device(ctx, "wg0") }
	messages := 0
	h := changer{
		device: get,
		configure: func(c DeviceChange) error {
			messages++
			return k.Configure(ctx, "wg0", c)
		},
		byFlag: func(removal) error { return unix.EINVAL },
	}
	gone := c.Peers[0].AllowedIPs[10:590]
	if err := h.remove([]removal{{c.Peers[0].PublicKey, slices.Concat(gone, c.Peers[1].AllowedIPs)}}); err != nil {
		t.Fatal(err)
	}
	d, err := get()
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Concat(c.Peers[0].AllowedIPs[:10], c.Peers[0].AllowedIPs[590:])
	if got := allowedIPs(t, d, c.Peers[0].PublicKey); !slices.Equal(got, want) {
		t.Errorf("%d allowed IPs are left, want %d", len(got), len(want))
	}
	if got := allowedIPs(t, d, c.Peers[1].PublicKey); !slices.Equal(got, c.Peers[1].AllowedIPs) || len(d.Peers) != 2 {
		t.Errorf("%d peers; the other has %v", len(d.Peers), got)
	}
	if messages != 3 {
		t.Errorf("%d messages for %d allowed IPs", messages, len(gone))
	}
}

// The kernel either does what the flag says or refuses the message whole; it
// doesn't take an allowed IP with the flag for one to add.
func TestRemovalFlagIsKnownOrRefused(t *testing.T) {
	k := newNamespace(t)
	realWorld{k}.device(t, "wg0")
	ctx := t.Context()
	c := manyPeers(3, 3)
	if err := k.Configure(ctx, "wg0", c); err != nil {
		t.Fatal(err)
	}
	all := [][]netip.Prefix{c.Peers[0].AllowedIPs, c.Peers[1].AllowedIPs}
	r := removal{c.Peers[0].PublicKey, slices.Concat(all[0][:1], all[1][:1])}
	d, err := k.Device(ctx, "wg0")
	if err != nil {
		t.Fatal(err)
	}
	if d.Backend == BackendKernel {
		err = k.kernelRemove(ctx, "wg0", r)
	} else {
		err = uapiDevice{path: k.uapiPath("wg0"), name: "wg0"}.remove(ctx, r)
	}
	t.Logf("the device of the %s says %v", d.Backend, err)
	want := all[0][1:]
	if errors.Is(err, unix.EINVAL) {
		want = all[0]
	} else if err != nil {
		t.Fatal(err)
	}
	if d, err = k.Device(ctx, "wg0"); err != nil {
		t.Fatal(err)
	}
	if got := allowedIPs(t, d, c.Peers[0].PublicKey); !slices.Equal(got, want) {
		t.Errorf("the peer has %v, want %v", got, want)
	}
	if got := allowedIPs(t, d, c.Peers[1].PublicKey); !slices.Equal(got, all[1]) {
		t.Errorf("the other peer has %v, want %v", got, all[1])
	}
}

func TestRemovalMessage(t *testing.T) {
	r := removal{Key{7}, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/16")}}
	b := new(zones).appendPeers(nil, r.change().Peers)
	// As `wg set wg0 peer K allowed-ips -10.0.0.0/8,-fd00::/16` of
	// wireguard-tools 1.0.20250521 says it, but that it never says
	// WGPEER_F_UPDATE_ONLY.
	want := []string{
		"peers", "peer 0", "key 07", "flags 4", "allowed ips",
		"ip 0", "family 2", "address 0a000000", "bits 8", "flags 1",
		"ip 0", "family 10", "address fd000000000000000000000000000000", "bits 16", "flags 1",
	}
	if got := sayRemoval(t, b); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func sayRemoval(t *testing.T, b []byte) (words []string) {
	t.Helper()
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	each := func(b []byte, f func(kind uint16, data []byte)) {
		ad, err := netlink.NewAttributeDecoder(b) // a reader that isn't ours
		if err != nil {
			t.Fatal(err)
		}
		for ad.Next() {
			f(ad.Type(), ad.Bytes())
		}
		if err := ad.Err(); err != nil {
			t.Fatal(err)
		}
	}
	each(b, func(kind uint16, b []byte) {
		say("%s", map[uint16]string{unix.WGDEVICE_A_PEERS: "peers"}[kind])
		each(b, func(kind uint16, b []byte) {
			say("peer %d", kind)
			each(b, func(kind uint16, b []byte) {
				switch kind {
				case unix.WGPEER_A_PUBLIC_KEY:
					say("key %02x", b[0])
				case unix.WGPEER_A_FLAGS:
					say("flags %d", binary.NativeEndian.Uint32(b))
				case unix.WGPEER_A_ALLOWEDIPS:
					say("allowed ips")
					each(b, func(kind uint16, b []byte) {
						say("ip %d", kind)
						each(b, func(kind uint16, b []byte) {
							switch kind {
							case unix.WGALLOWEDIP_A_FAMILY:
								say("family %d", binary.NativeEndian.Uint16(b))
							case unix.WGALLOWEDIP_A_IPADDR:
								say("address %x", b)
							case unix.WGALLOWEDIP_A_CIDR_MASK:
								say("bits %d", b[0])
							case wgAllowedIPFlags:
								say("flags %d", binary.NativeEndian.Uint32(b))
							}
						})
					})
				}
			})
		})
	})
	return words
}

// Tens of thousands of allowed IPs of one peer arrive whole, are added to,
// replaced and removed one by one, on either backend: a message that goes on
// where the last one was full doesn't replace.
func TestManyAllowedIPsOfOnePeer(t *testing.T) {
	const n = 30_000
	k := newNamespace(t)
	realWorld{k}.device(t, "wg0")
	ctx := t.Context()
	peer := Key{9}
	check := func(what string, c PeerChange, want []netip.Prefix) {
		t.Helper()
		start := time.Now()
		c.PublicKey = peer
		if err := k.Configure(ctx, "wg0", DeviceChange{Peers: []PeerChange{c}}); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		took := time.Since(start)
		d, err := k.Device(ctx, "wg0")
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := allowedIPs(t, d, peer); !slices.Equal(got, want) {
			t.Errorf("%s: %d allowed IPs, want %d", what, len(got), len(want))
		}
		t.Logf("%s: %v", what, took)
	}
	check("making the peer", PeerChange{AllowedIPs: prefixesOf(0, n)}, prefixesOf(0, n))
	check("adding", PeerChange{AllowedIPs: prefixesOf(n, 1000)}, prefixesOf(0, n+1000))
	check("replacing", PeerChange{ReplaceAllowedIPs: true, AllowedIPs: prefixesOf(500, n)}, prefixesOf(500, n))
	check("removing", PeerChange{RemoveAllowedIPs: prefixesOf(0, 1500)}, prefixesOf(1500, n-1000))
}

// A hundred thousand peers go out in order, and none is forgotten, in messages
// that the kernel takes.
func TestHundredThousandPeers(t *testing.T) {
	const n = 100_000
	c := DeviceChange{ReplacePeers: true}
	for i, a := range prefixesOf(0, n) {
		var k Key
		binary.BigEndian.PutUint32(k[:], uint32(i+1))
		c.Peers = append(c.Peers, PeerChange{PublicKey: k, ReplaceAllowedIPs: true, AllowedIPs: []netip.Prefix{a}})
	}
	next, i := 0, -1
	for cfg := range parts(c, kernelPeers, kernelIPs) {
		i++
		if cfg.ReplacePeers != (i == 0) || len(cfg.Peers) > kernelPeers {
			t.Fatalf("message %d replaces all: %v, with %d peers", i, cfg.ReplacePeers, len(cfg.Peers))
		}
		for _, p := range cfg.Peers {
			if p.PublicKey != c.Peers[next].PublicKey || !p.ReplaceAllowedIPs || len(p.AllowedIPs) != 1 {
				t.Fatalf("peer %d is %+v", next, p)
			}
			next++
		}
	}
	if next != n {
		t.Errorf("%d peers of %d", next, n)
	}
	f := NewFake()
	if err := f.StartUserspace(t.Context(), "wg0"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time over those that are there
		if err := f.Configure(t.Context(), "wg0", c); err != nil {
			t.Fatal(err)
		}
		d, err := f.Device(t.Context(), "wg0")
		if err != nil || len(d.Peers) != n || d.Peers[n-1].PublicKey != c.Peers[n-1].PublicKey {
			t.Fatalf("%d peers, %v", len(d.Peers), err)
		}
	}
}

func TestPeersAfter(t *testing.T) {
	d := Device{Peers: []Peer{{PublicKey: Key{1}}, {PublicKey: Key{2}}}}
	for _, c := range []struct {
		name   string
		change DeviceChange
		want   int
	}{
		{"none", DeviceChange{}, 2},
		{"new and old", DeviceChange{Peers: []PeerChange{{PublicKey: Key{2}}, {PublicKey: Key{3}}}}, 3},
		{"twice", DeviceChange{Peers: []PeerChange{{PublicKey: Key{3}}, {PublicKey: Key{3}}}}, 3},
		{"update only", DeviceChange{Peers: []PeerChange{{PublicKey: Key{3}, UpdateOnly: true}}}, 2},
		{"removed", DeviceChange{Peers: []PeerChange{{PublicKey: Key{1}, Remove: true}, {PublicKey: Key{3}}}}, 2},
		{"replaced", DeviceChange{ReplacePeers: true, Peers: []PeerChange{{PublicKey: Key{3}}}}, 1},
	} {
		if got := peersAfter(d, c.change); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// More peers than an embedded device takes are refused in one clear line:
// before anything is done, or, of a few, when the device refuses them.
func TestTooManyPeers(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full.sock")
	var reply strings.Builder
	for i := range maxUAPIPeers {
		fmt.Fprintf(&reply, "public_key=%064x\n", i+1)
	}
	reply.WriteString("errno=0\n\n")
	serveUAPIBy(t, full, func(request string) string {
		if strings.HasPrefix(request, "get") {
			return reply.String()
		}
		return "errno=-22\n\n"
	})
	empty := filepath.Join(dir, "empty.sock")
	var asked []string
	serveUAPIBy(t, empty, func(request string) string {
		asked = append(asked, request[:4])
		return "errno=0\n\n"
	})
	many := DeviceChange{}
	for i := range maxUAPIPeers + 1 {
		var k Key
		binary.BigEndian.PutUint32(k[:], uint32(i+1))
		many.Peers = append(many.Peers, PeerChange{PublicKey: k})
	}
	for _, c := range []struct {
		name, path string
		change     DeviceChange
	}{
		{"one more", full, DeviceChange{Peers: many.Peers[:1]}},
		{"all at once", empty, many},
	} {
		err := uapiDevice{path: c.path, name: "wg0"}.configure(t.Context(), c.change)
		if !errors.Is(err, ErrTooManyPeers) || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), "65,536 peers") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if got := strings.Join(asked, " "); got != "get=" {
		t.Errorf("a change that is too much did %s", got)
	}
	if err := (uapiDevice{path: empty, name: "wg0"}).configure(t.Context(), DeviceChange{Peers: many.Peers[1:]}); err != nil {
		t.Errorf("as many as it takes: %v", err)
	}
}
