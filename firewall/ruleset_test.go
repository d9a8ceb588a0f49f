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

// goldens are the rulesets of testdata/nft, by file name.
var goldens = map[string]Ruleset{
	"full":       {Interface: "wg0", AntiSpoof: addrs("10.8.0.1", "fd00::1"), RestoreMark: 51820},
	"anti-spoof": {Interface: "wg0", AntiSpoof: addrs("fd00::1", "10.8.0.2", "10.8.0.1")},
	"mark":       {Interface: "a-long_name.123", RestoreMark: 0xffffffff},
}

func golden(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join("..", "testdata", "nft", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(goldens[name].Text()), 0o644); err != nil {
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
