// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// LinkDomains are the domains of one link, those for routing with a tilde, and the
// nameservers that it has with them. Of a link that is set aside, Listed says that
// the nameservers are as well, and not the domains alone.
type LinkDomains struct {
	Link    string       `json:"link"`
	Domains []string     `json:"domains,omitempty"`
	Servers []netip.Addr `json:"servers,omitempty"`
	Listed  bool         `json:"listed,omitempty"`
}

// gone reports whether what was set aside, or a part of it, is still away: nobody
// has given the link something else since.
func (l LinkDomains) gone(now LinkDomains) bool {
	if l.Listed && len(now.Servers) == 0 {
		return true
	}
	same := slices.Equal(now.Servers, l.Servers) || slices.Equal(now.Servers, settlingServers)
	return same && len(l.Domains) > 0 && len(now.Domains) == 0
}

// settlingServers stand for those that systemd-networkd has not told of yet.
var settlingServers = []netip.Addr{netip.IPv4Unspecified()}

// networkdDir is where systemd-networkd says what it has of its links, for
// systemd-resolved: sd-network's src/libsystemd/sd-network/sd-network.c.
const networkdDir = "/run/systemd/netif/links"

// Names of systemd-networkd on the system bus, which is told of the links that
// it manages: org.freedesktop.network1(5).
const (
	networkdName = "org.freedesktop.network1"
	networkdPath = dbus.ObjectPath("/org/freedesktop/network1")
)

// others returns what systemd-resolved has of the links but one that could lead to
// nameservers outside of tunnels. It goes by files, so that it can be had though
// the bus hangs.
func others(than string) (list []LinkDomains) {
	_, errResolved := os.Stat(netifDir)
	_, errNetworkd := os.Stat(networkdDir)
	if errResolved != nil && errNetworkd != nil {
		return nil
	}
	links, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, link := range links {
		if link.Name == than || link.Flags&net.FlagLoopback != 0 {
			continue
		}
		state, settling := networkdState(link.Index)
		text := networkdText(state)
		if state == "" {
			text = resolvedText(readText(filepath.Join(netifDir, strconv.Itoa(link.Index))))
		}
		s := parse(link.Name, text)
		if settling && len(s.Servers) == 0 { // it has some in a moment
			s.Servers = settlingServers
		}
		if len(s.Servers) == 0 || !isTunnel(link.Name) {
			list = append(list, LinkDomains{Link: link.Name, Domains: s.Domains(), Servers: s.Servers})
		}
	}
	return list
}

// networkdState returns what systemd-networkd says of a link, "" if it doesn't
// manage it; settling says that it has not said all yet.
func networkdState(index int) (state string, settling bool) {
	state = readText(filepath.Join(networkdDir, strconv.Itoa(index)))
	for line := range strings.Lines(state) {
		switch strings.TrimSpace(line) {
		case "ADMIN_STATE=pending", "ADMIN_STATE=initialized", "ADMIN_STATE=configuring":
			return state, true
		case "ADMIN_STATE=configured", "ADMIN_STATE=failed":
			return state, false
		}
	}
	return "", false
}

// networkdText turns a file of systemd-networkd's into resolv.conf's words.
func networkdText(state string) string {
	var b strings.Builder
	for line := range strings.Lines(state) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		for _, word := range strings.Fields(value) {
			switch key {
			case "DNS":
				fmt.Fprintf(&b, "nameserver %s\n", word)
			case "DOMAINS":
				fmt.Fprintf(&b, "search %s\n", word)
			case "ROUTE_DOMAINS":
				fmt.Fprintf(&b, "search ~%s\n", word)
			}
		}
	}
	return b.String()
}

// isTunnel reports whether a link is one that has no hardware, as WireGuard's
// and those of other VPNs: what is asked by such a link doesn't go out in the
// clear, and its owner means it to be asked beside us.
func isTunnel(name string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	request, err := unix.NewIfreq(name)
	if err != nil || unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, request) != nil {
		return false
	}
	return request.Uint16() == unix.ARPHRD_NONE // the family of the address
}

// aside returns the links whose domains, and if resolv.conf lists the nameservers of
// all links those too, have to be set aside so that nobody but the tunnel is asked
// for any name, with what comes back: what they have, or had before it was done,
// for this tunnel or another.
func aside(now, held []LinkDomains, listed bool) (list []LinkDomains) {
	for _, l := range now {
		i := slices.IndexFunc(held, func(h LinkDomains) bool { return h.Link == l.Link })
		if i >= 0 && held[i].gone(l) {
			if len(l.Domains) == 0 {
				l.Domains = held[i].Domains
			}
			if len(l.Servers) == 0 {
				l.Servers = held[i].Servers
			}
			l.Listed = held[i].Listed
		}
		l.Listed = l.Listed || listed
		if len(l.Servers) > 0 && (len(l.Domains) > 0 || listed) {
			list = append(list, l)
		}
	}
	return list
}

// Without returns the links of a list that another doesn't have.
func Without(list, other []LinkDomains) (out []LinkDomains) {
	for _, l := range list {
		if !slices.ContainsFunc(other, func(o LinkDomains) bool { return o.Link == l.Link }) {
			out = append(out, l)
		}
	}
	return out
}

// GoAround reports whether look-ups that the settings give to the tunnel go to
// other links by their domains, as observed.
func (s Settings) GoAround(observed Settings) bool {
	return s.whole() && slices.ContainsFunc(observed.Others, func(l LinkDomains) bool {
		return len(l.Servers) > 0 && (len(l.Domains) > 0 || s.Listed)
	})
}

