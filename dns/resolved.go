// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// netifDir is where systemd-resolved keeps the settings of links, one file a
// link index. Its lines are those of link_save_user in systemd's
// src/resolve/resolved-link.c.
const netifDir = "/run/systemd/resolve/netif"

// rootDomain as a routing domain makes a link answer for all names.
const rootDomain = "."

// reverseDomains as routing domains make a link answer for the names of addresses,
// those of other links' networks with them. These systemd-resolved asks those links
// for else, though another has the root (match_subnet_reverse_lookups in its
// src/resolve/resolved-dns-scope.c).
var reverseDomains = []string{"in-addr.arpa", "ip6.arpa"}

// below returns domains without the root and reverseDomains.
func below(domains []string) (out []string) {
	for _, d := range domains {
		if d != rootDomain && !slices.Contains(reverseDomains, d) {
			out = append(out, d)
		}
	}
	return out
}

// resolved is systemd-resolved, which is told over D-Bus. What it knows of a
// link goes when the link does, and outlives its own restart. Of DNSSEC, DNS
// over TLS, LLMNR and multicast DNS nothing is said: they stay as they are.
type resolved struct{ bus string }

// ready finds a nameserver that systemd-resolved refuses: itself.
func (r *resolved) ready(s Settings) error {
	for _, a := range s.Servers {
		if a = a.Unmap(); a == netip.AddrFrom4([4]byte{127, 0, 0, 53}) || a == netip.AddrFrom4([4]byte{127, 0, 0, 54}) {
			return fmt.Errorf("%s is systemd-resolved itself", a)
		}
	}
	return nil
}

// installed reads systemd-resolved's file about the link: that can be done
// though the bus hangs. A link that is gone took its settings along.
func (r *resolved) installed(ctx context.Context, ifname string) (Settings, error) {
	s := Settings{Interface: ifname}
	link, err := net.InterfaceByName(ifname)
	if err != nil {
		return s, nil
	}
	text, err := readIfThere(filepath.Join(netifDir, strconv.Itoa(link.Index)))
	if err != nil {
		return s, err
	}
	s = parse(ifname, resolvedText(text))
	if s.Whole = slices.Contains(s.Routing, rootDomain); s.Whole {
		// That says that the settings are exclusive.
		given := s.Routing
		s.Routing = below(given)
		s.Whole = len(given) == len(s.Routing)+1+len(reverseDomains)
	}
	if s.Empty() {
		return s, nil
	}
	s.Altered = altered(text, s.Exclusive())
	if seenElsewhere(ctx, r.bus, resolveName) {
		return Settings{Interface: ifname}, nil
	}
	s.Backend = BackendResolved
	return s, nil
}

// resolvedText turns a file of systemd-resolved's into resolv.conf's words.
func resolvedText(state string) string {
	var b strings.Builder
	for line := range strings.Lines(state) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		for _, word := range strings.Fields(value) {
			switch key {
			case "SERVERS":
				fmt.Fprintf(&b, "nameserver %s\n", word)
			case "DOMAINS":
				fmt.Fprintf(&b, "search %s\n", word)
			}
		}
	}
	return b.String()
}

// altered reports whether a file of systemd-resolved's gives a link another part
// than one that is asked for all names, or one that isn't: somebody else has told
// it so, or a run was killed on the way. Where nothing is said of the default
// route, domains alone decide.
func altered(state string, all bool) bool {
	root := false
	for line := range strings.Lines(state) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "DOMAINS":
			root = slices.Contains(strings.Fields(value), "~"+rootDomain)
		case "DEFAULT_ROUTE":
			if (value == "yes") != all {
				return true
			}
		}
	}
	return root != all
}

// Types of the arguments of SetLinkDNS and SetLinkDomains, and of the properties
// that read them back.
type (
	busAddress struct {
		Family  int32
		Address []byte
	}
	busDomain struct {
		Name    string
		Routing bool // else for searching too
	}
)

// busSettings are settings as systemd-resolved takes them.
type busSettings struct {
	servers      []busAddress
	domains      []busDomain
	defaultRoute bool
}

// Address families, as in <bits/socket.h>.
const (
	familyIPv4 = 2
	familyIPv6 = 10
)

// forBus translates. A link that is to answer for everything gets the root as a
// routing domain: that beats all links that only have the role of a default
// route, whoever gave it to them, so that none of them has to be changed. Any
// other link has that role taken from it, which it would else have for having
// a nameserver.
func forBus(s Settings) busSettings {
	out := busSettings{servers: []busAddress{}, domains: []busDomain{}, defaultRoute: s.Exclusive()}
	for _, a := range s.Servers {
		family := int32(familyIPv4)
		if a.Unmap().Is6() {
			family = familyIPv6
		}
		out.servers = append(out.servers, busAddress{family, a.Unmap().AsSlice()})
	}
	for _, d := range s.Search {
		out.domains = append(out.domains, busDomain{d, false})
	}
	for _, d := range s.Routing {
		out.domains = append(out.domains, busDomain{d, true})
	}
	if s.Exclusive() {
		out.domains = append(out.domains, busDomain{rootDomain, true})
	}
	if s.whole() {
		for _, d := range reverseDomains {
			out.domains = append(out.domains, busDomain{d, true})
		}
	}
	return out
}

