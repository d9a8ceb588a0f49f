// SPDX-License-Identifier: MIT

package check

import (
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/config"
)

var addressRules = []Rule{
	{
		Name: "address-missing", Severity: Info, file: addressMissing,
		Finds: "no Address, and no hook that gives one",
		Why:   "the host has no address of its own in the tunnel: it can't be asked, and asks with another link's",
		Mend:  "Address = 10.8.0.2/24, as the other end has it in AllowedIPs",
	}, {
		Name: "address-not-host", Severity: Warning, file: addressNotHost,
		Finds: "an Address that is the network's own, or its broadcast address",
		Why:   "no machine can be reached by it as by another: answers go to all or to nobody",
		Mend:  "give an address within the network, as 10.8.0.1/24",
	}, {
		Name: "address-taken", Severity: Error, file: addressTaken,
		Finds: "an Address that another link of this host has",
		Why:   "both links answer for it, and packets take whichever route is first",
		Mend:  "give the tunnel an address of its own",
	}, {
		Name: "family-no-address", Severity: Warning, file: familyNoAddress,
		Finds: "AllowedIPs of a family of which the interface has no Address, but for default routes",
		Why:   "packets of that family have no source address that the other end would take",
		Mend:  "add an Address of that family, or leave its prefixes out",
	}, {
		Name: "ipv6-disabled", Severity: Error, file: ipv6Disabled,
		Finds: "IPv6 in the file, where the host has it disabled",
		Why:   "the kernel refuses the address, and the tunnel doesn't come up",
		Mend:  "sysctl net.ipv6.conf.default.disable_ipv6=0 and .all too, or take IPv6 out of the file",
	}, {
		Name: "name-taken", Severity: Error, file: nameTaken,
		Finds: "a file named after a link that is no tunnel",
		Why:   "the interface can't be made: the name is taken",
		Mend:  "rename the file",
	}, {
		Name: "two-units", Severity: Warning, file: twoUnits,
		Finds: "a tunnel that two units of systemd bring up at boot",
		Why:   "they exclude each other: which of them has it is up to chance",
		Mend:  "systemctl disable the one that isn't wanted",
	}, {
		Name: "mtu-small", Severity: Warning, file: mtuSmall,
		Finds: "an MTU below 1280 where IPv6 goes through, or below 576",
		Why:   "the kernel takes IPv6 off a link below 1280, and IPv4 below 576 is cut to pieces",
		Mend:  "1280 or more; without MTU wgctl finds what fits",
	}, {
		Name: "mtu-large", Severity: Warning, file: mtuLarge,
		Finds: "an MTU that doesn't fit the way to the endpoint",
		Why:   "WireGuard adds 60 bytes over IPv4 and 80 over IPv6: packets are fragmented, or lost where fragments are",
		Mend:  "the path's MTU less 80; without MTU wgctl finds that out",
	},
}

func addressMissing(l *look) {
	if len(l.cfg.Interface.Addresses) == 0 && !l.mentions("address add", "addr add", "ifconfig", "dhclient") {
		l.at(config.InInterface, "", 0, "has no Address")
	}
}

func addressNotHost(l *look) {
	for i, p := range l.cfg.Interface.Addresses {
		if p.Addr().BitLen()-p.Bits() < 2 {
			continue
		}
		switch p.Addr() {
		case p.Masked().Addr():
			l.at(config.InInterface, "Address", i, "%s is the network itself", p)
		case last(p):
			l.at(config.InInterface, "Address", i, "%s is the broadcast address of its network", p)
		}
	}
}

// last is the last address of an IPv4 prefix; IPv6 has no broadcast.
func last(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() {
		return netip.Addr{}
	}
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8) // #nosec G602 -- i is less than 32
	}
	return netip.AddrFrom4(a)
}

func addressTaken(l *look) {
	if l.host == nil {
		return
	}
	for i, p := range l.cfg.Interface.Addresses {
		if link := l.holder(p.Addr()); link != "" {
			l.at(config.InInterface, "Address", i, "%s is an address of %s", p.Addr(), link)
		}
	}
}

