// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

// manyPeersFile is a config with n peers, one of which has another allowed IP
// if changed.
func manyPeersFile(n int, changed bool) string {
	var b strings.Builder
	b.WriteString("[Interface]\nPrivateKey = " + key("hub") + "\nAddress = 10.0.0.1/8\n")
	for i := range n {
		var k [32]byte
		k[0], k[1], k[2], k[3] = byte(i), byte(i>>8), byte(i>>16), 1
		third := 0
		if changed && i == n/2 {
			third = 200
		}
		fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nAllowedIPs = 172.%d.%d.%d/32\n",
			base64.StdEncoding.EncodeToString(k[:]), 16+i>>16, i>>8&255+third, i&255)
	}
	return b.String()
}

// A sender notes the peers that a device is told of.
type sender struct {
	netlinkx.Devices
	sent []netlinkx.PeerChange
}

func (s *sender) Configure(ctx context.Context, name string, c netlinkx.DeviceChange) error {
	s.sent = append(s.sent, c.Peers...)
	return s.Devices.Configure(ctx, name, c)
}

// Of 10,000 peers a reload sends just the one that changed, and one that has
// nothing to change writes nothing at all.
func TestReloadSendsWhatChanged(t *testing.T) {
	h := newFakeHost(t)
	const n = 10_000
	if err := bring(t, h, "wg0", manyPeersFile(n, false), config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	calls := h.calls
	if err := bring(t, h, "wg0", manyPeersFile(n, false), config.BackendKernel); err != nil || h.calls != calls {
		t.Errorf("a reload of the same file made %d changes: %v", h.calls-calls, err)
	}
	host := h.host()
	s := &sender{Devices: host.Devices}
	host.Devices = s
	if err := bringOn(t, host, "wg0", manyPeersFile(n, true), config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	if len(s.sent) != 1 || len(s.sent[0].AllowedIPs) != 1 || len(s.sent[0].RemoveAllowedIPs) != 1 || s.sent[0].ReplaceAllowedIPs {
		t.Errorf("sent %+v", s.sent)
	}
}

// TestLoss holds what is asked about, and what isn't.
func TestLoss(t *testing.T) {
	peer := func(name, allowed string) string {
		return "[Peer]\n# Name = " + name + "\nPublicKey = " + key(name) + "\nAllowedIPs = " + allowed + "\n"
	}
	head := "[Interface]\nPrivateKey = " + key("hub") + "\nAddress = 10.8.0.1/24\n"
	a, b, c, d := peer("a", "10.8.0.2/32"), peer("b", "10.8.0.3/32"), peer("c", "10.8.0.0/25"), peer("d", "10.9.0.0/16")
	// x, y and z are somebody else's, added by hand.
	for _, tt := range []struct{ name, from, to, session, want string }{
		{"all, and as many of others stay: xyz", a + b, "", "", "remove all of its peers (2)"},
		{"two of three, and others stay: xyz", a + b + c, a, "", "remove 2 of its 3 peers"},
		{"one of two, and one other stays: x", a + b, a, "", ""},
		{"only others stay, and nothing goes: xyz", "", "", "", ""},
		{"nothing goes", a + b, a + b + c, "", ""},
		{"one of two", a + b, a, "", ""},
		{"two of three", a + b + c, a, "", "remove 2 of its 3 peers"},
		{"all", a + b, "", "", "remove all of its peers (2)"},
		{"the only one", a, "", "", "remove all of its peers (1)"},
		{"none there", "", "", "", ""},
		{"the only one, for another", a, b, "", ""},
		{"two of three, for two others", a + b + c, c + d + peer("e", "10.10.0.0/16"), "", ""},
		{"the session's", a + b + c, b + c, "10.8.0.2", "cut this session off, which comes through peer a (" + key("a") + ")"},
		{"another than the session's", a + b + c, a + c, "10.8.0.2", ""},
		{"the session's address moves", a + b, peer("a", "10.8.0.9/32") + b, "10.8.0.2", "cut this session off, which comes through peer a (" + key("a") + ")"},
		{"a session from elsewhere", a + b + c, b + c, "192.0.2.7", ""},
		{"the session's wider peer stays", c + d, c, "10.8.0.7", ""},
		{"a narrower peer takes the session's address", c, c + peer("f", "10.8.0.7/32"), "10.8.0.7", "cut this session off, which comes through peer c (" + key("c") + ")"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newFakeHost(t)
			if err := bring(t, h, "wg0", head+tt.from, config.BackendKernel); err != nil {
				t.Fatal(err)
			}
			_, others, _ := strings.Cut(tt.name, ": ")
			for i, word := range others {
				h.EditDevice("wg0", func(d *netlinkx.Device) {
					d.Peers = append(d.Peers, netlinkx.Peer{PublicKey: netlinkx.Key{byte(word)}, AllowedIPs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 77, 0, byte(i)}), 32)}})
				})
			}
			have, err := Observe(t.Context(), h.host(), "wg0")
			if err != nil {
				t.Fatal(err)
			}
			session, _ := netip.ParseAddr(tt.session)
			got := ""
			if l := LossOf(parse(t, head+tt.to), have, session); l.Grave() {
				got = l.String()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A peer of which the file says the same is not looked up again, and stays
// where it is; one that is new, or that the device forgot, is.
func TestSettledEndpoints(t *testing.T) {
	h := newFakeHost(t)
	file := files[3] // Endpoint = peer.example:domain
	if err := bring(t, h, "wg0", file, config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	lookups := func(file string) int {
		have, err := Observe(t.Context(), h.host(), "wg0")
		if err != nil {
			t.Fatal(err)
		}
		n := &countedNames{}
		_, _ = Lookup{Known: have.Settled()}.Endpoints(t.Context(), n, parse(t, file)) // not every name is known
		return n.hosts
	}
	if n := lookups(file); n != 0 {
		t.Errorf("the same file looks %d names up", n)
	}
	if n := lookups(strings.Replace(file, "peer.example", "other.example", 1)); n != 1 {
		t.Errorf("another name: %d look-ups", n)
	}
	h.EditDevice("wg0", func(d *netlinkx.Device) { d.Peers = nil })
	if n := lookups(file); n != 1 {
		t.Errorf("the device has forgotten the peer: %d look-ups", n)
	}
}

type countedNames struct {
	fakeNames
	hosts int
}

func (n *countedNames) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	n.hosts++
	return n.fakeNames.LookupHost(ctx, name)
}

// A route that the kernel has made already, of an address that somebody else put
// on the link, is in nobody's way: there is no place for ours, nor a need.
func TestRouteOfAForeignAddress(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[0], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	if err := h.AddressAdd(t.Context(), "wg0", netip.MustParsePrefix("10.77.0.1/24")); err != nil {
		t.Fatal(err)
	}
	wider := strings.Replace(files[0], "192.168.7.0/24", "10.77.0.0/24", 1)
	if err := bring(t, h, "wg0", wider, config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	if text := h.String(); !strings.Contains(text, "10.77.0.1/24 dev wg0") || !strings.Contains(text, "ip route add 10.77.0.0/24 dev wg0 proto kernel") {
		t.Errorf("the address or its route is gone:\n%s", text)
	}
	if err := bring(t, h, "wg0", files[0], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
}
