// SPDX-License-Identifier: MIT

package lab

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Parse reads a topology. file is its name, for errors and, without a folder and
// an ending, for a lab that names itself not. An error is an *Error.
func Parse(file, text string) (*Topology, error) {
	sections, err := split(file, text)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
	p := &parser{file: file, t: &Topology{Name: name}, taken: map[netip.Addr]bool{}}
	// What a section refers to may stand below it.
	for _, pass := range []func(*section) error{p.declare, p.links, p.addresses, p.host, p.tunnel} {
		for _, s := range sections {
			if err := pass(s); err != nil {
				return nil, err
			}
		}
	}
	if len(p.t.Hosts) == 0 {
		return nil, &Error{File: file, Line: 1, Msg: "there is no host"}
	}
	if !namePattern().MatchString(p.t.Name) {
		return nil, &Error{File: file, Line: 1, Msg: strconv.Quote(p.t.Name) + " can't be the name of a lab: [Lab] has a key Name"}
	}
	return p.t, nil
}

type parser struct {
	file  string
	t     *Topology
	taken map[netip.Addr]bool
}

// declare makes what has a name.
func (p *parser) declare(s *section) error {
	if s.kind != "Lab" && s.kind != "Tunnel" && (p.t.Host(s.name) != nil || p.t.network(s.name) != nil) {
		return s.errorf(p.file, line{}, "there is a host or a network of that name already")
	}
	switch s.kind {
	case "Lab":
		for _, l := range s.keys {
			p.t.Name = l.value
		}
	case "Network":
		n := &Network{Name: s.name}
		for _, l := range s.keys {
			list, err := p.prefixes(s, l, strings.Split(l.value, ","))
			if err != nil {
				return err
			}
			n.Subnets = list
		}
		p.t.Networks = append(p.t.Networks, n)
	case "Host":
		p.t.Hosts = append(p.t.Hosts, &Host{Name: s.name})
	}
	return nil
}

// links reads "Link = NETWORK [as IFNAME] [ADDRESS...]".
func (p *parser) links(s *section) error {
	if s.kind != "Host" {
		return nil
	}
	h := p.t.Host(s.name)
	for _, l := range s.keys {
		if l.key != "Link" {
			continue
		}
		words := fields(l.value)
		n := p.t.network(words[0])
		if n == nil {
			return s.errorf(p.file, l, "there is no network %s", words[0])
		}
		link := &Link{Host: h, Network: n, Name: "eth" + strconv.Itoa(len(h.Links))}
		words = words[1:]
		if len(words) > 1 && words[0] == "as" {
			link.Name, words = words[1], words[2:]
		}
		if !ifnamePattern().MatchString(link.Name) || link.Name == "lo" {
			return s.errorf(p.file, l, "%q can't be the name of a link", link.Name)
		}
		if slices.ContainsFunc(h.Links, func(o *Link) bool { return o.Name == link.Name }) {
			return s.errorf(p.file, l, "the host has a link %s already", link.Name)
		}
		for _, w := range words {
			a, err := netip.ParsePrefix(w)
			if err != nil {
				return s.errorf(p.file, l, "%q is no address with a prefix length", w)
			}
			if p.taken[a.Addr()] {
				return s.errorf(p.file, l, "%s is there twice", a.Addr())
			}
			p.taken[a.Addr()] = true
			link.Addresses = append(link.Addresses, a)
		}
		h.Links, n.Links = append(h.Links, link), append(n.Links, link)
	}
	return nil
}

// addresses gives links without one an address of each subnet.
func (p *parser) addresses(s *section) error {
	if s.kind != "Network" {
		return nil
	}
	n := p.t.network(s.name)
	for _, link := range n.Links {
		if len(link.Addresses) > 0 {
			continue
		}
		for _, subnet := range n.Subnets {
			a, err := take(subnet, p.taken)
			if err != nil {
				return s.errorf(p.file, s.keys[0], "%v for %s", err, link.Host.Name)
			}
			link.Addresses = append(link.Addresses, a)
		}
	}
	return nil
}

// host reads the other keys of a host.
func (p *parser) host(s *section) (err error) {
	if s.kind != "Host" {
		return nil
	}
	h := p.t.Host(s.name)
	for _, l := range s.keys {
		switch l.key {
		case "Gateway":
			h.Gateways, err = p.gateways(s, l, h)
		case "Forward":
			h.Forward, err = p.onOff(s, l)
		case "Route":
			err = p.route(s, l, h)
		case "Masquerade":
			for _, name := range fields(l.value) {
				if !slices.ContainsFunc(h.Links, func(k *Link) bool { return k.Name == name }) {
					return s.errorf(p.file, l, "the host has no link %s", name)
				}
				h.Masquerade = append(h.Masquerade, name)
			}
			h.Forward = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gateways reads the names of hosts that are neighbours, or addresses.
func (p *parser) gateways(s *section, l line, h *Host) (list []netip.Addr, err error) {
	for _, w := range fields(l.value) {
		found := []netip.Addr{}
		if g := p.t.Host(w); g != nil {
			found = neighbour(h, g)
		} else if a, err := netip.ParseAddr(w); err == nil {
			found = append(found, a)
		}
		if len(found) == 0 {
			return nil, s.errorf(p.file, l, "%q is neither an address nor a host on one of this one's networks", w)
		}
		for _, a := range found {
			if !slices.ContainsFunc(list, func(b netip.Addr) bool { return a.Is4() == b.Is4() }) {
				list = append(list, a)
			}
		}
	}
	return list, nil
}

// route reads "PREFIX via HOST|ADDRESS".
func (p *parser) route(s *section, l line, h *Host) error {
	to, via, ok := strings.Cut(l.value, " via ")
	prefix, err := netip.ParsePrefix(strings.TrimSpace(to))
	if !ok || err != nil {
		return s.errorf(p.file, l, "a route is \"PREFIX via HOST\" or \"PREFIX via ADDRESS\"")
	}
	if len(fields(via)) == 0 {
		return s.errorf(p.file, l, "there is no address of a gateway")
	}
	gateways, err := p.gateways(s, l.of(via), h)
	if err != nil {
		return err
	}
	for _, g := range gateways {
		if g.Is4() == prefix.Addr().Is4() {
			h.Routes = append(h.Routes, Route{prefix.Masked(), g})
			return nil
		}
	}
	return s.errorf(p.file, l, "%s has no address of that family there", strings.TrimSpace(via))
}

// of is the line with a part of its value.
func (l line) of(part string) line { return line{l.number, l.key, part} }

func (p *parser) onOff(s *section, l line) (bool, error) {
	if l.value != "on" && l.value != "off" {
		return false, s.errorf(p.file, l, "must be on or off")
	}
	return l.value == "on", nil
}

func (p *parser) prefixes(s *section, l line, words []string) (list []netip.Prefix, err error) {
	for _, w := range words {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(w))
		if err != nil || prefix != prefix.Masked() {
			return nil, s.errorf(p.file, l, "%q is no network as 10.0.0.0/24", strings.TrimSpace(w))
		}
		list = append(list, prefix)
	}
	return list, nil
}

// fields are words between commas or white space.
func fields(s string) []string { return strings.Fields(strings.ReplaceAll(s, ",", " ")) }
