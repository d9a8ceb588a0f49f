// SPDX-License-Identifier: MIT

package integration

import (
	"regexp"
	"strings"
	"testing"
)

// A modernFile is a file that Debian's wg-quick of 2021 takes otherwise or not
// at all, with what wgctl makes of it, and why.
type modernFile struct {
	why   string
	facts []string // all that the file asks for
}

var modern = map[string]modernFile{
	"backend": {
		why: "Backend and Name are wgctl's own keys; the backend is the embedded device whatever the kernel has",
		facts: []string{
			"link: mtu 1420",
			"address 1: 10.40.3.1/24",
			"device: mFlkogNuSxQKQhd33PyDfQFxvdzNG/G4vffbeMXUJ2M= xiGq7BjNWsqYCWFhrmX9Weja6/91Lt9E08iFMTZ3bRQ= random off",
			"device: rpqo41bjpuw+2eG+5Lvq+uBGNyimN6DFoO09B/w0mA8= (none) (none) 10.40.3.2/32 off",
			"processes: + the device of backend",
		},
	},
	"bom": {
		why: "wg takes the mark of UTF-8 for a part of the first line",
		facts: []string{
			"link: mtu 1420",
			"address 1: 10.40.0.1/24",
			"device: wKYlQvUWMtf+6SWnCud4wQOQPwvr3oOVzAFHUO6qKmc= pA7MtkYTmvXdmD6fOK38WcqT2HuIn116PKIlJRz0aDw= random off",
		},
	},
	"emptykeys": {
		why: "wg-quick takes what is empty as given, in a way of its own for each key; here it is as if it weren't there",
		facts: []string{
			"link: mtu 1420",
			"address 1: 10.40.6.2/24",
			"device: eNH5iH2ReOfS3nhWuPTJi/od8GStD4zIK9KOyUn232w= BY9J6QUBHJP9ZuY+XUSt7Z9blUFIS/n4PZvFgLU0WzE= random off",
		},
	},
	"hashhook": {
		why: "wg-quick cuts hooks at the first # until 2025, and bash then misses the end of the quotation",
		facts: []string{
			"link: mtu 1420 alias tunnel #2",
			"address 1: 10.40.2.1/24",
			"device: oJ9pLraE4XSGwJB8AiMx2bOZiTawHweW+UkE7R1npD8= (none) (none) 10.40.2.2/32 off",
			"device: uP67Oc/OqSRL371oodB1Be9w/jCULGzU1Xpsh8w6OVQ= I53cIVEUTNHmVa/lWN9ECoVWA5SWRrt5W7cuK85W7DE= random off",
		},
	},
	"hostname": {
		why: "with SaveConfig wg-quick writes the address over the name of the endpoint, and the chosen mark into the file",
		facts: []string{
			"link: mtu 1420",
			"address 1: 10.40.5.2/24",
			"device: iF9QGUGArdhVNJFYQvvzgW62eHkxbpjHPnngfusmH2c= GJ6+sSPV+xYinsvOdOltXtGvQGuiJi4vOfWY4H+nC0A= random 0xca6c",
			"device: tFjLhRM0wA6a0Quac72OqkCJyY6WWddgEmQdM0Pu8Qo= (none) 203.0.113.77:51820 0.0.0.0/0,::/0 25",
			`nftables: + ip (type filter hook prerouting priority raw;) iifname != "hostname" ip daddr 10.40.5.2 fib saddr type != local drop`,
			"nftables: + ip (type filter hook postrouting priority mangle;) meta l4proto udp meta mark 0x0000ca6c ct mark set meta mark",
			"nftables: + ip (type filter hook prerouting priority mangle;) meta l4proto udp meta mark set ct mark",
			"nftables: + ip6 (type filter hook postrouting priority mangle;) meta l4proto udp meta mark 0x0000ca6c ct mark set meta mark",
			"nftables: + ip6 (type filter hook prerouting priority mangle;) meta l4proto udp meta mark set ct mark",
			"rules and routes -4: + 32764:\tfrom all lookup main suppress_prefixlength 0",
			"rules and routes -4: + 32765:\tnot from all fwmark 0xca6c lookup 51820",
			"rules and routes -4: + default dev hostname table 51820 scope link",
			"rules and routes -6: + 32764:\tfrom all lookup main suppress_prefixlength 0",
			"rules and routes -6: + 32765:\tnot from all fwmark 0xca6c lookup 51820",
			"rules and routes -6: + default dev hostname table 51820 metric 1024 pref medium",
		},
	},
	"signs": {
		why: "wg knows + and - before an allowed IP since 2025",
		facts: []string{
			"link: mtu 1420",
			"address 1: 10.40.1.1/24",
			"device: 5kheQMvxoH5FeZyX/fNSYc/0omaIayIltXZHjyycuCA= (none) (none) 10.40.1.2/32,10.40.2.0/24,10.40.4.0/24 off",
			"device: OGw/OMryeEZx1ZD3fHsbHAhqK8BWRflm4Sj4BtqFE18= RsjwKz31OHAFxzeBYPWS9zo9UtBBaP3JT5Yfz3CRGC4= random off",
			"rules and routes -4: + 10.40.2.0/24 dev signs scope link",
			"rules and routes -4: + 10.40.4.0/24 dev signs scope link",
		},
	},
	"splitdns": {
		why: "the tilde marks a routing domain for systemd-resolved; resolvconf passes it on",
		facts: []string{
			"link: mtu 1370",
			"address 1: 10.40.4.1/24",
			"device: sIxAtPZb6T3ycBC9WQPq8sNgAxCA0MaS7OSXVS5fJWI= 8HE/Eg9sKTFOnlVpVx02IqZipl5gI6+uJ2T1uQz92Q4= random off",
			"device: tiYSi0OUKYtjQLtnoyg809P/btVSIDFuhw3sPpJpq0U= (none) 192.0.2.96:51820 10.40.4.0/24 off",
			"resolv.conf: + 3 search ~corp.example",
			"resolv.conf: + 4 nameserver 10.40.4.53",
			"resolv.conf: - 3 nameserver 192.0.2.53",
		},
	},
	"zone": {
		why: "wg-quick finds no MTU for an endpoint with a zone",
		facts: []string{
			"link: mtu 1420",
			"address 1: fd00:40::1/64",
			"device: Ad0TdOzZgjMThaQV0dFG59IcKs/FWd90g0ryV2rY2B0= (none) [fe80::1%eth0]:51820 fd00:40::2/128 off",
			"device: oPixwcbmTeqRC2p8rm0SpefH8S102jW8NeK+4T81rH4= AaFyOuIJVAVQpXNXDagI9k0gFfFP55/15EpdrlUX6Ds= random off",
		},
	},
}

