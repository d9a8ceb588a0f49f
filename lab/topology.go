// SPDX-License-Identifier: MIT

// Package lab is networks of hosts for tests and for trying things out, as text:
// hosts, the networks between them, and WireGuard tunnels. Parse reads a topology,
// Build makes its wires, addresses and routes in network namespaces that the
// caller has, and Files are the files of its tunnels with keys made anew.
//
// It brings no tunnel up and makes no namespace: package labtest does both for a
// Go test, and "wgctl lab" for people.
package lab

import (
	"fmt"
	"net/netip"
	"slices"
)

// A Topology is what a file describes. Names of hosts and networks are unique
// together.
type Topology struct {
	Name     string // of the lab
	Networks []*Network
	Hosts    []*Host
	Tunnels  []*Tunnel
}

// A Network joins hosts: two of them by a cable, others by a switch.
type Network struct {
	Name    string
	Subnets []netip.Prefix // masked; out of them come addresses that no link names
	Links   []*Link
}

// Switched reports whether the network is a bridge, in a namespace of its own.
func (n *Network) Switched() bool { return len(n.Links) != 2 }

// A Host has links, and may forward between them.
type Host struct {
	Name       string
	Links      []*Link
	Gateways   []netip.Addr // of the default routes, one a family at the most
	Routes     []Route
	Forward    bool     // both families
	Masquerade []string // links on which what is forwarded gets the host's address
}

// A Route leads to a prefix by a neighbour.
type Route struct {
	To  netip.Prefix // masked
	Via netip.Addr
}

// A Link is a host's end of a network.
type Link struct {
	Host      *Host
	Network   *Network
	Name      string
	Addresses []netip.Prefix // not masked
}

// A Tunnel is a WireGuard network between hosts. Without a hub each member is
// everybody's peer; with one they are peers of the hub alone, which forwards.
type Tunnel struct {
	Name      string // of the interface, on each host
	Subnets   []netip.Prefix
	Port      uint16 // that members listen on
	Hub       *Host  // nil: none
	Keepalive uint16 // seconds, of roaming members; 0: none
	Members   []*Member
}

// A Member is a host of a tunnel.
type Member struct {
	Host      *Host
	Addresses []netip.Prefix // in the tunnel, with the length of its subnet
	Endpoint  netip.Addr     // invalid: roaming, others don't know where it is
	Routes    []netip.Prefix // networks behind it
}

// Host returns the host of that name, or nil.
func (t *Topology) Host(name string) *Host {
	i := slices.IndexFunc(t.Hosts, func(h *Host) bool { return h.Name == name })
	if i < 0 {
		return nil
	}
	return t.Hosts[i]
}

func (t *Topology) network(name string) *Network {
	i := slices.IndexFunc(t.Networks, func(n *Network) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return t.Networks[i]
}

// Namespaces are the names of the namespaces that Build wants: those of hosts,
// then those of networks that are switches.
func (t *Topology) Namespaces() (names []string) {
	for _, h := range t.Hosts {
		names = append(names, h.Name)
	}
	for _, n := range t.Networks {
		if n.Switched() {
			names = append(names, n.Name)
		}
	}
	return names
}

// Address returns the first address of a host: on a link, or in the tunnel of
// that name. It is invalid if there is none.
func (t *Topology) Address(host, network string) netip.Addr {
	for _, n := range t.Networks {
		for _, l := range n.Links {
			if n.Name == network && l.Host.Name == host && len(l.Addresses) > 0 {
				return l.Addresses[0].Addr()
			}
		}
	}
	for _, tunnel := range t.Tunnels {
		for _, m := range tunnel.Members {
			if tunnel.Name == network && m.Host.Name == host {
				return m.Addresses[0].Addr()
			}
		}
	}
	return netip.Addr{}
}

// neighbour returns the addresses of a host on networks that another is on too.
func neighbour(of, h *Host) (list []netip.Addr) {
	for _, l := range h.Links {
		if !slices.ContainsFunc(of.Links, func(own *Link) bool { return own.Network == l.Network }) {
			continue
		}
		for _, a := range l.Addresses {
			list = append(list, a.Addr())
		}
	}
	return list
}

// take returns the next free address of a subnet.
func take(subnet netip.Prefix, taken map[netip.Addr]bool) (netip.Prefix, error) {
	a := subnet.Addr().Next() // the first is the network's own
	for subnet.Contains(a) && taken[a] {
		a = a.Next()
	}
	if !subnet.Contains(a) || a.Is4() && !subnet.Contains(a.Next()) && subnet.Bits() < 31 {
		return netip.Prefix{}, fmt.Errorf("%s has no free address", subnet)
	}
	taken[a] = true
	return netip.PrefixFrom(a, subnet.Bits()), nil
}
