// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// Of linux/fib_rules.h.
const (
	frActToTable   = 1   // FR_ACT_TO_TBL
	fibRuleInvert  = 0x2 // FIB_RULE_INVERT
	noSuppression  = math.MaxUint32
	fullMark       = math.MaxUint32
	sizeofRuleHdr  = unix.SizeofRtMsg // struct fib_rule_hdr has the shape of rtmsg
	ruleHdrFlagsAt = 8
)

// Rules returns the policy rules, IPv4 first, in the order in which the kernel
// takes them. The library's listing isn't used: it passes over the action and
// over attributes that it doesn't know, so that a foreign rule could look like
// one of ours.
func (k *Kernel) Rules(ctx context.Context) ([]InstalledRule, error) {
	var out []InstalledRule
	for _, f := range []routes.Family{routes.V4, routes.V6} {
		msgs, err := k.ruleMessages(ctx, f)
		if noRules(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			r, ok, err := parseRule(m)
			if err != nil {
				return nil, err
			}
			if ok && r.Family == f {
				out = append(out, r)
			}
		}
	}
	return out, nil
}

// ruleMessages are what the kernel tells of the rules of a family.
func (k *Kernel) ruleMessages(ctx context.Context, f routes.Family) (msgs [][]byte, err error) {
	err = k.dump(ctx, func() (err error) {
		req := k.request(unix.RTM_GETRULE, unix.NLM_F_DUMP)
		req.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: afOf(f)}})
		msgs, err = req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWRULE)
		return err
	})
	return msgs, err
}

// noRules reports whether an error is that of a kernel that has no rules: of the
// family, which may be off, or at all, where nobody answers the message.
func noRules(err error) bool { return isOneOf(err, unix.EAFNOSUPPORT, unix.EOPNOTSUPP) }

// PolicyRouting asks for the rules of a family: where there are none at all, the
// kernel takes the number of any table for the main one's.
func (k *Kernel) PolicyRouting(ctx context.Context, f routes.Family) error {
	_, err := k.ruleMessages(ctx, f)
	if noRules(err) {
		return NoPolicyRoutingError{f}
	}
	return err
}

// A NoPolicyRoutingError is what a kernel lacks that has one table of a family.
type NoPolicyRoutingError struct{ Family routes.Family }

func (e NoPolicyRoutingError) Error() string {
	option := map[routes.Family]string{routes.V4: "CONFIG_IP_MULTIPLE_TABLES", routes.V6: "CONFIG_IPV6_MULTIPLE_TABLES"}
	return fmt.Sprintf("this kernel has no policy routing for IPv%d (%s)", e.Family, option[e.Family])
}

func afOf(f routes.Family) uint8 {
	if f == routes.V4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// parseRule reads a fib_rule_hdr and its attributes. A rule is plain only if
// each of them is understood.
func parseRule(m []byte) (r InstalledRule, ok bool, err error) {
	if len(m) < sizeofRuleHdr {
		return r, false, unix.EBADMSG
	}
	switch m[0] {
	case unix.AF_INET:
		r.Family = routes.V4
	case unix.AF_INET6:
		r.Family = routes.V6
	default:
		return r, false, nil // multicast routing has rules too
	}
	attrs, err := nl.ParseRouteAttr(m[sizeofRuleHdr:])
	if err != nil {
		return r, false, err
	}
	native := nl.NativeEndian()
	flags := native.Uint32(m[ruleHdrFlagsAt:])
	srcLen, dstLen, tos, table, action := m[2], m[1], m[3], m[4], m[7]
	r.Table = uint32(table)
	r.Invert = flags&fibRuleInvert != 0
	r.Plain = tos == 0 && action == frActToTable && flags&^fibRuleInvert == 0
	var mask uint32
	for _, a := range attrs {
		switch a.Attr.Type {
		case nl.FRA_SRC:
			r.From = prefixFrom(a.Value, srcLen)
		case nl.FRA_DST:
			r.To = prefixFrom(a.Value, dstLen)
		case nl.FRA_PRIORITY:
			r.Priority = u32(native, a.Value)
		case nl.FRA_TABLE:
			r.Table = u32(native, a.Value)
		case nl.FRA_FWMARK:
			r.Mark = u32(native, a.Value)
		case nl.FRA_FWMASK:
			mask = u32(native, a.Value)
		case nl.FRA_SUPPRESS_PREFIXLEN:
			n := u32(native, a.Value)
			r.Suppress = n == 0
			r.Plain = r.Plain && (n == 0 || n == noSuppression)
		case nl.FRA_SUPPRESS_IFGROUP:
			r.Plain = r.Plain && u32(native, a.Value) == noSuppression
		case nl.FRA_PROTOCOL:
			if len(a.Value) == 1 {
				r.Protocol = int(a.Value[0])
			}
		default:
			r.Plain = false
		}
	}
	r.Plain = r.Plain && r.From.IsValid() == (srcLen > 0) && r.To.IsValid() == (dstLen > 0) && (r.Mark == 0 && mask == 0 || r.Mark != 0 && mask == fullMark)
	return r, true, nil
}

// prefixFrom reads an address of a rule; what can't be one is invalid.
func prefixFrom(b []byte, bits byte) netip.Prefix {
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, int(bits))
}

