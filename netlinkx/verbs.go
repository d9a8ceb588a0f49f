// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"net/netip"

	"github.com/wgctl/wgctl/routes"
)

// The verbs, in interfaces of the size that their users need. Kernel and Fake
// have all of them.
type (
	// Links makes, changes and removes links.
	Links interface {
		// Link returns the link of that name, or an os.ErrNotExist.
		Link(ctx context.Context, name string) (Link, error)
		// OwnLinks returns the links that carry our alias.
		OwnLinks(ctx context.Context) ([]Link, error)
		// LinkAdd makes a link of kind wireguard that carries our alias.
		// Where the alias can't be set, no link is left behind.
		LinkAdd(ctx context.Context, name string) error
		// LinkDel removes the link if it carries our alias; a link that
		// doesn't is refused with unix.EPERM. What is on the link
		// (addresses, routes) goes with it.
		LinkDel(ctx context.Context, name string) error
		// LinkClaim gives the link our alias if it has that index; one that
		// doesn't is refused with unix.EPERM.
		LinkClaim(ctx context.Context, name string, index int) error
		// LinkNote makes our alias on the link say something besides, as words
		// "key=value" with a space between; "" is nothing. A link without our
		// alias is refused with unix.EPERM, and what isn't such words, or is
		// longer than MaxNote, with unix.EINVAL.
		LinkNote(ctx context.Context, name, note string) error
		// LinkSet sets the MTU (0: as it is) and the up flag in one message.
		LinkSet(ctx context.Context, name string, mtu int, up bool) error
	}
	// Addresses are those of one link.
	Addresses interface {
		Addresses(ctx context.Context, link string) ([]Address, error)
		AddressAdd(ctx context.Context, link string, p netip.Prefix) error
		AddressDel(ctx context.Context, link string, p netip.Prefix) error
	}
	// Routes are those through one link, in all tables.
	Routes interface {
		// Routes returns the routes through the link, in the kernel's order,
		// without those of the local table.
		Routes(ctx context.Context, link string) ([]InstalledRoute, error)
		// RoutesSum returns the sum of these.
		RoutesSum(ctx context.Context, link string) (Sum, error)
		RouteAdd(ctx context.Context, link string, r routes.Route) error
		RouteDel(ctx context.Context, link string, r routes.Route) error
		// RoutesAdd and RoutesDel are RouteAdd and RouteDel of many. Each
		// route is tried, whatever became of others; where some failed, the
		// error is a *RoutesError.
		RoutesAdd(ctx context.Context, link string, rs []routes.Route) error
		RoutesDel(ctx context.Context, link string, rs []routes.Route) error
		// RouteOwner returns the link that the route's place (prefix, table,
		// metric) is taken by, or an os.ErrNotExist.
		RouteOwner(ctx context.Context, r routes.Route) (string, error)
		// PathTo asks the host's routing for the way to an address of packets
		// that carry a mark (0: none). An invalid address asks for the IPv4
		// default route of the main table, else the IPv6 one, and 0.0.0.0 or
		// :: for that of its family.
		PathTo(ctx context.Context, a netip.Addr, mark uint32) (RoutePath, error)
	}
	// Tables are the routing tables, with whosoever's routes.
	Tables interface {
		// TablesInUse returns the numbers of all tables that hold a route.
		TablesInUse(ctx context.Context) (map[uint32]bool, error)
		// Elsewhere returns the prefixes that a table routes another way than
		// through the link, which needn't exist.
		Elsewhere(ctx context.Context, link string, table uint32) ([]netip.Prefix, error)
	}
	// DeadEnds are routes that lead through no link. The verbs of Routes that
	// add and remove take them too, and look at no link then.
	DeadEnds interface {
		// DeadEnds returns those with our protocol number, of all tables.
		DeadEnds(ctx context.Context) ([]InstalledRoute, error)
	}
	// Rules are the policy rules of both families.
	Rules interface {
		// Rules returns those of both families; a kernel that has none at all
		// has none, which is no error.
		Rules(ctx context.Context) ([]InstalledRule, error)
		// PolicyRouting returns nil if the kernel can have rules of a family,
		// and tables other than its own; a NoPolicyRoutingError if not.
		PolicyRouting(ctx context.Context, f routes.Family) error
		// RuleAdd adds a rule with our protocol number. A rule that exists
		// already, whoever made it, is unix.EEXIST.
		RuleAdd(ctx context.Context, r routes.Rule) error
		// RuleDel removes one rule that equals r and has our protocol number.
		RuleDel(ctx context.Context, r routes.Rule) error
	}
	// Devices are WireGuard devices, kernel or userspace.
	Devices interface {
		// Device returns the device, or an os.ErrNotExist.
		Device(ctx context.Context, name string) (Device, error)
		// DeviceSum returns the device without its peers, and their sum.
		DeviceSum(ctx context.Context, name string) (Device, Sum, error)
		// Generation stands for what is configured of an embedded device that
		// counts its changes: as long as it is the same, so is that. It is
		// empty where the device doesn't count, or is being changed. It is own
		// if it counts as many changes since the device began as this value's
		// Configure has made, none of which may have failed.
		Generation(ctx context.Context, name string) (generation string, own bool, err error)
		// Configure changes a device. It takes as many messages as it needs
		// and so may be half done when it fails.
		Configure(ctx context.Context, name string, c DeviceChange) error
		// KernelHasWireGuard reports whether the kernel knows the link type,
		// loading its module where that is possible.
		KernelHasWireGuard(ctx context.Context) (bool, error)
	}
	// Sysctls are kernel parameters by dotted name, as "net.ipv4.ip_forward".
	Sysctls interface {
		// Sysctl returns the value without the newline, or an os.ErrNotExist.
		Sysctl(ctx context.Context, key string) (string, error)
		SetSysctl(ctx context.Context, key, value string) error
	}
)
