// SPDX-License-Identifier: MIT

package tunnel

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
)

// resolverSettings are what the file wants of the resolver. Called as wg-quick,
// search domains without a nameserver are left out, as its set_dns does, and
// routing domains are handed on to whoever there is.
func resolverSettings(cfg *config.Config, name string, o Options) dns.Settings {
	in := cfg.Interface
	s := dns.Settings{Interface: name, Servers: in.DNS, Lax: o.Quick}
	if o.Quick && len(in.DNS) == 0 {
		return s
	}
	for _, d := range in.DNSSearch {
		if domain, routing := strings.CutPrefix(d, "~"); !routing {
			s.Search = append(s.Search, d)
		} else if len(in.DNS) > 0 {
			s.Routing = append(s.Routing, domain)
		}
	}
	if !o.Quick && slices.Contains(s.Routing, ".") {
		s.Routing = nil // "~." is all names, as without routing domains
	}
	s.Backend = string(cmp.Or(o.DNSBackend, in.DNSBackend, config.DNSAuto))
	return s
}

// dns finds out who is to be told of the nameservers. Where nobody can be, the
// file may say that the tunnel comes up without, or keeps those that it has.
func (r *resolver) dns(ctx context.Context) error {
	if r.last != nil {
		r.spec.DNS.Last = r.last.DNS.Backend
		r.spec.DNS.Held = r.last.DNS.Aside
	}
	r.spec.DNS.Held = append(slices.Clip(r.spec.DNS.Held), r.have.heldAside()...)
	r.spec.DNS.Whole = r.spec.takesDefault() || r.cfg.Interface.KillSwitch
	r.spec.DNSMayFail = r.cfg.Interface.DNSFailure == config.DNSWarn
	s, trace, err := r.h.DNS.Choose(ctx, r.spec.DNS)
	r.trace(trace)
	if err == nil {
		r.spec.DNS = s
		r.spec.Notes = append(r.spec.Notes, besideNotes(s.Beside)...)
		if s.Unsearched {
			r.spec.Notes = append(r.spec.Notes, fmt.Sprintf("short names are not searched below %s by programs that ask systemd-resolved itself, as nsswitch.conf has it: that takes a nameserver in DNS",
				strings.Join(s.Search, " and ")))
		}
		if past := slices.DeleteFunc(slices.Clone(s.Past), func(a netip.Addr) bool { return slices.Contains(s.Servers, a) }); len(past) > 0 && len(s.Servers) > 0 {
			r.spec.Notes = append(r.spec.Notes, fmt.Sprintf("programs that read /etc/resolv.conf themselves ask %s, first or alone: as a link to /run/systemd/resolve/stub-resolv.conf it leads to systemd-resolved", past[0]))
		}
		return nil
	}
	if r.spec.DNSMayFail && ctx.Err() == nil {
		r.spec.DNS = r.have.standing(r.last)
		r.spec.Notes = append(r.spec.Notes, withoutDNS(r.spec.DNS, err))
		return nil
	}
	return r.cfg.Errorf(config.InInterface, "DNS", 0, "%v", err)
}

// besideNotes say who else is asked.
func besideNotes(links []dns.LinkDomains) (notes []string) {
	var all, some []string
	for _, l := range links {
		if l.All() {
			all = append(all, l.Link)
		} else {
			some = append(some, fmt.Sprintf("names below %s go to the nameservers of %s", strings.Join(l.Domains, " and "), l.Link))
		}
	}
	if len(all) > 0 {
		notes = append(notes, fmt.Sprintf("shares all look-ups with the nameservers of %s: systemd-resolved has the routing domain ~. there, too", strings.Join(all, " and ")))
	}
	for _, s := range some {
		notes = append(notes, s+": systemd-resolved has these domains there")
	}
	return notes
}

// heldAside are the links whose domains other tunnels have set aside.
func (s *State) heldAside() (links []dns.LinkDomains) {
	for _, o := range s.Others {
		if o.Spec != nil {
			links = append(links, o.Spec.DNS.Aside...)
		}
	}
	return links
}

