// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"

	"golang.org/x/sys/unix"
)

// ForeignRuleDel removes a rule that carries another protocol number than
// ours, as Rules returned it; unix.ENOENT if it isn't there any more. It is for
// rules whose maker is known by other marks, as those of the original wg-quick.
// Ours are RuleDel's: unix.EPERM.
func (k *Kernel) ForeignRuleDel(ctx context.Context, r InstalledRule) error {
	if r.Protocol == Protocol || !r.Plain || r.Priority == 0 {
		return unix.EPERM
	}
	have, err := k.Rules(ctx)
	if err != nil {
		return err
	}
	for _, h := range have {
		if h == r {
			_, err := k.ruleRequest(unix.RTM_DELRULE, unix.NLM_F_ACK, r.Rule, uint8(r.Protocol)).Execute(unix.NETLINK_ROUTE, 0)
			return err
		}
	}
	return unix.ENOENT
}
