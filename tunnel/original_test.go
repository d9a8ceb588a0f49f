// SPDX-License-Identifier: MIT

package tunnel

import (
	"slices"
	"testing"

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