// holder is another link of the host that has an address, or "".
func (l *look) holder(a netip.Addr) string {
	for _, link := range l.host.others(l.file.Name) {
		if slices.ContainsFunc(link.Addresses, func(p netip.Prefix) bool { return p.Addr() == a }) {
			return link.Name
		}
	}
	return ""
}

func familyNoAddress(l *look) {
	in := l.cfg.Interface
	if len(in.Addresses) == 0 || in.Table.Mode == config.TableOff {
		return
	}
	told := map[bool]bool{}
	for _, c := range l.claims() {
		six := c.prefix.Addr().Is6()
		if c.prefix.Bits() <= 1 { // a whole family may be led into the tunnel to keep it from leaking
			continue
		}
		if told[six] || slices.ContainsFunc(in.Addresses, func(a netip.Prefix) bool { return a.Addr().Is6() == six }) {
			continue
		}
		told[six] = true
		l.at(c.peer, "AllowedIPs", c.item, "%s of %s is %s, and no Address is", c.prefix, l.peer(c.peer), familyName(six))
	}
}

func familyName(six bool) string {
	if six {
		return "IPv6"
	}
	return "IPv4"
}

func ipv6Disabled(l *look) {
	if l.host == nil || !l.host.sysctl("net.ipv6.conf.default.disable_ipv6", "1") && !l.host.sysctl("net.ipv6.conf.all.disable_ipv6", "1") {
		return
	}
	for i, a := range l.cfg.Interface.Addresses {
		if a.Addr().Is6() {
			l.at(config.InInterface, "Address", i, "%s is IPv6, which is disabled on this host", a)
			return
		}
	}
	for _, c := range l.claims() {
		if c.prefix.Addr().Is6() && l.cfg.Interface.Table.Mode != config.TableOff {
			l.at(c.peer, "AllowedIPs", c.item, "%s is IPv6, which is disabled on this host", c.prefix)
			return
		}
	}
}

func nameTaken(l *look) {
	if l.host == nil {
		return
	}
	if link, ok := l.host.link(l.file.Name); ok && !link.WireGuard {
		l.whole("this host has a link %s that is no WireGuard interface", link.Name)
	}
}

func twoUnits(l *look) {
	if l.host == nil {
		return
	}
	quick, ours := "wg-quick@"+l.file.Name+".service", "wgctl@"+l.file.Name+".service"
	if slices.Contains(l.host.Units, quick) && slices.Contains(l.host.Units, ours) {
		l.whole("is brought up by %s and by %s", quick, ours)
	}
}

func mtuSmall(l *look) {
	mtu := l.cfg.Interface.MTU
	six := slices.ContainsFunc(l.claims(), func(c claim) bool { return c.prefix.Addr().Is6() })
	switch {
	case mtu == 0:
	case mtu < 576:
		l.at(config.InInterface, "MTU", 0, "%d is less than any network has", mtu)
	case mtu < 1280 && six:
		l.at(config.InInterface, "MTU", 0, "%d is less than the 1280 that IPv6 needs, and AllowedIPs have IPv6", mtu)
	}
}

// mtuLarge takes 1500 for a path that isn't known: that of a peer that calls, or
// of a name that nobody has looked up.
func mtuLarge(l *look) {
	mtu := l.cfg.Interface.MTU
	if mtu == 0 {
		return
	}
	const usual, over4, over6 = 1500, 60, 80
	for i := range l.cfg.Peers {
		addresses := l.endpoints(i)
		if len(addresses) == 0 && mtu > usual-over4 {
			l.at(config.InInterface, "MTU", 0, "%d doesn't fit: the way to %s isn't known, and most take %d, less %d", mtu, l.peer(i), usual, over4)
			return
		}
		for _, a := range addresses {
			path, overhead := usual, over4
			if a.Is6() {
				overhead = over6
			}
			if l.host != nil {
				if r, ok := l.path(a); ok && r.MTU > 0 {
					path = r.MTU
				}
			}
			if mtu > path-overhead {
				l.at(config.InInterface, "MTU", 0, "%d doesn't fit: the way to the endpoint takes %d, less %d", mtu, path, overhead)
				return
			}
		}
	}
}
