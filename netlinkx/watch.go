// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// routeGroups are those of rtnetlink that tell of what a tunnel is made of, as
// bits (include/uapi/linux/rtnetlink.h).
const routeGroups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
	unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE | unix.RTMGRP_IPV4_RULE | 1<<(unix.RTNLGRP_IPV6_RULE-1)

// nftablesGroups is NFNLGRP_NFTABLES as a bit.
const nftablesGroups = 1 << (unix.NFNLGRP_NFTABLES - 1)

// Watch sends a value when a link, an address, a route, a rule or a packet
// filter of nf_tables may have changed, until the context ends, and then closes
// the channel. Changes that come while a value waits to be received are
// announced by it. A kernel without nf_tables tells of the rest.
func Watch(ctx context.Context) (<-chan struct{}, error) {
	route, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: routeGroups})
	if err != nil {
		return nil, fmt.Errorf("watching links and routes: %w", err)
	}
	conns := []*netlink.Conn{route}
	if filters, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: nftablesGroups}); err == nil {
		conns = append(conns, filters)
	}
	changed := make(chan struct{}, 1)
	done := make(chan struct{}, len(conns))
	for _, c := range conns {
		go func() {
			listen(c, changed)
			done <- struct{}{}
		}()
	}
	go func() {
		<-ctx.Done()
		for _, c := range conns {
			_ = c.Close() // ends its Receive
		}
		for range conns {
			<-done
		}
		close(changed)
	}()
	return changed, nil
}

// listen announces whatever comes. Messages that were lost (ENOBUFS) are
// changes too.
func listen(c *netlink.Conn, changed chan<- struct{}) {
	for {
		if _, err := c.Receive(); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}
