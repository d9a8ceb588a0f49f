// SPDX-License-Identifier: MIT

package firewall

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func addrs(s ...string) (out []netip.Addr) {
	for _, a := range s {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(s ...string) (out []netip.Prefix) {
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// extra has each field of a Rule, as the lines of guides have them.
var extra = []Rule{
	{Chain: ForwardFilter, In: Link{Name: "wg0"}, Verdict: VerdictAccept},
	{Chain: ForwardFilter, Out: Link{Name: "wg0"}, State: StateRelated | StateEstablished, Verdict: VerdictAccept, Comment: "PostUp 1"},
	{Chain: ForwardFilter, Family: IPv6, In: Link{Name: "eth", Pattern: true}, Out: Link{Name: "wg0", Not: true}, Verdict: VerdictDrop},
	{Chain: ForwardFilter, Family: IPv4, Source: Network{Prefix: prefixes("10.0.0.0/9")[0]}, Destination: Network{Prefix: prefixes("10.9.0.1/32")[0], Not: true}, Protocol: TCP,
		SourcePort: Ports{First: 1024, Last: 65535}, DestinationPort: Ports{First: 22, Last: 22, Not: true}, Verdict: VerdictDrop},
	{Chain: ForwardFilter, Protocol: 47, Mark: 5, State: StateNew | StateInvalid, Verdict: VerdictAccept},
	{Chain: InputFilter, Protocol: UDP, DestinationPort: Ports{First: 51820, Last: 51820}, Verdict: VerdictAccept},
	{Chain: InputFilter, Protocol: UDP, DestinationPort: Ports{First: 5, Last: 7, Not: true}, Verdict: VerdictAccept},
	{Chain: InputFilter, Family: IPv4, Protocol: ICMP, ICMPType: 8, Verdict: VerdictAccept},
	{Chain: InputFilter, Family: IPv6, Protocol: ICMPv6, ICMPType: 135, Verdict: VerdictAccept},
	{Chain: InputFilter, Family: IPv4, Protocol: ICMP, Verdict: VerdictAccept},
	{Chain: OutputFilter, Family: IPv4, DestinationType: NotLocal, SourceType: Local, Out: Link{Name: "wg0", Not: true}, Verdict: VerdictDrop},
	{Chain: PostroutingNAT, Family: IPv4, Source: Network{Prefix: prefixes("10.8.0.0/24")[0]}, Out: Link{Name: "eth0"}, Verdict: VerdictMasquerade},
	{Chain: PostroutingNAT, Family: IPv6, Out: Link{Name: "eth0"}, Verdict: VerdictMasquerade},
	{Chain: PostroutingNAT, Family: IPv4, Source: Network{Prefix: prefixes("10.8.0.0/24")[0]}, Verdict: VerdictSNAT, To: Target{Addr: addr("203.0.113.1")}},
	{Chain: PostroutingNAT, Family: IPv6, Protocol: TCP, Verdict: VerdictSNAT, To: Target{Addr: addr("fd00::1"), First: 1024, Last: 2048}},
	{Chain: PreroutingNAT, Family: IPv4, In: Link{Name: "eth0"}, Protocol: TCP, DestinationPort: Ports{First: 80, Last: 80}, Verdict: VerdictDNAT, To: Target{Addr: addr("10.8.0.2")}},
	{Chain: PreroutingNAT, Family: IPv6, Protocol: UDP, DestinationPort: Ports{First: 80, Last: 90}, Verdict: VerdictDNAT, To: Target{Addr: addr("fd08::2"), First: 8080, Last: 8080}},
	{Chain: ForwardMangle, Out: Link{Name: "wg0"}, Protocol: TCP, SYN: true, Verdict: VerdictClamp, Comment: "clamp"},
	{Chain: ForwardMangle, Family: IPv4, Protocol: TCP, SYN: true, Verdict: VerdictClamp, MSS: 1200},
	{Chain: PreroutingMangle, Protocol: UDP, Verdict: VerdictRestoreMark},
}

// goldens are the rulesets of testdata/nft, by file name.
var goldens = map[string]Ruleset{
	"full":       {Interface: "wg0", AntiSpoof: addrs("10.8.0.1", "fd00::1"), RestoreMark: 51820},
	"anti-spoof": {Interface: "wg0", AntiSpoof: addrs("fd00::1", "10.8.0.2", "10.8.0.1")},
	"mark":       {Interface: "a-long_name.123", RestoreMark: 0xffffffff},
	"relay": {
		Interface: "wg0", Forward: true, Clamp: Clamp{On: true}, Sources: prefixes("10.8.0.0/24", "fd08::/64"),
		PortForwards: []PortForward{
			{Protocol: TCP, First: 2222, Count: 1, To: addr("10.8.0.2"), ToFirst: 22},
			{Protocol: TCP, First: 80, Count: 1, To: addr("10.8.0.2"), ToFirst: 8080, KeepSource: true},
			{Protocol: TCP, First: 8000, Count: 11, To: addr("10.8.0.2"), ToFirst: 8000, On: "eth0"},
			{Protocol: UDP, First: 7000, Count: 3, To: addr("10.8.0.3"), ToFirst: 9000},
			{Protocol: TCP, First: 2222, Count: 1, To: addr("fd08::2"), ToFirst: 22},
			{Protocol: UDP, First: 60000, Count: 5536, To: addr("fd08::2"), ToFirst: 60000},
		},
	},
	"hub": {
		Interface: "wg0", Forward: true, AntiSpoof: addrs("10.8.0.1", "fd08::1"), Clamp: Clamp{On: true, Size: 1360},
		Masquerade: []Masquerade{{Out: "eth0", Family: IPv4}, {Out: "eth1", Family: IPv6}, {Out: "lan=0"}},
		Sources:    prefixes("10.8.0.0/24", "10.9.0.0/25", "10.9.0.128/25", "fd08::/64", "10.8.0.7/32"),
	},
	"killswitch": {
		Interface: "wg0", AntiSpoof: addrs("10.8.0.2"), RestoreMark: 51820,
		KillSwitch: KillSwitch{Mark: 51820, Excluded: prefixes("192.168.0.0/16", "fd00:5::/32", "203.0.113.7/32", "255.0.0.0/8")},
	},
	"killswitch-nameservers": {
		Interface: "wg0", KillSwitch: KillSwitch{
			Mark: 51820, Excluded: prefixes("192.168.0.0/16", "fd00:5::/32"), Resolver: true, Nameservers: addrs("192.168.1.1", "fd00:5::1"),
		},
	},
	"killswitch-alone": {Interface: "wg0", KillSwitch: KillSwitch{Mark: 7}},
	"extra":            {Interface: "wg0", Extra: extra},
}

func golden(t *testing.T, name string) string {
	t.Helper()
	return goldenFile(t, "nft", name, goldens[name].Text())
}

// goldenFile returns what is expected, which -update makes to be got.
func goldenFile(t *testing.T, folder, name, got string) string {
	t.Helper()
	path := filepath.Join("..", "testdata", folder, name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(want)
}

func TestText(t *testing.T) {
	for name, r := range goldens {
		if diff := cmp.Diff(golden(t, name), r.Text()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if text := (Ruleset{Interface: "wg0"}).Text(); text != "" {
		t.Errorf("an empty ruleset has the text %q", text)
	}
}

// What iptables-restore and ip6tables-restore get for the same rulesets.
func TestRestoreText(t *testing.T) {
	for name, r := range goldens {
		got := "# iptables-restore\n" + restoreText(r.Interface, ipState{}, r.iptablesState(false)) +
			"# ip6tables-restore\n" + restoreText(r.Interface, ipState{}, r.iptablesState(true))
		if diff := cmp.Diff(goldenFile(t, "iptables", name, got), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestDigest(t *testing.T) {
	base := Ruleset{Interface: "wg0", AntiSpoof: addrs("10.8.0.1", "fd00::1"), RestoreMark: 51820}
	// Written down once: a digest that changes between versions would have
	// every tunnel's rules replaced at the next reload.
	if want := "4a03ba3b3614a9f9"; base.Digest() != want {
		t.Errorf("digest %s, want %s", base.Digest(), want)
	}
	same := map[string]Ruleset{
		"order":       {Interface: "wg0", AntiSpoof: addrs("fd00::1", "10.8.0.1"), RestoreMark: 51820},
		"twice":       {Interface: "wg0", AntiSpoof: addrs("fd00::1", "10.8.0.1", "fd00::1"), RestoreMark: 51820},
		"IPv4-mapped": {Interface: "wg0", AntiSpoof: addrs("fd00::1", "::ffff:10.8.0.1"), RestoreMark: 51820},
		"zone":        {Interface: "wg0", AntiSpoof: addrs("fd00::1%wg0", "10.8.0.1"), RestoreMark: 51820},
	}
	for name, r := range same {
		if r.Digest() != base.Digest() {
			t.Errorf("%s: digest %s, want %s", name, r.Digest(), base.Digest())
		}
	}
	other := map[string]Ruleset{
		"interface": {Interface: "wg1", AntiSpoof: base.AntiSpoof, RestoreMark: 51820},
		"address":   {Interface: "wg0", AntiSpoof: addrs("10.8.0.1", "fd00::2"), RestoreMark: 51820},
		"fewer":     {Interface: "wg0", AntiSpoof: addrs("10.8.0.1"), RestoreMark: 51820},
		"mark":      {Interface: "wg0", AntiSpoof: base.AntiSpoof, RestoreMark: 51821},
		"no mark":   {Interface: "wg0", AntiSpoof: base.AntiSpoof},
	}
	for name, r := range other {
		if r.Digest() == base.Digest() || r.Digest() == "" {
			t.Errorf("%s: digest %q, want another than %s", name, r.Digest(), base.Digest())
		}
	}
	if d := (Ruleset{Interface: "wg0"}).Digest(); d != "" {
		t.Errorf("an empty ruleset has the digest %q", d)
	}
}

func TestValidate(t *testing.T) {
	for _, name := range []string{"wg0", "a.b", "_=+.-", "123456789012345"} {
		if err := (Ruleset{Interface: name}).validate(); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "1234567890123456", "wg 0", "wg/0", "wg\n0", `wg"0`, "wg0;x"} {
		if err := (Ruleset{Interface: name}).validate(); err == nil {
			t.Errorf("%q was taken", name)
		}
	}
	if err := (Ruleset{Interface: "wg0", AntiSpoof: []netip.Addr{{}}}).validate(); err == nil {
		t.Error("an empty address was taken")
	}
}

func TestTag(t *testing.T) {
	want := tag{ifname: "wg=0", mark: 0xca6c, digest: "0123456789abcdef", rules: "fedcba9876543210"}
	if got, ok := findTag(want.String(), "wg=0"); !ok || got != want {
		t.Errorf("tag %q reads back as %+v, %t", want, got, ok)
	}
	if _, ok := findTag(want.String(), "wg=00"); ok {
		t.Error("the tag of another interface was taken")
	}
	long := tag{ifname: "123456789012345", mark: 0xffffffff, digest: want.digest, rules: want.rules}
	if n := len(long.String()); n > 128 { // NFTNL_UDATA_COMMENT_MAXLEN
		t.Errorf("a tag has %d bytes, more than nft allows in a comment", n)
	}
}

func TestComment(t *testing.T) {
	for udata, want := range map[string]string{
		"":                           "",
		"\x00":                       "",
		"\x00\x03ab\x00":             "ab",
		"\x00\x09ab\x00":             "", // longer than what is there
		"\x01\x02xx\x00\x03ab\x00":   "ab",
		"\x01\x02xx":                 "",
		"\x00\x02ab":                 "ab",
		"\x00\x00":                   "",
		"\x07\xff\x00\x03ab\x00\x00": "",
	} {
		if got := comment([]byte(udata)); got != want {
			t.Errorf("comment(%q) = %q, want %q", udata, got, want)
		}
	}
}
