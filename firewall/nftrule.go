// SPDX-License-Identifier: MIT

package firewall

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// terms returns the words of a rule, in the order in which nft lists them.
func (r Rule) terms() []term {
	var out []term
	add := func(t ...term) { out = append(out, t...) }
	if r.In.Name != "" {
		add(linkName("iifname", expr.MetaKeyIIFNAME, r.In))
	}
	if r.Out.Name != "" {
		add(linkName("oifname", expr.MetaKeyOIFNAME, r.Out))
	}
	add(r.network()...)
	if r.SourceType != "" {
		add(fibType("saddr", r.SourceType))
	}
	if r.DestinationType != "" {
		add(fibType("daddr", r.DestinationType))
	}
	add(r.transport()...)
	if r.State != 0 {
		add(ctState(r.State))
	}
	if r.Mark != 0 {
		add(metaMark(r.Mark))
	}
	if r.Counter {
		add(counter())
	}
	return append(out, r.verdict()...)
}

// network matches the family and what the network header has. A match of an
// address, or of ICMP's types, implies the family in nft's text.
func (r Rule) network() []term {
	if r.Family == AnyFamily {
		return nil
	}
	family := nfproto(r.Family)
	setOfAddrs := r.set != "" && r.Verdict != VerdictDNAT && r.Protocol == 0
	out := []term{family}
	if r.Source.Prefix.IsValid() {
		out = append(out, address("saddr", r.Source))
	}
	if r.Destination.Prefix.IsValid() {
		out = append(out, address("daddr", r.Destination))
	}
	if setOfAddrs {
		out = append(out, addressIn(r.Family, r.set))
	}
	if len(out) > 1 || r.Family == IPv4 && r.Protocol == ICMP || r.Family == IPv6 && r.Protocol == ICMPv6 {
		out[0].text = ""
	}
	return out
}

// transport matches the protocol and what its header has. Those imply the
// protocol in nft's text.
func (r Rule) transport() []term {
	if r.Protocol == 0 {
		return nil
	}
	out := []term{l4proto(r.Protocol)}
	if r.SourcePort != (Ports{}) {
		out = append(out, ports(r.Protocol, "sport", r.SourcePort))
	}
	if r.DestinationPort != (Ports{}) {
		out = append(out, ports(r.Protocol, "dport", r.DestinationPort))
	}
	if r.SYN {
		out = append(out, synOnly())
	}
	if r.ICMPType != 0 {
		out = append(out, icmpType(r.Protocol, r.ICMPType))
	}
	if r.set != "" && r.Protocol == ICMPv6 {
		out = append(out, icmpTypeIn(r.set))
	}
	if len(out) > 1 || r.set != "" {
		out[0].text = ""
	}
	return out
}

func (r Rule) verdict() []term {
	switch r.Verdict {
	case VerdictAccept:
		return []term{accept()}
	case VerdictDrop:
		return []term{drop()}
	case VerdictMasquerade:
		return []term{masquerade()}
	case VerdictSNAT, VerdictDNAT:
		if r.set != "" {
			return []term{dnatMap(r)}
		}
		return []term{nat(r)}
	case VerdictClamp:
		return []term{setMSS(r.MSS)}
	case VerdictSaveMark:
		return []term{ctMarkSetMetaMark()}
	case VerdictRestoreMark:
		return []term{metaMarkSetCtMark()}
	}
	return nil
}

// ip daddr @excluded4
//
//	[ payload load 4b @ network header + 16 => reg 1 ]
//	[ lookup reg 1 set excluded4 ]
func addressIn(f Family, set string) term {
	t := payloadAddress("daddr", f)
	t.text += " @" + set
	t.exprs = append(t.exprs, &expr.Lookup{SourceRegister: reg1, SetName: set})
	return t
}

// icmpv6 type @neighbour-discovery
//
//	[ payload load 1b @ transport header + 0 => reg 1 ]
//	[ lookup reg 1 set neighbour-discovery ]
func icmpTypeIn(set string) term {
	return term{
		text: "icmpv6 type @" + set,
		exprs: []expr.Any{
			&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Len: 1},
			&expr.Lookup{SourceRegister: reg1, SetName: set},
		},
	}
}

