// SPDX-License-Identifier: MIT

package firewall

import (
	"fmt"
	"math"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Accepts in chains of nf_tables are written in two languages: that of nft, and
// that of iptables-nft, which has to be able to list and save its tables
// afterwards. It knows connection tracking and comments as the matches of the
// old iptables only.

// nftRules returns the accepts of a place, in order.
func (p Passage) nftRules(at Place) [][]expr.Any {
	var rules [][]expr.Any
	for _, r := range p.at(at.Family) {
		var exprs []expr.Any
		if at.Kind == PlaceIPTables {
			comment := xt.Comment(p.comment())
			exprs = append(r.xtExprs(), &expr.Match{Name: "comment", Info: &comment})
		} else {
			r.Verdict = "" // it comes last, after a counter as iptables has one
			for _, t := range r.terms() {
				exprs = append(exprs, t.exprs...)
			}
		}
		rules = append(rules, append(exprs, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}))
	}
	return rules
}

// userData is the comment of a rule as nft keeps it, nil in iptables.
func (p Passage) userData(at Place) []byte {
	if at.Kind == PlaceIPTables {
		return nil
	}
	return userdata.AppendString(nil, userdata.TypeComment, p.comment())
}

// xtExprs returns what a rule matches in expressions that every version of
// iptables-nft reads.
func (r Rule) xtExprs() []expr.Any {
	exprs := append(xtLink(expr.MetaKeyIIFNAME, r.In), xtLink(expr.MetaKeyOIFNAME, r.Out)...)
	if r.Source.Prefix.IsValid() {
		exprs = append(exprs, address("saddr", r.Source).exprs...)
	}
	if r.Destination.Prefix.IsValid() {
		exprs = append(exprs, address("daddr", r.Destination).exprs...)
	}
	if r.Protocol != 0 {
		exprs = append(exprs, l4proto(r.Protocol).exprs...)
	}
	if r.SourceType != "" || r.DestinationType != "" {
		exprs = append(exprs, r.xtAddrType())
	}
	exprs = append(exprs, r.xtTransport()...)
	if r.State != 0 { // the bits of xt_conntrack.h are those of State
		info := &xt.ConntrackMtinfo3{}
		info.MatchFlags, info.StateMask = uint16(xt.ConntrackState), uint16(r.State)
		exprs = append(exprs, &expr.Match{Name: "conntrack", Rev: 3, Info: info})
	}
	if r.Mark != 0 { // struct xt_mark_mtinfo1: mark, mask, invert
		info := xt.Unknown(slices.Concat(native(r.Mark), native(math.MaxUint32), make([]byte, 4)))
		exprs = append(exprs, &expr.Match{Name: "mark", Rev: 1, Info: &info})
	}
	return exprs
}

// -i wg0
//
//	[ meta load iifname => reg 1 ]
//	[ cmp eq reg 1 0x00306777 ]
func xtLink(key expr.MetaKey, l Link) []expr.Any {
	if l.Name == "" {
		return nil
	}
	data := []byte(l.Name)
	if !l.Pattern {
		data = append(data, 0)
	}
	op, _ := equal(l.Not)
	return []expr.Any{&expr.Meta{Key: key, Register: reg1}, &expr.Cmp{Op: op, Register: reg1, Data: data}}
}

// -m addrtype ! --src-type LOCAL
func (r Rule) xtAddrType() expr.Any {
	const invertSource, invertDest = 1, 2 // linux/netfilter/xt_addrtype.h
	info := &xt.AddrTypeV1{}
	if r.SourceType != "" {
		info.Source = uint16(xt.AddrTypeLocal)
	}
	if r.DestinationType != "" {
		info.Dest = uint16(xt.AddrTypeLocal)
	}
	if r.SourceType == NotLocal {
		info.Flags |= invertSource
	}
	if r.DestinationType == NotLocal {
		info.Flags |= invertDest
	}
	return &expr.Match{Name: "addrtype", Rev: 1, Info: info}
}

// -m tcp --dport 22:24
func (r Rule) xtTransport() []expr.Any {
	source, sourceNot := r.SourcePort.xt()
	dest, destNot := r.DestinationPort.xt()
	switch {
	case r.SourcePort == Ports{} && r.DestinationPort == Ports{} && !r.SYN:
		return nil
	case r.Protocol == UDP:
		return []expr.Any{&expr.Match{Name: "udp", Info: &xt.Udp{
			SrcPorts: source, DstPorts: dest, InvFlags: xt.UdpInvFlagset(sourceNot | destNot<<1),
		}}}
	}
	info := &xt.Tcp{SrcPorts: source, DstPorts: dest, InvFlags: xt.TcpInvFlagset(sourceNot | destNot<<1)}
	if r.SYN {
		const syn, rst = 2, 4
		info.FlagsMask, info.FlagsCmp = syn|rst, syn
	}
	return []expr.Any{&expr.Match{Name: "tcp", Info: info}}
}

// xt returns a range of ports, and 1 if it is inverted.
func (p Ports) xt() (ports [2]uint16, not uint8) {
	if p == (Ports{}) {
		return [2]uint16{0, math.MaxUint16}, 0
	}
	if p.Not {
		not = 1
	}
	return [2]uint16{p.First, max(p.First, p.Last)}, not
}

// exprWords returns a line for each rule that says what it does: its bytecode
// without what the counter has counted.
func exprWords(rules [][]expr.Any) []string {
	var out []string
	for _, exprs := range rules {
		out = append(out, exprWord(exprs))
	}
	return out
}

func exprWord(exprs []expr.Any) string {
	word := ""
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Counter:
			continue
		case *expr.Match:
			word += fmt.Sprintf("%x ", matchBytes(e))
		default:
			word += fmt.Sprintf("%x ", bytecode(e))
		}
	}
	return word
}

// matchBytes returns a match as a word. Its layout depends on the family, of which
// ours use nothing: no match of ours has an address.
func matchBytes(m *expr.Match) []byte {
	b, err := xt.Marshal(unix.NFPROTO_IPV4, m.Rev, m.Info)
	if err != nil {
		return []byte(err.Error())
	}
	for len(b)%8 != 0 {
		b = append(b, 0) // as the kernel keeps it
	}
	return append([]byte(m.Name+" "), b...)
}

// readRule returns what matters of a rule in a chain of that kind.
func readRule(r *nftables.Rule) ForeignRule {
	out := ForeignRule{Always: true, handle: r.Handle, words: exprWord(r.Exprs)}
	tag := comment(r.UserData)
	for _, e := range r.Exprs {
		switch e := e.(type) {
		case *expr.Counter, *expr.Log, *expr.Notrack:
		case *expr.Verdict:
			out.Outcome, out.Chain = verdictOf(e.Kind), e.Chain
		case *expr.Reject:
			out.Outcome = OutcomeDrop
		case *expr.Target:
			if e.Name == "REJECT" {
				out.Outcome = OutcomeDrop
			}
		case *expr.Match:
			if c, ok := e.Info.(*xt.Comment); ok {
				tag = unix.ByteSliceToString([]byte(*c))
				continue
			}
			out.Always = false
		default:
			out.Always = false
		}
	}
	out.Ours = taggedFor(tag)
	return out.settled()
}

func verdictOf(k expr.VerdictKind) Outcome {
	switch k {
	case expr.VerdictAccept:
		return OutcomeAccept
	case expr.VerdictDrop:
		return OutcomeDrop
	case expr.VerdictReturn:
		return OutcomeReturn
	case expr.VerdictJump:
		return OutcomeJump
	case expr.VerdictGoto:
		return OutcomeGoto
	}
	return ""
}
