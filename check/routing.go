// SPDX-License-Identifier: MIT

package check

import (
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/config"
)

var routeRules = []Rule{
	{
		Name: "route-taken", Severity: Error, file: routeTaken,
		Finds: "AllowedIPs that the host routes another way already",
		Why:   "the tunnel doesn't come up: adding the route fails with \"file exists\"",
		Mend:  "RouteMetric gives the tunnel's routes another rank; ExcludedIPs leaves the prefix to the other route",
	}, {
		Name: "subnet-clash", Severity: Warning, file: subnetClash,
		Finds: "a network of the tunnel that is one of the host's own, or a part of it",
		Why:   "machines of the local network can't be reached any more, or those behind the tunnel can't",
		Mend:  "renumber one of the two; private networks that nobody else has are in 10.0.0.0/8 and fd00::/8",
	}, {
		Name: "ipv6-leak", Severity: Warning, file: ipv6Leak,
		Finds: "all IPv4 through the tunnel, and IPv6 beside it",
		Why:   "what is reached by IPv6, which is most of the large sites, goes out in the clear and from this host's own address",
		Mend:  "add ::/0 to AllowedIPs (and an IPv6 Address), or KillSwitch = on",
	}, {
		Name: "default-in-halves", Severity: Info, file: defaultInHalves,
		Finds: "0.0.0.0/1 and 128.0.0.0/1 in place of 0.0.0.0/0",
		Why:   "the halves take the endpoint's own packets too; a default route comes with rules that keep them out",
		Mend:  "AllowedIPs = 0.0.0.0/0, ::/0; ExcludedIPs for what should go beside the tunnel",
	}, {
		Name: "table-off-default", Severity: Warning, file: tableOffDefault,
		Finds: "a default route in AllowedIPs with Table = off, and no hook that routes",
		Why:   "nothing is sent into the tunnel",
		Mend:  "remove Table, or add the routes that are wanted",
	}, {
		Name: "session-cut", Severity: Error, file: sessionCut,
		Finds: "a default route or a kill switch that cuts off the session in which this is typed",
		Why:   "answers to it would go into the tunnel, or nowhere: the session ends with up, and no new one gets through",
		Mend:  "ExcludedIPs with the address or network that you come from",
	}, {
		Name: "rp-filter-strict", Severity: Warning, file: rpFilterStrict,
		Finds: "strict reverse path filtering, where replies take another way than questions",
		Why:   "the kernel drops what comes in from the tunnel if it would not answer that way",
		Mend:  "sysctl net.ipv4.conf.all.rp_filter=2 and net.ipv4.conf.default.rp_filter=2: loose filtering",
	}, {
		Name: "forwarding-off", Severity: Warning, file: forwardingOff,
		Finds: "peers that talk through this host, or with the network behind it, which doesn't forward",
		Why:   "each reaches this host, and nothing beyond it",
		Mend:  "Forward = on; or Forward = off, which says that it is meant",
	},
}

func routeTaken(l *look) {
	if l.host == nil {
		return
	}
	for _, c := range l.routed() {
		if r, ok := l.taken(c.prefix); ok {
			l.at(c.peer, "AllowedIPs", c.item, "%s of %s is routed through %s", c.prefix, l.peer(c.peer), r.Link)
		}
	}
}

// taken returns the route that is in the way of the tunnel's.
func (l *look) taken(p netip.Prefix) (Route, bool) {
	if slices.ContainsFunc(l.cfg.Interface.ExcludedIPs, func(e netip.Prefix) bool { return overlap(e, p) }) {
		return Route{}, false
	}
	return l.ways.with(p, l.cfg.Interface.RouteMetric)
}

