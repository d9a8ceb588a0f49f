// SPDX-License-Identifier: MIT

package tunnel

import (
	"fmt"

	"github.com/wgctl/wgctl/routes"
)

// QuickWords returns the commands that wg-quick prints when it does what the
// step does: scripts look for them. A step that wg-quick has no words for is
// in wgctl's own.
func QuickWords(s Step) string {
	switch s := s.(type) {
	case linkAdd:
		return "ip link add dev " + s.name + " type wireguard"
	case deviceSet:
		if s.verb == "addconf" {
			return "wg addconf " + s.name + " /dev/fd/63"
		}
	case addressAdd:
		return fmt.Sprintf("ip -%d address add %s dev %s", routes.FamilyOf(s.prefix), s.prefix, s.link)
	case linkSet:
		if s.up && s.mtu != 0 {
			return fmt.Sprintf("ip link set mtu %d up dev %s", s.mtu, s.name)
		}
	case routeAdd:
		return fmt.Sprintf("ip -%d route add %s", routes.FamilyOf(s.route.Dst), routeText(s.route, s.link))
	case ruleAdd:
		if s.rule.Suppress {
			return fmt.Sprintf("ip -%d rule add table main suppress_prefixlength 0", s.rule.Family)
		}
		return fmt.Sprintf("ip -%d rule add not fwmark %d table %d", s.rule.Family, s.rule.Mark, s.rule.Table)
	case ruleDel:
		if s.rule.Suppress {
			return fmt.Sprintf("ip -%d rule delete table main suppress_prefixlength 0", s.rule.Family)
		}
		return fmt.Sprintf("ip -%d rule delete table %d", s.rule.Family, s.rule.Table)
	case originalRuleDel:
		return QuickWords(ruleDel{rule: s.rule.Rule})
	case originalFilterDel:
		return "nft -f /dev/fd/63"
	case sysctlSet:
		return fmt.Sprintf("sysctl -q %s=%s", s.key, s.value)
	case firewallSet:
		return "nft -f /dev/fd/63"
	case dnsSet:
		if !s.next.Empty() {
			return "resolvconf -a " + s.next.Interface + " -m 0 -x"
		}
	}
	return s.String()
}
