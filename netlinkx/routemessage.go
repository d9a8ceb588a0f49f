// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A routeMessage is what matters of a struct rtmsg and its attributes.
type routeMessage struct {
	dst           netip.Prefix // masked
	table, metric uint32
	protocol      byte
	kind          byte   // RTN_UNICAST, ...
	link          int    // of the first of several next hops; 0: none
	mtu           int    // the route's own; 0: none
	cloned        bool   // made by the kernel from another, for one destination
	odd           bool   // says more than where, through which link, and how dear
	more          []byte // struct rtnexthop of several next hops
}

const rtaNhID = 30 // RTA_NH_ID: the number of a next hop object

// A routeFilter is which routes are wanted; zero fields are any.
type routeFilter struct {
	family int
	link   int
	table  uint32
}

// eachRoute calls each with the routes of a family, and start before the first,
// again if the list has to be read again. Only a kernel that checks strictly
// filters by link and table, so callers look again. A message is good until the
// next.
func (k *Kernel) eachRoute(ctx context.Context, f routeFilter, start func(), each func(*routeMessage)) error {
	return k.dump(ctx, func() error {
		start()
		s, err := k.newBatchSocket(unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		defer func() { _ = s.close() }()
		// Kernels before 4.20 don't know it.
		_ = unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
		var r routeMessage
		return s.dump(unix.RTM_GETROUTE, f.request, func(m []byte) error {
			if r.decode(m) && !r.cloned && (f.table == 0 || r.table == f.table) {
				each(&r)
			}
			return nil
		})
	})
}

func (f routeFilter) request(b []byte) []byte {
	b = append(b, byte(f.family), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if f.table != 0 {
		b = appendUint32(b, unix.RTA_TABLE, f.table)
	}
	if f.link != 0 {
		b = appendUint32(b, unix.RTA_OIF, uint32(f.link))
	}
	return b
}

// decode reads a message, and reports whether it is of a family that routes
// are of here.
func (r *routeMessage) decode(m []byte) bool {
	if len(m) < unix.SizeofRtMsg {
		return false
	}
	var dst netip.Addr
	switch m[0] {
	case unix.AF_INET:
		dst = netip.IPv4Unspecified()
	case unix.AF_INET6:
		dst = netip.IPv6Unspecified()
	default:
		return false // as MPLS
	}
	*r = routeMessage{table: uint32(m[4]), protocol: m[5], kind: m[7], odd: m[2] != 0 || m[3] != 0,
		cloned: binary.NativeEndian.Uint32(m[8:])&unix.RTM_F_CLONED != 0}
	for kind, v := range attributes(m[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			if a, ok := netip.AddrFromSlice(v); ok {
				dst = a
			}
		case unix.RTA_TABLE:
			r.table = uint32(uintOf(v))
		case unix.RTA_PRIORITY:
			r.metric = uint32(uintOf(v))
		case unix.RTA_OIF:
			r.link = int(uintOf(v))
		case unix.RTA_METRICS:
			for kind, v := range attributes(v) {
				if kind == unix.RTAX_MTU {
					r.mtu = int(uintOf(v))
				}
			}
		case unix.RTA_MULTIPATH:
			r.odd, r.more = true, v
			for index := range r.hops {
				if r.link == 0 {
					r.link = index
				}
			}
		case unix.RTA_GATEWAY, unix.RTA_VIA, unix.RTA_PREFSRC, unix.RTA_ENCAP, rtaNhID:
			r.odd = true
		}
	}
	if r.table == unix.RT_TABLE_UNSPEC {
		r.table = unix.RT_TABLE_MAIN
	}
	r.dst = netip.PrefixFrom(dst, int(m[1])).Masked()
	return r.dst.IsValid()
}

// hops yields the links of several next hops: a list of struct rtnexthop.
func (r *routeMessage) hops(yield func(index int) bool) {
	for b := r.more; len(b) >= unix.SizeofRtNexthop; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtNexthop || size > len(b) || !yield(int(int32(binary.NativeEndian.Uint32(b[4:])))) {
			return
		}
		b = b[min(nlAlign(size), len(b)):]
	}
}

// through reports whether the route leads through a link, with others or
// alone.
func (r *routeMessage) through(index int) bool {
	if r.link == index {
		return true
	}
	for hop := range r.hops {
		if hop == index {
			return true
		}
	}
	return false
}
