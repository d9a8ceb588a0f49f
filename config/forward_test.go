// SPDX-License-Identifier: MIT

package config

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestForwardingKeys(t *testing.T) {
	on := true
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	for text, want := range map[string]Interface{
		"Forward = on":  {Forward: &on},
		"forward = Yes": {Forward: &on},
		"Masquerade = auto, eth1\nMasquerade = eth1 wwan0": {Masquerade: Masquerade{Auto: true, Links: []string{"eth1", "wwan0"}}},
		"Masquerade = off":  {},
		"ClampMSS = 1360":   {ClampMSS: ClampMSS{Size: 1360}},
		"ClampMSS = off":    {ClampMSS: ClampMSS{Off: true}},
		"ClampMSS = auto":   {},
		"KillSwitch = on":   {KillSwitch: true},
		"KillSwitch = off":  {},
		"Forward = on # so": {Forward: &on},
		"ExcludedIPs = 192.168.0.0/16, fd00:5::1\nExcludedIPs = 10.0.0.1": {
			ExcludedIPs: []netip.Prefix{prefix("192.168.0.0/16"), prefix("fd00:5::1/128"), prefix("10.0.0.1/32")},
		},
		"PortForward = tcp/2222 -> 10.8.0.2:22": {
			PortForwards: []PortForward{{Protocol: TCP, First: 2222, Count: 1, To: addr("10.8.0.2"), ToFirst: 22}},
		},
		"PortForward = UDP/8000-8010->[fd08::2]:9000-9010 On eth0 keep-source": {
			PortForwards: []PortForward{{Protocol: UDP, First: 8000, Count: 11, To: addr("fd08::2"), ToFirst: 9000, On: "eth0", KeepSource: true}},
		},
		"PortForward = tcp/1-65535 -> 10.8.0.2\nPortForward = udp/1-65535 -> 10.8.0.2\nPortForward = tcp/1-65535 -> [fd08::2]": {
			PortForwards: []PortForward{
				{Protocol: TCP, First: 1, Count: 65535, To: addr("10.8.0.2"), ToFirst: 1},
				{Protocol: UDP, First: 1, Count: 65535, To: addr("10.8.0.2"), ToFirst: 1},
				{Protocol: TCP, First: 1, Count: 65535, To: addr("fd08::2"), ToFirst: 1},
			},
		},
	} {
		// The targets are somebody's, and this end has an address for both.
		const tail = "\n[Interface]\nAddress = 10.8.0.1/24, fd08::1/64\n[Peer]\nPublicKey = YQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nAllowedIPs = 10.8.0.2/32, fd08::2/128\n"
		want.Addresses = []netip.Prefix{prefix("10.8.0.1/24"), prefix("fd08::1/64")}
		c, warnings, err := parseString("[Interface]\n" + text + tail)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%s: %v, warnings %v", text, err, warnings)
			continue
		}
		if diff := cmp.Diff(want, c.Interface, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
		if again := reformat(t, c); !Equal(c, again) {
			t.Errorf("%s: comes back as %v", text, lines(t, again))
		}
	}
}

// Keys that contradict each other without being wrong are warned of.
func TestForwardingWarnings(t *testing.T) {
	_, warnings, err := parseString("[Interface]\nForward = off\nMasquerade = auto\nPortForward = tcp/1 -> 10.8.0.2\nExcludedIPs = 10.0.0.1/8\nAddress = 10.8.0.1/24\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	want := []string{
		"t.conf:3: [Interface] Masquerade: needs a host that forwards, and Forward is off in line 2",
		"t.conf:4: [Interface] PortForward: needs a host that forwards, and Forward is off in line 2",
		"t.conf:4: [Interface] PortForward: leads to 10.8.0.2, which is in no peer's AllowedIPs",
		`t.conf:5: [Interface] ExcludedIPs: "10.0.0.1/8" has bits set beyond its prefix length: it means 10.0.0.0/8`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// What only wgctl knows is not left in what wg gets.
func TestStripOwnKeys(t *testing.T) {
	in := "[Interface]\nListenPort = 1\nExcludedIPs = 10.0.0.0/8\nForward=on\nMasquerade = auto\nport forward = x\nPortForward = tcp/1 -> 10.8.0.2\nClampMSS = off\nKillSwitch = on\n"
	if got, want := stripped([]byte(in)), "[Interface]\nListenPort = 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
