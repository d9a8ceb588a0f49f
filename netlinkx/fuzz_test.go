// SPDX-License-Identifier: MIT

package netlinkx

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// An answering device says one thing, whatever it is asked.
type answering struct{ *strings.Reader }

func (answering) Write(p []byte) (int, error) { return len(p), nil }

func readAnswer(text string) (Device, error) {
	return uapiDeviceOf("wg0", func(request []byte, line func(key, value []byte) error) error {
		return uapiTalk(answering{strings.NewReader(text)}, request, line)
	})
}

// answerOf writes a device as one would that is asked for itself.
func answerOf(d Device) string {
	request := string(appendRequest(nil, DeviceChange{PrivateKey: &d.PrivateKey, ListenPort: &d.ListenPort, FwMark: &d.FwMark}))
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(strings.TrimPrefix(request, "set=1\n"), "\n"))
	for _, p := range d.Peers {
		b.Write(appendPeer(nil, &PeerChange{PublicKey: p.PublicKey, PresharedKey: &p.PresharedKey, Endpoint: p.Endpoint,
			PersistentKeepalive: &p.PersistentKeepalive, AllowedIPs: p.AllowedIPs}))
	}
	b.WriteString("errno=0\n\n")
	return b.String()
}

// Whatever answers at a socket: it is read or refused, an error repeats none
// of it, and what was read is read again from what we write.
func FuzzUAPI(f *testing.F) {
	key := hex.EncodeToString(bytes.Repeat([]byte{7}, 32))
	f.Add("errno=0\n\n")
	f.Add("errno=-19\n\n")
	f.Add("private_key=" + key + "\nlisten_port=51820\nfwmark=51820\npublic_key=" + key + "\npreshared_key=" + key +
		"\nprotocol_version=1\nendpoint=[fe80::1%eth0]:1\nlast_handshake_time_sec=1\nlast_handshake_time_nsec=2\ntx_bytes=3\nrx_bytes=4\n" +
		"persistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\nerrno=0\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := readAnswer(text)
		if err != nil {
			var errno unix.Errno
			if !errors.As(err, &errno) && !errors.Is(err, io.ErrUnexpectedEOF) && len(err.Error()) > 100 {
				t.Fatalf("error %v", err)
			}
			return
		}
		for i := range d.Peers { // what a set doesn't say
			p := &d.Peers[i]
			p.LatestHandshake, p.ReceiveBytes, p.TransmitBytes = Peer{}.LatestHandshake, 0, 0
			p.Endpoint = netip.AddrPortFrom(p.Endpoint.Addr().Unmap(), p.Endpoint.Port())
			if !p.Endpoint.IsValid() {
				p.Endpoint = netip.AddrPort{}
			}
		}
		again, err := readAnswer(answerOf(d))
		if err != nil || !reflect.DeepEqual(again, d) {
			t.Fatalf("read %+v, and again %+v, %v", d, again, err)
		}
	})
}

// Whatever the kernel sends: what is decoded of it is whole, and no more than
// was there.
func FuzzNetlink(f *testing.F) {
	f.Add([]byte{})
	message := func(kind uint16, body []byte) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
		b = binary.NativeEndian.AppendUint16(b, kind)
		return append(append(b, make([]byte, unix.SizeofNlMsghdr-len(b))...), body...)
	}
	psk, keepalive := Secret{9}, uint16(25)
	peer := PeerChange{PublicKey: Key{1}, PresharedKey: &psk, Endpoint: netip.MustParseAddrPort("[fe80::1%3]:9"), PersistentKeepalive: &keepalive,
		AllowedIPs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	f.Add(message(unix.WG_CMD_SET_DEVICE+nlmsgMinType, new(zones).appendPeers(appendDevice(nil, unix.WG_CMD_SET_DEVICE, "wg0"), []PeerChange{peer, peer})))
	f.Add(message(unix.NLMSG_ERROR, []byte{0xff, 0xff, 0xff, 0xff}))
	route := append([]byte{unix.AF_INET6, 64, 0, 0, 254, 87, 0, unix.RTN_UNICAST, 0, 0, 0, 0}, appendUint32(nil, unix.RTA_OIF, 3)...)
	hop := []byte{8, 0, 0, 0, 4, 0, 0, 0}
	f.Add(message(unix.RTM_NEWROUTE, append(route, appendAttribute(nil, unix.RTA_MULTIPATH, append(hop, hop...)...)...)))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		var d Device
		var peers peerList
		var r routeMessage
		for h, body := range messages(datagram) {
			if len(body) > len(datagram)-unix.SizeofNlMsghdr {
				t.Fatalf("message %+v of %d bytes in %d", h, len(body), len(datagram))
			}
			_ = errnoIn(body)
			_ = d.merge(body, &peers)
			if r.decode(body) {
				checkRoute(t, &r)
			}
		}
		prefixes := 0
		for _, p := range peers.all() {
			for prefixes += len(p.AllowedIPs); len(p.AllowedIPs) > 0; p.AllowedIPs = p.AllowedIPs[1:] {
				if !p.AllowedIPs[0].IsValid() {
					t.Fatal("an allowed IP is invalid")
				}
			}
		}
		if prefixes*unix.SizeofNlAttr > len(datagram) {
			t.Fatalf("%d allowed IPs in %d bytes", prefixes, len(datagram))
		}
	})
}

func checkRoute(t *testing.T, r *routeMessage) {
	t.Helper()
	if r.dst != r.dst.Masked() || r.table == 0 {
		t.Fatalf("route %+v", r)
	}
	for index := range r.hops {
		if !r.through(index) {
			t.Fatalf("route %+v doesn't lead through its hop %d", r, index)
		}
	}
}