// standing returns the nameservers that the tunnel has, as a Spec has them.
func (s *State) standing(last *Spec) dns.Settings {
	if s.DNS.Empty() || s.DNS.Stale {
		return dns.Settings{Interface: s.Name}
	}
	if last != nil && last.DNS.Equal(s.DNS) {
		return last.DNS
	}
	return s.DNS
}

// withoutDNS is the note about a tunnel whose nameservers can't be had.
func withoutDNS(have dns.Settings, why error) string {
	if have.Empty() {
		return fmt.Sprintf("comes up without its nameservers: %v", why)
	}
	return fmt.Sprintf("keeps the nameservers that it had: %v", why)
}

// passOver has the record say what stands where the resolver didn't take what
// it was told: that is no drift, and the next reload tries again.
func (s *Session) passOver(r *Record) {
	if len(s.passed) == 0 {
		return
	}
	spec := *r.Spec
	spec.DNS = s.Have.standing(r.Before)
	r.Spec = &spec
}

// Notes tell of the steps that were passed over, a line each.
func (s *Session) Notes() (notes []string) {
	for _, p := range s.passed {
		notes = append(notes, withoutDNS(s.Have.standing(nil), p))
	}
	return notes
}

// asideText says what happens to the domains of other links.
func asideText(next dns.Settings) string {
	text := ""
	for _, l := range next.ToSetAside() {
		if l.Listed {
			text += fmt.Sprintf("; resolvectl dns %s ''", l.Link)
		}
		text += fmt.Sprintf("; resolvectl domain %s ''", l.Link)
	}
	for _, l := range next.GiveBack {
		text += "; " + giveBackText(l)
	}
	return text
}

func giveBackText(l dns.LinkDomains) string {
	var calls []string
	if l.Listed {
		words := []string{"resolvectl", "dns", l.Link}
		for _, a := range l.Servers {
			words = append(words, a.String())
		}
		calls = append(calls, strings.Join(words, " "))
	}
	if len(l.Domains) > 0 {
		calls = append(calls, fmt.Sprintf("resolvectl domain %s %s", l.Link, strings.Join(l.Domains, " ")))
	}
	return strings.Join(calls, "; ")
}

// dnsText says what a change of the resolver is, in the words of who is told.
func dnsText(next, prev dns.Settings) string {
	what := count(len(next.Servers), "nameserver") + ", " + count(len(next.Search), "search domain")
	if n := len(next.Routing); n > 0 {
		what += ", " + count(n, "routing domain")
	}
	switch {
	case next.Empty() && prev.Empty() && len(next.GiveBack) > 0:
		return giveBackText(next.GiveBack[0])
	case next.Empty() && prev.Backend == dns.BackendResolved:
		return "resolvectl revert " + next.Interface + asideText(next)
	case next.Empty() && prev.Backend == dns.BackendFile:
		return "edit " + cmp.Or(prev.File, "/etc/resolv.conf") + " (without " + next.Interface + ")"
	case next.Empty() && prev.Backend == dns.BackendNetworkManager:
		return "nmcli general reload (without " + next.Interface + ")"
	case next.Empty():
		return "resolvconf -d " + next.Interface + " -f"
	case next.Backend == dns.BackendResolved:
		return fmt.Sprintf("resolvectl dns %s (%s)%s", next.Interface, what, asideText(next))
	case next.Backend == dns.BackendFile:
		return fmt.Sprintf("edit %s (%s: %s)", cmp.Or(next.File, "/etc/resolv.conf"), next.Interface, what)
	case next.Backend == dns.BackendNetworkManager && len(next.Routing) > 0:
		return fmt.Sprintf("nmcli general reload dns-full (%s: %s)", next.Interface, what)
	case next.Backend == dns.BackendNetworkManager:
		return fmt.Sprintf("nmcli general reload (%s: %s)", next.Interface, what)
	case next.Private:
		return fmt.Sprintf("resolvconf -a %s -m 0 -p (%s)", next.Interface, what)
	case len(next.Servers) == 0:
		return fmt.Sprintf("resolvconf -a %s -m 0 (%s)", next.Interface, what)
	}
	return fmt.Sprintf("resolvconf -a %s -m 0 -x (%s)", next.Interface, what)
}
