// SPDX-License-Identifier: MIT

package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"

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
func iifnameNot(name string) term {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return term{
		text: fmt.Sprintf("iifname != %q", name),
		exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: reg1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: padded},
		},
	}
}

// ip daddr 10.8.0.1
//
//	[ meta load nfproto => reg 1 ]
//	[ cmp eq reg 1 0x00000002 ]
//	[ payload load 4b @ network header + 16 => reg 1 ]
//	[ cmp eq reg 1 0x0100080a ]
//
// ip6 daddr fd00::1
//
//	[ meta load nfproto => reg 1 ]
//	[ cmp eq reg 1 0x0000000a ]
//	[ payload load 16b @ network header + 24 => reg 1 ]
//	[ cmp eq reg 1 0x000000fd 0x00000000 0x00000000 0x01000000 ]
func daddr(a netip.Addr) term {
	word, family, offset := "ip", byte(unix.NFPROTO_IPV4), uint32(16)
	if a.Is6() {
		word, family, offset = "ip6", unix.NFPROTO_IPV6, 24
	}
	data := a.AsSlice()
	return term{
		text: fmt.Sprintf("%s daddr %s", word, a),
		exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{family}},
			&expr.Payload{DestRegister: reg1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(data))},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: data},
		},
	}
}

// fib saddr type != local
//
//	[ fib saddr type => reg 1 ]
//	[ cmp neq reg 1 0x00000002 ]
func fibSaddrTypeNotLocal() term {
	return term{
		text: "fib saddr type != local",
		exprs: []expr.Any{
			&expr.Fib{Register: reg1, ResultADDRTYPE: true, FlagSADDR: true},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: native(unix.RTN_LOCAL)},
		},
	}
}

// meta l4proto udp
//
//	[ meta load l4proto => reg 1 ]
//	[ cmp eq reg 1 0x00000011 ]
func l4proto(proto byte) term {
	word := fmt.Sprint(proto)
	if proto == unix.IPPROTO_UDP {
		word = "udp"
	}
	return term{
		text: "meta l4proto " + word,
		exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: []byte{proto}},
		},
	}
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

// drop
//
//	[ immediate reg 0 drop ]
func drop() term {
	return term{text: "drop", exprs: []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}}
}

// native returns v as it lies in a register: in the byte order of the host.
func native(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// bytecode returns an expression as it is sent to the kernel.
func bytecode(e expr.Any) []byte {
	b, err := expr.Marshal(unix.NFPROTO_INET, e)
	if err != nil {
		// Only expressions of other programs can get here, and those make
		// a fingerprint that differs from ours in any case.
		return []byte(err.Error())
	}
	return b
}
