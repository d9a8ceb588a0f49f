// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// A dnsShown is what "wgctl dns --json" prints.
type dnsShown struct {
	Owner      string
	Target     string
	Chosen     string
	Trace      string
	Error      string
	ResolvConf dnsAsked `json:"resolv_conf"`
	Links      []dnsShownLink
	Query      *struct {
		Name         string
		Addresses    []string
		Link, Server string
		Error        string
	}
}

type dnsAsked struct{ Servers, Domains []string }

type dnsShownLink struct {
	Name string
	dnsAsked
	DefaultRoute bool `json:"default_route"`
}

// shownDNS is "wgctl dns --json", which must exit with a code, and hold nothing
// that isn't in dnsShown, and no null.
func shownDNS(h *Host, code int, args ...string) (shown dnsShown) {
	h.t.Helper()
	out := wgctlFails(h, code, append([]string{"dns", "--json"}, args...)...)
	d := json.NewDecoder(strings.NewReader(out.Stdout))
	d.DisallowUnknownFields()
	if err := d.Decode(&shown); err != nil || strings.Contains(out.Stdout, "null") {
		h.t.Errorf("%v: %v", err, out)
	}
	return shown
}

// wgctl dns says the same in JSON as in words, also of a query, and a query that
// fails is one line, exit status 1, and a view all the same.
func TestDNSCommand(t *testing.T) {
	Only(t, Userspace)
	none := []string{}
	eth0 := dnsShownLink{"eth0", dnsAsked{[]string{hubLAN4}, none}, true}
	for name, c := range map[string]struct {
		owner, target, asks string
		links               []dnsShownLink // without a tunnel
		domains             []string       // of the tunnel
		first               bool           // the link asks, by itself, for all other names
	}{
		"file":           {owner: "plain", asks: hubLAN4, first: true},
		"resolved":       {owner: "stub", target: "/run/systemd/resolve/stub-resolv.conf", asks: "127.0.0.53", links: []dnsShownLink{eth0}, domains: []string{"~."}, first: true},
		"NetworkManager": {owner: "networkmanager", asks: hubLAN4, first: true},
		"openresolv":     {owner: "openresolv", asks: hubLAN4, links: []dnsShownLink{{"eth0", eth0.dnsAsked, false}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDNSSite(t)
			dnsBackends[name].prepare(s)
			h := s.client
			chosen := strings.ToLower(strings.Replace(name, "openresolv", "resolvconf", 1))
			check := func(got dnsShown, owner string, servers []string, links []dnsShownLink) {
				t.Helper()
				if got.Owner != owner || got.Target != c.target && owner != "wgctl" || got.Chosen != chosen || got.Error != "" ||
					!strings.HasPrefix(got.Trace, "dns: [rc="+owner+" ") || !strings.HasSuffix(got.Trace, " ret="+chosen+"]") {
					t.Errorf("%+v", got)
				}
				if !reflect.DeepEqual(got.ResolvConf.Servers, servers) {
					t.Errorf("resolv.conf asks %q, want %q", got.ResolvConf.Servers, servers)
				}
				if len(links) == 0 {
					links = []dnsShownLink{}
				}
				for i := range got.Links {
					if name == "openresolv" { // has no word for that
						got.Links[i].DefaultRoute = false
					}
				}
				if !reflect.DeepEqual(got.Links, links) {
					t.Errorf("links %+v, want %+v", got.Links, links)
				}
			}
			check(shownDNS(h, 0), c.owner, []string{c.asks}, c.links)
			fails := func() {
				t.Helper()
				out := wgctlFails(h, 1, "dns", "--query", "nowhere.example")
				if lines := errorLines(out); len(lines) != 1 || !strings.HasPrefix(lines[0], "looking up nowhere.example: ") {
					t.Errorf("not one line: %v", out)
				}
				said(t, out.Stdout, "resolv.conf:", "choice:")
				if strings.Contains(out.Stdout, "nowhere.example") {
					t.Errorf("an answer to no question: %v", out)
				}
				q := shownDNS(h, 1, "--query", "nowhere.example").Query
				if q == nil || q.Name != "nowhere.example" || len(q.Addresses) != 0 || !strings.HasPrefix(q.Error, "looking up nowhere.example: ") {
					t.Errorf("query %+v", q)
				}
			}
			fails()

			s.tunnel(fullAllowed, "DNS = 10.8.0.1, corp.example")
			wgctlOK(h, "up", "wg0")
			owner, servers := c.owner, []string{"10.8.0.1"}
			if name == "file" {
				owner = "wgctl"
			}
			if name == "resolved" {
				servers = []string{c.asks}
			}
			tunnel := dnsShownLink{"wg0", dnsAsked{[]string{"10.8.0.1"}, append([]string{"corp.example"}, c.domains...)}, c.first}
			got := shownDNS(h, 0, "--query", "x.example")
			links := append(append([]dnsShownLink{}, c.links...), tunnel)
			if name == "resolved" && len(got.Links) == 2 && got.Links[0].Name == "wg0" {
				links[0], links[1] = links[1], links[0] // it has no order
			}
			check(got, owner, servers, links)
			if q := got.Query; q == nil || q.Name != "x.example" || !reflect.DeepEqual(q.Addresses, []string{insideAnswer}) || q.Link != "wg0" || q.Server != "10.8.0.1:53" || q.Error != "" {
				t.Errorf("query %+v", q)
			}
			fails()
			wgctlOK(h, "down", "wg0")
			check(shownDNS(h, 0), c.owner, []string{c.asks}, c.links)
		})
	}
}