func subnetClash(l *look) {
	if l.host == nil {
		return
	}
	for i, a := range l.cfg.Interface.Addresses {
		if link, n, ok := l.connected(func(n netip.Prefix) bool { return overlap(n, a.Masked()) }); ok && l.holder(a.Addr()) == "" {
			l.at(config.InInterface, "Address", i, "%s overlaps with %s of %s", a, n, link)
		}
	}
	for _, c := range l.routed() {
		if _, taken := l.taken(c.prefix); taken {
			continue
		}
		if slices.ContainsFunc(l.cfg.Interface.ExcludedIPs, func(e netip.Prefix) bool { return within(c.prefix, e) }) {
			continue
		}
		if link, n, ok := l.connected(func(n netip.Prefix) bool { return within(c.prefix, n) }); ok {
			l.at(c.peer, "AllowedIPs", c.item, "%s of %s is in the network %s of %s", c.prefix, l.peer(c.peer), n, link)
		}
	}
}

// connected returns a network of another link that fits.
func (l *look) connected(fits func(netip.Prefix) bool) (link string, network netip.Prefix, ok bool) {
	for _, o := range l.host.others(l.file.Name) {
		for _, a := range o.Addresses {
			if n := a.Masked(); !n.Addr().IsLinkLocalUnicast() && n.Bits() < n.Addr().BitLen() && fits(n) {
				return o.Name, n, true
			}
		}
	}
	return "", netip.Prefix{}, false
}

// hasIPv6 reports whether the host may reach the internet by IPv6.
func (f *Facts) hasIPv6(own string) bool {
	return slices.ContainsFunc(f.Routes, func(r Route) bool { return r.Dst == all6 && r.Link != own })
}

func ipv6Leak(l *look) {
	in := l.cfg.Interface
	if in.Table.Mode != config.TableAuto || in.KillSwitch || !l.takes(all4) || l.takes(all6) {
		return
	}
	if l.host != nil && !l.host.hasIPv6(l.file.Name) || l.mentions("ip6tables", "disable_ipv6", "nft ") {
		return
	}
	for _, c := range l.claims() {
		if c.prefix.Addr().Is4() && c.prefix.Bits() <= 1 {
			l.at(c.peer, "AllowedIPs", c.item, "%s takes all IPv4, and IPv6 goes beside the tunnel", c.prefix)
			return
		}
	}
}

func defaultInHalves(l *look) {
	halves := map[bool]int{}
	for _, c := range l.claims() {
		six := c.prefix.Addr().Is6()
		if c.prefix.Bits() != 1 {
			continue
		}
		if halves[six]++; halves[six] == 2 {
			l.at(c.peer, "AllowedIPs", c.item, "%s and its other half are a default route", c.prefix)
		}
	}
}

func tableOffDefault(l *look) {
	if l.cfg.Interface.Table.Mode != config.TableOff || len(l.hooks()) > 0 {
		return
	}
	for _, c := range l.claims() {
		if c.prefix.Bits() == 0 {
			l.at(c.peer, "AllowedIPs", c.item, "%s has no route, with Table = off in line %d", c.prefix, l.cfg.Line(config.InInterface, "Table", 0))
			return
		}
	}
}

// sessionCut spares who comes through the tunnel, and who is nearer than the
// default route: the rules of up leave longer prefixes of the main table alone.
func sessionCut(l *look) {
	in := l.cfg.Interface
	if l.host == nil || !l.host.Session.IsValid() || l.excluded(l.host.Session) || in.Table.Mode != config.TableAuto {
		return
	}
	from := l.host.Session
	if l.ownNetwork(from) || from.IsLoopback() {
		return
	}
	for _, c := range l.claims() {
		if c.prefix.Bits() > 0 && c.prefix.Contains(from) {
			return // it comes through the tunnel, or will
		}
	}
	if in.KillSwitch {
		l.at(config.InInterface, "KillSwitch", 0, "shuts out %s, where this session comes from", from)
		return
	}
	if r, ok := l.path(from); ok && r.Dst.Bits() > 0 {
		return
	}
	for _, c := range l.claims() {
		if c.prefix.Bits() == 0 && c.prefix.Contains(from) {
			l.at(c.peer, "AllowedIPs", c.item, "%s takes answers to %s, where this session comes from", c.prefix, from)
			return
		}
	}
}

