// SPDX-License-Identifier: MIT

package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// A term is one word of a rule: as nft prints it, and as the kernel runs it.
// Above each constructor stands what "nft --debug=netlink" prints for it.
type term struct {
	text  string
	exprs []expr.Any
}

// The kernel's registers: all our values are loaded into, and read from, the
// first one of 128 bits.
const reg1 = unix.NFT_REG_1

// iifname != "wg0"
//
//	[ meta load iifname => reg 1 ]
//	[ cmp neq reg 1 0x00306777 0x00000000 0x00000000 0x00000000 ]
//
// oifname "eth*"
//
//	[ meta load oifname => reg 1 ]
//	[ cmp eq reg 1 0x00687465 ]
func linkName(word string, key expr.MetaKey, l Link) term {
	name := []byte(l.Name)
	text := l.Name + "*"
	if !l.Pattern {
		name, text = append(name, make([]byte, unix.IFNAMSIZ-len(name))...), l.Name
	}
	op, not := equal(l.Not)
	return term{
		text: fmt.Sprintf("%s %s%q", word, not, text),
		exprs: []expr.Any{
			&expr.Meta{Key: key, Register: reg1},
			&expr.Cmp{Op: op, Register: reg1, Data: name},
		},
	}
}

// equal returns the operation of a match and how nft writes it.
func equal(not bool) (expr.CmpOp, string) {
	if not {
		return expr.CmpOpNeq, "!= "
	}
	return expr.CmpOpEq, ""
}

// meta nfproto ipv4
//
//	[ meta load nfproto => reg 1 ]
//	[ cmp eq reg 1 0x00000002 ]
func nfproto(f Family) term {
	return term{
		text: fmt.Sprintf("meta nfproto ipv%d", f),
		exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{nfprotoOf(f)}},
		},
	}
}

func nfprotoOf(f Family) byte {
	if f == IPv4 {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// ipWord is what nft calls the family's header.
func ipWord(f Family) string {
	if f == IPv4 {
		return "ip"
	}
	return "ip6"
}

// ip daddr
//
//	[ payload load 4b @ network header + 16 => reg 1 ]
//
// ip6 saddr
//
//	[ payload load 16b @ network header + 8 => reg 1 ]
func payloadAddress(word string, f Family) term {
	offset, size := uint32(12), uint32(4)
	if f == IPv6 {
		offset, size = 8, 16
	}
	if word == "daddr" {
		offset += size
	}
	return term{
		text:  ipWord(f) + " " + word,
		exprs: []expr.Any{&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}},
	}
}

// ip daddr != 10.8.0.0/24
//
//	[ payload load 4b @ network header + 16 => reg 1 ]
//	[ bitwise reg 1 = ( reg 1 & 0x00ffffff ) ^ 0x00000000 ]
//	[ cmp neq reg 1 0x0000080a ]
func address(word string, n Network) term {
	p := n.Prefix.Masked()
	t := payloadAddress(word, n.family())
	data := p.Addr().AsSlice()
	if !p.IsSingleIP() {
		mask := make([]byte, len(data))
		for i := range p.Bits() {
			mask[i/8] |= 0x80 >> (i % 8)
		}
		t.exprs = append(t.exprs, bitwise(mask))
	}
	op, not := equal(n.Not)
	t.text += " " + not + prefixText(p)
	t.exprs = append(t.exprs, &expr.Cmp{Op: op, Register: reg1, Data: data})
	return t
}

func bitwise(mask []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))}
}

// prefixText returns a prefix as nft writes it.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// fib saddr type != local
//
//	[ fib saddr type => reg 1 ]
//	[ cmp neq reg 1 0x00000002 ]
func fibType(word string, a AddrType) term {
	op, not := equal(a == NotLocal)
	return term{
		text: fmt.Sprintf("fib %s type %slocal", word, not),
		exprs: []expr.Any{
			&expr.Fib{Register: reg1, ResultADDRTYPE: true, FlagSADDR: word == "saddr", FlagDADDR: word == "daddr"},
			&expr.Cmp{Op: op, Register: reg1, Data: native(unix.RTN_LOCAL)},
		},
	}
}

