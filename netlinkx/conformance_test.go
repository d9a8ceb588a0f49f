// SPDX-License-Identifier: MIT

package netlinkx

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The table proves the fake: each sequence runs on it and in a real network
// namespace, and every line has to end alike, with the same error, the same
// answer and the same host after it. What follows "=>" is what both must say.
//
// The words are those of the verbs; "foreign" hands the rest to ip(8).
var conformance = []struct {
	name  string
	lines []string
}{
	{"links", []string{
		"link t0 => ENODEV, not there",
		"del t0 => ENODEV, not there",
		"set t0 1400 up => ENODEV, not there",
		"tun t0",
		"link t0 => tun wgctl 1500 down",
		"set t0 1400 up",
		"link t0 => tun wgctl 1400 up",
		"set t0 0 up",
		"link t0 => tun wgctl 1400 up",
		"set t0 1380 down",
		"link t0 => tun wgctl 1380 down",
		"del t0",
		"link t0 => ENODEV, not there",
		"foreign link add dev br0 type bridge",
		"del br0 => EPERM",
		"device? br0 => ENOTSUP, not there",
		"device? br1 => ENODEV, not there",
		"claim br0 1 => EPERM",
		"claim br0 0",
		"link br0 => bridge wgctl 1500 down",
		"del br0",
		"claim br0 0 => ENODEV, not there",
	}},
	{"addresses before and after up", []string{
		"tun t0",
		"address t0 10.8.0.1/24",
		"address t0 fd00:8::1/64",
		"address t0 fd00:9::1/128",
		"address t0 10.9.0.1/32",
		"set t0 0 up",
		"address t0 fd00:8::2/64",
		"address t0 10.8.1.1/31",
		"address t0 10.8.0.1/24 => EEXIST",
		"address t0 10.8.0.1/25",
		"address t0 fd00:8::1/64 => EEXIST",
		"address t0 fd00:8::1/48 => EEXIST",
		"address t9 10.8.0.1/24 => ENODEV, not there",
		"address- t0 10.1.1.1/24 => EADDRNOTAVAIL, not there",
		"address- t0 fd00::1/64 => EADDRNOTAVAIL, not there",
		"address- t0 fd00:8::1/64",
		"address- t0 fd00:8::2/64",
		"address- t0 fd00:9::1/128",
		"address- t0 10.8.1.1/31",
		"set t0 0 down",
		"set t0 0 up",
	}},
	{"going down loses routes and IPv6 addresses", []string{
		"tun t0",
		"address t0 10.8.0.1/24",
		"address t0 fd00:8::1/64",
		"set t0 0 up",
		"route t0 10.0.0.0/8",
		"route t0 fd00::/16",
		"rule 4 100 table 51820",
		"set t0 0 down",
		"set t0 0 up",
		"del t0",
		"rules 87 => 1",
	}},
	{"secondaries go with their primary", []string{
		"tun t0",
		"set t0 0 up",
		"address t0 10.8.0.1/24",
		"address t0 10.8.0.2/24",
		"address t0 10.8.0.3/24",
		"address t0 10.9.0.1/24",
		"route t0 10.0.0.0/8",
		"address- t0 10.8.0.2/24",
		"address- t0 10.8.0.1/24",
	}},
	{"secondaries are promoted", []string{
		"tun t0",
		"sysctl net.ipv4.conf.t0.promote_secondaries 1",
		"set t0 0 up",
		"address t0 10.8.0.1/24",
		"address t0 10.8.0.2/24",
		"address t0 10.8.0.3/24",
		"address- t0 10.8.0.1/24",
		"address- t0 10.8.0.2/24",
		"address- t0 10.8.0.3/24",
	}},
	{"the last IPv4 address takes the IPv4 routes", []string{
		"tun t0",
		"set t0 0 up",
		"address t0 10.8.0.1/24",
		"address t0 fd00:8::1/64",
		"route t0 10.0.0.0/8",
		"route t0 10.0.0.0/8 table 51820",
		"route t0 fd00::/16",
		"address- t0 10.8.0.1/24",
		"address- t0 fd00:8::1/64",
	}},
	{"routes", []string{
		"tun t0",
		"tun t1",
		"route t9 10.0.0.0/8 => ENODEV, not there",
		"route t0 10.0.0.0/8 => ENETDOWN",
		"route t0 fd00::/16 => ENETDOWN",
		"set t0 0 up",
		"set t1 0 up",
		"address t0 10.8.0.1/24",
		"route t0 10.8.0.0/24 => EEXIST",
		"route t0 10.0.0.0/8",
		"route t0 10.0.0.0/8 => EEXIST",
		"route t1 10.0.0.0/8 => EEXIST",
		"route t1 10.0.0.0/8 metric 5",
		"route t1 10.0.0.0/8 table 51820",
		"owner 10.0.0.0/8 => t0",
		"owner 10.0.0.0/8 metric 5 => t1",
		"owner 10.0.0.0/8 metric 6 => ESRCH, not there",
		"owner 10.0.0.0/8 table 51820 => t1",
		"owner 10.0.0.0/8 table 51821 => not there",
		"route t0 fd00::/16",
		"route t0 fd00::/16 => EEXIST",
		"route t1 fd00::/16 metric 1024 => EEXIST",
		"route t1 fd00::/16 metric 5",
		"owner fd00::/16 => t0",
		"owner fd00::/16 metric 5 => t1",
		"route t0 0.0.0.0/0 table 51820",
		"route t0 ::/0 table 51820",
		"route t0 0.0.0.0/0 table 4294967295",
		"route t0 ::/0 table 4294967295",
		"tables => 254 255 51820 4294967295",
		"route- t0 10.0.0.0/8 metric 5 => ESRCH, not there",
		"route- t1 fd00::/16 => ESRCH, not there",
		"route- t0 fd00::/16 metric 7 => ESRCH, not there",
		"route- t0 10.8.0.0/24 => ESRCH, not there",
		"route- t0 10.0.0.0/8",
		"route- t0 10.0.0.0/8 => ESRCH, not there",
		"route- t1 10.0.0.0/8 metric 5",
		"route- t0 fd00::/16",
		"route- t0 ::/0 table 51820",
		"route- t0 0.0.0.0/0 table 51820",
		"route- t0 0.0.0.0/0 table 4294967295",
	}},
	{"routes, many at a time", []string{
		"tun t0",
		"routes t9 10.0.0.0/8 => ENODEV, not there",
		"routes t0 10.0.0.0/8 fd00::/16 => 0: ENETDOWN; 1: ENETDOWN",
		"set t0 0 up",
		"routes t0",
		"routes t0 10.0.0.0/8 fd00::/16 0.0.0.0/0,51820 ::/0,51820",
		"routes t0 10.1.0.0/16 10.0.0.0/8 fd01::/16 fd00::/16 10.2.0.0/16 => 1: EEXIST; 3: EEXIST",
		"routes t0 10.3.0.0/16 10.3.0.0/16 => 1: EEXIST",
		"routes- t9 10.0.0.0/8 => ENODEV, not there",
		"routes- t0 10.9.0.0/16 10.1.0.0/16 fd09::/16 fd01::/16 10.1.0.0/16 => 0: ESRCH, not there; 2: ESRCH, not there; 4: ESRCH, not there",
		"routes- t0 10.0.0.0/8 10.2.0.0/16 10.3.0.0/16 fd00::/16 0.0.0.0/0,51820 ::/0,51820",
	}},
	{"metric 0 of IPv4 takes the lowest", []string{
		"tun t0",
		"set t0 0 up",
		"route t0 10.0.0.0/8 metric 7",
		"route t0 10.0.0.0/8 metric 5",
		"route- t0 10.0.0.0/8",
		"route- t0 10.0.0.0/8",
		"route- t0 10.0.0.0/8 => ESRCH, not there",
	}},
	{"routes of others", []string{
		"tun t0",
		"set t0 0 up",
		"foreign route add 10.1.0.0/16 dev t0",
		"foreign route add fd01::/16 dev t0",
		"foreign address add 10.77.0.1/24 dev t0",
		"route t0 10.1.0.0/16 => EEXIST",
		"route- t0 10.1.0.0/16 => ESRCH, not there",
		"route- t0 fd01::/16 => ESRCH, not there",
		"route t0 10.1.0.0/16 metric 9",
		"route- t0 10.1.0.0/16 metric 9",
		"foreign route add 10.2.0.0/16 via 10.77.0.2 dev t0",
		"route- t0 10.2.0.0/16 => ESRCH, not there",
		"owner 10.2.0.0/16 => t0",
	}},
	{"rules", []string{
		"rule 4 0 table 51820 => EINVAL",
		"rule- 4 100 table 51820 => ENOENT, not there",
		"rule 4 100 table 51820 mark 0xca6c not",
		"rule 4 100 table 51820 mark 0xca6c not => EEXIST",
		"rule 4 101 table 254 suppress",
		"rule 6 100 table 51820 mark 0xca6c not",
		"rule 6 101 table 254 suppress",
		"rule 4 102 table 300 suppress",
		"rule 4 103 table 5 mark 0x1",
		"rule 4 103 table 5 mark 0x1 not => EEXIST",
		"rule 4 104 table 5 mark 0xffffffff",
		"rule- 4 103 table 5 mark 0x1 not => ENOENT, not there",
		"rule- 4 103 table 5 => ENOENT, not there",
		"rule- 4 100 table 51820 mark 0xca6c => ENOENT, not there",
		"rule- 4 101 table 254 => ENOENT, not there",
		"rule- 4 32766 table 254 => ENOENT, not there",
		"rules 87 => 7",
		"rule- 4 100 table 51820 mark 0xca6c not",
		"rule- 6 101 table 254 suppress",
		"rule- 4 102 table 300 suppress",
		"rules 87 => 4",
	}},
	{"rules of others", []string{
		"foreign rule add priority 100 table 7",
		"foreign rule add priority 101 table 7 protocol 42",
		"foreign rule add priority 102 table 7 from 10.0.0.0/8",
		"rule 4 100 table 7 => EEXIST",
		"rule 4 101 table 7 => EEXIST",
		"rule- 4 100 table 7 => ENOENT, not there",
		"rule- 4 101 table 7 => ENOENT, not there",
		"rule- 4 102 table 7 => ENOENT, not there",
		"rule 4 102 table 7",
		"rule 4 105 table 7",
		"foreign rule add priority 105 table 7 protocol 42",
		"rule- 4 102 table 7",
		"rule- 4 105 table 7",
		"rules 87 => 0",
	}},
	{"paths", []string{
		"path 192.0.2.1 => ENETUNREACH",
		"path 2001:db8::1 => ENETUNREACH",
		"path default => ENETUNREACH",
		"tun t0",
		"tun t1",
		"set t0 1400 up",
		"set t1 1300 up",
		"address t0 10.8.0.1/24",
		"address t0 fd00:8::1/64",
		"foreign route add default via 10.8.0.2 dev t0",
		"path default => t0 1400",
		"path 192.0.2.1 => t0 1400",
		"path 127.0.0.1 => lo 65536",
		"path ::1 => lo 65536",
		"path fe80::1%t1 => t1 1300",
		"path 10.8.0.1 => lo 65536",
		"address t1 10.9.0.1/32",
		"route t1 0.0.0.0/0 table 51820",
		"rule 4 100 table 51820 mark 0xca6c not",
		"path 192.0.2.1 => t1 1300",
		"path 192.0.2.1 mark 0xca6c => t0 1400",
		"path 10.8.0.7 => t1 1300",
		"rule 4 99 table 254 suppress",
		"path 192.0.2.1 => t1 1300",
		"path 10.8.0.7 => t0 1400",
		"path default => t0 1400",
		"route t1 2001:db8::/32",
		"path 2001:db8::1 => t1 1300",
	}},
	{"IPv6 is off", []string{
		"tun t0",
		"sysctl net.ipv6.conf.t0.disable_ipv6 1",
		"address t0 fd00:8::1/64 => EACCES",
		"set t0 0 up",
		"route t0 fd00::/16 => EACCES",
		"address t0 10.8.0.1/24",
	}},
	{"sysctls", []string{
		"tun t0",
		"sysctl? net.ipv4.conf.t0.rp_filter => 0",
		"sysctl net.ipv4.conf.t0.rp_filter 2",
		"sysctl? net.ipv4.conf.t0.rp_filter => 2",
		"sysctl? net.ipv4.nothing => ENOENT, not there",
		"sysctl? net.ipv4.conf.t9.rp_filter => ENOENT, not there",
		"sysctl net.ipv4.conf.t9.rp_filter 1 => ENOENT, not there",
		"sysctl net.ipv4.conf.all.src_valid_mark 1",
		"sysctl? net.ipv4.conf.all.src_valid_mark => 1",
		"del t0",
		"tun t0",
		"sysctl? net.ipv4.conf.t0.rp_filter => 0",
	}},
	{"devices", []string{
		"device wg0",
		"names => wg0",
		"wg wg0 key A port 5555 mark 0x1234",
		"wg wg0 peer B ips 10.0.0.0/8,fd00::/16 endpoint 192.0.2.1:51820 psk P keepalive 25",
		"wg wg0 peer C ips 10.1.0.0/16",
		"wg wg0 peer C ips 10.0.0.0/8",
		"wg wg0 peer B ips 10.7.0.0/16,10.8.0.0/16",
		"wg wg0 peer B ips 10.9.0.0/16 replace",
		"wg wg0 peer B replace",
		"wg wg0 peer B endpoint [2001:db8::1]:1 keepalive 0 psk 0",
		"wg wg0 peer D ips 10.0.0.0/8 update",
		"wg wg0 peer C ips 10.3.0.0/16 update",
		"wg wg0 peer E remove",
		"wg wg0 peer C remove",
		"wg wg0 mark 0",
		"wg wg0 peer F",
		"wg wg0 key F",
		"wg wg0 peer F",
		"wg wg0 key 0",
		"wg wg0 peer A",
		"set wg0 0 up",
		"wg wg0 port 5556",
		"wg t9 port 5556 => ENODEV, not there",
	}},
	{"allowed IPs, one by one", []string{
		"device wg0",
		"wg wg0 key A peer B ips 10.0.0.0/8,10.1.0.0/16,fd00::/16,::/0 endpoint 192.0.2.1:51820 psk P",
		"wg wg0 peer C ips 10.2.0.0/16,0.0.0.0/0",
		"wg wg0 peer B ips- 10.1.0.0/16",
		"wg wg0 peer B ips- 10.1.0.0/16",
		"wg wg0 peer B ips- 10.2.0.0/16,0.0.0.0/0",
		"wg wg0 peer B ips- 10.0.0.7/8,fd00::/17",
		"wg wg0 peer B ips- ::/0,fd00::/16 ips 10.7.0.0/16,10.2.0.0/16",
		"wg wg0 peer B ips- 10.8.0.0/16 ips 10.8.0.0/16 keepalive 5",
		"wg wg0 peer B ips 10.8.0.0/16,10.9.0.0/16 ips- 10.8.0.0/16 replace",
		"wg wg0 peer B ips- 10.9.0.0/16 replace",
		"wg wg0 peer D ips- 10.9.0.0/16 update",
		"wg wg0 peer E ips- 0.0.0.0/0",
		"wg wg0 peer C ips- 0.0.0.0/0 remove",
	}},
	{"listen ports", []string{
		"device wg0",
		"device wg1",
		"names => wg0 wg1",
		"wg wg0 port 5555",
		"set wg0 0 up",
		"wg wg1 port 5556",
		"set wg1 0 up",
		"wg wg1 port 5555 => EADDRINUSE",
	}},
}

