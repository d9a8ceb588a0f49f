// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
)

// others changes an address of the loopback again and again, as any other program
// on the host may, which needs the kernel's lock for links, addresses and routes.
// What it returns ends that, and is how long the slowest change took.
func others() (longest func() (time.Duration, error), err error) {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return nil, fmt.Errorf("finding lo: %w", err)
	}
	const every = 10 * time.Millisecond
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(127, 9, 9, 9), Mask: net.CIDRMask(32, 32)}}
	stop, done := make(chan struct{}), make(chan error, 1)
	var most time.Duration
	go func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			for _, change := range []func(netlink.Link, *netlink.Addr) error{netlink.AddrAdd, netlink.AddrDel} {
				begun := time.Now()
				if err := change(lo, address); err != nil {
					done <- fmt.Errorf("changing an address meanwhile: %w", err)
					return
				}
				most = max(most, time.Since(begun))
			}
			select {
			case <-stop:
				done <- nil
				return
			case <-ticker.C:
			}
		}
	}()
	return func() (time.Duration, error) {
		close(stop)
		err := <-done
		return most, err
	}, nil
}
