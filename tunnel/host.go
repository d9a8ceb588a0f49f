// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"golang.org/x/sys/unix"
)

// A Host is what a tunnel is set up on: one network namespace and the programs
// around it. The real one is put together in cmd; tests use one in memory.
type Host struct {
	Links     netlinkx.Links
	Addresses netlinkx.Addresses
	Routes    netlinkx.Routes
	Tables    netlinkx.Tables
	DeadEnds  netlinkx.DeadEnds
	Rules     netlinkx.Rules
	Devices   netlinkx.Devices
	Sysctls   netlinkx.Sysctls
	Firewall  Firewall
	Foreign   Foreign
	DNS       Resolver
	Userspace Userspace
	Hooks     HookRunner
	Names     Names
	Records   *Records

	// Underlay is the routing of the namespace that devices' own packets leave
	// by, if that is another one than the host's; nil where it isn't.
	Underlay Underlay

	// Progress, if not nil, is told how far a step with thousands of peers or
	// routes got.
	Progress func(done, total int, what string)
}

// An Underlay is the routing of a namespace where UDP sockets of devices are
// whose links are elsewhere.
type Underlay interface {
	// PathTo is that of netlinkx.Routes.
	PathTo(ctx context.Context, a netip.Addr, mark uint32) (netlinkx.RoutePath, error)
}

// underlay is the routing of the devices' own packets.
func (h *Host) underlay() Underlay {
	if h.Underlay != nil {
		return h.Underlay
	}
	return h.Routes
}

// How often a port is asked for, and how long apart, until the kernel has closed the
// sockets of a namespace's devices that was deleted: some 5 s, and longer on a host
// that has no processor for this.
const (
	goneTries = 100
	goneTry   = 50 * time.Millisecond
)

// onceFree does what takes the port of a device. Where its sockets are in another
// namespace the port may be held by a device of before, whose namespace was just
// deleted: that is waited for.
func (h *Host) onceFree(ctx context.Context, do func() error) error {
	err := do()
	for range goneTries {
		if h.Underlay == nil || !errors.Is(err, unix.EADDRINUSE) {
			break
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(goneTry):
		}
		err = do()
	}
	return err
}

// A Firewall programs the rulesets of tunnels.
type Firewall interface {
	// Installed returns what stands for the tunnel of that interface.
	Installed(ctx context.Context, ifname string) (firewall.Installed, error)
	// Apply replaces all that stands for r.Interface by r, as one change
	// where the backend can. An empty ruleset removes everything.
	Apply(ctx context.Context, r firewall.Ruleset) error
	// Choose says, with its trace, which backend r will go to; an error if
	// none can take it.
	Choose(ctx context.Context, r firewall.Ruleset) (trace string, err error)
}

// A Resolver tells the host's resolver what tunnels want.
type Resolver interface {
	// Installed returns what stands for the tunnel of that interface.
	Installed(ctx context.Context, ifname string) (dns.Settings, error)
	// Apply replaces what stands for s.Interface by s; empty settings take
	// it away.
	Apply(ctx context.Context, s dns.Settings) error
	// Choose returns s with the backend that it will go to, and the trace of
	// that choice; an error if none can take it.
	Choose(ctx context.Context, s dns.Settings) (chosen dns.Settings, trace string, err error)
}

// Userspace starts embedded devices.
type Userspace interface {
	// Available returns nil if a device could be started here, else why not.
	Available(ctx context.Context) error
	// Start makes a link with our alias and serves it by a process of its
	// own. It returns when the device answers; on an error nothing is left.
	Start(ctx context.Context, ifname string) error
	// Reap waits until nobody serves the device any more, once its link is
	// gone, and removes the socket if it was left behind.
	Reap(ctx context.Context, ifname string) error
	// Prepare may start what the next Start of that name will need, while other
	// things are looked at; Forget ends that if it wasn't used, as does the
	// end of this process.
	Prepare(ifname string) error
	Forget()
	// Counts reports whether the devices tell their generation: see
	// netlinkx.Devices.
	Counts() bool
	// Stale reports whether a socket was left behind: nobody answers on it.
	Stale(ctx context.Context, ifname string) (bool, error)
}

// A HookRunner runs one hook of a config file to its end.
type HookRunner interface {
	Run(ctx context.Context, h Hook) error
}

// Names looks up host and service names as the host would.
type Names interface {
	LookupHost(ctx context.Context, name string) ([]netip.Addr, error)
	LookupPort(ctx context.Context, service string) (uint16, error)
}
