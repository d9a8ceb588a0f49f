// SPDX-License-Identifier: MIT

// Package dns is what a tunnel wants of the host's resolver: Settings as data,
// the backends that apply them, and the choice of one with its trace.
//
// It is not a resolver: it looks up no name itself.
package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/sys/unix"
)

// Settings are the nameservers and domains of one tunnel. The zero value of all
// lists means that the tunnel wants nothing.
//
// With servers and without routing domains the settings are exclusive: all
// look-ups are the tunnel's. With routing domains only names below those and
// the search domains are.
type Settings struct {
	Interface string       `json:"interface"`
	Servers   []netip.Addr `json:"servers,omitempty"`
	Search    []string     `json:"search,omitempty"`
	Routing   []string     `json:"routing,omitempty"` // without the tilde

	// Backend is one of the names of backends: who is to be told, or who
	// was; "" or "auto" leaves that to Choose.
	Backend string `json:"backend,omitempty"`
	// Previous is what /etc/resolv.conf held before the first tunnel that
	// wrote it. The file beside it is what counts; this is for its loss.
	Previous string `json:"previous,omitempty"`
	// Private says that resolvconf is told so, as it hands the nameservers to a
	// local resolver for the domains alone.
	Private bool `json:"private,omitempty"`
	// File is the file that BackendFile writes, where that isn't
	// /etc/resolv.conf.
	File string `json:"file,omitempty"`
	// Last is who was told the last time, "" if nobody was.
	Last string `json:"-"`
	// Lax hands routing domains on to who can't route by them, as wg-quick
	// does.
	Lax bool `json:"-"`
	// Whole says that the tunnel takes the default route, so that no other link
	// is to be asked for anything.
	Whole bool `json:"whole,omitempty"`
	// Listed says that resolv.conf is systemd-resolved's list of the nameservers of
	// all links.
	Listed bool `json:"listed,omitempty"`
	// Aside are the links whose domains, and where that says so nameservers, are taken
	// away while the settings stand, with these, and Held those that this tunnel and others have taken away.
	Aside []LinkDomains `json:"aside,omitempty"`
	Held  []LinkDomains `json:"-"`
	// GiveBack are the links that get their domains back when the settings are
	// applied.
	GiveBack []LinkDomains `json:"-"`
	// Others are the other links that systemd-resolved asks, tunnels aside, with
	// the domains that they have now.
	Others []LinkDomains `json:"-"`
	// Beside are the links that are asked all the same, by settings that are not
	// ours to change, and GlobalScope, with the domains that they are asked for.
	Beside []LinkDomains `json:"-"`
	// Past are the nameservers that programs ask which read resolv.conf
	// themselves, past who was told.
	Past []netip.Addr `json:"-"`
	// Unsearched says that not all programs search the domains: systemd-resolved
	// does none of a link without nameservers.
	Unsearched bool `json:"-"`
	// Altered says that the link was given another part than the settings give
	// it: not all names, or all.
	Altered bool `json:"-"`
	// Stays says that the link stays when the settings go: what others have told
	// systemd-resolved of it stays, too.
	Stays bool `json:"-"`
	// Stale says that of what was applied only traces are left.
	Stale bool `json:"-"`
}

// Empty reports whether nothing is wanted, or nothing stands.
func (s Settings) Empty() bool {
	return len(s.Servers) == 0 && len(s.Search) == 0 && len(s.Routing) == 0 && !s.Stale
}

// Exclusive reports whether all look-ups are the tunnel's.
func (s Settings) Exclusive() bool { return len(s.Servers) > 0 && len(s.Routing) == 0 }

// whole reports whether systemd-resolved is to ask nobody else.
func (s Settings) whole() bool { return s.Whole && s.Backend == BackendResolved && s.Exclusive() }

// Equal reports whether two settings ask the same of the same, in the same
// order. What was there before doesn't count.
func (s Settings) Equal(t Settings) bool {
	return s.Interface == t.Interface && s.Backend == t.Backend && s.Stale == t.Stale && s.Altered == t.Altered && s.whole() == t.whole() && s.Private == t.Private &&
		slices.Equal(s.Servers, t.Servers) && slices.Equal(s.Search, t.Search) && slices.Equal(s.Routing, t.Routing)
}

// Domains are the search domains, and the routing domains with a tilde, as they
// are written in a file.
func (s Settings) Domains() []string {
	out := slices.Clone(s.Search)
	for _, d := range s.Routing {
		out = append(out, "~"+d)
	}
	return out
}

// privateMark begins a comment that says which of the domains, the last ones,
// are for routing: to resolvconf all are alike.
const privateMark = "# wgctl: routing domains"

// text returns the settings in the words of resolv.conf(5), as wg-quick pipes
// them to resolvconf.
func (s Settings) text() string {
	var b strings.Builder
	for _, a := range s.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	d := s.Domains()
	if s.Private {
		d = slices.Concat(s.Search, s.Routing)
	}
	if len(d) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d, " "))
	}
	if s.Private {
		fmt.Fprintf(&b, "%s %s\n", privateMark, strings.Join(s.Routing, " "))
	}
	return b.String()
}

// parse reads the words of resolv.conf(5) that text writes; others are left
// out.
func parse(ifname, text string) Settings {
	s := Settings{Interface: ifname}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		private, isPrivate := strings.CutPrefix(line, privateMark)
		switch {
		case isPrivate:
			s.Private, s.Routing = true, strings.Fields(private)
			s.Search = s.Search[:max(0, len(s.Search)-len(s.Routing))]
		case len(words) < 2:
		case words[0] == "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil {
				s.Servers = append(s.Servers, a)
			}
		case words[0] == "search":
			for _, d := range words[1:] {
				if domain, ok := strings.CutPrefix(d, "~"); ok {
					s.Routing = append(s.Routing, domain)
				} else {
					s.Search = append(s.Search, d)
				}
			}
		}
	}
	return s
}

// inIfname are the characters of wg-quick's interface names (its parse_options).
const inIfname = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=+.-"

// validate refuses what a backend would misread. resolvconf is made of shell
// scripts that evaluate what they are given, so a domain must hold nothing that
// means something to a shell.
func (s Settings) validate() error {
	if s.Interface == "" || len(s.Interface) >= unix.IFNAMSIZ || strings.Trim(s.Interface, inIfname) != "" {
		return fmt.Errorf("reading resolver settings: interface name %q: %w", s.Interface, unix.EINVAL)
	}
	for _, a := range s.Servers {
		if !a.IsValid() {
			return fmt.Errorf("reading resolver settings of %s: an empty nameserver: %w", s.Interface, unix.EINVAL)
		}
	}
	for _, d := range slices.Concat(s.Search, s.Routing) {
		if d == "" || strings.HasPrefix(d, "-") || strings.ContainsFunc(d, notInDomain) {
			return fmt.Errorf("reading resolver settings of %s: search domain %q: %w", s.Interface, d, unix.EINVAL)
		}
	}
	return nil
}

// notInDomain reports whether no name of the DNS that people use has that
// character. The tilde is for wg-quick, which hands on what it doesn't know.
func notInDomain(c rune) bool {
	return !unicode.IsLetter(c) && !unicode.IsDigit(c) && !strings.ContainsRune("-._~", c)
}