// dnat ip to tcp dport map @tcp4
//
//	[ payload load 2b @ transport header + 2 => reg 1 ]
//	[ lookup reg 1 set tcp4 dreg 1 ]
//	[ nat dnat ip addr_min reg 1 proto_min reg 9 ]
//
// The port follows the address: it is in the second of the registers of 32
// bits (numbered from 8) after an IPv4 address, and in the second of those of
// 128 bits after an IPv6 address. A map of ranges has only the address.
func dnatMap(r Rule) term {
	to := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(nfprotoOf(r.Family)), RegAddrMin: reg1}
	if !strings.Contains(r.set, "-ranges") {
		to.RegProtoMin, to.Specified = unix.NFT_REG32_01, true
		if r.Family == IPv6 {
			to.RegProtoMin = unix.NFT_REG_2
		}
	}
	return term{
		text: fmt.Sprintf("dnat %s to %s dport map @%s", ipWord(r.Family), r.Protocol, r.set),
		exprs: []expr.Any{
			&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Lookup{SourceRegister: reg1, DestRegister: reg1, IsDestRegSet: true, SetName: r.set},
			to,
		},
	}
}

// dnat ip to 10.0.0.2:7000-7010
//
//	[ immediate reg 1 0x0200000a ]
//	[ immediate reg 2 0x0000581b ]
//	[ immediate reg 3 0x0000621b ]
//	[ nat dnat ip addr_min reg 1 proto_min reg 2 proto_max reg 3 flags 0x2 ]
func nat(r Rule) term {
	word, e := "dnat", &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(nfprotoOf(r.Family)), RegAddrMin: reg1}
	if r.Verdict == VerdictSNAT {
		word, e.Type = "snat", expr.NATTypeSourceNAT
	}
	t := term{exprs: []expr.Any{&expr.Immediate{Register: reg1, Data: r.To.Addr.AsSlice()}}}
	if r.To.First != 0 {
		e.RegProtoMin, e.Specified = unix.NFT_REG_2, true
		t.exprs = append(t.exprs, &expr.Immediate{Register: e.RegProtoMin, Data: port(r.To.First)})
	}
	if r.To.Last > r.To.First {
		e.RegProtoMax = unix.NFT_REG_3
		t.exprs = append(t.exprs, &expr.Immediate{Register: e.RegProtoMax, Data: port(r.To.Last)})
	}
	t.exprs = append(t.exprs, e)
	t.text = fmt.Sprintf("%s %s to %s", word, ipWord(r.Family), r.To)
	return t
}

// String returns the target as nft and iptables write it.
func (t Target) String() string {
	switch {
	case t.First == 0:
		return t.Addr.String()
	case t.Addr.Is6():
		return fmt.Sprintf("[%s]:%s", t.Addr, Ports{First: t.First, Last: t.Last})
	}
	return fmt.Sprintf("%s:%s", t.Addr, Ports{First: t.First, Last: t.Last})
}

// String returns "22" or "8000-8010".
func (p Ports) String() string {
	if p.Last <= p.First {
		return fmt.Sprint(p.First)
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// setMSS never raises a segment size (nft_exthdr_tcp_set_eval).
//
// tcp option maxseg size set rt mtu
//
//	[ rt load tcpmss => reg 1 ]
//	[ byteorder reg 1 = hton(reg 1, 2, 2) ]
//	[ exthdr write tcpopt reg 1 => 2b @ 2 + 2 ]
//
// tcp option maxseg size set 1360
//
//	[ immediate reg 1 0x00005005 ]
//	[ exthdr write tcpopt reg 1 => 2b @ 2 + 2 ]
func setMSS(size uint16) term {
	write := &expr.Exthdr{SourceRegister: reg1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt}
	if size != 0 {
		return term{
			text:  fmt.Sprintf("tcp option maxseg size set %d", size),
			exprs: []expr.Any{&expr.Immediate{Register: reg1, Data: port(size)}, write},
		}
	}
	return term{
		text: "tcp option maxseg size set rt mtu",
		exprs: []expr.Any{
			&expr.Rt{Register: reg1, Key: expr.RtTCPMSS},
			&expr.Byteorder{SourceRegister: reg1, DestRegister: reg1, Op: expr.ByteorderHton, Len: 2, Size: 2},
			write,
		},
	}
}
