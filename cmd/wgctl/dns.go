// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/tunnel"
)

func newDNS(ui *ui) *cobra.Command {
	var query string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Show who answers look-ups on this host, and who would be told of DNS",
		Long: `Show who makes /etc/resolv.conf, the nameservers and domains of each link, and
whom a tunnel's nameservers would go to and why. --query looks a name up as the
host does, and says who answered.`,
		Example: `  wgctl dns
  wgctl dns --query host.corp.example
  wgctl dns --json`,
		Args: exactly(0, "no words"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showDNS(cmd.Context(), ui, query, asJSON)
		},
	}
	cmd.Flags().StringVar(&query, "query", "", "look this name up")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// A dnsView is what is printed.
type dnsView struct {
	dns.View
	Query *dnsQuery `json:"query,omitempty"`
}

// A dnsQuery is a name that was looked up.
type dnsQuery struct {
	Name string `json:"name"`
	dns.Found
	Error string `json:"error,omitempty"`
}

func showDNS(ctx context.Context, ui *ui, query string, asJSON bool) error {
	r, err := dns.Open(ctx)
	if err != nil {
		return err
	}
	r.OnlyLooks()
	view, err := r.View(ctx)
	if err != nil {
		return err
	}
	out := dnsView{View: view}
	var failed error
	if query != "" {
		out.Query = &dnsQuery{Name: query}
		if out.Query.Found, failed = lookUp(ctx, r, view, query); failed != nil {
			out.Query.Error = failed.Error()
		}
	}
	if asJSON {
		return errors.Join(ui.json(out), failed)
	}
	return errors.Join(out.print(ui), failed)
}

// queryTimeout bounds a test query.
const queryTimeout = 10 * time.Second

// lookUp looks a name up as the host does, and notes who answered.
func lookUp(ctx context.Context, r *dns.Resolver, view dns.View, name string) (dns.Found, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if view.Chosen == dns.BackendResolved {
		return r.AskResolved(ctx, name)
	}
	found := dns.Found{Addresses: []netip.Addr{}}
	var answered atomic.Pointer[net.Conn] // last, as two families are asked for at once
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		heard := func() { answered.Store(&conn) }
		if udp, ok := conn.(*net.UDPConn); ok { // which the resolver speaks another way to
			return datagrams{udp, heard}, nil
		}
		return stream{conn, heard}, nil
	}}
	addrs, err := resolver.LookupNetIP(ctx, "ip", name)
	if conn := answered.Load(); conn != nil {
		found.Server, found.Link = (*conn).RemoteAddr().String(), linkOf((*conn).LocalAddr())
	}
	if err != nil {
		return found, fmt.Errorf("looking up %s: %w", name, err)
	}
	for _, a := range addrs {
		found.Addresses = append(found.Addresses, a.Unmap())
	}
	return found, nil
}

// datagrams and stream are sockets that tell when something was heard by them.
type (
	datagrams struct {
		*net.UDPConn
		heard func()
	}
	stream struct {
		net.Conn
		heard func()
	}
)

func (d datagrams) Read(b []byte) (int, error) {
	n, err := d.UDPConn.Read(b)
	if n > 0 {
		d.heard()
	}
	return n, err
}

func (s stream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if n > 0 {
		s.heard()
	}
	return n, err
}

// linkOf returns the link that has an address, "" if none or several do: what
// is sent from there goes out by it.
func linkOf(local net.Addr) (name string) {
	at, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return ""
	}
	links, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, link := range links {
		addrs, err := link.Addrs()
		if err != nil {
			continue
		}
		if slices.ContainsFunc(addrs, func(a net.Addr) bool {
			p, err := netip.ParsePrefix(a.String())
			return err == nil && p.Addr() == at.Addr().Unmap().WithZone("")
		}) {
			if name != "" {
				return ""
			}
			name = link.Name
		}
	}
	return name
}

func (v dnsView) print(ui *ui) error {
	w := tabwriter.NewWriter(ui.out, 0, 0, 2, ' ', 0)
	row := func(label, format string, args ...any) {
		_, _ = fmt.Fprintf(w, label+"\t"+format+"\n", args...)
	}
	owner := string(v.Owner)
	if v.Target != "" {
		owner += " (" + v.Target + ")"
	}
	row("resolv.conf:", "%s", owner)
	row("  asks:", "%s", answererText(v.File))
	for _, l := range v.Links {
		text := answererText(l.Answerer)
		if l.DefaultRoute {
			text += " (all other names)"
		}
		row(l.Name+":", "%s", text)
	}
	if v.Error == "" {
		row("tunnels tell:", "%s", v.Chosen)
	} else {
		row("tunnels tell:", "nobody: %s", v.Error)
	}
	row("choice:", "%s", v.Trace)
	if q := v.Query; q != nil && q.Error == "" {
		row(q.Name+":", "%s%s", strings.Join(stringsOf(q.Addresses), ", "), byText(q.Found))
	}
	return w.Flush()
}

// byText says who answered, as far as that is known.
func byText(f dns.Found) string {
	switch {
	case f.Server != "" && f.Link != "":
		return " (by " + f.Server + " over " + f.Link + ")"
	case f.Server+f.Link != "":
		return " (by " + f.Server + f.Link + ")"
	}
	return ""
}

func answererText(a dns.Answerer) string {
	words := append(stringsOf(a.Servers), a.Domains...)
	if len(words) == 0 {
		return "(nobody)"
	}
	return strings.Join(words, ", ")
}

// dnsBackendFlag adds --dns-backend.
func dnsBackendFlag(cmd *cobra.Command, opts *tunnel.Options) {
	cmd.Flags().Var((*dnsBackendValue)(&opts.DNSBackend), "dns-backend", "who is told of DNS: auto, or what DNSBackend may say")
	words := stringsIn(config.DNSBackends)
	_ = cmd.RegisterFlagCompletionFunc("dns-backend", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func stringsIn[T ~string](list []T) (out []string) {
	for _, x := range list {
		out = append(out, string(x))
	}
	return out
}

type dnsBackendValue config.DNSBackend

func (b *dnsBackendValue) String() string { return string(*b) }
func (b *dnsBackendValue) Type() string   { return "WHO" }
func (b *dnsBackendValue) Set(s string) error {
	if !slices.Contains(config.DNSBackends, config.DNSBackend(s)) {
		return errors.New("must be auto, resolved, networkmanager, resolvconf, file or off")
	}
	*b = dnsBackendValue(s)
	return nil
}

// apply takes the steps to what is wanted, and tells of what could not be had
// and may not.
func (in *input) apply(ctx context.Context, ui *ui, s *tunnel.Session, want *tunnel.Spec, steps []tunnel.Step) error {
	if err := s.Apply(ctx, in.record(want), steps); err != nil {
		return err
	}
	for _, note := range s.Notes() {
		ui.note("%s: %s", in.name, note)
	}
	return nil
}
