// SPDX-License-Identifier: MIT

package check

import (
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/config"
)

var endpointRules = []Rule{
	{
		Name: "endpoint-in-allowed-ips", Severity: Error, file: endpointSwallowed,
		Finds: "an endpoint that the tunnel's own routes lead into the tunnel",
		Why:   "the tunnel's packets are sent into the tunnel, and nothing comes out; only a default route (0.0.0.0/0, ::/0) has rules against that",
		Mend:  "take the endpoint out of the routes: ExcludedIPs with its address",
	}, {
		Name: "endpoint-inside-tunnel", Severity: Error, file: endpointInside,
		Finds: "an endpoint that is an address of the tunnel's own network",
		Why:   "the network inside is only there when the tunnel is: an endpoint is an address outside",
		Mend:  "give the address by which the other machine is reached without the tunnel",
	}, {
		Name: "endpoint-own-address", Severity: Error, file: endpointOwn,
		Finds: "an endpoint that is an address of this host",
		Why:   "the tunnel calls its own host",
		Mend:  "give the other end's address; Endpoint stands in the file of who calls",
	}, {
		Name: "endpoint-port-zero", Severity: Error, file: endpointPortZero,
		Finds: "an endpoint with port 0",
		Why:   "no packet can be sent to it",
		Mend:  "give the other end's ListenPort",
	}, {
		Name: "endpoint-shared", Severity: Warning, file: endpointShared,
		Finds: "two peers with one endpoint",
		Why:   "behind one address and port is one device with one key: one of the two never answers",
		Mend:  "give each peer its own endpoint, or remove the peer that is gone",
	}, {
		Name: "endpoint-no-route", Severity: Warning, file: endpointNoRoute,
		Finds: "an endpoint to which this host has no route",
		Why:   "no handshake gets out; often the endpoint is IPv6 and the host has only IPv4",
		Mend:  "give an address of a family that the host has, or a name that has both",
	}, {
		Name: "endpoint-name", Severity: Error, file: endpointName,
		Finds: "the name of an endpoint that can't be looked up (with --names)",
		Why:   "the tunnel doesn't come up as long as that is so",
		Mend:  "wgctl dns --query NAME says who was asked",
	},
}

// endpoints are the addresses of a peer's endpoint, as far as they are known.
func (l *look) endpoints(peer int) []netip.Addr {
	host := l.cfg.Peers[peer].Endpoint.Host
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap().WithZone("")}
	}
	return l.file.Names[host].Addresses
}

// eachEndpoint calls f with the addresses of all peers' endpoints, until it
// returns false for one of a peer.
func (l *look) eachEndpoint(f func(peer int, a netip.Addr) bool) {
	for i := range l.cfg.Peers {
		for _, a := range l.endpoints(i) {
			if !f(i, a) {
				break
			}
		}
	}
}

// routed are the prefixes that up makes routes of in the main table: not those
// of a default route, which has a table of its own, nor what is on-link anyhow.
func (l *look) routed() (out []claim) {
	in := l.cfg.Interface
	if in.Table.Mode != config.TableAuto {
		return nil
	}
	for _, c := range l.claims() {
		onLink := slices.ContainsFunc(in.Addresses, func(a netip.Prefix) bool { return within(c.prefix, a.Masked()) })
		if c.prefix.Bits() > 0 && !onLink {
			out = append(out, c)
		}
	}
	return out
}

// excluded reports whether ExcludedIPs hold an address.
func (l *look) excluded(a netip.Addr) bool {
	return slices.ContainsFunc(l.cfg.Interface.ExcludedIPs, func(p netip.Prefix) bool { return p.Contains(a) })
}

func endpointSwallowed(l *look) {
	if l.mentions("ip route", "ip -4 route", "ip -6 route", "ip rule", "ip -4 rule", "ip -6 rule") {
		return // they know what they do
	}
	var routed longest[claim]
	for _, c := range l.routed() {
		if _, had := routed.of[c.prefix]; !had {
			routed.put(c.prefix, c)
		}
	}
	l.eachEndpoint(func(peer int, a netip.Addr) bool {
		if l.excluded(a) || l.ownNetwork(a) {
			return true
		}
		best, ok := routed.at(a)
		if !ok {
			return true
		}
		if l.host != nil {
			if r, ok := l.path(a); ok && r.Dst.Bits() > best.prefix.Bits() {
				return true
			}
		}
		l.at(peer, "Endpoint", 0, "%s of %s is inside %s of %s, which is routed into the tunnel", a, l.peer(peer), best.prefix, l.peer(best.peer))
		return false
	})
}

func (l *look) ownNetwork(a netip.Addr) bool {
	return slices.ContainsFunc(l.cfg.Interface.Addresses, func(p netip.Prefix) bool { return p.Masked().Contains(a) })
}

func endpointInside(l *look) {
	l.eachEndpoint(func(peer int, a netip.Addr) bool {
		if l.ownNetwork(a) {
			l.at(peer, "Endpoint", 0, "%s of %s is an address inside the tunnel", a, l.peer(peer))
		}
		return !l.ownNetwork(a)
	})
}

func endpointOwn(l *look) {
	if l.host == nil {
		return
	}
	l.eachEndpoint(func(peer int, a netip.Addr) bool {
		for _, link := range l.host.Links {
			if slices.ContainsFunc(link.Addresses, func(p netip.Prefix) bool { return p.Addr() == a }) {
				l.at(peer, "Endpoint", 0, "%s of %s is this host's own, on %s", a, l.peer(peer), link.Name)
				return false
			}
		}
		return true
	})
}

func endpointPortZero(l *look) {
	for i, p := range l.cfg.Peers {
		if !p.Endpoint.IsZero() && p.Endpoint.Port == (config.Port{}) {
			l.at(i, "Endpoint", 0, "of %s has port 0", l.peer(i))
		}
	}
}

func endpointShared(l *look) {
	first := map[config.Endpoint]int{}
	for i, p := range l.cfg.Peers {
		if p.Endpoint.IsZero() {
			continue
		}
		if had, again := first[p.Endpoint]; again && !l.samePeer(had, i) {
			l.at(i, "Endpoint", 0, "of %s is that of %s, too", l.peer(i), l.peer(had))
			continue
		}
		first[p.Endpoint] = i
	}
}

func endpointNoRoute(l *look) {
	if l.host == nil {
		return
	}
	l.eachEndpoint(func(peer int, a netip.Addr) bool {
		_, ok := l.path(a)
		local := slices.ContainsFunc(l.host.Links, func(link Link) bool {
			return slices.ContainsFunc(link.Addresses, func(p netip.Prefix) bool { return p.Masked().Contains(a) })
		})
		if !ok && !local && !a.IsLinkLocalUnicast() {
			l.at(peer, "Endpoint", 0, "this host has no route to %s of %s", a, l.peer(peer))
		}
		return ok
	})
}

func endpointName(l *look) {
	for i, p := range l.cfg.Peers {
		if a, asked := l.file.Names[p.Endpoint.Host]; asked && a.Error != "" {
			l.at(i, "Endpoint", 0, "of %s: %s", l.peer(i), a.Error)
		}
	}
}
