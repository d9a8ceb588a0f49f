// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/godbus/dbus/v5"
)

// GlobalScope is the name of what systemd-resolved was told for no link: in
// resolved.conf, or by a resolv.conf that isn't its own.
const GlobalScope = "global"

// A scope is what systemd-resolved has of a link, or for none.
type scope struct {
	index int // of the link, 0 for none
	Settings
}

// scopes reads what systemd-resolved has of all links, the global one first.
func (b *bus) scopes() ([]scope, error) {
	var servers []struct {
		Index, Family int32
		Address       []byte
	}
	var domains []struct {
		Index   int32
		Name    string
		Routing bool
	}
	if err := b.managerProperty("DNS", &servers); err != nil {
		return nil, err
	}
	if err := b.managerProperty("Domains", &domains); err != nil {
		return nil, err
	}
	all := map[int32]*Settings{}
	of := func(index int32) *Settings {
		if all[index] == nil {
			all[index] = &Settings{}
		}
		return all[index]
	}
	for _, a := range servers {
		if addr, ok := netip.AddrFromSlice(a.Address); ok {
			s := of(a.Index)
			s.Servers = append(s.Servers, addr)
		}
	}
	for _, d := range domains {
		s := of(d.Index)
		if d.Routing {
			s.Routing = append(s.Routing, d.Name)
		} else {
			s.Search = append(s.Search, d.Name)
		}
	}
	var list []scope
	for index, s := range all {
		s.Interface = GlobalScope
		if index != 0 {
			link, err := net.InterfaceByIndex(int(index))
			if err != nil {
				continue // it has gone meanwhile
			}
			s.Interface = link.Name
		}
		list = append(list, scope{int(index), *s})
	}
	slices.SortFunc(list, func(a, b scope) int { return a.index - b.index })
	return list, nil
}

// managerProperty reads a property of systemd-resolved's.
func (b *bus) managerProperty(property string, out any) error {
	what := property + " of systemd-resolved"
	var v dbus.Variant
	call := b.conn.Object(resolveName, resolvePath).CallWithContext(b.ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, resolveName+".Manager", property)
	if err := call.Store(&v); err != nil {
		return b.explain(what, err)
	}
	if err := v.Store(out); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// beside returns whom else systemd-resolved asks though a tunnel is for all
// names: for all, or where the tunnel takes the default route for some. Where
// that can't be found out there is nobody.
func (r *Resolver) beside(ctx context.Context, own Settings) (list []LinkDomains) {
	b, err := openBus(ctx, r.bus, resolveName)
	if err != nil {
		return nil
	}
	defer b.close()
	scopes, err := b.scopes()
	if err != nil {
		return nil
	}
	for _, s := range scopes {
		l := LinkDomains{Link: s.Interface, Domains: s.Domains()}
		all := slices.Contains(s.Routing, rootDomain)
		if s.Interface == own.Interface || len(s.Servers) == 0 || len(Without([]LinkDomains{l}, own.Aside)) == 0 {
			continue
		}
		if all || own.Whole && len(l.Domains) > 0 {
			list = append(list, l)
		}
	}
	return list
}
