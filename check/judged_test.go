// SPDX-License-Identifier: MIT

package check

import (
	"net/netip"
	"strings"
	"testing"
)

// judged is what one rule says of a file on the host of the examples, with
// other values of parameters and more links.
func judged(t *testing.T, rule, file string, sysctls map[string]string, links ...Link) string {
	t.Helper()
	host := new(Facts)
	decode(t, examples+"/host.json", host)
	for key, value := range sysctls {
		host.Sysctls[key] = value
	}
	host.Links = append(host.Links, links...)
	found, _ := Run(Input{Files: []File{parsed(t, "wg0.conf", []byte(file))}, Host: host})
	for _, f := range found {
		if f.Rule == rule {
			return f.String()
		}
	}
	return ""
}

// ini makes a file: of the interface's lines, then those of each peer.
func ini(of string, peers ...string) string {
	var b strings.Builder
	b.WriteString("[Interface]\nPrivateKey = 4Ck3rWMvSPKYtaKo36HsxBvRlQgoYQoNoZjtZ2tvWGs=\n" + of)
	for _, p := range peers {
		b.WriteString("[Peer]\nName = p" + key(p)[:4] + "\nPublicKey = " + key(p) + "\n" + p)
	}
	return b.String()
}

// Who forwards is judged for each family, and not only of hubs.
func TestForwardingOff(t *testing.T) {
	lan := Link{Name: "lan0", MTU: 1500, Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.20.1/24"), netip.MustParsePrefix("fd20::1/64")}}
	on4, on6 := map[string]string{"net.ipv4.ip_forward": "1"}, map[string]string{"net.ipv6.conf.all.forwarding": "1"}
	const hub = "Address = 10.8.0.1/24, fd08::1/64\nListenPort = 51820\n"
	callers := []string{"AllowedIPs = 10.8.0.3/32, fd08::3/128\n", "AllowedIPs = 10.8.0.4/32, fd08::4/128\n"}
	for _, c := range []struct {
		name, file string
		sysctls    map[string]string
		links      []Link
		want       string
	}{
		{"a hub", ini(hub, callers...), on6, nil, "is a hub of 2 peers, and net.ipv4.ip_forward is 0"},
		{"a hub of IPv6", ini(hub, callers...), on4, nil, "is a hub of 2 peers, and net.ipv6.conf.all.forwarding is 0"},
		{"a hub that forwards what its peers have", ini("Address = 10.8.0.1/24\nListenPort = 51820\n", "AllowedIPs = 10.8.0.3/32\n", "AllowedIPs = 10.8.0.4/32\n"), on4, nil, ""},
		{"one caller", ini(hub, callers[0]), nil, nil, ""},
		{"one caller, a network behind", ini(hub, callers[0]), nil, []Link{lan}, "is called by a peer, this host is in 2 other networks, and net.ipv4.ip_forward is 0"},
		{"the same, meant", ini(hub+"Forward = off\n", callers[0]), nil, []Link{lan}, ""},
		{"a site", ini(hub, "Endpoint = 203.0.113.1:51820\nAllowedIPs = 10.8.0.2/32, 192.168.10.0/24\n"), nil, []Link{lan}, "192.168.10.0/24 is behind"},
		{"a site of IPv6", ini(hub, "Endpoint = 203.0.113.1:51820\nAllowedIPs = fd08::2/128, fd10::/64\n"), on4, []Link{lan}, "fd10::/64 is behind"},
		{"a laptop at a site", ini("Address = 10.8.0.3/24\n", "Endpoint = 203.0.113.1:51820\nAllowedIPs = 10.8.0.0/24, 192.168.10.0/24\n"), nil, []Link{lan}, ""},
		{"a hook of IPv6", ini("Address = fd08::1/64\nPostUp = ip6tables -A FORWARD -i %i -j ACCEPT\nPostDown = ip6tables -D FORWARD -i %i -j ACCEPT\n", callers[0]), nil, nil, "net.ipv6.conf.all.forwarding is 0"},
		{"the same of a host that forwards IPv6", ini("Address = fd08::1/64\nPostUp = ip6tables -A FORWARD -i %i -j ACCEPT\nPostDown = ip6tables -D FORWARD -i %i -j ACCEPT\n", callers[0]), on6, nil, ""},
	} {
		if got := judged(t, "forwarding-off", c.file, c.sysctls, c.links...); c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// The kernel takes the larger of the two values: 2, which is loose, beats 1.
func TestReversePathValues(t *testing.T) {
	file := ini("Address = 10.8.0.2/24\nTable = 1234\n", "Endpoint = 203.0.113.1:51820\nAllowedIPs = 10.8.0.0/24\n")
	for values, strict := range map[[2]string]bool{
		{"0", "0"}: false, {"0", "1"}: true, {"0", "2"}: false,
		{"1", "0"}: true, {"1", "1"}: true, {"1", "2"}: false,
		{"2", "0"}: false, {"2", "1"}: false, {"2", "2"}: false,
	} {
		got := judged(t, "rp-filter-strict", file, map[string]string{"net.ipv4.conf.all.rp_filter": values[0], "net.ipv4.conf.default.rp_filter": values[1]})
		if (got != "") != strict {
			t.Errorf("all=%s default=%s: %q", values[0], values[1], got)
		}
	}
}

// A path that isn't known takes 1500.
func TestMTUOfUnknownPath(t *testing.T) {
	for _, c := range []struct{ mtu, peer, want string }{
		{"9000", "Endpoint = vpn.example.com:51820\nAllowedIPs = 10.9.0.0/16\n", "9000 doesn't fit: the way to "},
		{"9000", "AllowedIPs = 10.9.0.0/16\n", "isn't known, and most take 1500, less 60"},
		{"1440", "Endpoint = vpn.example.com:51820\nAllowedIPs = 10.9.0.0/16\n", ""},
		{"1441", "AllowedIPs = 10.9.0.0/16\n", "1441 doesn't fit"},
		{"1440", "Endpoint = 203.0.113.1:51820\nAllowedIPs = 10.9.0.0/16\n", ""},
		{"1421", "Endpoint = [2001:db8::1]:51820\nAllowedIPs = 10.9.0.0/16\n", "takes 1500, less 80"},
	} {
		got := judged(t, "mtu-large", ini("Address = 10.8.0.1/24\nMTU = "+c.mtu+"\n", c.peer), nil)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("MTU %s, %q: got %q, want %q", c.mtu, c.peer, got, c.want)
		}
	}
}
