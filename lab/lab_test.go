// SPDX-License-Identifier: MIT

package lab

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

const office = `
[Lab]
Name = office

[Network internet]
Subnet = 203.0.113.0/24, 2001:db8::/64

[Network home]
Subnet = 192.168.1.0/24

[Host hub]
Link = internet 203.0.113.10/24
Route = 192.168.1.0/24 via router

[Host branch]
Link = internet

[Host router]        # to the internet
Link = internet
Link = home as lan0
Masquerade = eth0

[Host laptop]
Link = home
Gateway = router

[Tunnel wg0]
Subnet = 10.8.0.0/24
Hub = hub
Member = hub
Member = branch routes 10.20.0.0/16
Member = laptop roaming
`

func parse(t *testing.T, text string) *Topology {
	t.Helper()
	top, err := Parse("office.lab", text)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func TestParse(t *testing.T) {
	top := parse(t, office)
	want := `internet (switch)
├─ hub eth0  203.0.113.10/24
├─ branch eth0  203.0.113.1/24, 2001:db8::1/64
└─ router eth0  203.0.113.2/24, 2001:db8::2/64
home (cable)
├─ router lan0  192.168.1.1/24
└─ laptop eth0  192.168.1.2/24
wg0 (tunnel, by way of hub)
├─ hub  10.8.0.1/24  at 203.0.113.10
├─ branch  10.8.0.2/24  at 203.0.113.1
└─ laptop  10.8.0.3/24  roaming
`
	if got := top.Text(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := top.Namespaces(); !slices.Equal(got, []string{"hub", "branch", "router", "laptop", "internet"}) {
		t.Errorf("namespaces: %v", got)
	}
	if h := top.Host("laptop"); h.Gateways[0].String() != "192.168.1.1" {
		t.Errorf("gateway: %v", h.Gateways)
	}
	if h := top.Host("hub"); h.Routes[0].Via.String() != "203.0.113.2" {
		t.Errorf("route: %v", h.Routes)
	}
	if !top.Host("router").Forward || top.Host("hub").Forward {
		t.Error("who masquerades forwards, and nobody else")
	}
}

// Each fault has its line, its section and its key.
func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "1: there is no host",
		"Link = x":                           "1: this stands before the first section",
		"[Hosts a]":                          "1: there is no section [Hosts]: there are Lab, Network, Host and Tunnel",
		"[Host a":                            `1: a section is "[Kind name]"`,
		"[Host ../a]":                        `1: "../a" can't be a name here: letters, digits, - and _, 31 at the most`,
		"[Host a]\nlink = b":                 "2: [Host a] link: there is no such key",
		"[Host a]\nLink":                     `2: [Host a] a line is "Key = value"`,
		"[Host a]\nLink =":                   "2: [Host a] Link: the value is empty",
		"[Host a]\nLink = ,":                 "2: [Host a] Link: the value is empty",
		"[Host a]\nGateway = , ,":            "2: [Host a] Gateway: the value is empty",
		"[Host a]\nRoute = 10.0.0.0/8 via ,": "2: [Host a] Route: there is no address of a gateway",
		"[Host a]\n\nLink = b":               "3: [Host a] Link: there is no network b",
		"[Host a]\n[Network a]":              "2: [Network a] there is a host or a network of that name already",
		"[Network n]\nSubnet = 10.0.0.1/24":  `2: [Network n] Subnet: "10.0.0.1/24" is no network as 10.0.0.0/24`,
		"[Network n]\n[Host a]\nLink = n 10.0.0.1":                                                      `3: [Host a] Link: "10.0.0.1" is no address with a prefix length`,
		"[Network n]\n[Host a]\nLink = n as lo":                                                         `3: [Host a] Link: "lo" can't be the name of a link`,
		"[Network n]\n[Host a]\nLink = n as x\nLink = n as x":                                           "4: [Host a] Link: the host has a link x already",
		"[Network n]\nSubnet = 10.0.0.0/30\n[Host a]\nLink = n\n[Host b]\nLink = n\n[Host c]\nLink = n": "2: [Network n] Subnet: 10.0.0.0/30 has no free address for c",
		"[Host a]\nForward = yes":                                                                       "2: [Host a] Forward: must be on or off",
		"[Host a]\nForward = on\nForward = on":                                                          "3: [Host a] Forward: this is there twice",
		"[Host a]\nGateway = b":                                                                         `2: [Host a] Gateway: "b" is neither an address nor a host on one of this one's networks`,
		"[Host a]\nMasquerade = eth7":                                                                   "2: [Host a] Masquerade: the host has no link eth7",
		"[Host a]\nRoute = x":                                                                           `2: [Host a] Route: a route is "PREFIX via HOST" or "PREFIX via ADDRESS"`,
		"[Host a]\n[Tunnel wg0]":                                                                        "2: [Tunnel wg0] a tunnel has a Subnet",
		"[Host a]\n[Tunnel wg0]\nSubnet = 10.0.0.0/24\nMember = b":                                      "4: [Tunnel wg0] Member: there is no host b",
		"[Host a]\n[Tunnel wg0]\nSubnet = 10.0.0.0/24\nMember = a":                                      "4: [Tunnel wg0] Member: a has no address that others could send to",
		"[Host a]\n[Tunnel wg0]\nSubnet = 10.0.0.0/24\nMember = a roaming":                              "2: [Tunnel wg0] a tunnel has two members at least",
		"[Host a]\n[Tunnel wg0]\nListenPort = 0":                                                        "3: [Tunnel wg0] ListenPort: must be a number from 1 to 65535",
	} {
		_, err := Parse("f.lab", text)
		fault := (*Error)(nil)
		if !errors.As(err, &fault) || err.Error() != "f.lab:"+want {
			t.Errorf("%q:\ngot  %v\nwant f.lab:%s", text, err, want)
		}
	}
}

