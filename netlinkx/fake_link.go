// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// mtuWireGuard is ETH_DATA_LEN less the most that a packet of WireGuard adds,
// the MTU of a new link of either backend.
const mtuWireGuard = 1420

// metricConnected6 is IP6_RT_PRIO_ADDRCONF: the metric of the IPv6 routes that
// the kernel makes for the prefixes of addresses.
const metricConnected6 = 256

// Link returns the link of that name.
func (f *Fake) Link(ctx context.Context, name string) (Link, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return Link{}, err
	}
	defer unlock()
	l := f.find(name)
	if l == nil {
		return Link{}, missingError{unix.ENODEV}
	}
	return l.Link, nil
}

// OwnLinks returns the links that carry our alias, by index.
func (f *Fake) OwnLinks(ctx context.Context) ([]Link, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var own []Link
	for _, l := range f.links {
		if l.Alias == Alias {
			own = append(own, l.Link)
		}
	}
	return own, nil
}

// LinkAdd makes a link of kind wireguard with our alias and its device.
func (f *Fake) LinkAdd(ctx context.Context, name string) error {
	unlock, err := f.begin(ctx, "LinkAdd")
	if err != nil {
		return err
	}
	defer unlock()
	if f.NoWireGuard {
		return unix.EOPNOTSUPP
	}
	return f.addDevice(name, kindWireGuard, BackendKernel)
}

// StartUserspace makes an embedded device appear: a link of kind tun with our
// alias that answers as a device. It counts as a changing verb.
func (f *Fake) StartUserspace(ctx context.Context, name string) error {
	unlock, err := f.begin(ctx, "StartUserspace")
	if err != nil {
		return err
	}
	defer unlock()
	return f.addDevice(name, "tun", BackendUserspace)
}

func (f *Fake) addDevice(name, kind string, b Backend) error {
	if f.find(name) != nil {
		return unix.EEXIST
	}
	l := f.newLink(Link{Name: name, Kind: kind, Alias: Alias, MTU: mtuWireGuard})
	l.device = &Device{Name: name, Backend: b}
	return nil
}

func (f *Fake) newLink(l Link) *fakeLink {
	f.lastIndex++
	l.Index = f.lastIndex
	if l.MTU == 0 {
		l.MTU = 1500
	}
	n := &fakeLink{Link: l}
	f.links = append(f.links, n)
	return n
}

// LinkClaim gives a link our alias if it has that index.
func (f *Fake) LinkClaim(ctx context.Context, name string, index int) error {
	unlock, err := f.begin(ctx, "LinkClaim")
	if err != nil {
		return err
	}
	defer unlock()
	l := f.find(name)
	if l == nil {
		return missingError{unix.ENODEV}
	}
	if l.Index != index {
		return unix.EPERM
	}
	l.Alias, l.Note = Alias, ""
	return nil
}

// LinkNote makes our alias say something besides.
func (f *Fake) LinkNote(ctx context.Context, name, note string) error {
	unlock, err := f.begin(ctx, "LinkNote")
	if err != nil {
		return err
	}
	defer unlock()
	l := f.find(name)
	if l == nil {
		return missingError{unix.ENODEV}
	}
	alias, err := l.noted(note)
	if err == nil {
		l.Alias, l.Note = splitAlias(alias)
	}
	return err
}

// LinkDel removes a link that carries our alias.
func (f *Fake) LinkDel(ctx context.Context, name string) error {
	unlock, err := f.begin(ctx, "LinkDel")
	if err != nil {
		return err
	}
	defer unlock()
	l := f.find(name)
	if l == nil {
		return missingError{unix.ENODEV}
	}
	if l.Alias != Alias {
		return unix.EPERM
	}
	f.drop(name)
	return nil
}

// drop takes the link's addresses, routes and sysctls along, not the rules.
func (f *Fake) drop(name string) {
	f.links = slices.DeleteFunc(f.links, func(l *fakeLink) bool { return l.Name == name })
	for key := range f.sysctls {
		if part := strings.Split(key, "."); len(part) == 5 && part[2] == "conf" && part[3] == name {
			delete(f.sysctls, key)
		}
	}
}

