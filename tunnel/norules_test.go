// SPDX-License-Identifier: MIT

package tunnel

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/routes"
)

// A kernel without policy routing has no rules, which is nothing to tell of; what
// takes a table or rules is refused with the line that asks for it, before
// anything is done.
func TestNoPolicyRouting(t *testing.T) {
	for _, c := range []struct {
		name, lines, allowed string
		without              []routes.Family
		refused              string
	}{
		{"split", "", "10.9.0.0/16, fd09::/64", []routes.Family{routes.V4, routes.V6}, ""},
		{"routes off", "Table = off\n", "0.0.0.0/0, ::/0", []routes.Family{routes.V4, routes.V6}, ""},
		{"halves", "", "0.0.0.0/1, 128.0.0.0/1", []routes.Family{routes.V4, routes.V6}, ""},
		{"full", "", "10.9.0.0/16, 0.0.0.0/0, ::/0", []routes.Family{routes.V4, routes.V6},
			"wg0.conf:6: [Peer] AllowedIPs: 0.0.0.0/0 takes a table and rules of its own: this kernel has no policy routing for IPv4 (CONFIG_IP_MULTIPLE_TABLES)"},
		{"full, of IPv6 alone", "", "0.0.0.0/0, ::/0", []routes.Family{routes.V6},
			"wg0.conf:6: [Peer] AllowedIPs: ::/0 takes a table and rules of its own: this kernel has no policy routing for IPv6 (CONFIG_IPV6_MULTIPLE_TABLES)"},
		{"full, of the other family", "", "0.0.0.0/0", []routes.Family{routes.V6}, ""},
		{"a table", "Table = 1234\n", "10.9.0.0/16", []routes.Family{routes.V4},
			"wg0.conf:3: [Interface] Table: another table than the main one is of no use: this kernel has no policy routing for IPv4 (CONFIG_IP_MULTIPLE_TABLES)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHost(t)
			h.NoPolicyRouting = c.without
			cfg := parse(t, "[Interface]\nAddress = 10.8.0.1/24, fd08::1/64\n"+c.lines+"[Peer]\nPublicKey = "+key("a")+"\nEndpoint = 192.0.2.1:51820\nAllowedIPs = "+c.allowed+"\n")
			host := h.host()
			have, err := Observe(t.Context(), host, "wg0", SharedSysctls...)
			if err != nil {
				t.Fatal(err)
			}
			want, err := Resolve(t.Context(), host, cfg, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:51820")}, have, Options{})
			if c.refused != "" {
				if err == nil || strings.Contains(err.Error(), "\n") || err.Error() != c.refused {
					t.Errorf("got %v, want %s", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range Plan(want, have) {
				if err := step.Do(t.Context(), host); err != nil {
					t.Errorf("%s: %v", step, err)
				}
			}
		})
	}
}
