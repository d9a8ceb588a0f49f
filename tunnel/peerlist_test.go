// SPDX-License-Identifier: MIT

package tunnel

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/wgctl/wgctl/netlinkx"
)

// A record's peers are read as they were written, but for keys, of which the
// digest stays.
func TestPeersAsText(t *testing.T) {
	seconds := uint16(25)
	peers := Peers{
		{PublicKey: netlinkx.Key{1}},
		{
			Name: "ann's phone\\ \"2\", – ü", PublicKey: netlinkx.Key{2}, PresharedKey: NewSecret(netlinkx.Secret{9}),
			Configured: "vpn.example:51820", Endpoint: netip.MustParseAddrPort("[fe80::1%eth0]:7"),
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("fd00::/8")}, PersistentKeepalive: &seconds,
		},
	}
	b, err := json.Marshal(Device{Peers: peers})
	if err != nil {
		t.Fatal(err)
	}
	var got Device
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	want := Device{Peers: append(Peers{}, peers...)}
	want.Peers[1].PresharedKey = &Secret{digest: digestOf(&netlinkx.Secret{9}), back: true}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"x", "a\tb\tc\td\te\tf\tg\n", string(b)} {
		if new(Peers).UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