// All reports whether the link is asked for all names.
func (l LinkDomains) All() bool { return slices.Contains(l.Domains, "~"+rootDomain) }

// ToSetAside returns those of Aside that have now what is to be set aside.
func (s Settings) ToSetAside() (out []LinkDomains) {
	for _, l := range s.Aside {
		if slices.ContainsFunc(s.Others, func(o LinkDomains) bool {
			return o.Link == l.Link && len(o.Servers) > 0 && (len(o.Domains) > 0 || l.Listed)
		}) {
			out = append(out, l)
		}
	}
	return out
}

// Bare returns those of the links that have nothing now of what is set aside.
func (s Settings) Bare(links []LinkDomains) (out []LinkDomains) {
	for _, l := range links {
		if slices.ContainsFunc(s.Others, func(o LinkDomains) bool {
			return o.Link == l.Link && l.gone(o)
		}) {
			out = append(out, l)
		}
	}
	return out
}

// setAside takes from links what is to be set aside, and returns those that it did
// it to.
func (r *Resolver) setAside(ctx context.Context, links []LinkDomains) (done []LinkDomains, err error) {
	if len(links) == 0 {
		return nil, nil
	}
	b, err := openBus(ctx, r.bus, resolveName)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for _, l := range links {
		link, err := net.InterfaceByName(l.Link)
		if err != nil {
			continue // it has none any more
		}
		now, err := b.parts(link.Index)
		if err == nil && (len(now.Domains) > 0 || l.Listed && len(now.Servers) > 0) {
			done = append(done, l)
			err = b.setParts(link.Index, LinkDomains{Listed: l.Listed}, false)
		}
		if err != nil {
			return done, fmt.Errorf("setting what %s is asked for aside: %w", l.Link, err)
		}
	}
	return done, nil
}

// giveBack gives links what was set aside, unless they have got something else
// meanwhile.
func (r *Resolver) giveBack(ctx context.Context, links []LinkDomains) error {
	if len(links) == 0 {
		return nil
	}
	b, err := openBus(ctx, r.bus, resolveName)
	if err != nil {
		return err
	}
	defer b.close()
	var errs []error
	for _, l := range links {
		link, err := net.InterfaceByName(l.Link)
		if err != nil {
			continue // and nobody asks it
		}
		now, err := b.parts(link.Index)
		if err == nil && l.gone(now) {
			l.Listed = l.Listed && len(now.Servers) == 0
			if len(now.Domains) > 0 {
				l.Domains = nil
			}
			err = b.setParts(link.Index, l, true)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("giving %s back what it was asked for: %w", l.Link, err))
		}
	}
	_ = b.manager("FlushCaches") // answers for names of these domains go, at the latest in time
	return errors.Join(errs...)
}

// parts returns the domains and nameservers that a link has.
func (b *bus) parts(index int) (now LinkDomains, err error) {
	var domains []busDomain
	var servers []busAddress
	if err = b.link(index, "Domains", &domains); err == nil {
		err = b.link(index, "DNS", &servers)
	}
	for _, d := range domains {
		if d.Routing {
			d.Name = "~" + d.Name
		}
		now.Domains = append(now.Domains, d.Name)
	}
	for _, a := range servers {
		if addr, ok := netip.AddrFromSlice(a.Address); ok {
			now.Servers = append(now.Servers, addr)
		}
	}
	return now, err
}

// setParts gives a link back what was set aside, or takes it away: the domains,
// and if it says so the nameservers. systemd-resolved refuses that for a
// link of systemd-networkd's, or forgets it, so that is told instead; to give
// back, to forget what it was told, as it knows the rest from its own files.
func (b *bus) setParts(index int, l LinkDomains, back bool) error {
	domains, servers := []busDomain{}, []busAddress{}
	for _, d := range l.Domains {
		name, routing := strings.CutPrefix(d, "~")
		domains = append(domains, busDomain{name, routing})
	}
	if back {
		servers = forBus(Settings{Servers: l.Servers}).servers
	}
	tell := func(call func(method string, args ...any) error) error {
		if l.Listed {
			if err := call("SetLinkDNS", int32(index), servers); err != nil {
				return err
			}
		}
		if len(l.Domains) == 0 && back {
			return nil
		}
		return call("SetLinkDomains", int32(index), domains)
	}
	var err error
	if state, _ := networkdState(index); state == "" {
		err = tell(b.manager)
		if e := (dbus.Error{}); !errors.As(err, &e) || e.Name != resolveName+".LinkBusy" {
			return err
		}
	}
	if back {
		err = b.networkd("RevertLinkDNS", int32(index))
	} else {
		err = tell(b.networkd)
	}
	if err != nil {
		return err
	}
	for { // it tells systemd-resolved by a file
		now, err := b.parts(index)
		if err != nil || (len(l.Domains) == 0 && back || (len(now.Domains) > 0) == back) && (!l.Listed || (len(now.Servers) > 0) == back) {
			return err
		}
		select {
		case <-b.ctx.Done():
			return errors.New("systemd-networkd did not take it")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (b *bus) networkd(method string, args ...any) error {
	call := b.conn.Object(networkdName, networkdPath).CallWithContext(b.ctx, networkdName+".Manager."+method, 0, args...)
	if call.Err != nil {
		return b.explain(method+" of systemd-networkd", call.Err)
	}
	return nil
}
