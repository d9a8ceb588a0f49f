// SPDX-License-Identifier: MIT

package tunnel

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// Of the rules of two full tunnels of wg-quick, one of ours and an
// administrator's, the pair with the mark is found in either family.
func TestOriginalRules(t *testing.T) {
	rule := func(f routes.Family, priority, mark, table uint32, protocol int, suppress bool) netlinkx.InstalledRule {
		return netlinkx.InstalledRule{Protocol: protocol, Plain: true, Rule: routes.Rule{
			Family: f, Priority: priority, Mark: mark, Table: table, Suppress: suppress, Invert: mark != 0,
		}}
	}
	const boot = 3
	all := []netlinkx.InstalledRule{
		rule(routes.V4, 0, 0, 255, 2, false),
		rule(routes.V4, 32760, 0, routes.TableMain, boot, true),
		rule(routes.V4, 32761, 51821, 51821, boot, false),
		rule(routes.V4, 32762, 0, routes.TableMain, boot, true),
		rule(routes.V4, 32763, 51820, 51820, boot, false),
		rule(routes.V4, 32764, 0, routes.TableMain, netlinkx.Protocol, true),
		rule(routes.V4, 32765, 51820, 51820, netlinkx.Protocol, false),
		rule(routes.V6, 100, 51820, 51820, boot, false),
		rule(routes.V6, 101, 51820, 77, boot, false), // another table: not wg-quick's
	}
	got := originalRules(all, 51820)
	if want := []netlinkx.InstalledRule{all[4], all[3], all[7]}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := originalRules(all, 0); got != nil {
		t.Errorf("without a mark: %v", got)
	}
}

// What diverts traffic goes before the link, the filter last; where the link is
// gone nothing else is looked for.
func TestOriginalSteps(t *testing.T) {
	rule := func(priority uint32, r routes.Rule) netlinkx.InstalledRule {
		r.Family, r.Priority = routes.V4, priority
		return netlinkx.InstalledRule{Rule: r, Protocol: 3, Plain: true}
	}
	have := &State{
		Name: "wg0", Link: &Link{Index: 7, Backend: netlinkx.BackendUserspace}, Device: netlinkx.Device{FwMark: 51820},
		DNS: dns.Settings{Interface: "wg0", Servers: []netip.Addr{netip.MustParseAddr("10.8.0.1")}},
		Rules: []netlinkx.InstalledRule{
			rule(32764, routes.Rule{Table: routes.TableMain, Suppress: true}),
			rule(32765, routes.Rule{Table: 51820, Mark: 51820, Invert: true}),
		},
	}
	filter := []string{"nft delete table ip wg-quick-wg0", "nft delete table ip6 wg-quick-wg0"}
	for _, tt := range []struct {
		name  string
		have  *State
		rules bool
		want  [][2]string // as wgctl says it, and as wg-quick
	}{
		{"whole", have, true, [][2]string{
			{"resolvconf -d wg0 -f", "resolvconf -d wg0 -f"},
			{"ip -4 rule delete not fwmark 0xca6c table 51820 priority 32765", "ip -4 rule delete table 51820"},
			{"ip -4 rule delete table main suppress_prefixlength 0 priority 32764", "ip -4 rule delete table main suppress_prefixlength 0"},
			{"ip link delete dev wg0", "ip link delete dev wg0"},
			{"nft delete table ip wg-quick-wg0; nft delete table ip6 wg-quick-wg0", "nft -f /dev/fd/63"},
		}},
		{"with a Table of its own", have, false, [][2]string{
			{"resolvconf -d wg0 -f", "resolvconf -d wg0 -f"},
			{"ip link delete dev wg0", "ip link delete dev wg0"},
			{"nft delete table ip wg-quick-wg0; nft delete table ip6 wg-quick-wg0", "nft -f /dev/fd/63"},
		}},
		{"link gone", &State{Name: "wg0", Rules: have.Rules}, true, [][2]string{
			{"nft delete table ip wg-quick-wg0; nft delete table ip6 wg-quick-wg0", "nft -f /dev/fd/63"},
		}},
	} {
		var got [][2]string
		for _, s := range originalSteps(tt.have, nil, tt.rules, filter) {
			got = append(got, [2]string{s.String(), QuickWords(s)})
			if s.Undo() != nil && !isDNS(s) {
				t.Errorf("%s: %s can't be undone", tt.name, s)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}