// With a hub, members know the hub alone and all that is behind it; keys are new
// each time.
func TestFiles(t *testing.T) {
	top := parse(t, office)
	files, err := top.Files()
	if err != nil {
		t.Fatal(err)
	}
	byHost := map[string]string{}
	for _, f := range files {
		byHost[f.Host] = f.Text
	}
	for host, lines := range map[string][]string{
		"hub":    {"Forward = on", "Name = branch", "AllowedIPs = 10.8.0.2/32, 10.20.0.0/16", "Endpoint = 203.0.113.1:51820", "Name = laptop"},
		"laptop": {"Address = 10.8.0.3/24", "AllowedIPs = 10.8.0.0/24, 10.20.0.0/16", "Endpoint = 203.0.113.10:51820", "PersistentKeepalive = 25"},
		"branch": {"AllowedIPs = 10.8.0.0/24\n"},
	} {
		for _, line := range lines {
			if !strings.Contains(byHost[host], line) {
				t.Errorf("%s: no %q in\n%s", host, line, byHost[host])
			}
		}
	}
	if n := strings.Count(byHost["laptop"], "[Peer]"); n != 1 {
		t.Errorf("laptop has %d peers", n)
	}
	again, _ := top.Files()
	if again[0].Text == files[0].Text {
		t.Error("the keys are the same")
	}
}

func TestGraphs(t *testing.T) {
	top := parse(t, office)
	dot := top.DOT()
	for _, line := range []string{`graph "office" {`, `"laptop" -- "home" [label="eth0 192.168.1.2/24"];`, `"hub" -- "laptop" [style=dashed, label="wg0"];`} {
		if !strings.Contains(dot, line) {
			t.Errorf("no %s in\n%s", line, dot)
		}
	}
	if strings.Contains(dot, `"branch" -- "laptop"`) {
		t.Error("spokes are no peers")
	}
	names := 0
	for d := xml.NewDecoder(strings.NewReader(top.SVG())); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "text" {
			names++
		}
	}
	if names != 6 {
		t.Errorf("%d names in the picture", names)
	}
}

// The topology of docs/lab.md is one.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/lab.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```ini\n")
	example, _, _ := strings.Cut(rest, "```")
	if top := parse(t, example); len(top.Hosts) != 4 || len(top.Tunnels) != 1 {
		t.Errorf("it has %d hosts and %d tunnels", len(top.Hosts), len(top.Tunnels))
	}
	for _, keys := range kinds {
		for key := range keys {
			if !strings.Contains(string(page), "`"+key) {
				t.Errorf("key %s is not in docs/lab.md", key)
			}
		}
	}
}