// LinkSet sets MTU and up flag.
func (f *Fake) LinkSet(ctx context.Context, name string, mtu int, up bool) error {
	unlock, err := f.begin(ctx, "LinkSet")
	if err != nil {
		return err
	}
	defer unlock()
	l := f.find(name)
	if l == nil {
		return missingError{unix.ENODEV}
	}
	small := l.MTU < minMTU6
	if mtu != 0 {
		l.MTU = mtu // stays even if going up fails, as in the kernel
	}
	if l.MTU < minMTU6 {
		l.dropIPv6()
	} else if small && l.Up && l.Kind != kindWireGuard {
		l.connect(fakeAddress{Address: Address{Prefix: netip.MustParsePrefix("fe80::/64")}})
	}
	switch {
	case up && !l.Up:
		return f.up(l)
	case !up && l.Up:
		l.down()
	}
	return nil
}

// minMTU6 is IPV6_MIN_MTU: a link with less has no IPv6.
const minMTU6 = 1280

func (l *fakeLink) dropIPv6() {
	l.addrs = slices.DeleteFunc(l.addrs, func(a fakeAddress) bool { return a.Prefix.Addr().Is6() })
	l.routes = slices.DeleteFunc(l.routes, func(r InstalledRoute) bool { return r.Dst.Addr().Is6() })
}

// up opens the device's port, and makes the kernel's own address and routes.
func (f *Fake) up(l *fakeLink) error {
	if l.device != nil {
		if err := f.bind(l, l.device.ListenPort); err != nil {
			return err
		}
	}
	l.Up = true
	if l.Kind != kindWireGuard && l.Name != "lo" && l.MTU >= minMTU6 && !f.either("ipv6", l.Name, "disable_ipv6") {
		a := netip.MustParseAddr("fe80::").As16()
		a[14], a[15] = byte(l.Index>>8), byte(l.Index)
		l.insert(netip.PrefixFrom(netip.AddrFrom16(a), 64), true)
	}
	for _, a := range l.addrs {
		l.connect(a)
	}
	return nil
}

// down loses all routes, and the IPv6 addresses.
func (l *fakeLink) down() {
	l.Up = false
	l.routes = nil
	l.addrs = slices.DeleteFunc(l.addrs, func(a fakeAddress) bool { return a.Prefix.Addr().Is6() })
}

// Addresses returns the addresses of a link.
func (f *Fake) Addresses(ctx context.Context, link string) ([]Address, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l := f.find(link)
	if l == nil {
		return nil, missingError{unix.ENODEV}
	}
	out := make([]Address, len(l.addrs))
	for i, a := range l.addrs {
		out[i] = a.Address
	}
	return out, nil
}

// AddressAdd adds an address, and the route to its subnet if the link is up.
func (f *Fake) AddressAdd(ctx context.Context, link string, p netip.Prefix) error {
	unlock, err := f.begin(ctx, "AddressAdd")
	if err != nil {
		return err
	}
	defer unlock()
	l := f.find(link)
	if l == nil {
		return missingError{unix.ENODEV}
	}
	if p.Addr().Is6() && f.either("ipv6", link, "disable_ipv6") {
		return unix.EACCES
	}
	if p.Addr().Is6() && l.MTU < minMTU6 {
		return unix.EINVAL
	}
	if l.has(p) {
		return unix.EEXIST
	}
	l.connect(l.insert(p, false))
	return nil
}

// has reports whether the kernel would call p a duplicate: of IPv6 addresses
// the prefix length doesn't count.
func (l *fakeLink) has(p netip.Prefix) bool {
	return slices.ContainsFunc(l.addrs, func(a fakeAddress) bool {
		return a.Prefix == p || p.Addr().Is6() && a.Prefix.Addr() == p.Addr()
	})
}

