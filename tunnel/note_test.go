// SPDX-License-Identifier: MIT

package tunnel

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// forwardingTunnel needs every parameter that there is.
var forwardingTunnel = `[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/24, fd08::2/64
ListenPort = 51820
KillSwitch = on
Masquerade = eth0
PostUp = sysctl -w net.ipv4.conf.default.forwarding=1
[Peer]
PublicKey = ` + key("a") + `
Endpoint = 192.0.2.1:51900
AllowedIPs = 0.0.0.0/0, ::/0
`

// Without its record a tunnel's parameters go back to what they were, by the
// alias of its link.
func TestNoteBringsParametersBack(t *testing.T) {
	for _, lose := range []func(*fakeHost) error{
		func(h *fakeHost) error { return nil },
		func(h *fakeHost) error { return h.records.Remove("wg0") },
	} {
		h := newFakeHost(t)
		h.AddRoute("eth0", netlinkx.InstalledRoute{Route: routes.Route{Dst: netip.MustParsePrefix("::/0"), Table: routes.TableMain}})
		clean := h.String()
		if err := bring(t, h, "wg0", forwardingTunnel, ""); err != nil {
			t.Fatal(err)
		}
		up := h.String()
		for _, key := range []string{
			SrcValidMark + "=1", arpIgnore + "=1", forward4 + "=1", forward6 + "=1",
			"net.ipv4.conf.default.forwarding=1", "accept_ra=2",
		} {
			if !strings.Contains(up, key) {
				t.Errorf("%s is not set in\n%s", key, up)
			}
		}
		if err := errors.Join(lose(h), takeDown(t, h, "wg0")); err != nil {
			t.Fatal(err)
		}
		if after := h.String(); after != clean {
			t.Errorf("after down\n%s\nbefore\n%s", after, clean)
		}
	}
}

// Of two tunnels that share a parameter the last puts it back, whichever of them
// has lost its record, and whether it came up after that.
func TestNoteOfAnother(t *testing.T) {
	second := strings.Replace(files[1], "ListenPort = 51820", "ListenPort = 51821", 1)
	for _, late := range []bool{false, true} {
		for _, lost := range []string{"wg0", "wg1"} {
			for _, order := range [][]string{{"wg0", "wg1"}, {"wg1", "wg0"}} {
				if late && lost == "wg1" {
					continue
				}
				h := newFakeHost(t)
				clean := h.String()
				err := bring(t, h, "wg0", files[1], "")
				if late {
					err = errors.Join(err, h.records.Remove(lost))
				}
				err = errors.Join(err, bring(t, h, "wg1", second, ""))
				if !late {
					err = errors.Join(err, h.records.Remove(lost))
				}
				if err = errors.Join(err, takeDown(t, h, order[0])); err != nil {
					t.Fatal(err)
				}
				if v, _ := h.Sysctl(t.Context(), SrcValidMark); v != "1" {
					t.Errorf("%s lost (before the other came: %v), %s down: %s=%s", lost, late, order[0], SrcValidMark, v)
				}
				if err := takeDown(t, h, order[1]); err != nil {
					t.Fatal(err)
				}
				if after := h.String(); after != clean {
					t.Errorf("%s lost (before the other came: %v), both down\n%s\nbefore\n%s", lost, late, after, clean)
				}
			}
		}
	}
}

// A reload changes the note with the claims; what somebody else made of the
// alias stays.
func TestNoteFollowsReload(t *testing.T) {
	for _, alias := range []string{"", "uplink"} {
		h := newFakeHost(t)
		clean := h.String()
		if err := bring(t, h, "wg0", files[1], ""); err != nil {
			t.Fatal(err)
		}
		if alias != "" {
			h.SetAlias("wg0", alias)
		}
		if err := bring(t, h, "wg0", strings.Replace(files[1], "[Peer]", "KillSwitch = on\n[Peer]", 1), ""); err != nil {
			t.Fatal(err)
		}
		l, err := h.Link(t.Context(), "wg0")
		if err != nil {
			t.Fatal(err)
		}
		want := SrcValidMark + "=0 " + arpIgnore + "=0"
		if alias != "" {
			want = ""
		}
		if l.Note != want || l.Alias != alias && alias != "" {
			t.Errorf("alias %q, note %q, want %q", l.Alias, l.Note, want)
		}
		if alias == "" {
			if err := h.records.Remove("wg0"); err != nil {
				t.Fatal(err)
			}
		}
		if err := takeDown(t, h, "wg0"); err != nil {
			t.Fatal(err)
		}
		if after := h.String(); after != clean {
			t.Errorf("after down\n%s\nbefore\n%s", after, clean)
		}
	}
}

// What an alias says can set no other parameter than tunnels do, to nothing but
// a number.
func TestNoteIsNotTrusted(t *testing.T) {
	for _, word := range []string{
		"", "=", "net.ipv4.ip_forward", "net.ipv4.ip_forward=", "net.ipv4.ip_forward=x", "net.ipv4.ip_forward=0x1", "net.ipv4.ip_forward=12345678901",
		"kernel.core_pattern=1", "net/../kernel/core_pattern=1", "net.core.bpf_jit_enable=0",
		"net/ipv6/conf/accept_ra=1", "net/ipv6/conf//accept_ra=1", "net/ipv6/conf/../accept_ra=1", "net/ipv6/conf/a/../../x/accept_ra=1", "net/ipv6/conf/eth0/accept_ra_x=1",
	} {
		if c := claimsOf(word); len(c) > 0 {
			t.Errorf("%q claims %v", word, c)
		}
	}
	claims := []Sysctl{
		{SrcValidMark, "1", "0"}, {arpIgnore, "1", "-3"}, {"net.ipv4.conf.default.forwarding", "1", "0"},
		{"net/ipv6/conf/eth0.7/accept_ra", "2", "1"}, {"net/ipv6/conf/a=b/accept_ra", "2", "0"},
	}
	if got := claimsOf(noteOf(claims)); !slices.Equal(got, claims) {
		t.Errorf("there and back: %v", got)
	}
	for range 20 {
		claims = append(claims, claims...)
		if note := noteOf(claims[:min(len(claims), 40)]); len(note) > netlinkx.MaxNote {
			t.Fatalf("%d bytes: %s", len(note), note)
		}
	}
}
