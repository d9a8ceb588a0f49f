// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	key1 = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	key2 = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
)

func ones(n byte) (k [32]byte) {
	copy(k[:], bytes.Repeat([]byte{n}, 32))
	return k
}

func pointer[T any](v T) *T { return &v }

func allowed(items ...string) (out []AllowedIP) {
	for _, s := range items {
		ip := AllowedIP{}
		switch s[0] {
		case '+':
			ip.Sign, s = Plus, s[1:]
		case '-':
			ip.Sign, s = Minus, s[1:]
		}
		ip.Prefix = netip.MustParsePrefix(s)
		out = append(out, ip)
	}
	return out
}

// exactly compares secrets too, which print as "(hidden)".
var exactly = cmp.Options{
	cmp.Comparer(func(a, b Secret) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// wg's grammar: what a file means to it (wg-compat 1.1).
func TestParseWg(t *testing.T) {
	one := func(p WgPeer) *WgChange {
		p.PublicKey = ones(1)
		return &WgChange{Peers: []WgPeer{p}}
	}
	peer := "[Peer]\nPublicKey=" + key1 + "\n"
	for _, tt := range []struct {
		name, file string
		want       *WgChange
	}{
		{"empty", "", &WgChange{}},
		{"comments", "# a\n\n  # b\n[Interface] # c", &WgChange{}},
		{"interface", "[Interface]\nPrivateKey=" + key1 + "\nListenPort=5\nFwMark=0x10\n",
			&WgChange{PrivateKey: pointer(Secret(ones(1))), ListenPort: &Port{Number: 5}, FwMark: pointer(uint32(16))}},
		{"spaces and case", "[ Inter face ]\r\nLISTEN port = 5 # x\r\n [PEER]\r\nPub lic Key = " + key1 + "\r\n",
			&WgChange{ListenPort: &Port{Number: 5}, Peers: []WgPeer{{Peer: Peer{PublicKey: ones(1)}, ReplaceAllowedIPs: true}}}},
		{"last wins", "[Interface]\nListenPort=5\n[Interface]\nListenPort=domain\nFwMark=off\nFwMark=010",
			&WgChange{ListenPort: &Port{Service: "domain"}, FwMark: pointer(uint32(10))}},
		{"no allowed ips", peer, one(WgPeer{ReplaceAllowedIPs: true})},
		{"allowed ips add up", peer + "AllowedIPs=10.0.0.1, fd00::/64\nAllowedIPs=10.1.0.0/16",
			one(WgPeer{ReplaceAllowedIPs: true, Peer: Peer{AllowedIPs: allowed("10.0.0.1/32", "fd00::/64", "10.1.0.0/16")}})},
		{"one sign makes all of them changes", peer + "AllowedIPs=10.0.0.1,+10.0.0.2,-10.0.0.3",
			one(WgPeer{Peer: Peer{AllowedIPs: allowed("10.0.0.1/32", "+10.0.0.2/32", "-10.0.0.3/32")}})},
		{"a peer's keys", peer + "PresharedKey=" + key2 + "\nEndpoint=[fe80::1%lo]:5\nPersistentKeepalive=OFF",
			one(WgPeer{ReplaceAllowedIPs: true, Peer: Peer{PresharedKey: pointer(Secret(ones(2))),
				Endpoint: Endpoint{"fe80::1%lo", Port{Number: 5}}, PersistentKeepalive: pointer(uint16(0))}})},
		{"the key comes last", "[Peer]\nEndpoint=a.example:5\nPublicKey=" + key1,
			one(WgPeer{ReplaceAllowedIPs: true, Peer: Peer{Endpoint: Endpoint{"a.example", Port{Number: 5}}}})},
		{"a peer twice", peer + peer + "AllowedIPs=10.0.0.1", &WgChange{Peers: []WgPeer{
			{Peer: Peer{PublicKey: ones(1)}, ReplaceAllowedIPs: true},
			{Peer: Peer{PublicKey: ones(1), AllowedIPs: allowed("10.0.0.1/32")}, ReplaceAllowedIPs: true}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, warnings, err := ParseWg(strings.NewReader(tt.file))
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			if diff := cmp.Diff(tt.want, got, exactly); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// wg's words for what is wrong with a file, but no value that may be a key.
func TestParseWgFaults(t *testing.T) {
	peer := "[Peer]\nPublicKey=" + key1 + "\n"
	for file, want := range map[string]string{
		"Foo":                                        "Line unrecognized: `Foo'",
		"Foo=1":                                      "Line unrecognized: `Foo'",
		key1:                                         "Line unrecognized",
		"[Interface]\nPrivateKye=" + key1:            "Line unrecognized: `PrivateKye'",
		"[Interface]\nPrivateKey " + key1:            "Line unrecognized",
		"[Interface]\nAddress = 10.0.0.1":            "Line unrecognized: `Address'",
		"[Interface]\nAllowedIPs = 10.0.0.1":         "Line unrecognized: `AllowedIPs'",
		"[Interface]\nListenPort =":                  "Line unrecognized: `ListenPort='",
		"[Interface]\n\xef\xbb\xbf":                  "Line unrecognized: `\xef\xbb\xbf'",
		"\xef\xbb\xbf[Interface]":                    "Line unrecognized: `\xef\xbb\xbf[Interface]'",
		"[Interface]\nListenPort=5\x00":              "Line unrecognized: it has a NUL byte",
		"[Foo]":                                      "Line unrecognized: `[Foo]'",
		"[Interface]x":                               "Line unrecognized: `[Interface]x'",
		"; comment":                                  "Line unrecognized: `;comment'",
		"ListenPort=5":                               "Line unrecognized: `ListenPort'",
		peer + "AllowedIPs=":                         "Line unrecognized: `AllowedIPs='",
		peer + "Name=x":                              "Line unrecognized: `Name'",
		"[Interface]\nPrivateKey=" + key1[:43]:       "Key is not the correct length or format",
		"[Interface]\nPrivateKey=" + key1 + "=":      "Key is not the correct length or format",
		peer + "PresharedKey=x":                      "Key is not the correct length or format",
		"[Peer]\nPublicKey=x":                        "Key is not the correct length or format",
		"[Interface]\nListenPort=99999":              "Servname not supported for ai_socktype: `99999'",
		"[Interface]\nListenPort=" + key1:            "Servname not supported for ai_socktype",
		"[Interface]\nFwMark=0X10":                   "Fwmark is neither 0/off nor 0-0xffffffff: `0X10'",
		"[Interface]\nFwMark=0x":                     "Fwmark is neither 0/off nor 0-0xffffffff: `0x'",
		peer + "PersistentKeepalive=65536":           "Persistent keepalive interval is neither 0/off nor 1-65535: `65536'",
		peer + "PersistentKeepalive=\x1b[1m":         "Persistent keepalive interval is neither 0/off nor 1-65535: `?[1m'",
		peer + "AllowedIPs=10.0.0.1,":                "Unable to parse IP address: `'",
		peer + "AllowedIPs=+x/8":                     "Unable to parse IP address: `x'",
		peer + "AllowedIPs=-":                        "Unable to parse IP address: `'",
		peer + "AllowedIPs=10.0.0.0/33":              "AllowedIP is not in the correct format: `10.0.0.0/33'",
		peer + "AllowedIPs=10.0.0.0/255.0.0.0":       "AllowedIP is not in the correct format: `10.0.0.0/255.0.0.0'",
		peer + "Endpoint=[::1":                       "Unable to find matching brace of endpoint: `[::1'",
		peer + "Endpoint=[::1]":                      "Unable to find port of endpoint: `[::1]'",
		peer + "Endpoint=x":                          "Unable to find port of endpoint: `x'",
		peer + "Endpoint=x:":                         "Unable to find port of endpoint: `x:'",
		peer + "Endpoint=x:65536":                    "Servname not supported for ai_socktype: `x:65536'",
		peer + "Endpoint=:5":                         "Name or service not known: `:5'",
		peer + "Endpoint=" + key1:                    "Unable to find port of endpoint",
		"[Peer]\nAllowedIPs=10.0.0.1":                "A peer is missing a public key",
		"[Peer]\n" + peer:                            "A peer is missing a public key",
		peer + "PublicKey=" + key1 + "\n[Peer]\n":    "A peer is missing a public key",
		"[Interface]\nListenPort=5\n[Peer]\nx\x00\n": "Line unrecognized: it has a NUL byte",
	} {
		_, _, err := ParseWg(strings.NewReader(file))
		fault := (*WgError)(nil)
		if !errors.As(err, &fault) || fault.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", file, err, want)
			continue
		}
		if fault.NoPublicKey != strings.HasPrefix(want, "A peer") {
			t.Errorf("%q: NoPublicKey is %v", file, fault.NoPublicKey)
		}
	}
}

// Bits beyond a prefix are a warning, and masked.
func TestParseWgWarns(t *testing.T) {
	c, warnings, err := ParseWg(strings.NewReader("[Peer]\nPublicKey=" + key1 + "\nAllowedIPs=10.0.0.1/24,+fd00::1/64"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"Warning: AllowedIP has nonzero host part: 10.0.0.1/24", "Warning: AllowedIP has nonzero host part: fd00::1/64"}
	if diff := cmp.Diff(want, warnings); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(allowed("10.0.0.0/24", "+fd00::/64"), c.Peers[0].AllowedIPs, exactly); diff != "" {
		t.Error(diff)
	}
}

// A file that can't be read to its end is not an empty one: wg wipes the
// device then (failure-modes 2).
func TestParseWgReadError(t *testing.T) {
	_, _, err := ParseWg(io.MultiReader(strings.NewReader("[Interface]\n"), failing{}))
	if !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	long := "[Peer]\nPublicKey=" + key1 + "\nAllowedIPs=" + strings.Repeat("10.0.0.1,", maxLine/9+1)
	if _, _, err := ParseWg(strings.NewReader(long)); err == nil || !strings.Contains(err.Error(), "longer than 8 MiB") {
		t.Error(err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }
