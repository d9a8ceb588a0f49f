// SPDX-License-Identifier: MIT

package routes

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func prefixes(s string) []netip.Prefix {
	var out []netip.Prefix
	for _, f := range strings.Fields(s) {
		out = append(out, netip.MustParsePrefix(f))
	}
	return out
}

// cutOne returns what is left of a prefix without another, longest first: its
// complement is as many prefixes as they differ in length.
func cutOne(prefix, without string) []string {
	p, w := netip.MustParsePrefix(prefix), netip.MustParsePrefix(without)
	var out []string
	for bits := w.Bits(); bits > p.Bits(); bits-- {
		a := w.Addr().As16()
		a[(bits-1)/8] ^= 0x80 >> ((bits - 1) % 8)
		sibling, _ := netip.AddrFrom16(a).Prefix(bits)
		out = append(out, sibling.String())
	}
	return out
}

var kernelRules = []Rule{
	{Family: V4, Priority: 0, Table: TableLocal},
	{Family: V4, Priority: 32766, Table: TableMain},
	{Family: V4, Priority: 32767, Table: TableDefault},
	{Family: V6, Priority: 0, Table: TableLocal},
	{Family: V6, Priority: 32766, Table: TableMain},
}

func TestPlan(t *testing.T) {
	secondTunnel := append([]Rule{
		{Family: V4, Priority: 32764, Table: TableMain, Suppress: true},
		{Family: V4, Priority: 32765, Table: 51820, Mark: 51820, Invert: true},
	}, kernelRules...)
	tests := []struct {
		name  string
		facts Facts
		want  string // the decision, a line each
		err   error
	}{
		{
			name:  "longest first, ties in descending order of text",
			facts: Facts{AllowedIPs: prefixes("10.0.0.0/8 192.168.7.0/24 10.8.0.1/32 fd00::/64 192.168.10.0/24 fd00::1/128")},
			want: `fd00::1/128
fd00::/64
10.8.0.1/32
192.168.7.0/24
192.168.10.0/24
10.0.0.0/8
routes: [table=auto covered=0 default=0 fwmark=none ret=6]`,
		},
		{
			name: "covered by a connected route",
			facts: Facts{
				AllowedIPs: prefixes("10.8.0.128/25 10.8.0.0/24 10.8.0.0/16 10.9.0.1/32 fd00::5/128"),
				OnLink:     Connected(prefixes("10.8.0.2/24 10.9.0.1/32 fd00::5/128")),
			},
			want: `10.9.0.1/32
10.8.0.0/16
routes: [table=auto covered=3 default=0 fwmark=none ret=2]`,
		},
		{
			name:  "table off",
			facts: Facts{Off: true, FwMark: 7, AllowedIPs: prefixes("0.0.0.0/0")},
			want: `fwmark 0x7
routes: [table=off ret=none]`,
		},
		{
			name:  "excluded from the main table by subtraction",
			facts: Facts{AllowedIPs: prefixes("10.0.0.0/8 10.1.2.0/24 192.168.0.0/16 fd00::/16"), Excluded: prefixes("10.0.0.0/9 10.1.0.0/16 fd00::1/128 172.16.0.0/12")},
			want: strings.Join(cutOne("fd00::/16", "fd00::1/128"), "\n") + `
192.168.0.0/16
10.128.0.0/9
routes: [table=auto covered=0 default=0 fwmark=none ret=` + fmt.Sprint(2+112) + `]`,
		},
		{
			name:  "excluded from a full tunnel by throw routes",
			facts: Facts{AllowedIPs: prefixes("0.0.0.0/0 10.5.0.0/16 10.99.0.0/24"), Excluded: prefixes("192.168.0.0/17 192.168.128.0/17 10.5.0.0/16"), Rules: kernelRules},
			want: `10.99.0.0/24
throw 192.168.0.0/16 table 51820
throw 10.5.0.0/16 table 51820
0.0.0.0/0 table 51820
v4 table main suppress_prefixlength 0 priority 32764
v4 not fwmark 0xca6c table 51820 priority 32765
fwmark 0xca6c
routes: [table=auto covered=0 default=1 fwmark=0xca6c(free) ret=4]`,
		},
		{
			name:  "half of a table of its own is fewer by subtraction",
			facts: Facts{Table: 7, AllowedIPs: prefixes("10.0.0.0/8"), Excluded: prefixes("10.0.0.0/9")},
			want: `10.128.0.0/9 table 7
routes: [table=7 ret=1]`,
		},
		{
			name:  "what is excluded stays so when routes are merged",
			facts: Facts{Table: 7, AllowedIPs: prefixes("10.0.0.0/9 10.128.0.0/9 10.200.0.0/16 172.16.0.0/12 172.16.5.0/24"), Excluded: prefixes("10.5.0.0/16"), Aggregate: true},
			want: `throw 10.5.0.0/16 table 7
10.200.0.0/16 table 7
172.16.0.0/12 table 7
10.128.0.0/9 table 7
10.0.0.0/9 table 7
routes: [table=7 ret=5]`,
		},
		{
			name:  "fail closed",
			facts: Facts{AllowedIPs: prefixes("0.0.0.0/0 ::/0"), Excluded: prefixes("128.0.0.0/1"), FailClosed: true, NeedMark: true, Rules: kernelRules},
			want: `throw 128.0.0.0/1 table 51820
::/0 table 51820
0.0.0.0/0 table 51820
unreachable ::/0 table 51820 metric 4278198272
unreachable 0.0.0.0/0 table 51820 metric 4278198272
v6 table main suppress_prefixlength 0 priority 32764
v6 not fwmark 0xca6c table 51820 priority 32765
v4 table main suppress_prefixlength 0 priority 32764
v4 not fwmark 0xca6c table 51820 priority 32765
fwmark 0xca6c
routes: [table=auto covered=0 default=2 fwmark=0xca6c(free) ret=5]`,
		},
		{
			name:  "a mark without a default route",
			facts: Facts{AllowedIPs: prefixes("10.0.0.0/8"), NeedMark: true, FailClosed: true, InUse: map[uint32]bool{51820: true}},
			want: `10.0.0.0/8
fwmark 0xca6d
routes: [table=auto covered=0 default=0 fwmark=0xca6d(free) ret=1]`,
		},
		{
			name:  "explicit table takes everything and adds no rule",
			facts: Facts{Table: 1234, AllowedIPs: prefixes("0.0.0.0/0 ::/0 10.8.0.0/24"), OnLink: prefixes("10.8.0.0/24"), Rules: kernelRules},
			want: `10.8.0.0/24 table 1234
::/0 table 1234
0.0.0.0/0 table 1234
routes: [table=1234 ret=3]`,
		},
		{
			name:  "the main table has what the addresses make",
			facts: Facts{Table: TableMain, AllowedIPs: prefixes("10.8.0.0/24 10.9.0.1/32 10.9.0.0/24 fd00::/64"), OnLink: prefixes("10.8.0.0/24 10.9.0.1/32 fd00::/64")},
			want: `fd00::/64
10.9.0.1/32
10.9.0.0/24
routes: [table=254 ret=3]`,
		},
		{
			name:  "what is left of a prefix is one of the link's",
			facts: Facts{Metric: 256, AllowedIPs: prefixes("10.8.0.0/16 fd00::/48"), Excluded: prefixes("10.8.0.0/17 fd00::/49"), OnLink: prefixes("10.8.128.0/17 fd00:0:0:8000::/49")},
			want: `10.8.128.0/17 metric 256
routes: [table=auto covered=0 default=0 fwmark=none ret=1]`,
		},
		{
			name:  "both defaults",
			facts: Facts{AllowedIPs: prefixes("0.0.0.0/0 ::/0"), Rules: kernelRules},
			want: `::/0 table 51820
0.0.0.0/0 table 51820
v6 table main suppress_prefixlength 0 priority 32764
v6 not fwmark 0xca6c table 51820 priority 32765
v4 table main suppress_prefixlength 0 priority 32764
v4 not fwmark 0xca6c table 51820 priority 32765
fwmark 0xca6c
routes: [table=auto covered=0 default=2 fwmark=0xca6c(free) ret=2]`,
		},
		{
			name:  "a later tunnel wins, with a table of its own",
			facts: Facts{AllowedIPs: prefixes("0.0.0.0/0"), Rules: secondTunnel, InUse: map[uint32]bool{51820: true, 51821: true}},
			want: `0.0.0.0/0 table 51822
v4 table main suppress_prefixlength 0 priority 32762
v4 not fwmark 0xca6e table 51822 priority 32763
fwmark 0xca6e
routes: [table=auto covered=0 default=1 fwmark=0xca6e(free) ret=1]`,
		},
		{
			name:  "the file's mark is the table",
			facts: Facts{AllowedIPs: prefixes("0.0.0.0/0"), FwMark: 0x42, Rules: kernelRules, InUse: map[uint32]bool{0x42: true}},
			want: `0.0.0.0/0 table 66
v4 table main suppress_prefixlength 0 priority 32764
v4 not fwmark 0x42 table 66 priority 32765
fwmark 0x42
routes: [table=auto covered=0 default=1 fwmark=0x42(file) ret=1]`,
		},
		{
			name:  "priorities are kept once chosen",
			facts: Facts{AllowedIPs: prefixes("0.0.0.0/0"), LastMark: 51820, Rules: append([]Rule{{Family: V4, Priority: 100, Table: 9}}, secondTunnel...), Last: secondTunnel[:2]},
			want: `0.0.0.0/0 table 51820
v4 table main suppress_prefixlength 0 priority 32764
v4 not fwmark 0xca6c table 51820 priority 32765
fwmark 0xca6c
routes: [table=auto covered=0 default=1 fwmark=0xca6c(kept) ret=1]`,
		},
		{
			name:  "no room",
			facts: Facts{AllowedIPs: prefixes("0.0.0.0/0"), Rules: []Rule{{Family: V4, Priority: 2}}},
			err:   ErrNoPriority,
		},
		{
			name:  "metric",
			facts: Facts{AllowedIPs: prefixes("10.0.0.0/8"), Metric: 50},
			want: `10.0.0.0/8 metric 50
routes: [table=auto covered=0 default=0 fwmark=none ret=1]`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Plan(tt.facts)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				return
			}
			if got := text(d); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func text(d Decision) string {
	var b strings.Builder
	for _, r := range d.Routes {
		fmt.Fprintln(&b, r)
	}
	for _, r := range d.Rules {
		fmt.Fprintf(&b, "v%d %s\n", r.Family, r)
	}
	if d.FwMark != 0 {
		fmt.Fprintf(&b, "fwmark %#x\n", d.FwMark)
	}
	return b.String() + d.Trace
}

func TestMTU(t *testing.T) {
	tests := []struct {
		paths    []int
		internet int
		ipv6     bool
		want     int
		trace    string
	}{
		{nil, 0, false, 1420, "mtu: [endpoints=none default=none ret=1420]"},
		{nil, 9000, true, 8920, "mtu: [endpoints=none default=9000 ret=8920]"},
		{[]int{0, 1500, 1420}, 9000, true, 1340, "mtu: [endpoints=1420 ret=1340]"},
		{[]int{1280}, 0, false, 1200, "mtu: [endpoints=1280 ret=1200]"},
		{[]int{1280}, 0, true, 1280, "mtu: [endpoints=1280 ipv6-least ret=1280]"},
	}
	for _, tt := range tests {
		mtu, trace := MTU(tt.paths, tt.internet, tt.ipv6)
		if mtu != tt.want || trace != tt.trace {
			t.Errorf("MTU(%v, %d, %v) = %d, %s; want %d, %s", tt.paths, tt.internet, tt.ipv6, mtu, trace, tt.want, tt.trace)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	var f Facts
	f.OnLink = prefixes("10.0.0.0/16")
	for i := range 100_000 {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		f.AllowedIPs = append(f.AllowedIPs, netip.PrefixFrom(a, 32))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Plan(f); err != nil {
			b.Fatal(err)
		}
	}
}
