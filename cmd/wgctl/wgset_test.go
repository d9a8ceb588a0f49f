// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wgctl/wgctl/netlinkx"
)

// secretsToo compares keys by what they are: they print as "(hidden)".
var secretsToo = cmp.Options{
	cmp.Comparer(func(a, b netlinkx.Secret) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func pointer[T any](v T) *T { return &v }

func prefixes(items ...string) (out []netip.Prefix) {
	for _, s := range items {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func confFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What set tells the device.
func TestWgSet(t *testing.T) {
	one := func(p netlinkx.PeerChange) netlinkx.DeviceChange {
		p.PublicKey = wgKey(1)
		return netlinkx.DeviceChange{Peers: []netlinkx.PeerChange{p}}
	}
	key, empty := confFile(t, wgKey2+"\n"), confFile(t, "")
	for _, tt := range []struct {
		words string
		want  netlinkx.DeviceChange
	}{
		{"listen-port domain fwmark off private-key " + key,
			netlinkx.DeviceChange{ListenPort: pointer(uint16(53)), FwMark: pointer(uint32(0)), PrivateKey: pointer(netlinkx.Secret(wgKey(2))), Peers: []netlinkx.PeerChange{}}},
		{"private-key /dev/null", netlinkx.DeviceChange{PrivateKey: new(netlinkx.Secret), Peers: []netlinkx.PeerChange{}}},
		{"peer " + wgKey1, one(netlinkx.PeerChange{})},
		{"peer " + wgKey1 + " remove", one(netlinkx.PeerChange{Remove: true})},
		{"peer " + wgKey1 + " preshared-key " + empty + " persistent-keepalive off",
			one(netlinkx.PeerChange{PresharedKey: new(netlinkx.Secret), PersistentKeepalive: new(uint16)})},
		{"peer " + wgKey1 + " endpoint a.example:domain", one(netlinkx.PeerChange{Endpoint: netip.MustParseAddrPort("192.0.2.7:53")})},
		{"peer " + wgKey1 + " allowed-ips 10.0.0.1/8", one(netlinkx.PeerChange{ReplaceAllowedIPs: true, AllowedIPs: prefixes("10.0.0.0/8")})},
		{"peer " + wgKey1 + " allowed-ips ", one(netlinkx.PeerChange{ReplaceAllowedIPs: true})},
		{"peer " + wgKey1 + " allowed-ips +10.0.0.1,10.0.0.2", one(netlinkx.PeerChange{AllowedIPs: prefixes("10.0.0.1/32", "10.0.0.2/32")})},
		{"peer " + wgKey1 + " allowed-ips +10.0.0.1,-10.0.0.2,-10.0.0.3,+10.0.0.3",
			one(netlinkx.PeerChange{AllowedIPs: prefixes("10.0.0.1/32", "10.0.0.3/32"), RemoveAllowedIPs: prefixes("10.0.0.2/32")})},
	} {
		h := newWgHost()
		if got := h.run(t, nil, "", append([]string{"set", "wg0"}, strings.Split(tt.words, " ")...)...); got.Code != 0 {
			t.Errorf("%s: %+v", tt.words, got)
			continue
		}
		if diff := cmp.Diff(tt.want, h.changed["wg0"], secretsToo); diff != "" {
			t.Errorf("%s: %s", tt.words, diff)
		}
	}
}

// What a file doesn't mention: setconf and syncconf reset it, addconf doesn't
// (wg-compat 1.1, presence flags).
func TestWgFilesReset(t *testing.T) {
	const peer = "[Peer]\nPublicKey=" + wgKey1 + "\nAllowedIPs=10.0.0.1\n"
	replaced := netlinkx.PeerChange{PublicKey: wgKey(1), ReplaceAllowedIPs: true, AllowedIPs: prefixes("10.0.0.1/32")}
	reset := netlinkx.DeviceChange{PrivateKey: new(netlinkx.Secret), ListenPort: new(uint16), FwMark: new(uint32), ReplacePeers: true}
	withPeers := func(c netlinkx.DeviceChange, peers ...netlinkx.PeerChange) netlinkx.DeviceChange {
		c.Peers = peers
		return c
	}
	for _, tt := range []struct {
		name, verb, device, file string
		want                     netlinkx.DeviceChange
	}{
		{"addconf", "addconf", "wg0", peer, netlinkx.DeviceChange{Peers: []netlinkx.PeerChange{replaced}}},
		{"setconf", "setconf", "wg0", peer, withPeers(reset, replaced)},
		{"setconf keeps what is there", "setconf", "wg0", "[Interface]\nListenPort=5\nFwMark=1\nPrivateKey=" + wgKey2,
			netlinkx.DeviceChange{PrivateKey: pointer(netlinkx.Secret(wgKey(2))), ListenPort: pointer(uint16(5)), FwMark: pointer(uint32(1)),
				ReplacePeers: true, Peers: []netlinkx.PeerChange{}}},
		{"setconf of nothing", "setconf", "wg0", "", withPeers(reset, []netlinkx.PeerChange{}...)},
		{"syncconf without peers removes them all", "syncconf", "wg0", "[Interface]\n", withPeers(reset, []netlinkx.PeerChange{}...)},
		{"syncconf of a device without peers", "syncconf", "wg1", peer, withPeers(reset, replaced)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newWgHost()
			if got := h.run(t, nil, "", tt.verb, tt.device, confFile(t, tt.file)); got.Code != 0 || got.Err != "" {
				t.Fatalf("%+v", got)
			}
			got := h.changed[tt.device]
			if len(got.Peers) == 0 {
				got.Peers, tt.want.Peers = nil, nil
			}
			if diff := cmp.Diff(tt.want, got, secretsToo); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// syncconf removes what the file lacks, resets a preshared key and a keepalive
// that it lacks, sends an endpoint that differs, and leaves a peer alone that
// is as it should be.
func TestWgSyncconf(t *testing.T) {
	section := func(key string, lines ...string) string {
		return "[Peer]\nPublicKey=" + key + "\n" + strings.Join(lines, "\n") + "\n"
	}
	key5 := netlinkx.Key(wgKey(5)).String()
	removed := func(ns ...byte) (out []netlinkx.PeerChange) {
		for _, n := range ns {
			out = append(out, netlinkx.PeerChange{PublicKey: wgKey(n), Remove: true})
		}
		return out
	}
	for _, tt := range []struct {
		name, file string
		want       []netlinkx.PeerChange
	}{
		{"as it is", section(wgKey1, "AllowedIPs=fd00::/64,10.0.0.1", "Endpoint=192.0.2.1:5"), removed(2, 4, 5)},
		{"without endpoint", section(wgKey1, "AllowedIPs=fd00::/64,10.0.0.1"), removed(2, 4, 5)},
		{"another endpoint", section(wgKey1, "AllowedIPs=fd00::/64,10.0.0.1", "Endpoint=192.0.2.2:5"),
			append(removed(2, 4, 5), netlinkx.PeerChange{PublicKey: wgKey(1), ReplaceAllowedIPs: true,
				AllowedIPs: prefixes("fd00::/64", "10.0.0.1/32"), Endpoint: netip.MustParseAddrPort("192.0.2.2:5")})},
		{"fewer allowed ips", section(wgKey1, "AllowedIPs=fd00::/64"),
			append(removed(2, 4, 5), netlinkx.PeerChange{PublicKey: wgKey(1), ReplaceAllowedIPs: true, AllowedIPs: prefixes("fd00::/64")})},
		{"no psk, no keepalive", section(wgKey2),
			append(removed(1, 4, 5), netlinkx.PeerChange{PublicKey: wgKey(2), ReplaceAllowedIPs: true,
				PresharedKey: new(netlinkx.Secret), PersistentKeepalive: new(uint16)})},
		{"changes by sign", section(wgKey1, "AllowedIPs=+10.0.0.1"),
			append(removed(2, 4, 5), netlinkx.PeerChange{PublicKey: wgKey(1), AllowedIPs: prefixes("10.0.0.1/32")})},
		// Peer 5 takes 10.0.0.1 and peer 1 takes it back: the order matters.
		{"a prefix twice", section(key5, "AllowedIPs=10.0.0.1", "PersistentKeepalive=65535") + section(wgKey1, "AllowedIPs=fd00::/64,10.0.0.1"),
			append(removed(2, 4),
				netlinkx.PeerChange{PublicKey: wgKey(5), ReplaceAllowedIPs: true, AllowedIPs: prefixes("10.0.0.1/32"), PersistentKeepalive: pointer(uint16(65535))},
				netlinkx.PeerChange{PublicKey: wgKey(1), ReplaceAllowedIPs: true, AllowedIPs: prefixes("fd00::/64", "10.0.0.1/32")})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newWgHost()
			if got := h.run(t, nil, "", "syncconf", "wg0", confFile(t, tt.file)); got.Code != 0 || got.Err != "" {
				t.Fatalf("%+v", got)
			}
			got := h.changed["wg0"]
			if got.ReplacePeers {
				t.Error("all sessions end")
			}
			if diff := cmp.Diff(tt.want, got.Peers, secretsToo); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A prefix that moves from a peer that stays to one before it in the file: the
// result is that of sending every peer anew.
func TestWgSyncconfAgreesWithSetconf(t *testing.T) {
	ctx := context.Background()
	file := "[Peer]\nPublicKey=" + wgKey2 + "\nAllowedIPs=10.0.0.1, 10.0.0.2\n[Peer]\nPublicKey=" + wgKey1 + "\nAllowedIPs=fd00::/64\n"
	var devices []netlinkx.Device
	for _, verb := range []string{"setconf", "syncconf"} {
		f := netlinkx.NewFake()
		if err := f.LinkAdd(ctx, "wg0"); err != nil {
			t.Fatal(err)
		}
		start := netlinkx.DeviceChange{Peers: []netlinkx.PeerChange{
			{PublicKey: wgKey(1), AllowedIPs: prefixes("10.0.0.1/32", "fd00::/64")}, {PublicKey: wgKey(3)}}}
		if err := f.Configure(ctx, "wg0", start); err != nil {
			t.Fatal(err)
		}
		w := newWg("wg", streams{strings.NewReader(""), os.Stdout, os.Stderr})
		w.open = func() (wgDevices, error) { return f, nil }
		if code := w.main(ctx, []string{verb, "wg0", confFile(t, file)}); code != 0 {
			t.Fatalf("%s: exit %d", verb, code)
		}
		d, err := f.Device(ctx, "wg0")
		if err != nil {
			t.Fatal(err)
		}
		if d.Peers[0].PublicKey == wgKey(1) {
			d.Peers[0], d.Peers[1] = d.Peers[1], d.Peers[0] // the order of peers is the device's
		}
		devices = append(devices, d)
	}
	if diff := cmp.Diff(devices[0], devices[1], secretsToo); diff != "" {
		t.Error(diff)
	}
}

// Names of endpoints: getaddrinfo's messages, and the retries that the
// environment asks for.
func TestWgEndpointRetries(t *testing.T) {
	retries := func(n string) map[string]string { return map[string]string{"WG_ENDPOINT_RESOLUTION_RETRIES": n} }
	set := func(endpoint string) []string { return []string{"set", "wg0", "peer", wgKey1, "endpoint", endpoint} }
	for _, tt := range []struct{ retries, endpoint, err string }{
		{"0", "slow.example:5", "Temporary failure in name resolution: `slow.example:5'\n"},
		{"1", "slow.example:5", "Temporary failure in name resolution: `slow.example:5'. Trying again in 1.00 seconds...\n" +
			"Temporary failure in name resolution: `slow.example:5'\n"},
		{"infinity", "b.example:5", "Name or service not known: `b.example:5'\n"},
		{"x", "192.0.2.1:5", "Unable to parse WG_ENDPOINT_RESOLUTION_RETRIES: `x'\n"},
		{"-1", "192.0.2.1:5", "Unable to parse WG_ENDPOINT_RESOLUTION_RETRIES: `-1'\n"},
	} {
		h := newWgHost()
		if got := h.run(t, retries(tt.retries), "", set(tt.endpoint)...); got.Code != 1 || got.Err != tt.err || len(h.changed) > 0 {
			t.Errorf("%s retries, %s: %+v", tt.retries, tt.endpoint, got)
		}
	}
	if got := newWgHost().run(t, retries("x"), "", "set", "wg0", "listen-port", "5"); got.Code != 0 {
		t.Errorf("no endpoint, no look-up: %+v", got)
	}
}
