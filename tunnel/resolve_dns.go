// SPDX-License-Identifier: MIT

package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

// WithoutDNS begins the note about a tunnel that DNSFailure lets come up.
const WithoutDNS = "comes up without its nameservers"

// dns finds out who is to be told of the nameservers. Where nobody can be, the
// file may say that the tunnel comes up without.
func (r *resolver) dns(ctx context.Context) error {
	if r.last != nil {
		r.spec.DNS.Last = r.last.DNS.Backend
	}
	s, trace, err := r.h.DNS.Choose(ctx, r.spec.DNS)
	r.trace(trace)
	if err == nil {
		r.spec.DNS = s
		return nil
	}
	if r.cfg.Interface.DNSFailure == config.DNSWarn && ctx.Err() == nil {
		r.spec.Notes = append(r.spec.Notes, fmt.Sprintf("%s: %v", WithoutDNS, err))
		r.spec.DNS = dns.Settings{Interface: r.spec.Name}
		return nil
	}
	return r.cfg.Errorf(config.InInterface, "DNS", 0, "%v", err)
}

// FailedDNS reports whether a run failed, and was undone, because the resolver
// didn't take the nameservers.
func FailedDNS(err error) bool {
	failed := (*StepError)(nil)
	if !errors.As(err, &failed) || len(failed.Left) > 0 {
		return false
	}
	_, ok := failed.Step.(dnsSet)
	return ok
}

// dnsText says what a change of the resolver is, in the words of who is told.
func dnsText(next, prev dns.Settings) string {
	what := count(len(next.Servers), "nameserver") + ", " + count(len(next.Search), "search domain")
	if n := len(next.Routing); n > 0 {
		what += ", " + count(n, "routing domain")
	}
	switch {
	case next.Empty() && prev.Backend == dns.BackendResolved:
		return "resolvectl revert " + next.Interface
	case next.Empty() && prev.Backend == dns.BackendFile:
		return "edit /etc/resolv.conf (without " + next.Interface + ")"
	case next.Empty() && prev.Backend == dns.BackendNetworkManager:
		return "nmcli general reload (without " + next.Interface + ")"
	case next.Empty():
		return "resolvconf -d " + next.Interface + " -f"
	case next.Backend == dns.BackendResolved:
		return fmt.Sprintf("resolvectl dns %s (%s)", next.Interface, what)
	case next.Backend == dns.BackendFile:
		return fmt.Sprintf("edit /etc/resolv.conf (%s: %s)", next.Interface, what)
	case next.Backend == dns.BackendNetworkManager && len(next.Routing) > 0:
		return fmt.Sprintf("nmcli general reload dns-full (%s: %s)", next.Interface, what)
	case next.Backend == dns.BackendNetworkManager:
		return fmt.Sprintf("nmcli general reload (%s: %s)", next.Interface, what)
	case len(next.Servers) == 0:
		return fmt.Sprintf("resolvconf -a %s -m 0 (%s)", next.Interface, what)
	}
	return fmt.Sprintf("resolvconf -a %s -m 0 -x (%s)", next.Interface, what)
}

// Look observes the tunnel again, after a run that failed.
func (s *Session) Look(ctx context.Context) error { return s.observe(ctx) }
