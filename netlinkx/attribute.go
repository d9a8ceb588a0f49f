// SPDX-License-Identifier: MIT

package netlinkx

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

func nlAlign(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }

// appendAttribute appends a netlink attribute.
func appendAttribute(b []byte, kind uint16, value ...byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, nlAlign(len(value))-len(value))...)
}

func appendUint32(b []byte, kind uint16, value uint32) []byte {
	var v [4]byte
	binary.NativeEndian.PutUint32(v[:], value)
	return appendAttribute(b, kind, v[:]...)
}

func appendUint16(b []byte, kind, value uint16) []byte {
	var v [2]byte
	binary.NativeEndian.PutUint16(v[:], value)
	return appendAttribute(b, kind, v[:]...)
}

// openNested starts an attribute that holds attributes; closeNested, given
// what this returned, ends it.
func openNested(b []byte, kind uint16) (out []byte, start int) {
	return appendAttribute(b, kind|unix.NLA_F_NESTED), len(b)
}

func closeNested(b []byte, start int) {
	binary.NativeEndian.PutUint16(b[start:], uint16(len(b)-start))
}

// attributes returns the attributes of a list, by their type, up to what isn't
// one.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofNlAttr || size > len(b) {
				return
			}
			kind := binary.NativeEndian.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, b[unix.SizeofNlAttr:size]) {
				return
			}
			b = b[min(nlAlign(size), len(b)):]
		}
	}
}

// uintOf reads an unsigned number of 1, 2, 4 or 8 bytes; of any other length
// it is 0.
func uintOf(b []byte) uint64 {
	switch len(b) {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.NativeEndian.Uint16(b))
	case 4:
		return uint64(binary.NativeEndian.Uint32(b))
	case 8:
		return binary.NativeEndian.Uint64(b)
	}
	return 0
}