func TestConformance(t *testing.T) {
	for _, c := range append(conformance, deadEndConformance) {
		t.Run(c.name, func(t *testing.T) {
			worlds := []world{fakeWorld{NewFake()}, realWorld{newNamespace(t)}}
			for n, line := range c.lines {
				command, want, _ := strings.Cut(line, " => ")
				var states [2]string
				for i, w := range worlds {
					out, err := perform(t, w, command)
					if got := answer(out, err); got != want {
						t.Fatalf("line %d on %T: %s => %s (%v)", n+1, w, line, got, err)
					}
					states[i] = stateOf(t, w, c.lines[:n+1])
				}
				if states[0] != states[1] {
					t.Fatalf("line %d: %s\nfake:\n%s\nreal:\n%s", n+1, line, states[0], states[1])
				}
			}
		})
	}
}

// answer says an outcome in the words of the table.
func answer(out string, err error) string {
	if err == nil {
		return out
	}
	var words []string
	var errno unix.Errno
	if errors.As(err, &errno) && errno != unix.ENOENT || errors.Is(err, unix.ENOENT) && out == "" {
		words = append(words, unix.ErrnoName(errno))
	}
	if errors.Is(err, os.ErrNotExist) {
		words = append(words, "not there")
	}
	if len(words) == 0 {
		return err.Error()
	}
	return strings.Join(words, ", ")
}

