// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// LinkDomains are the domains of one link, those for routing with a tilde.
type LinkDomains struct {
	Link    string   `json:"link"`
	Domains []string `json:"domains"`
}

// networkdDir is where systemd-networkd says what it has of its links, for
// systemd-resolved: sd-network's src/libsystemd/sd-network/sd-network.c.
const networkdDir = "/run/systemd/netif/links"

// Names of systemd-networkd on the system bus, which is told of the links that
// it manages: org.freedesktop.network1(5).
const (
	networkdName = "org.freedesktop.network1"
	networkdPath = dbus.ObjectPath("/org/freedesktop/network1")
)

// others returns what systemd-resolved has of the links but one that lead to
// nameservers outside of tunnels: of each, its domains, if it has any. It goes
// by files, so that it can be had though the bus hangs.
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
		if (len(s.Servers) > 0 || settling) && !isTunnel(link.Name) {
			list = append(list, LinkDomains{link.Name, s.Domains()})
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

// aside returns the links whose domains have to be set aside so that nobody but
// the tunnel is asked for any name, with the domains that come back: those that
// they have, or had before it was done, for this tunnel or another.
func aside(now, held []LinkDomains) (list []LinkDomains) {
	for _, l := range now {
		if len(l.Domains) == 0 {
			i := slices.IndexFunc(held, func(h LinkDomains) bool { return h.Link == l.Link })
			if i < 0 {
				continue
			}
			l = held[i]
		}
		list = append(list, l)
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
	return s.whole() && slices.ContainsFunc(observed.Others, func(l LinkDomains) bool { return len(l.Domains) > 0 })
}

// All reports whether the link is asked for all names.
func (l LinkDomains) All() bool { return slices.Contains(l.Domains, "~"+rootDomain) }

// Bare returns those of the links that have no domains now.
func (s Settings) Bare(links []LinkDomains) (out []LinkDomains) {
	for _, l := range links {
		if slices.ContainsFunc(s.Others, func(o LinkDomains) bool { return o.Link == l.Link && len(o.Domains) == 0 }) {
			out = append(out, l)
		}
	}
	return out
}

// setAside takes the domains of links away, and returns those that it did it to.
func (r *Resolver) setAside(ctx context.Context, links []LinkDomains) (done []LinkDomains, err error) {
	if len(links) == 0 {
		return nil, nil
	}
	b, err := openBus(ctx, r.bus)
	if err != nil {
		return nil, err
	}
	defer b.close()
	for _, l := range links {
		link, err := net.InterfaceByName(l.Link)
		if err != nil {
			continue // it has none any more
		}
		domains, err := b.domains(link.Index)
		if err == nil && len(domains) > 0 {
			done = append(done, l)
			err = b.setDomains(link.Index, nil)
		}
		if err != nil {
			return done, fmt.Errorf("setting the domains of %s aside: %w", l.Link, err)
		}
	}
	return done, nil
}

// giveBack gives links the domains that were set aside, unless they have got
// others meanwhile.
func (r *Resolver) giveBack(ctx context.Context, links []LinkDomains) error {
	if len(links) == 0 {
		return nil
	}
	b, err := openBus(ctx, r.bus)
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
		domains, err := b.domains(link.Index)
		if err == nil && len(domains) == 0 {
			err = b.setDomains(link.Index, l.Domains)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("giving %s its domains back: %w", l.Link, err))
		}
	}
	_ = b.manager("FlushCaches") // answers for names of these domains go, at the latest in time
	return errors.Join(errs...)
}

func (b *bus) domains(index int) (list []busDomain, err error) {
	err = b.link(index, "Domains", &list)
	return list, err
}

// setDomains gives a link its domains, none for none. systemd-resolved refuses
// that for a link of systemd-networkd's, or forgets it, so that is told instead:
// to forget what it was told, where there are any, as it knows them from its own
// files.
func (b *bus) setDomains(index int, domains []string) error {
	list := []busDomain{}
	for _, d := range domains {
		name, routing := strings.CutPrefix(d, "~")
		list = append(list, busDomain{name, routing})
	}
	var err error
	if state, _ := networkdState(index); state == "" {
		err = b.manager("SetLinkDomains", int32(index), list)
		if e := (dbus.Error{}); !errors.As(err, &e) || e.Name != resolveName+".LinkBusy" {
			return err
		}
	}
	if len(domains) > 0 {
		err = b.networkd("RevertLinkDNS", int32(index))
	} else {
		err = b.networkd("SetLinkDomains", int32(index), list)
	}
	if err != nil {
		return err
	}
	for { // it tells systemd-resolved by a file
		now, err := b.domains(index)
		if err != nil || (len(now) > 0) == (len(domains) > 0) {
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
