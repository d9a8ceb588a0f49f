// SPDX-License-Identifier: MIT

package userspace

import (
	"errors"
	"net/netip"
	"os"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A peer is answered from the address that it contacted: another one might not
// pass its NAT or firewall. But no longer than that address is good: the
// kernel's device drops it when it isn't the host's any more, or when the
// route from it leads out by another link than the peer's packets came in by
// (send4 in drivers/net/wireguard/socket.c; send6 has only the first rule).
// The kernel looks at each packet. Here routing is asked after each change of
// it, and what the kernel then refuses is sent once more without the address.

// refusesSource reports whether the kernel may have refused a packet for its
// source address.
func refusesSource(err error) bool {
	return isOneOf(err, unix.EINVAL, unix.EADDRNOTAVAIL, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENODEV)
}

// sourceFor returns the address to send from, or nil for the kernel's choice.
func (b *bind) sourceFor(e *endpoint) *source {
	s := e.src.Load()
	r := b.routing.Load()
	if s == nil || r == nil || !s.addr.Is4() {
		return s
	}
	state := r.state.Load()
	if s.checked.Load() == state {
		return s
	}
	link, err := r.link(e.dst.Addr(), s.addr, b.mark.Load())
	if err == nil && link != s.link || refusesSource(err) {
		e.clear(s)
		return nil
	}
	s.checked.Store(state)
	return s
}

// A routing is the host's routing of IPv4.
type routing struct {
	state  atomic.Uint64 // goes up when routing may have changed; never 0
	events *os.File
	handle *netlink.Handle
}

// openRouting opens the routing of the calling thread's network namespace.
func openRouting() (*routing, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	// Links as well: a link that goes down takes its routes along silently.
	groups := &unix.SockaddrNetlink{
		Family: unix.AF_NETLINK,
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV4_RULE,
	}
	if err := unix.Bind(fd, groups); err != nil {
		unix.Close(fd)
		return nil, err
	}
	r := &routing{events: os.NewFile(uintptr(fd), "routing events")}
	if r.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		r.events.Close()
		return nil, err
	}
	r.changed()
	go r.watch()
	return r, nil
}

func (r *routing) close() {
	r.events.Close()
	r.handle.Close()
}

// changed makes everyone ask again.
func (r *routing) changed() { r.state.Add(1) }

// watch waits for changes until the routing is closed. What changed doesn't
// matter, so the events are not even read to their ends.
func (r *routing) watch() {
	var event [64]byte
	for {
		_, err := r.events.Read(event[:])
		if err != nil && !errors.Is(err, unix.ENOBUFS) { // which says that some were lost
			return
		}
		r.changed()
	}
}

// link returns the number of the link by which a marked packet goes out.
func (r *routing) link(dst, src netip.Addr, mark uint32) (uint32, error) {
	found, err := r.handle.RouteGetWithOptions(dst.AsSlice(), &netlink.RouteGetOptions{SrcAddr: src.AsSlice(), Mark: mark})
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, unix.ENETUNREACH
	}
	return uint32(found[0].LinkIndex), nil
}