// meta l4proto udp
//
//	[ meta load l4proto => reg 1 ]
//	[ cmp eq reg 1 0x00000011 ]
func l4proto(p Protocol) term {
	return term{
		text: "meta l4proto " + p.String(),
		exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{byte(p)}},
		},
	}
}

// protocols are the words that nft has for protocols.
var protocols = map[Protocol]string{
	ICMP: "icmp", 2: "igmp", TCP: "tcp", UDP: "udp", 47: "gre", 50: "esp", 51: "ah", ICMPv6: "ipv6-icmp", 132: "sctp",
}

// String returns "tcp", or the number of a protocol that has no name here.
func (p Protocol) String() string {
	if s, ok := protocols[p]; ok {
		return s
	}
	return fmt.Sprint(uint8(p))
}

// tcp dport 22
//
//	[ payload load 2b @ transport header + 2 => reg 1 ]
//	[ cmp eq reg 1 0x00001600 ]
//
// udp sport 8000-8010
//
//	[ payload load 2b @ transport header + 0 => reg 1 ]
//	[ cmp gte reg 1 0x0000401f ]
//	[ cmp lte reg 1 0x00004a1f ]
func ports(proto Protocol, word string, p Ports) term {
	load := &expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Len: 2}
	if word == "dport" {
		load.Offset = 2
	}
	op, not := equal(p.Not)
	t := term{text: fmt.Sprintf("%s %s %s%s", proto, word, not, p), exprs: []expr.Any{load}}
	switch {
	case p.Last <= p.First:
		t.exprs = append(t.exprs, &expr.Cmp{Op: op, Register: reg1, Data: port(p.First)})
	case p.Not:
		t.exprs = append(t.exprs, &expr.Range{Op: op, Register: reg1, FromData: port(p.First), ToData: port(p.Last)})
	default:
		t.exprs = append(t.exprs, &expr.Cmp{Op: expr.CmpOpGte, Register: reg1, Data: port(p.First)},
			&expr.Cmp{Op: expr.CmpOpLte, Register: reg1, Data: port(p.Last)})
	}
	return t
}

// tcp flags syn / syn,rst
//
//	[ payload load 1b @ transport header + 13 => reg 1 ]
//	[ bitwise reg 1 = ( reg 1 & 0x00000006 ) ^ 0x00000000 ]
//	[ cmp eq reg 1 0x00000002 ]
func synOnly() term {
	const syn, rst = 2, 4
	return term{
		text: "tcp flags syn / syn,rst",
		exprs: []expr.Any{
			&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			bitwise([]byte{syn | rst}),
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{syn}},
		},
	}
}

// icmpv6 type nd-neighbor-solicit
//
//	[ payload load 1b @ transport header + 0 => reg 1 ]
//	[ cmp eq reg 1 0x00000087 ]
func icmpType(p Protocol, kind uint8) term {
	word := "icmp"
	if p == ICMPv6 {
		word = "icmpv6"
	}
	return term{
		text: word + " type " + icmpTypeWord(p, kind),
		exprs: []expr.Any{
			&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{kind}},
		},
	}
}

// icmpTypes are nft's words for types.
var icmpTypes = map[Protocol]map[uint8]string{
	ICMP: {3: "destination-unreachable", 4: "source-quench", 5: "redirect", 8: "echo-request", 11: "time-exceeded", 12: "parameter-problem"},
	ICMPv6: {
		1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem",
		128: "echo-request", 129: "echo-reply", 130: "mld-listener-query", 131: "mld-listener-report", 132: "mld-listener-done",
		133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert", 137: "nd-redirect",
		143: "mld2-listener-report",
	},
}

func icmpTypeWord(p Protocol, kind uint8) string {
	if s, ok := icmpTypes[p][kind]; ok {
		return s
	}
	return fmt.Sprint(kind)
}