// stateOf describes the links that the lines have made, except for what the
// worlds needn't share: the kind of a device's link and what follows from it, and
// a listen port that nobody chose. A wireguard-go device takes one as soon as it
// is made, and forgets the old one when it can't have another.
func stateOf(t *testing.T, w world, lines []string) string {
	t.Helper()
	var links []string
	chosen := make(map[string]bool)
	for _, line := range lines {
		switch f := strings.Fields(line); f[0] {
		case "tun", "device":
			links = append(links, f[1])
		case "wg":
			if strings.Contains(line, " port ") {
				chosen[f[1]] = !strings.Contains(line, "EADDRINUSE")
			}
		}
	}
	s, err := describe(t.Context(), w, slices.Compact(slices.Sorted(slices.Values(links))),
		[]string{"net.ipv4.conf.all.src_valid_mark"})
	if err != nil {
		t.Fatal(err)
	}
	var keep []string
	for l := range strings.Lines(s) {
		ours := strings.Contains(l, "wg0") || strings.Contains(l, "wg1")
		if ours && (strings.Contains(l, " type ") || strings.Contains(l, "fe80::/64")) {
			continue
		}
		if f := strings.Fields(l); f[0] == "wg" && !chosen[f[2]] {
			l = anyPort.ReplaceAllString(l, "listen-port any")
		}
		keep = append(keep, l)
	}
	return strings.Join(keep, "")
}

