// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// DeadEnds returns our routes that lead through no link.
func (f *Fake) DeadEnds(ctx context.Context) ([]InstalledRoute, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(f.deadEnds), nil
}

func (f *Fake) deadEndAdd(r routes.Route) error {
	taken := func(h InstalledRoute) bool { return samePlace(h.Route, r) }
	if f.deadEndAt(r) || slices.ContainsFunc(f.links, func(l *fakeLink) bool { return slices.ContainsFunc(l.routes, taken) }) {
		return unix.EEXIST
	}
	f.deadEnds = append(f.deadEnds, InstalledRoute{Route: r, Protocol: Protocol, Plain: true})
	return nil
}

func (f *Fake) deadEndDel(r routes.Route) error {
	i := slices.IndexFunc(f.deadEnds, func(h InstalledRoute) bool { return h.Route == r })
	if i < 0 {
		return missingError{unix.ESRCH}
	}
	f.deadEnds = slices.Delete(f.deadEnds, i, i+1)
	return nil
}

// deadEndAt reports whether one is in the route's place.
func (f *Fake) deadEndAt(r routes.Route) bool {
	return slices.ContainsFunc(f.deadEnds, func(h InstalledRoute) bool { return samePlace(h.Route, r) })
}

// samePlace reports whether of two routes only one can be there.
func samePlace(a, b routes.Route) bool {
	a.Kind = b.Kind
	return a == b
}

// deadEnd returns the longest of those in a table that meet an address. One
// that is as long as a route comes after it, as MetricLast does.
func (f *Fake) deadEnd(a netip.Addr, table uint32) (end routes.Route, ok bool) {
	for _, r := range f.deadEnds {
		if r.Table == table && r.Dst.Contains(a.WithZone("")) && (!ok || r.Dst.Bits() > end.Dst.Bits()) {
			end, ok = r.Route, true
		}
	}
	return end, ok
}