// ct state established,related
//
//	[ ct load state => reg 1 ]
//	[ bitwise reg 1 = ( reg 1 & 0x00000006 ) ^ 0x00000000 ]
//	[ cmp neq reg 1 0x00000000 ]
//
// ct status dnat
//
//	[ ct load status => reg 1 ]
//	[ bitwise reg 1 = ( reg 1 & 0x00000020 ) ^ 0x00000000 ]
//	[ cmp neq reg 1 0x00000000 ]
func ctState(s State) term {
	const statusDNAT = 1 << 5 // IPS_DST_NAT
	key, bits, text := expr.CtKeySTATE, uint32(s), "ct state "+strings.Join(s.words(), ",")
	if s == StateDNAT {
		key, bits, text = expr.CtKeySTATUS, statusDNAT, "ct status dnat"
	}
	return term{
		text: text,
		exprs: []expr.Any{
			&expr.Ct{Key: key, Register: reg1},
			bitwise(native(bits)),
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: native(0)},
		},
	}
}

// words returns the states by their names, in the order of their bits.
func (s State) words() (out []string) {
	for _, w := range []struct {
		bit  State
		word string
	}{{StateInvalid, "invalid"}, {StateEstablished, "established"}, {StateRelated, "related"}, {StateNew, "new"}} {
		if s&w.bit != 0 {
			out = append(out, w.word)
		}
	}
	return out
}

// meta mark 0x0000ca6c
//
//	[ meta load mark => reg 1 ]
//	[ cmp eq reg 1 0x0000ca6c ]
func metaMark(mark uint32) term {
	return term{
		text: fmt.Sprintf("meta mark 0x%08x", mark),
		exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: native(mark)},
		},
	}
}

// ct mark set meta mark
//
//	[ meta load mark => reg 1 ]
//	[ ct set mark with reg 1 ]
func ctMarkSetMetaMark() term {
	return term{
		text: "ct mark set meta mark",
		exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1},
			&expr.Ct{Key: expr.CtKeyMARK, Register: reg1, SourceRegister: true},
		},
	}
}

// meta mark set ct mark
//
//	[ ct load mark => reg 1 ]
//	[ meta set mark with reg 1 ]
func metaMarkSetCtMark() term {
	return term{
		text: "meta mark set ct mark",
		exprs: []expr.Any{
			&expr.Ct{Key: expr.CtKeyMARK, Register: reg1},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: reg1, SourceRegister: true},
		},
	}
}

// counter packets 0 bytes 0
//
//	[ counter pkts 0 bytes 0 ]
func counter() term {
	return term{text: "counter packets 0 bytes 0", exprs: []expr.Any{&expr.Counter{}}}
}

// drop
//
//	[ immediate reg 0 drop ]
func drop() term {
	return term{text: "drop", exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}}
}

// accept
//
//	[ immediate reg 0 accept ]
func accept() term {
	return term{text: "accept", exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}}
}

// masquerade
//
//	[ masq ]
func masquerade() term { return term{text: "masquerade", exprs: []expr.Any{&expr.Masq{}}} }

// native returns v as it lies in a register: in the byte order of the host.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// bytecode returns an expression as it is sent to the kernel, but for what the
// kernel gives back in other words.
func bytecode(e expr.Any) []byte {
	switch v := e.(type) {
	case *expr.Lookup:
		l := *v
		l.SetID = 0 // of the transaction
		e = &l
	case *expr.Counter:
		e = &expr.Counter{} // what it counted is no part of the rule
	case *expr.NAT:
		n := *v
		n.Specified = false // always so where there is a port
		if n.RegAddrMax == n.RegAddrMin {
			n.RegAddrMax = 0
		}
		if n.RegProtoMax == n.RegProtoMin {
			n.RegProtoMax = 0
		}
		e = &n
	}
	b, err := expr.Marshal(unix.NFPROTO_INET, e)
	if err != nil {
		// Only expressions of other programs can get here, and those make
		// a fingerprint that differs from ours in any case.
		return []byte(err.Error())
	}
	return b
}