// The promise: what wg-quick has learnt since 2021, what it gets wrong and
// what it never knew is done as the table modern says, and undone.
func TestModernFiles(t *testing.T) {
	Need(t, "wg", "nft", "resolvconf", "bash")
	names := corpusNames(t, "modern")
	if len(names) != len(modern) {
		t.Errorf("%d files, and the table has %d", len(names), len(modern))
	}
	for _, name := range guestShare(t, names) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want, ok := modern[name]
			if !ok {
				t.Fatal("not in the table modern")
			}
			t.Log(want.why)
			x := newToolHost(t, "wgctl", name, corpusFile(t, "modern", name))
			if strings.Contains(x.file, "vpn.example.com") {
				x.h.Sh("echo 203.0.113.77 vpn.example.com >>/etc/hosts")
				x.before = x.h.Snapshot()
			}
			x.up(t)
			sameFacts(t, "brought about", want.facts, asked(x.facts))
			if out := x.run("down"); out.Code != 0 {
				t.Fatalf("%v", out)
			}
			x.h.Unchanged(x.before)
			if got := x.h.ReadFile(x.path()); got != x.file {
				t.Errorf("the file after down:\n%s", got)
			}
		})
	}
}

// asked leaves out of the facts what the kernel adds by itself and what belongs
// to any device.
func asked(facts []string) []string {
	var out []string
	for _, f := range facts {
		part, what, _ := strings.Cut(f, ": ")
		switch part {
		case "links and addresses":
			if m := linkFacts.FindStringSubmatch(what); m != nil {
				f = "link: " + m[1]
				if m[2] != "" {
					f += " alias " + m[2]
				}
				out = append(out, f)
			}
			continue
		case "sockets", "sysctls", "run", "etc", "resolvconf -l":
			continue
		case "processes":
			if !strings.Contains(what, "the device of backend") {
				continue
			}
		}
		if !strings.Contains(what, " proto kernel ") && !strings.Contains(what, "fe80::random") {
			out = append(out, f)
		}
	}
	return out
}

var linkFacts = regexp.MustCompile(`^\+ \S+: <.*> (mtu \d+) (?:.*alias (.*))?`)
