// SPDX-License-Identifier: MIT

package netlinkx

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manyPeers returns a change with peers of so many allowed IPs each.
func manyPeers(counts ...int) DeviceChange {
	var c DeviceChange
	n := uint32(0)
	for i, count := range counts {
		p := PeerChange{PublicKey: Key{1, byte(i), byte(i >> 8)}, ReplaceAllowedIPs: true}
		psk := Secret{2, byte(i)}
		p.PresharedKey = &psk
		for range count {
			n++
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], 10<<24+n)
			p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(netip.AddrFrom4(b), 32))
		}
		c.Peers = append(c.Peers, p)
	}
	return c
}

func TestParts(t *testing.T) {
	port, mark, key := uint16(5), uint32(7), Secret{3}
	device := DeviceChange{PrivateKey: &key, ListenPort: &port, FwMark: &mark}
	for _, c := range []struct {
		name   string
		change DeviceChange
		want   string // of each chunk: its peers, with their allowed IPs, "+" where it only adds
	}{
		{"nothing", DeviceChange{}, ""},
		{"device only", device, "device"},
		{"one", manyPeers(3), "0:3"},
		{"without allowed IPs", manyPeers(0, 0), "0:0 1:0"},
		{"five peers at four a chunk", manyPeers(1, 1, 1, 1, 1), "0:1 1:1 2:1 3:1 | 4:1"},
		{"exactly full", manyPeers(10), "0:10"},
		{"one over", manyPeers(11), "0:10 | 0+1"},
		{"not split where a chunk of its own will do", manyPeers(6, 6, 6), "0:6 | 1:6 | 2:6"},
		{"split, and the next in the room that is left", manyPeers(25, 5, 1), "0:10 | 0+10 | 0+5 1:5 | 2:1"},
		{"split where it stands", manyPeers(3, 12), "0:3 1:7 | 1+5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said []string
			for cfg := range parts(c.change, 4, 10) {
				said = append(said, sayPart(t, c.change, cfg))
			}
			if s := strings.Join(said, " | "); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
}

// sayPart says what a chunk holds, and checks that the first part of a peer
// says all, and those after it only add.
func sayPart(t *testing.T, c DeviceChange, cfg DeviceChange) string {
	t.Helper()
	if cfg.ReplacePeers {
		t.Error("a chunk replaces all peers")
	}
	var words []string
	if cfg.PrivateKey != nil || cfg.ListenPort != nil || cfg.FwMark != nil {
		words = append(words, "device")
	}
	for _, p := range cfg.Peers {
		i := slices.IndexFunc(c.Peers, func(q PeerChange) bool { return q.PublicKey == p.PublicKey })
		first := p.PresharedKey != nil
		if first != p.ReplaceAllowedIPs || first == p.UpdateOnly {
			t.Errorf("peer %d: psk %v, replace %v, update only %v", i, first, p.ReplaceAllowedIPs, p.UpdateOnly)
		}
		words = append(words, fmt.Sprintf("%d%s%d", i, map[bool]string{true: ":", false: "+"}[first], len(p.AllowedIPs)))
	}
	return strings.Join(words, " ")
}

func TestPartsLoseNothing(t *testing.T) {
	c := manyPeers(1, 300, 0, 257, 256, 31, 0, 5, 1000)
	for range 100 {
		c.Peers = append(c.Peers, manyPeers(2).Peers...)
	}
	var want, got []string
	for _, p := range c.Peers {
		for _, a := range p.AllowedIPs {
			want = append(want, a.String())
		}
	}
	for cfg := range parts(c, kernelPeers, kernelIPs) {
		ips := 0
		for _, p := range cfg.Peers {
			ips += len(p.AllowedIPs)
			for _, a := range p.AllowedIPs {
				got = append(got, a.String())
			}
		}
		if len(cfg.Peers) > kernelPeers || ips > kernelIPs || len(cfg.Peers) == 0 {
			t.Errorf("a chunk of %d peers and %d allowed IPs", len(cfg.Peers), ips)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d allowed IPs in, %d out, or in another order", len(want), len(got))
	}
}

func TestRemovedPeersCarryNothing(t *testing.T) {
	c := manyPeers(300)
	c.Peers[0].Remove = true
	c.Peers[0].Endpoint = netip.MustParseAddrPort("192.0.2.1:1")
	got := slices.Collect(parts(c, kernelPeers, kernelIPs))
	if len(got) != 1 || len(got[0].Peers) != 1 || got[0].Peers[0].Endpoint.IsValid() || got[0].Peers[0].PresharedKey != nil || !got[0].Peers[0].Remove || len(got[0].Peers[0].AllowedIPs) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestUAPIRequest(t *testing.T) {
	port, keepalive, none := uint16(51820), uint16(25), Secret{}
	psk := testKey("P")
	c := DeviceChange{PrivateKey: &none, ListenPort: &port, Peers: []PeerChange{{
		PublicKey: Key{1}, PresharedKey: &psk, UpdateOnly: true, ReplaceAllowedIPs: true,
		Endpoint: netip.MustParseAddrPort("[fe80::1%eth0]:5"), PersistentKeepalive: &keepalive,
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::ffff:10.0.0.0/104")},
	}, {PublicKey: Key{2}, Remove: true}}}
	var got []byte
	for part := range parts(c, uapiPeers, uapiIPs) {
		got = appendRequest(got, part)
	}
	want := "set=1\nprivate_key=" + strings.Repeat("0", 64) + "\nlisten_port=51820\n\n" +
		"set=1\npublic_key=01" + strings.Repeat("0", 62) + "\nupdate_only=true\n" +
		fmt.Sprintf("preshared_key=%x\n", psk[:]) +
		"endpoint=[fe80::1%eth0]:5\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\n" +
		"allowed_ip=10.0.0.0/8\nallowed_ip=::ffff:10.0.0.0/104\n" +
		"public_key=02" + strings.Repeat("0", 62) + "\nremove=true\n\n"
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// serveUAPI answers each connection to a socket with the same bytes.
func serveUAPI(t *testing.T, path, reply string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = c.Write([]byte(reply))
			if reply != "" {
				_ = c.Close()
			} else {
				t.Cleanup(func() { _ = c.Close() })
			}
		}
	}()
}

// serveUAPIBy answers each request to a socket by a function.
func serveUAPIBy(t testing.TB, path string, answer func(request string) string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			var request bytes.Buffer
			for b := make([]byte, 1<<16); !bytes.HasSuffix(request.Bytes(), []byte("\n\n")); {
				n, err := c.Read(b)
				if err != nil {
					break
				}
				request.Write(b[:n])
			}
			_, _ = c.Write([]byte(answer(request.String())))
			_ = c.Close()
		}
	}()
}

func TestUAPIReplies(t *testing.T) {
	key := strings.Repeat("ab", 32)
	for _, c := range []struct {
		name, reply, want string
		is                error
	}{
		{"well", "private_key=" + key + "\nlisten_port=5\nfwmark=4294967295\npublic_key=" + key +
			"\nendpoint=[fe80::1%lo]:7\nlast_handshake_time_sec=9\nlast_handshake_time_nsec=0\ntx_bytes=1\nrx_bytes=2\n" +
			"allowed_ip=10.0.0.0/8\nallowed_ip=::/0\nunknown=x\nerrno=0\n\n",
			"5 4294967295 [fe80::1%lo]:7 9 1 2 [10.0.0.0/8 ::/0]", nil},
		{"errno", "errno=-13\n\n", "", unix.EACCES},
		{"cut off", "listen_port=5\n", "", nil},
		{"bad key", "private_key=secret" + key + "\nerrno=0\n\n", "", nil},
		{"bad number", "listen_port=70000\n\n", "", nil},
		{"bad errno", "errno=" + key + "\n\n", "", nil},
		{"no newline for ever", strings.Repeat("x", 1<<17), "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "wg0.sock")
			serveUAPI(t, path, c.reply)
			d, err := uapiGet(t.Context(), path, "wg0")
			if c.want == "" {
				if err == nil || c.is != nil && !errors.Is(err, c.is) || strings.Contains(err.Error(), key) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p := d.Peers[0]
			got := fmt.Sprint(d.ListenPort, d.FwMark, p.Endpoint, p.LatestHandshake.Unix(), p.TransmitBytes,
				p.ReceiveBytes, p.AllowedIPs)
			got = strings.Join(strings.Fields(got), " ")
			if got != c.want || d.PublicKey != d.PrivateKey.PublicKey() {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestUAPIWaitsNoLongerThanItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg0.sock")
	serveUAPI(t, path, "")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := uapiGet(ctx, path, "wg0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// Sockets that nobody answers, and sockets of other namespaces, change nothing.
func TestStaleSocketsDontCount(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0")
	newTUN(t, k, "t1")
	newUserspace(t, k, "wg0")
	for _, name := range []string{"t0", "elsewhere"} {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: k.uapiPath(name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		_ = l.Close()
	}
	serveUAPI(t, k.uapiPath("other"), "errno=0\n\n")
	if names, err := k.DeviceNames(t.Context()); err != nil || !slices.Equal(names, []string{"wg0"}) {
		t.Errorf("devices: %v, %v", names, err)
	}
	for _, name := range []string{"t0", "t1", "elsewhere", "other"} {
		if _, err := k.Device(t.Context(), name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
		if err := k.Configure(t.Context(), name, manyPeers(1)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("configuring %s: %v", name, err)
		}
	}
	if d, err := k.Device(t.Context(), "wg0"); err != nil || d.Backend != BackendUserspace {
		t.Errorf("wg0: %+v, %v", d, err)
	}
}

// manyPeersCount is enough for many messages. WGCTL_TEST_PEERS asks for more.
var manyPeersCount = func() int {
	if n, err := strconv.Atoi(os.Getenv("WGCTL_TEST_PEERS")); err == nil {
		return n
	}
	return 300
}()

// Many peers, one of them with many allowed IPs, arrive whole, in either
// backend, and a listen port of 0 becomes one that is free.
func TestManyPeers(t *testing.T) {
	k := newNamespace(t)
	realWorld{k}.device(t, "wg0")
	ctx := t.Context()
	counts := slices.Repeat([]int{2}, manyPeersCount)
	counts[150] = 1000
	c := manyPeers(counts...)
	key, port, mark := testKey("A"), uint16(0), uint32(0x80000001)
	c.PrivateKey, c.ListenPort, c.FwMark = &key, &port, &mark
	if err := k.LinkSet(ctx, "wg0", 0, true); err != nil {
		t.Fatal(err)
	}
	if err := k.Configure(ctx, "wg0", c); err != nil {
		t.Fatal(err)
	}
	d, err := k.Device(ctx, "wg0")
	if err != nil {
		t.Fatal(err)
	}
	if d.PrivateKey != key || d.PublicKey != key.PublicKey() || d.ListenPort == 0 || d.FwMark != mark {
		t.Errorf("the device reads back as port %d, mark %#x, public key %v", d.ListenPort, d.FwMark, d.PublicKey)
	}
	have := make(map[Key]Peer)
	for _, p := range d.Peers {
		have[p.PublicKey] = p
	}
	if len(d.Peers) != len(c.Peers) {
		t.Errorf("%d peers of %d", len(d.Peers), len(c.Peers))
	}
	for i, p := range c.Peers {
		h := have[p.PublicKey]
		slices.SortFunc(h.AllowedIPs, netip.Prefix.Compare)
		if !slices.Equal(h.AllowedIPs, p.AllowedIPs) || h.PresharedKey != *p.PresharedKey {
			t.Errorf("peer %d has %d of %d allowed IPs", i, len(h.AllowedIPs), len(p.AllowedIPs))
		}
	}
}

// The zone of an endpoint reaches the device, and comes back.
func TestEndpointWithZone(t *testing.T) {
	k := newNamespace(t)
	realWorld{k}.device(t, "wg0")
	newTUN(t, k, "t0")
	want := netip.MustParseAddrPort("[fe80::1%t0]:51820")
	c := manyPeers(1)
	c.Peers[0].Endpoint = want
	if err := k.Configure(t.Context(), "wg0", c); err != nil {
		t.Fatal(err)
	}
	d, err := k.Device(t.Context(), "wg0")
	if err != nil || len(d.Peers) != 1 || d.Peers[0].Endpoint != want {
		t.Errorf("got %+v, %v", d.Peers, err)
	}
	if d.Backend == BackendKernel {
		c.Peers[0].Endpoint = netip.MustParseAddrPort("[fe80::1%t9]:51820")
		if err := k.Configure(t.Context(), "wg0", c); err == nil || !strings.Contains(err.Error(), "t9") {
			t.Errorf("a zone that doesn't exist: %v", err)
		}
	}
	t.Logf("backend %s", d.Backend)
}