func u32(order binary.ByteOrder, b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return order.Uint32(b)
}

// RuleAdd adds a rule with our protocol number. The kernel itself accepts a
// rule that differs from another by its protocol number only, so this looks
// first. A rule that differs by Invert only is unix.EEXIST for the kernel.
func (k *Kernel) RuleAdd(ctx context.Context, r routes.Rule) error {
	if r.Priority == 0 || !known(r.Family) || !of(r.Family, r.From) || !of(r.Family, r.To) {
		return unix.EINVAL
	}
	have, err := k.Rules(ctx)
	if err != nil {
		return err
	}
	for _, h := range have {
		if h.Plain && h.Rule == r {
			return unix.EEXIST
		}
	}
	_, err = k.ruleRequest(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, r, Protocol).
		Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// of reports whether a prefix, if there is one, is of the family.
func of(f routes.Family, p netip.Prefix) bool { return !p.IsValid() || routes.FamilyOf(p) == f }

func known(f routes.Family) bool { return f == routes.V4 || f == routes.V6 }

// RuleDel removes our rule; another's, or none, is unix.ENOENT. The kernel
// treats what a message leaves out as a match and never looks at Invert, so this
// looks first, and then names all that can be named, the protocol too.
func (k *Kernel) RuleDel(ctx context.Context, r routes.Rule) error {
	have, err := k.Rules(ctx)
	if err != nil {
		return err
	}
	for _, h := range have {
		if h.Plain && h.Protocol == Protocol && h.Rule == r {
			_, err := k.ruleRequest(unix.RTM_DELRULE, unix.NLM_F_ACK, r, Protocol).Execute(unix.NETLINK_ROUTE, 0)
			return err
		}
	}
	return unix.ENOENT
}

// ruleRequest is r as a message says it. The library's RuleAdd isn't used: it
// leaves out suppress_prefixlength for tables above 255.
func (k *Kernel) ruleRequest(kind, flags int, r routes.Rule, protocol uint8) *nl.NetlinkRequest {
	req := k.request(kind, flags)
	hdr := &nl.RtMsg{RtMsg: unix.RtMsg{Family: afOf(r.Family), Type: frActToTable}}
	if r.Invert {
		hdr.Flags = fibRuleInvert
	}
	attrs := []*nl.RtAttr{}
	for _, p := range []struct {
		attr   int
		prefix netip.Prefix
		bits   *uint8
	}{{nl.FRA_SRC, r.From, &hdr.Src_len}, {nl.FRA_DST, r.To, &hdr.Dst_len}} {
		if p.prefix.IsValid() {
			*p.bits = uint8(p.prefix.Bits())
			attrs = append(attrs, nl.NewRtAttr(p.attr, p.prefix.Addr().AsSlice()))
		}
	}
	req.AddData(hdr)
	for _, a := range attrs {
		req.AddData(a)
	}
	put := func(attr int, v uint32) { req.AddData(nl.NewRtAttr(attr, nl.Uint32Attr(v))) }
	put(nl.FRA_PRIORITY, r.Priority)
	put(nl.FRA_TABLE, r.Table)
	if r.Mark != 0 {
		put(nl.FRA_FWMARK, r.Mark)
		put(nl.FRA_FWMASK, fullMark)
	}
	if r.Suppress {
		put(nl.FRA_SUPPRESS_PREFIXLEN, 0)
	}
	req.AddData(nl.NewRtAttr(nl.FRA_PROTOCOL, nl.Uint8Attr(protocol)))
	return req
}
