// SPDX-License-Identifier: MIT

package netlinkx

import (
	"cmp"
	"context"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

// A Surveyed is a link with all that is on it.
type Surveyed struct {
	Link
	Addresses []netip.Prefix // not masked
	Routes    []Way
}

// A Way is a route to other hosts, with the MTU that it has of its own (bytes),
// or 0.
type Way struct {
	InstalledRoute
	MTU int
}

// Survey returns all links of the namespace by index, with their addresses and
// unicast routes, the local table's left out. It needs no privilege.
func (k *Kernel) Survey(ctx context.Context) ([]Surveyed, error) {
	links, err := k.links(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[int]*Surveyed, len(links))
	for index, l := range links {
		all[index] = &Surveyed{Link: l}
	}
	var list []netlink.Addr
	if err := k.dumped(ctx, func(h *netlink.Handle) (err error) {
		list, err = h.AddrList(nil, netlink.FAMILY_ALL)
		return err
	}); err != nil {
		return nil, err
	}
	for _, a := range list {
		if p, ok := prefixOf(a.IPNet); ok && all[a.LinkIndex] != nil {
			all[a.LinkIndex].Addresses = append(all[a.LinkIndex].Addresses, p)
		}
	}
	for _, family := range bothFamilies {
		of := map[int][]Way{}
		err := k.eachRoute(ctx, routeFilter{family: family}, func() { clear(of) }, func(r *routeMessage) {
			if way := (Way{r.installed(), r.mtu}); way.Kind == routes.Unicast && r.kind == unix.RTN_UNICAST && r.table != unix.RT_TABLE_LOCAL {
				of[r.link] = append(of[r.link], way)
			}
		})
		if err != nil {
			return nil, err
		}
		for index, ways := range of {
			if all[index] != nil {
				all[index].Routes = append(all[index].Routes, ways...)
			}
		}
	}
	out := make([]Surveyed, 0, len(all))
	for _, s := range all {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Surveyed) int { return cmp.Compare(a.Index, b.Index) })
	return out, nil
}
