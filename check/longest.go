// SPDX-License-Identifier: MIT

package check

import "net/netip"

// longest finds of many prefixes the longest that holds an address: one look-up
// for each length that there is.
type longest[V any] struct {
	of      map[netip.Prefix]V
	lengths [2][129]bool
}

func (m *longest[V]) put(p netip.Prefix, v V) {
	if m.of == nil {
		m.of = map[netip.Prefix]V{}
	}
	m.of[p] = v
	m.lengths[familyIndex(p.Addr())][p.Bits()] = true
}

func (m *longest[V]) at(a netip.Addr) (v V, ok bool) {
	for bits := a.BitLen(); bits >= 0; bits-- {
		if !m.lengths[familyIndex(a)][bits] {
			continue
		}
		p, _ := a.Prefix(bits)
		if v, ok = m.of[p]; ok {
			return v, true
		}
	}
	return v, false
}

func familyIndex(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// ways are the routes of a host but for those of the tunnel's own link. A host
// may have as many as the file has peers.
type ways struct {
	best longest[Route] // of each prefix the one with the lowest metric
	all  map[Route]Route
}

// waysOf are the ways without a tunnel; none if the host isn't known.
func waysOf(host *Facts, own string) *ways {
	w := &ways{all: map[Route]Route{}}
	if host == nil {
		return w
	}
	for _, r := range host.Routes {
		if r.Link == own {
			continue
		}
		if had, ok := w.best.of[r.Dst]; !ok || r.Metric < had.Metric {
			w.best.put(r.Dst, r)
		}
		if rank := (Route{Dst: r.Dst, Metric: r.Metric}); w.all[rank].Link == "" {
			w.all[rank] = r
		}
	}
	return w
}

// with is the first route of a prefix and a metric.
func (w *ways) with(p netip.Prefix, metric uint32) (Route, bool) {
	r, ok := w.all[Route{Dst: p, Metric: metric}]
	return r, ok
}

// path returns the route that a packet takes without the tunnel: the longest
// prefix, and of those the lowest metric.
func (l *look) path(to netip.Addr) (best Route, ok bool) {
	best, ok = l.ways.best.at(to)
	if ok && best.MTU == 0 {
		link, _ := l.host.link(best.Link)
		best.MTU = link.MTU
	}
	return best, ok
}