var anyPort = regexp.MustCompile(`listen-port \d+`)

// perform runs one line of the table on a world.
func perform(t *testing.T, w world, line string) (string, error) {
	t.Helper()
	ctx := t.Context()
	f := strings.Fields(line)
	switch f[0] {
	case "tun":
		w.tun(t, f[1])
	case "device":
		w.device(t, f[1])
	case "foreign":
		w.foreign(t, strings.TrimPrefix(line, "foreign "))
	case "link":
		l, err := w.Link(ctx, f[1])
		return fmt.Sprintf("%s %s %d %s", l.Kind, l.Alias, l.MTU, map[bool]string{true: "up", false: "down"}[l.Up]), err
	case "claim": // by its index and so many more
		l, _ := w.Link(ctx, f[1])
		return "", w.LinkClaim(ctx, f[1], l.Index+int(number(t, f[2], 0)))
	case "del":
		return "", w.LinkDel(ctx, f[1])
	case "set":
		return "", w.LinkSet(ctx, f[1], number(t, f[2], 0), f[3] == "up")
	case "address":
		return "", w.AddressAdd(ctx, f[1], netip.MustParsePrefix(f[2]))
	case "address-":
		return "", w.AddressDel(ctx, f[1], netip.MustParsePrefix(f[2]))
	case "route":
		return "", w.RouteAdd(ctx, f[1], parseRoute(t, f[2:]))
	case "route-":
		return "", w.RouteDel(ctx, f[1], parseRoute(t, f[2:]))
	case "routes":
		return "", failures(w.RoutesAdd(ctx, f[1], parseRoutes(t, f[2:])))
	case "routes-":
		return "", failures(w.RoutesDel(ctx, f[1], parseRoutes(t, f[2:])))
	case "owner":
		return ownerOf(ctx, w, parseRoute(t, f[1:]))
	case "tables":
		tables, err := w.TablesInUse(ctx)
		return strings.Trim(fmt.Sprint(slices.Sorted(maps.Keys(tables))), "[]"), err
	case "path":
		var a netip.Addr
		if f[1] != "default" {
			a = netip.MustParseAddr(f[1])
		}
		mark := uint32(0)
		if len(f) > 3 && f[2] == "mark" {
			mark = uint32(number(t, f[3], 0))
		}
		p, err := w.PathTo(ctx, a, mark)
		return fmt.Sprintf("%s %d", p.Link, p.MTU), err
	case "rules":
		rules, err := w.Rules(ctx)
		rules = slices.DeleteFunc(rules, func(r InstalledRule) bool { return r.Protocol != number(t, f[1], 0) })
		return strconv.Itoa(len(rules)), err
	case "rule":
		return "", w.RuleAdd(ctx, parseRuleWords(t, f[1:]))
	case "rule-":
		return "", w.RuleDel(ctx, parseRuleWords(t, f[1:]))
	case "sysctl":
		return "", w.SetSysctl(ctx, f[1], f[2])
	case "sysctl?":
		return w.Sysctl(ctx, f[1])
	case "device?":
		_, err := w.Device(ctx, f[1])
		return "", err
	case "names":
		names, err := w.DeviceNames(ctx)
		return strings.Join(names, " "), err
	case "wg":
		return "", w.Configure(ctx, f[1], parseChange(t, f[2:]))
	default:
		t.Fatalf("no such command: %s", line)
	}
	return "", nil
}