// add tells systemd-resolved and reads back what it took; it is told once more
// if something else has changed it meanwhile.
func (r *resolved) add(ctx context.Context, s Settings) error {
	link, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return err
	}
	b, err := openBus(ctx, r.bus, resolveName)
	if err != nil {
		return err
	}
	defer b.close()
	want := forBus(s)
	for range 2 {
		if err := b.set(link.Index, want); err != nil {
			return err
		}
		var ok bool
		if ok, err = b.stands(link.Index, want); err != nil {
			return err
		}
		if ok {
			_ = b.manager("FlushCaches") // answers of before are no longer right, but not for long
			return nil
		}
	}
	return errors.New("systemd-resolved did not keep what it was told: something else manages " + s.Interface)
}

func (b *bus) set(index int, want busSettings) error {
	if err := b.manager("SetLinkDNS", int32(index), want.servers); err != nil {
		return err
	}
	if err := b.manager("SetLinkDomains", int32(index), want.domains); err != nil {
		return err
	}
	// Since v240; before, the domains alone decided.
	if err := b.manager("SetLinkDefaultRoute", int32(index), want.defaultRoute); err != nil && !unknownMethod(err) {
		return err
	}
	return nil
}

// stands reports whether systemd-resolved has the settings. It may spell a
// domain its own way.
func (b *bus) stands(index int, want busSettings) (bool, error) {
	var servers []busAddress
	var domains []busDomain
	if err := b.link(index, "DNS", &servers); err != nil {
		return false, err
	}
	if err := b.link(index, "Domains", &domains); err != nil {
		return false, err
	}
	defaultRoute := want.defaultRoute
	if err := b.link(index, "DefaultRoute", &defaultRoute); err != nil && !unknownMethod(err) {
		return false, err
	}
	same := slices.EqualFunc(servers, want.servers, func(a, b busAddress) bool { return slices.Equal(a.Address, b.Address) })
	return same && defaultRoute == want.defaultRoute && slices.EqualFunc(domains, want.domains, func(a, b busDomain) bool {
		return a.Routing == b.Routing && plainDomain(a.Name) == plainDomain(b.Name)
	}), nil
}

// plainDomain is a domain as systemd-resolved spells it: without the last dot.
func plainDomain(d string) string {
	if d == rootDomain {
		return d
	}
	return strings.ToLower(strings.TrimSuffix(d, "."))
}

// remove lets systemd-resolved forget the link's settings. A link that is gone
// has none.
func (r *resolved) remove(ctx context.Context, s Settings) error {
	link, err := net.InterfaceByName(s.Interface)
	if err != nil {
		return nil
	}
	b, err := openBus(ctx, r.bus, resolveName)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.forget(link.Index, s.Stays); err != nil {
		return err
	}
	_ = b.manager("FlushCaches") // the tunnel's answers go, at the latest in time
	return nil
}

// forget takes the settings of a link away: all that there are, or, as that would
// be others' DNSSEC, DNS over TLS, LLMNR and multicast DNS too, our own. A run that
// is killed leaves nameservers until the last.
func (b *bus) forget(index int, own bool) error {
	if !own {
		return b.manager("RevertLink", int32(index))
	}
	if err := b.manager("SetLinkDomains", int32(index), []busDomain{}); err != nil {
		return err
	}
	if err := b.manager("SetLinkDNS", int32(index), []busAddress{}); err != nil {
		return err
	}
	// Without nameservers it doesn't count.
	if err := b.manager("SetLinkDefaultRoute", int32(index), false); err != nil && !unknownMethod(err) {
		return err
	}
	return nil
}

// normal returns settings as systemd-resolved keeps them, so that they can be
// compared with what it has.
func (s Settings) normal() Settings {
	servers, search, routing := s.Servers, s.Search, s.Routing
	s.Servers, s.Search, s.Routing = nil, nil, nil
	for _, a := range servers {
		if a = a.Unmap().WithZone(""); !slices.Contains(s.Servers, a) {
			s.Servers = append(s.Servers, a)
		}
	}
	for _, d := range search {
		s.Search = append(s.Search, plainDomain(d))
	}
	for _, d := range routing {
		s.Routing = append(s.Routing, plainDomain(d))
	}
	s.Search, s.Routing = unique(s.Search), unique(s.Routing)
	if slices.Contains(s.Routing, rootDomain) {
		s.Routing = nil // the others are below it
	}
	return s
}
