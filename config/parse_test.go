// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Keys for tests: 32 bytes of one letter.
var (
	keyA = strings.Repeat("QUFB", 10) + "QUE="
	keyB = strings.Repeat("QkJC", 10) + "QkI="
	keyC = strings.Repeat("Q0ND", 10) + "Q0M="
)

func bytesOf(c byte) (k [32]byte) {
	for i := range k {
		k[i] = c
	}
	return k
}

func ptr[T any](v T) *T { return &v }

// compare lets go-cmp look into everything but where a config was read.
var compare = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b Secret) bool { return a == b }),
	cmp.FilterPath(func(p cmp.Path) bool {
		return slices.Contains([]string{".file", ".origin", ".digest", ".lines", ".refers", ".warned"}, p.Last().String())
	}, cmp.Ignore()),
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestParseWhole reads one file with every key in it.
func TestParseWhole(t *testing.T) {
	text := `# a gateway
[Interface]
PrivateKey = ` + keyA + `
ListenPort = 51820
FwMark = 0xca6c
Address = 10.8.0.1/24, fd00:8::1/64 10.9.0.1
DNS = corp.example 10.8.0.53
DNS = fd00:8::53, ~lab.example
MTU = 1380
Table = 1234
PreUp = echo one # not a comment
PostUp = echo two; echo "three"
PostUp = echo two; echo "three"
PreDown = ` + "`which echo` four \\" + `
PostDown = """five""" six
SaveConfig = TRUE
Backend = Kernel

[Peer]
# friendly_name = of the comment
Name = Ann's phone
PublicKey = ` + keyB + `
PresharedKey = ` + keyC + `
Endpoint = [2001:db8::1]:51820
AllowedIPs = 10.8.0.2, +10.10.0.77/16
AllowedIPs = -fd00:8::2/128
PersistentKeepalive = 25

[Peer]
# Name = second
PublicKey = ` + keyC + `
Endpoint = vpn.example.com:https
PersistentKeepalive = off
`
	want := &Config{
		Interface: Interface{
			PrivateKey: ptr(Secret(bytesOf('A'))),
			ListenPort: &Port{Number: 51820},
			FwMark:     ptr(uint32(0xca6c)),
			Addresses:  prefixes("10.8.0.1/24", "fd00:8::1/64", "10.9.0.1/32"),
			DNS:        []netip.Addr{netip.MustParseAddr("10.8.0.53"), netip.MustParseAddr("fd00:8::53")},
			DNSSearch:  []string{"corp.example", "~lab.example"},
			MTU:        1380,
			Table:      Table{Mode: TableNumber, Number: 1234},
			Hooks: Hooks{
				PreUp:    []string{"echo one # not a comment"},
				PostUp:   []string{`echo two; echo "three"`, `echo two; echo "three"`},
				PreDown:  []string{"`which echo` four \\"},
				PostDown: []string{`"""five""" six`},
			},
			SaveConfig: true,
			Backend:    BackendKernel,
		},
		Peers: []Peer{{
			Name:         "Ann's phone",
			PublicKey:    bytesOf('B'),
			PresharedKey: ptr(Secret(bytesOf('C'))),
			Endpoint:     Endpoint{Host: "2001:db8::1", Port: Port{Number: 51820}},
			AllowedIPs: []AllowedIP{
				{Prefix: netip.MustParsePrefix("10.8.0.2/32")},
				{Prefix: netip.MustParsePrefix("10.10.0.0/16"), Sign: Plus},
				{Prefix: netip.MustParsePrefix("fd00:8::2/128"), Sign: Minus},
			},
			PersistentKeepalive: ptr(uint16(25)),
		}, {
			Name:                "second",
			PublicKey:           bytesOf('C'),
			Endpoint:            Endpoint{Host: "vpn.example.com", Port: Port{Service: "https"}},
			PersistentKeepalive: ptr(uint16(0)),
		}},
	}
	got, warnings, err := parseString(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if len(warnings) != 1 || warnings[0].Line != 25 {
		t.Errorf("warnings %v, want one of host bits in line 25", warnings)
	}
	for _, at := range []struct {
		peer int
		key  string
		n    int
		line int
	}{
		{InInterface, "", 0, 2}, {InInterface, "PrivateKey", 0, 3}, {InInterface, "Address", 2, 6},
		{InInterface, "DNS", 0, 7}, {InInterface, "DNS", 1, 8}, {InInterface, "DNS", 2, 7}, {InInterface, "DNS", 3, 8},
		{InInterface, "PostUp", 1, 13}, {InInterface, "PostUp", 2, 0},
		{0, "", 0, 19}, {0, "Name", 0, 21}, {0, "AllowedIPs", 1, 25}, {0, "AllowedIPs", 2, 26},
		{1, "", 0, 29}, {1, "Name", 0, 30}, {1, "AllowedIPs", 0, 0},
	} {
		if line := got.Line(at.peer, at.key, at.n); line != at.line {
			t.Errorf("Line(%d, %q, %d) = %d, want %d", at.peer, at.key, at.n, line, at.line)
		}
	}
	if e := got.Errorf(0, "Endpoint", 0, "no route to %s", "it"); e.Error() != "t.conf:24: [Peer] Endpoint: no route to it" {
		t.Errorf("Errorf = %q", e)
	}
}

// TestTwoGrammars holds where wg's and wg-quick's ways of reading differ.
func TestTwoGrammars(t *testing.T) {
	peer := "[Peer]\nPublicKey = " + keyB + "\n"
	tests := []struct {
		name, text string
		check      func(*Config) bool
	}{
		{"wg drops all white space", "[ Inter face ]\nlis ten port = 5 18\t20\n", func(c *Config) bool { return c.Interface.ListenPort.Number == 51820 }},
		{"wg-quick trims", "\v[Interface]\r\n\f MTU \t=\t 1400 \r\n", func(c *Config) bool { return c.Interface.MTU == 1400 }},
		{"comment after a header", "[interface] # c\nmtu=1400 # d\n", func(c *Config) bool { return c.Interface.MTU == 1400 }},
		{"comment cuts anywhere", "[Interface]\nMTU = 14#00\n", func(c *Config) bool { return c.Interface.MTU == 14 }},
		{"a hook keeps its comment", "[Interface]\nPostUp = a#b # c\n", func(c *Config) bool { return c.Interface.Hooks.PostUp[0] == "a#b # c" }},
		{"a hook keeps inner space", "[Interface]\nPostUp =  a  b\t \n", func(c *Config) bool { return c.Interface.Hooks.PostUp[0] == "a  b" }},
		{"a hook keeps quotes", "[Interface]\nPostUp = \"a\" 'b\n", func(c *Config) bool { return c.Interface.Hooks.PostUp[0] == `"a" 'b` }},
		{"a hook may have more =", "[Interface]\nPostUp = = a=b\n", func(c *Config) bool { return c.Interface.Hooks.PostUp[0] == "= a=b" }},
		{"an ini variable is none", "[Interface]\nMTU = 1400\nPostUp = echo %(MTU)s\n", func(c *Config) bool { return c.Interface.Hooks.PostUp[0] == "echo %(MTU)s" }},
		{"a backslash continues nothing", "[Interface]\nPostUp = a \\\nMTU = 1400\n", func(c *Config) bool { return c.Interface.Hooks.PostUp[0] == `a \` && c.Interface.MTU == 1400 }},
		{"a key alone is its value", "[Interface]\nTable\nPostUp # x\n", func(c *Config) bool {
			return c.Interface.Table.Name == "Table" && c.Interface.Hooks.PostUp[0] == "PostUp # x"
		}},
		{"empty keys of wg-quick are none", "[Interface]\nAddress=\nMTU =\nDNS =\nTable=\nPostUp = \n", func(c *Config) bool { return Equal(c, &Config{}) }},
		{"trailing comma of Address", "[Interface]\nAddress = 10.0.0.1/24,, 10.0.1.1/24,\n", func(c *Config) bool { return len(c.Interface.Addresses) == 2 }},
		{"sections merge", "[Interface]\nMTU = 1400\n" + peer + "[Interface]\nMTU = 1300\nListenPort = 1\n", func(c *Config) bool {
			return c.Interface.MTU == 1300 && c.Interface.ListenPort.Number == 1 && len(c.Peers) == 1
		}},
		{"one byte order mark", "\ufeff[Interface]\nMTU = 1400", func(c *Config) bool { return c.Interface.MTU == 1400 }},
		{"name in a comment", "[Interface]\n" + peer + "  ##friendly_name=a # b \n# Name = c\n", func(c *Config) bool { return c.Peers[0].Name == "a # b" }},
		{"name of a removed peer", "[Interface]\n" + peer + "#[Peer]\n# Name = c\n", func(c *Config) bool { return c.Peers[0].Name == "" }},
		{"name of no peer", "# Name = x\n[Interface]\n# Name = y\n" + peer, func(c *Config) bool { return c.Peers[0].Name == "" }},
		{"header case", "[INTERFACE]\n[pEER]\npublickey=" + keyB + "\n", func(c *Config) bool { return c.Peers[0].PublicKey == bytesOf('B') }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := parseString(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if !tt.check(c) {
				t.Errorf("%q is read as %+v", tt.text, c)
			}
		})
	}
}

// TestValues holds single values, each in a file of its own. A want of "" is a
// value that must be refused; any other is what Format makes of it.
func TestValues(t *testing.T) {
	tests := []struct{ key, value, want string }{
		{"ListenPort", "0", "0"}, {"ListenPort", "65535", "65535"}, {"ListenPort", "0051820", "51820"},
		{"ListenPort", "domain", "domain"}, {"ListenPort", "65536", ""}, {"ListenPort", "99999", ""},
		{"ListenPort", "+1", ""}, {"ListenPort", "1.5", ""}, {"ListenPort", "18446744073709551617", ""},
		{"FwMark", "off", "off"}, {"FwMark", "OFF", "off"}, {"FwMark", "0", "off"}, {"FwMark", "010", "0xa"},
		{"FwMark", "0xFf", "0xff"}, {"FwMark", "0X10", ""}, {"FwMark", "0x", ""}, {"FwMark", "0x1_0", ""},
		{"FwMark", "4294967295", "0xffffffff"}, {"FwMark", "0x100000000", ""}, {"FwMark", "+1", ""},
		{"MTU", "1420", "1420"}, {"MTU", "0x5dc", "1500"}, {"MTU", "2147483647", "2147483647"},
		{"MTU", "2147483648", ""}, {"MTU", "0", ""}, {"MTU", "-1", ""}, {"MTU", "0o17", ""},
		{"Table", "off", "off"}, {"Table", "Off", "off"}, {"Table", "auto", "-"}, {"Table", "4294967295", "4294967295"},
		{"Table", "0", "254"}, {"Table", "0x10", "16"}, {"Table", "main", "main"}, {"Table", "vpn-1.a_b", "vpn-1.a_b"},
		{"Table", "010", ""}, {"Table", "a/b", ""}, {"Table", "a\x1b[0m", ""},
		{"SaveConfig", "True", "true"}, {"SaveConfig", "false", "-"}, {"SaveConfig", "1", ""},
		{"Backend", "AUTO", "auto"}, {"Backend", "go", ""},
		{"Address", "10.0.0.1", "10.0.0.1/32"}, {"Address", "10.0.0.1/255.255.255.0", "10.0.0.1/24"},
		{"Address", "10.0.0.1/0", "10.0.0.1/0"}, {"Address", "010.0.0.1", ""}, {"Address", "10.0.0.1/024", ""},
		{"Address", "fe80::1%eth0/64", ""}, {"Address", "10.0.0.1/255.255.0.255", ""},
		{"DNS", "fe80::1%eth0", "fe80::1%eth0"}, {"DNS", "1.1.1.1\t9.9.9.9,a.b", "1.1.1.1, 9.9.9.9, a.b"},
		{"DNS", "~.", "~."}, {"DNS", "A_b.example.", "A_b.example."}, {"DNS", "a..b", ""}, {"DNS", "fe80::1%a/b", ""},
		{"DNS", "1.1.1.256", ""}, {"DNS", "a\x1bb", ""}, {"DNS", strings.Repeat("a", 64), ""},
		{"AllowedIPs", "0.0.0.0/0,::/0", "0.0.0.0/0, ::/0"}, {"AllowedIPs", "10.0.0.1/08", "10.0.0.0/8"},
		{"AllowedIPs", "+10.0.0.0/8, -::1", "+10.0.0.0/8, -::1/128"}, {"AllowedIPs", "::ffff:10.0.0.1/120", "::ffff:10.0.0.0/120"},
		{"AllowedIPs", "+-10.0.0.0/8", ""}, {"AllowedIPs", ",", ""}, {"AllowedIPs", "10.0.0.0/+8", ""}, {"AllowedIPs", "10.0.0.0/ 8", "10.0.0.0/8"},
		{"PersistentKeepalive", "oFF", "off"}, {"PersistentKeepalive", "0", "off"}, {"PersistentKeepalive", "65535", "65535"},
		{"PersistentKeepalive", "25s", ""}, {"PersistentKeepalive", "0x10", ""},
		{"Endpoint", "::1:51820", "[::1]:51820"}, {"Endpoint", "[::1]:51820", "[::1]:51820"}, {"Endpoint", "[fe80::1%lo]:1", "[fe80::1%lo]:1"},
		{"Endpoint", "[vpn.example]:1", "vpn.example:1"}, {"Endpoint", "vpn.example.:ntp", "vpn.example.:ntp"}, {"Endpoint", "büro.example:1", "büro.example:1"},
		{"Endpoint", "127.1:1", ""}, {"Endpoint", "a b:1", "ab:1"}, {"Endpoint", "a\x1bb:1", ""}, {"Endpoint", "[]:1", ""},
		{"PresharedKey", keyA, keyA}, {"PresharedKey", keyA[:43], ""}, {"PresharedKey", keyA[:42] + "F=", ""},
		{"PresharedKey", strings.Repeat("A", 43) + "=", strings.Repeat("A", 43) + "="}, {"PresharedKey", strings.Repeat("A", 44), ""},
		{"PresharedKey", strings.Replace(keyA, "Q", "-", 1), ""},
	}
	for _, tt := range tests {
		text := "[Interface]\n" + tt.key + " = " + tt.value + "\n"
		if findKey(tt.key).section == peerSection {
			text = "[Interface]\n[Peer]\nPublicKey = " + keyB + "\n" + tt.key + " = " + tt.value + "\n"
		}
		c, _, err := parseString(text)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("%s = %q is accepted", tt.key, tt.value)
		case tt.want != "" && err != nil:
			t.Error(err)
		case tt.want != "":
			got := "-"
			for _, line := range lines(t, c) {
				if v, ok := strings.CutPrefix(line, tt.key+" = "); ok {
					got = v
				}
			}
			if got != tt.want {
				t.Errorf("%s = %q is read as %q, want %q", tt.key, tt.value, got, tt.want)
			}
		}
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct{ text, want string }{
		{"[Interface]\nMTU = 1400\n\nMTU = 1300\n", "t.conf:4: [Interface] MTU: is given twice: this value overrules that of line 2"},
		{"[Interface]\n[Peer]\nPublicKey = " + keyA + "\nPublicKey = " + keyB + "\n", "t.conf:4: [Peer] PublicKey: is given twice: this value overrules that of line 3"},
		{"[Interface]\n[Peer]\nPublicKey = " + keyA + "\nAllowedIPs = 10.0.0.1/8, 10.0.0.0/8\n", `t.conf:4: [Peer] AllowedIPs: "10.0.0.1/8" has bits set beyond its prefix length: it means 10.0.0.0/8`},
		{"[Interface]\nTable\n", `t.conf:2: [Interface] Table: has no "=" after it: wg-quick takes the whole line for the value`},
		{"[Interface]\n[Peer]\n# Name = x\nName = y\nPublicKey = " + keyA + "\n", ""},
		{"[Interface]\n[Peer]\nPublicKey = " + keyA + "\nAllowedIPs = 10.0.0.0/8\n[Peer]\nPublicKey = " + keyB + "\nAllowedIPs = -10.0.0.0/8\n", ""},
	}
	for _, tt := range tests {
		_, warnings, err := parseString(tt.text)
		if err != nil {
			t.Error(err)
		}
		var got []string
		for _, w := range warnings {
			got = append(got, w.String())
		}
		if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%q: warnings (-want +got):\n%s", tt.text, diff)
		}
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

func TestParseReadError(t *testing.T) {
	broken := errors.New("broken pipe")
	_, _, err := Parse("t.conf", io.MultiReader(strings.NewReader("[Interface]\n"), failingReader{broken}))
	if !errors.Is(err, broken) || err.Error() != "reading t.conf: broken pipe" {
		t.Errorf("error %v", err)
	}
}

func TestParseLimits(t *testing.T) {
	long := "[Interface]\nPostUp = " + strings.Repeat("x", maxLine)
	if _, _, err := parseString(long); err == nil || err.Error() != "t.conf:2: line is longer than 8 MiB" {
		t.Errorf("long line: %.100v", err)
	}
	_, _, err := Parse("t.conf", io.MultiReader(strings.NewReader("[Interface]\n"), io.LimitReader(endless{}, maxFile)))
	if err == nil || err.Error() != "t.conf: is larger than 256 MiB" {
		t.Errorf("large file: %.100v", err)
	}
	// Of peers without a key, the first hundred say enough.
	read := &io.LimitedReader{R: repeated("[Interface]\n[Peer]\n"), N: 50 << 20}
	if _, _, err := Parse("t.conf", read); err == nil || read.N < 49<<20 {
		t.Errorf("peers without a key: read all but %d bytes: %.100v", read.N, err)
	}
	var list []string
	for i := range 131072 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32).String())
	}
	c, _, err := parseString("[Interface]\n[Peer]\nPublicKey = " + keyA + "\nAllowedIPs = " + strings.Join(list, ",") + "\n")
	if err != nil {
		t.Fatalf("131072 allowed IPs on a line: %.100v", err)
	}
	if !Equal(c, reformat(t, c)) {
		t.Error("131072 allowed IPs are not read back")
	}
}

// repeated is an endless file of the same lines, over and over.
type repeated string

func (r repeated) Read(p []byte) (int, error) {
	n := 0
	for len(p)-n >= len(r) {
		n += copy(p[n:], r)
	}
	if n == 0 {
		return 0, io.ErrShortBuffer
	}
	return n, nil
}

// endless is a file of comments.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '#'
	}
	p[len(p)-1] = '\n'
	return len(p), nil
}

func TestFormatRefuses(t *testing.T) {
	for name, c := range map[string]*Config{
		"line break":    {Interface: Interface{Hooks: Hooks{PostUp: []string{"a\nb"}}}},
		"injected key":  {Interface: Interface{Hooks: Hooks{PostUp: []string{"a\nPrivateKey = " + keyA}}}},
		"outer space":   {Interface: Interface{Hooks: Hooks{PostUp: []string{" a"}}}},
		"name":          {Peers: []Peer{{Name: "a\n[Interface]", PublicKey: bytesOf('A')}}},
		"bad endpoint":  {Peers: []Peer{{PublicKey: bytesOf('A'), Endpoint: Endpoint{Host: "a:b"}}}},
		"invalid table": {Interface: Interface{Table: Table{Mode: TableName, Name: "a b"}}},
	} {
		var out bytes.Buffer
		if err := c.Format(&out); err == nil || out.Len() > 0 {
			t.Errorf("%s: error %v, wrote %q", name, err, out.String())
		}
	}
}

func TestSecretsDontPrint(t *testing.T) {
	c, _, err := parseString("[Interface]\nPrivateKey = " + keyA + "\n[Peer]\nPublicKey = " + keyB + "\nPresharedKey = " + keyC + "\n")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		out := fmt.Sprintf(verb, *c.Interface.PrivateKey) + fmt.Sprintf(verb, c.Interface.PrivateKey) + fmt.Sprintf(verb, []Secret{*c.Peers[0].PresharedKey})
		if strings.Count(out, hidden) != 3 || strings.Contains(out, "65") || strings.Contains(out, "41") {
			t.Errorf("%s prints %q", verb, out)
		}
	}
}

// FuzzParse holds that nothing crashes the parser, that messages repeat no
// private key, and that what is accepted survives Format.
func FuzzParse(f *testing.F) {
	for _, path := range corpusFiles(f, "", "modern", "bad") {
		if text, err := os.ReadFile(path); err == nil && len(text) < 8<<10 {
			f.Add(text)
		}
	}
	f.Add([]byte("[Interface]\nPostUp = \"\"\" # `\nPostUp = \"\"\"\"\n[Peer]\nName=\"\"\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, _, err := Parse("f", bytes.NewReader(text))
		if err != nil {
			secret, public := splitSecrets(string(text))
			leaks(t, secret, public, err.Error())
			return
		}
		if !Equal(c, reformat(t, c)) {
			t.Errorf("formatted and read again:\n%v", lines(t, c))
		}
		same, err := Update(text, savedOf(c))
		if err != nil {
			t.Errorf("updating: %v", err)
		} else if len(c.Peers) == 0 && !bytes.Equal(same, text) {
			t.Errorf("updated without a change: %q", same)
		}
	})
}

// splitSecrets separates the lines that give a private or preshared key.
func splitSecrets(text string) (secret, public string) {
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(squash(line), "=")
		if strings.EqualFold(name, "PrivateKey") || strings.EqualFold(name, "PresharedKey") {
			secret += line
		} else {
			public += squash(line)
		}
	}
	return secret, public
}

func BenchmarkParse(b *testing.B) {
	var text bytes.Buffer
	text.WriteString("[Interface]\nPrivateKey = " + keyA + "\nListenPort = 51820\nAddress = 10.0.0.1/8\n")
	for i := range 10000 {
		var k [32]byte
		_, _ = rand.Read(k[:])
		fmt.Fprintf(&text, "\n[Peer]\n# friendly_name = peer %d\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.%d.%d.%d/32, fd00::%x/128\nEndpoint = 192.0.2.1:51820\nPersistentKeepalive = 25\n",
			i, base64.StdEncoding.EncodeToString(k[:]), keyB, 1+i>>16, i>>8&255, i&255, i)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		c, warnings, err := Parse("bench.conf", bytes.NewReader(text.Bytes()))
		if err != nil || len(c.Peers) != 10000 || len(warnings) != 0 {
			b.Fatal(len(warnings), err)
		}
	}
}