// insert puts primary addresses before secondary ones, as the kernel's
// __inet_insert_ifa does.
func (l *fakeLink) insert(p netip.Prefix, kernelMade bool) fakeAddress {
	a := fakeAddress{Address: Address{Prefix: p, KernelMade: kernelMade}}
	a.secondary = p.Addr().Is4() && slices.ContainsFunc(l.addrs, func(b fakeAddress) bool {
		return b.Prefix.Masked() == p.Masked()
	})
	at := len(l.addrs)
	if p.Addr().Is4() && !a.secondary {
		at = slices.IndexFunc(l.addrs, func(b fakeAddress) bool { return b.secondary || b.Prefix.Addr().Is6() })
		if at < 0 {
			at = len(l.addrs)
		}
	}
	l.addrs = slices.Insert(l.addrs, at, a)
	return a
}

// connected returns the route that the kernel makes for an address.
func (l *fakeLink) connected(a fakeAddress) (InstalledRoute, bool) {
	r := InstalledRoute{
		Route:    routes.Route{Dst: a.Prefix.Masked(), Table: routes.TableMain},
		Protocol: unix.RTPROT_KERNEL,
	}
	if a.Prefix.Addr().Is6() {
		r.Metric, r.Plain = metricConnected6, true
		return r, true
	}
	// IPv4 routes name the address as their source: not plain.
	return r, !a.secondary && !a.Prefix.IsSingleIP() && l.Name != "lo"
}

func (l *fakeLink) connect(a fakeAddress) {
	r, ok := l.connected(a)
	if ok && l.Up && !slices.Contains(l.routes, r) {
		l.routes = append(l.routes, r)
	}
}

// AddressDel removes an address, with the effects that the kernel's
// __inet_del_ifa and fib_disable_ip have on others.
func (f *Fake) AddressDel(ctx context.Context, link string, p netip.Prefix) error {
	unlock, err := f.begin(ctx, "AddressDel")
	if err != nil {
		return err
	}
	defer unlock()
	l := f.find(link)
	if l == nil {
		return missingError{unix.ENODEV}
	}
	i := slices.IndexFunc(l.addrs, func(a fakeAddress) bool { return a.Prefix == p })
	if i < 0 {
		return missingError{unix.EADDRNOTAVAIL}
	}
	gone := l.addrs[i]
	l.addrs = slices.Delete(l.addrs, i, i+1)
	if p.Addr().Is4() && !gone.secondary {
		if f.either("ipv4", link, "promote_secondaries") {
			l.promote(p)
		} else {
			l.addrs = slices.DeleteFunc(l.addrs, func(a fakeAddress) bool { return a.sameSubnet(p) })
		}
	}
	l.disconnect(gone)
	return nil
}

func (a fakeAddress) sameSubnet(p netip.Prefix) bool { return a.Prefix.Masked() == p.Masked() }

func (l *fakeLink) promote(p netip.Prefix) {
	i := slices.IndexFunc(l.addrs, func(a fakeAddress) bool { return a.sameSubnet(p) })
	if i < 0 {
		return
	}
	heir := l.addrs[i].Prefix
	rest := slices.Clone(l.addrs[i+1:])
	l.addrs = l.addrs[:i]
	for _, a := range rest {
		if !a.sameSubnet(p) {
			l.addrs = append(l.addrs, a)
		}
	}
	l.insert(heir, false)
	for _, a := range rest {
		if a.sameSubnet(p) {
			l.insert(a.Prefix, false)
		}
	}
}

// disconnect removes the route of an address that is gone, unless another
// address of the subnet is left; without any IPv4 address no IPv4 route is left.
func (l *fakeLink) disconnect(gone fakeAddress) {
	r, _ := l.connected(gone)
	if !slices.ContainsFunc(l.addrs, func(a fakeAddress) bool { return a.sameSubnet(gone.Prefix) }) {
		l.routes = slices.DeleteFunc(l.routes, func(h InstalledRoute) bool { return h == r })
	}
	if !slices.ContainsFunc(l.addrs, func(a fakeAddress) bool { return a.Prefix.Addr().Is4() }) {
		l.routes = slices.DeleteFunc(l.routes, func(h InstalledRoute) bool {
			return gone.Prefix.Addr().Is4() && h.Dst.Addr().Is4()
		})
	}
}
