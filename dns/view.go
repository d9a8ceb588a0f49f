// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A View is who answers the look-ups of a host.
type View struct {
	Owner  Owner          `json:"owner"`  // of /etc/resolv.conf
	Target string         `json:"target"` // what it leads to if it is a symbolic link, else ""
	Chosen string         `json:"chosen"` // the backend that a tunnel's nameservers would go to
	Trace  string         `json:"trace"`
	Error  string         `json:"error,omitempty"` // why there is none
	File   Answerer       `json:"resolv_conf"`     // what programs of the C library go by
	Links  []LinkAnswerer `json:"links"`           // of systemd-resolved, and of tunnels where it isn't asked
}

// An Answerer is nameservers and the domains that they are asked for.
type Answerer struct {
	Servers []netip.Addr `json:"servers"`
	Domains []string     `json:"domains"` // routing domains with a tilde
}

// A LinkAnswerer is the nameservers of one link.
type LinkAnswerer struct {
	Name string `json:"name"`
	Answerer
	// DefaultRoute says that the link is asked for names that no domain of
	// any link fits.
	DefaultRoute bool `json:"default_route"`
}

// View looks at the host. Nothing is changed; systemd-resolved or NetworkManager
// is asked, if the host's look-ups go to it, within some seconds.
func (r *Resolver) View(ctx context.Context) (View, error) {
	c, trace, err := r.Explain(ctx, Settings{})
	v := View{Owner: r.facts().owner(), Target: r.facts().Target, Chosen: c.Name, Trace: trace, Links: []LinkAnswerer{}}
	if err != nil {
		v.Error = err.Error()
	}
	v.File = answererOf(parse("", r.facts().Text))
	if c.Name == BackendResolved {
		if v.Links, err = r.resolvedLinks(ctx); err != nil {
			v.Error = err.Error()
		}
		return v, ctx.Err()
	}
	if c.Name == BackendNetworkManager {
		v.Links = r.networkManager().links()
		return v, nil
	}
	if c.Name == BackendResolvconf {
		v.Links = recordedLinks(c, parse("", r.facts().Text).Servers)
	}
	if isOurs(r.facts().Text) {
		for i, t := range parseFile(r.facts().Text).tunnels {
			v.Links = append(v.Links, LinkAnswerer{t.Interface, answererOf(t), i == 0 && t.Exclusive()})
		}
	}
	return v, nil
}

// recordedLinks returns what resolvconf was told of links. Names of records
// are what their authors call them.
//
// Of their nameservers those are asked for all other names that resolv.conf
// names: resolvconf puts no others there.
func recordedLinks(c Choice, named []netip.Addr) []LinkAnswerer {
	links := []LinkAnswerer{}
	for _, dir := range c.Records {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			s := parse(strings.TrimPrefix(e.Name(), c.Prefix), readText(filepath.Join(dir, e.Name())))
			if !s.Empty() {
				links = append(links, LinkAnswerer{s.Interface, answererOf(s), !s.Private && slices.ContainsFunc(s.Servers, func(a netip.Addr) bool { return slices.Contains(named, a) })})
			}
		}
		break
	}
	return links
}

func answererOf(s Settings) Answerer {
	return Answerer{append([]netip.Addr{}, s.Servers...), append([]string{}, s.Domains()...)}
}

// links are the tunnels that NetworkManager has been told of.
func (n *networkManager) links() []LinkAnswerer {
	list := []LinkAnswerer{}
	for _, path := range []string{n.conf, n.masq} {
		for i, e := range parseNM(readText(path)).entries {
			if e.state == nmTold {
				list = append(list, LinkAnswerer{e.Interface, answererOf(e.Settings), i == 0 && e.Exclusive()})
			}
		}
	}
	return list
}

// resolvedLinks asks systemd-resolved for all links that it has nameservers or
// domains for.
func (r *Resolver) resolvedLinks(ctx context.Context) ([]LinkAnswerer, error) {
	links := []LinkAnswerer{}
	b, err := openBus(ctx, r.bus, resolveName)
	if err != nil {
		return links, err
	}
	defer b.close()
	if b.owner(resolveName) == "" {
		return links, nil // it has nothing of any link until it is started
	}
	scopes, err := b.scopes()
	if err != nil {
		return links, err
	}
	for _, s := range scopes {
		l := LinkAnswerer{Name: s.Interface, DefaultRoute: slices.Contains(s.Routing, rootDomain)}
		if l.DefaultRoute { // what is below the root says nothing more
			s.Routing = append(below(s.Routing), rootDomain)
		}
		l.Answerer = answererOf(s.Settings)
		if s.index != 0 {
			err := b.link(s.index, "DefaultRoute", &l.DefaultRoute)
			if errors.Is(err, context.DeadlineExceeded) {
				return links, err
			} // else the link is gone, or systemd-resolved too old
		}
		links = append(links, l)
	}
	return links, nil
}

// current returns the nameserver that systemd-resolved asks by a link, with its
// port, "" if that isn't known: it is since v244.
func (b *bus) current(index int) string {
	var now busAddress
	if err := b.link(index, "CurrentDNSServer", &now); err != nil {
		return ""
	}
	const port = 53
	a, ok := netip.AddrFromSlice(now.Address)
	if !ok {
		return ""
	}
	return netip.AddrPortFrom(a, port).String()
}

// A Found is the answer to a query, and who gave it.
type Found struct {
	Addresses []netip.Addr `json:"addresses"`
	Link      string       `json:"link,omitempty"`   // by which the nameserver was asked
	Server    string       `json:"server,omitempty"` // that answered, with its port, where that is known
}

// AskResolved has systemd-resolved look a name up.
func (r *Resolver) AskResolved(ctx context.Context, name string) (Found, error) {
	b, err := openBus(ctx, r.bus, resolveName)
	if err != nil {
		return Found{}, err
	}
	defer b.close()
	var answers []struct {
		Index, Family int32
		Address       []byte
	}
	var canonical string
	var flags uint64
	call := b.conn.Object(resolveName, resolvePath).CallWithContext(b.ctx, resolveManager+"ResolveHostname", 0, int32(0), name, int32(0), uint64(0))
	if err := call.Store(&answers, &canonical, &flags); err != nil {
		return Found{}, b.explain("looking up "+name, err)
	}
	f := Found{Addresses: []netip.Addr{}}
	for _, a := range answers {
		if addr, ok := netip.AddrFromSlice(a.Address); ok {
			f.Addresses = append(f.Addresses, addr)
		}
		if link, err := net.InterfaceByIndex(int(a.Index)); a.Index != 0 && err == nil {
			f.Link, f.Server = link.Name, b.current(link.Index)
		}
	}
	return f, nil
}