// strictReversePath reports whether a new link filters strictly: the kernel takes
// the larger of the link's own value, which begins as the default, and that of
// all (IN_DEV_RPFILTER).
func (f *Facts) strictReversePath() bool {
	return max(f.Sysctls["net.ipv4.conf.all.rp_filter"], f.Sysctls["net.ipv4.conf.default.rp_filter"]) == "1"
}

// rpFilterStrict knows two kinds of tunnels whose packets come in where none
// would go out: one with routes elsewhere than in the main table, and one that
// routes less than it allows. Those with a default route are looked after by
// up.
func rpFilterStrict(l *look) {
	if l.host == nil || !l.host.strictReversePath() {
		return
	}
	if !slices.ContainsFunc(l.claims(), func(c claim) bool { return c.prefix.Addr().Is4() }) {
		return
	}
	in := l.cfg.Interface
	switch {
	case in.Table.Mode != config.TableAuto:
		l.at(config.InInterface, "Table", 0, "leaves the main table without the tunnel's routes, and rp_filter is strict (1)")
	case len(in.ExcludedIPs) > 0:
		l.at(config.InInterface, "ExcludedIPs", 0, "takes from the routes what AllowedIPs let in, and rp_filter is strict (1)")
	}
}

// forwardingOff goes by hooks that let through or masquerade what is forwarded,
// and by what a host is that others call: the hub of several, the gateway of a
// site, to which networks are routed, or a machine in several networks itself.
func forwardingOff(l *look) {
	in := l.cfg.Interface
	keys := in.Forward != nil || !in.Masquerade.IsZero() || len(in.PortForwards) > 0
	if l.host == nil || keys || l.mentions("ip_forward", "forwarding") {
		return
	}
	for _, six := range []bool{false, true} {
		key := "net.ipv4.ip_forward"
		if six {
			key = "net.ipv6.conf.all.forwarding"
		}
		if l.host.sysctl(key, "0") && l.notForwarded(six, key) {
			return
		}
	}
}

// notForwarded tells of one family, and whether it did.
func (l *look) notForwarded(six bool, key string) bool {
	for _, h := range l.hooks() {
		if h.up && h.forwards() && h.ofFamily(six) {
			l.at(config.InInterface, string(h.phase), h.n, "is about what is forwarded, and %s is 0", key)
			return true
		}
	}
	if l.cfg.Interface.ListenPort == nil {
		return false
	}
	callers, networks := map[int]bool{}, l.networks(six)
	for _, c := range l.claims() {
		if c.prefix.Addr().Is6() != six {
			continue
		}
		if l.cfg.Peers[c.peer].Endpoint.IsZero() {
			callers[c.peer] = true
		}
		if c.prefix.Bits() > 1 && !c.prefix.IsSingleIP() && !l.ownNetwork(c.prefix.Addr()) && networks >= 2 {
			l.at(c.peer, "AllowedIPs", c.item, "%s is behind %s, this host is in %d other networks, and %s is 0", c.prefix, l.peer(c.peer), networks, key)
			return true
		}
	}
	switch {
	case len(callers) >= 2:
		l.at(config.InInterface, "", 0, "is a hub of %d peers, and %s is 0", len(callers), key)
	case len(callers) == 1 && networks >= 2:
		l.at(config.InInterface, "", 0, "is called by a peer, this host is in %d other networks, and %s is 0", networks, key)
	default:
		return false
	}
	return true
}

// networks counts the links beside the tunnel that are in a network of the
// family that isn't only their own.
func (l *look) networks(six bool) (n int) {
	for _, o := range l.host.others(l.file.Name) {
		if !o.WireGuard && slices.ContainsFunc(o.Addresses, func(a netip.Prefix) bool {
			return a.Addr().Is6() == six && !a.Addr().IsLinkLocalUnicast() && !a.IsSingleIP()
		}) {
			n++
		}
	}
	return n
}
