// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// savedOf returns the device that a config makes, as far as a test can know.
func savedOf(c *Config) (s Saved) {
	i := c.Interface
	s = Saved{PrivateKey: i.PrivateKey, MTU: i.MTU, Addresses: i.Addresses, DNS: i.DNS}
	if i.ListenPort != nil {
		s.ListenPort = i.ListenPort.Number
	}
	if i.FwMark != nil {
		s.FwMark = *i.FwMark
	}
	at := map[Key]int{}
	for _, p := range c.Peers {
		n, again := at[p.PublicKey]
		if !again {
			n = len(s.Peers)
			at[p.PublicKey] = n
			s.Peers = append(s.Peers, SavedPeer{PublicKey: p.PublicKey})
		}
		d := &s.Peers[n]
		if p.PresharedKey != nil {
			d.PresharedKey = p.PresharedKey
		}
		if p.PersistentKeepalive != nil {
			d.PersistentKeepalive = *p.PersistentKeepalive
		}
		if a, err := netip.ParseAddr(p.Endpoint.Host); err == nil {
			d.Endpoint = netip.AddrPortFrom(a, p.Endpoint.Port.Number)
		}
		d.AllowedIPs = nil
		for _, ip := range p.AllowedIPs {
			if ip.Sign != Minus {
				d.AllowedIPs = append(d.AllowedIPs, ip.Prefix)
			}
		}
	}
	return s
}

// TestUpdateKeepsCorpus: a device that is as its file says changes no byte.
func TestUpdateKeepsCorpus(t *testing.T) {
	for _, path := range corpusFiles(t, "", "modern") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, _, err := Parse(path, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Update(text, savedOf(c))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), string(got)); diff != "" {
			t.Errorf("%s (-before +after):\n%s", path, diff)
		}
	}
}

const officeFile = `# Office gateway
[Interface] # ours
	PrivateKey = KEYA # secret
	listenport=51820
Address = 10.8.0.1/24,  fd00:8::1/64 # two
DNS = 10.8.0.53, corp.example   # ours
FwMark = 0x10
MTU = 1400
PostUp = echo "# up"
SaveConfig = true

# Ann, second floor
[Peer]
Name = Ann
# new phone since May
PublicKey = KEYB
PresharedKey = KEYC # agreed by mail
Endpoint = ann.example.com:51820 # dyndns
AllowedIPs = 10.8.0.2/32, 10.8.0. 77/24 # hers
PersistentKeepalive = 25

# Bob
[Peer]
PublicKey = KEYC
Endpoint = 192.0.2.7:51820 # static
AllowedIPs = 10.8.0.3
# below Bob

# The rest is notes.
`

func office() string {
	return strings.NewReplacer("KEYA", keyA, "KEYB", keyB, "KEYC", keyC).Replace(officeFile)
}

func TestUpdate(t *testing.T) {
	addr := netip.MustParseAddrPort
	keyD := strings.Repeat("RERE", 10) + "REQ="
	tests := []struct {
		name   string
		change func(*Saved)
		edits  []string // pairs: what stands in the file, what comes in its place
	}{
		{"nothing", func(*Saved) {}, nil},
		{"unknown", func(s *Saved) { *s = Saved{Peers: s.Peers, FwMark: s.FwMark} }, nil},
		{"interface", func(s *Saved) {
			s.PrivateKey, s.ListenPort, s.FwMark, s.MTU = ptr(Secret(bytesOf('D'))), 1234, 0, 1380
		}, []string{keyA + " # secret", keyD + " # secret", "listenport=51820", "listenport=1234", "0x10", "off", "1400", "1380"}},
		{"addresses in another order, and a link-local one", func(s *Saved) {
			s.Addresses = prefixes("fe80::1234/64", "fd00:8::1/64", "10.8.0.1/24")
		}, nil},
		{"addresses", func(s *Saved) { s.Addresses = prefixes("fd00:8::1/64", "10.8.1.1/24") },
			[]string{"10.8.0.1/24,  fd00:8::1/64 # two", "fd00:8::1/64, 10.8.1.1/24 # two"}},
		{"no addresses", func(s *Saved) { s.Addresses = []netip.Prefix{} },
			[]string{"Address = 10.8.0.1/24,  fd00:8::1/64 # two\n", ""}},
		{"dns", func(s *Saved) { s.DNS = []netip.Addr{netip.MustParseAddr("9.9.9.9")} },
			[]string{"10.8.0.53, corp.example   #", "corp.example, 9.9.9.9   #"}},
		{"no dns", func(s *Saved) { s.DNS = []netip.Addr{} },
			[]string{"10.8.0.53, corp.example   #", "corp.example   #"}},
		{"roamed", func(s *Saved) {
			s.Peers[0].Endpoint, s.Peers[1].Endpoint = addr("198.51.100.1:7"), addr("[2001:db8::9]:7")
		}, []string{"192.0.2.7:51820 # static", "[2001:db8::9]:7 # static"}},
		{"allowed IPs", func(s *Saved) {
			s.Peers[0].AllowedIPs = prefixes("10.8.0.0/24", "fd00:9::/64")
		}, []string{"10.8.0.2/32, 10.8.0. 77/24 # hers", "10.8.0. 77/24, fd00:9::/64 # hers"}},
		{"keys of a peer", func(s *Saved) {
			s.Peers[0].PresharedKey, s.Peers[0].PersistentKeepalive = nil, 0
			s.Peers[1].PresharedKey, s.Peers[1].PersistentKeepalive = ptr(Secret(bytesOf('D'))), 15
		}, []string{"PresharedKey = " + keyC + " # agreed by mail\n", "", "PersistentKeepalive = 25", "PersistentKeepalive = off",
			"10.8.0.3\n", "10.8.0.3\nPresharedKey = " + keyD + "\nPersistentKeepalive = 15\n"}},
		{"first peer gone", func(s *Saved) { s.Peers = s.Peers[1:] }, []string{between(office(), "# Ann,", "# Bob\n"), ""}},
		{"last peer gone", func(s *Saved) { s.Peers = s.Peers[:1] }, []string{"\n" + between(office(), "# Bob\n", ""), ""}},
		{"new peer", func(s *Saved) {
			s.Peers = append(s.Peers, SavedPeer{PublicKey: bytesOf('D'), PresharedKey: &Secret{}, Endpoint: addr("192.0.2.8:1"), AllowedIPs: prefixes("10.8.0.4/32", "::/0"), PersistentKeepalive: 5})
		}, []string{"notes.\n", "notes.\n\n[Peer]\nPublicKey = " + keyD + "\nEndpoint = 192.0.2.8:1\nAllowedIPs = 10.8.0.4/32, ::/0\nPersistentKeepalive = 5\n"}},
	}
	for _, tt := range tests {
		for _, eol := range []string{"\n", "\r\n"} {
			t.Run(tt.name, func(t *testing.T) {
				before, want := office(), office()
				c, _, err := parseString(before)
				if err != nil {
					t.Fatal(err)
				}
				s := savedOf(c)
				s.Peers[0].Endpoint = addr("203.0.113.1:51820")
				tt.change(&s)
				for i := 0; i < len(tt.edits); i += 2 {
					if !strings.Contains(want, tt.edits[i]) {
						t.Fatalf("file has no %q", tt.edits[i])
					}
					want = strings.Replace(want, tt.edits[i], tt.edits[i+1], 1)
				}
				before, want = strings.ReplaceAll(before, "\n", eol), strings.ReplaceAll(want, "\n", eol)
				got, err := Update([]byte(before), s)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, string(got)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				again, err := Update(got, s)
				if err != nil || !bytes.Equal(again, got) {
					t.Errorf("updated twice: %v\n%s", err, cmp.Diff(string(got), string(again)))
				}
			})
		}
	}
}

// between returns the part of s from the first mark to the second.
func between(s, from, to string) string {
	s = s[strings.Index(s, from):]
	if to == "" {
		return s
	}
	return s[:strings.Index(s, to)]
}

func TestUpdateAddsNothing(t *testing.T) {
	text := "[Interface]"
	s := Saved{PrivateKey: ptr(Secret(bytesOf('A'))), ListenPort: 5, FwMark: 6, MTU: 1400, DNS: []netip.Addr{}, Addresses: prefixes("fe80::1/64")}
	if got, err := Update([]byte(text), s); err != nil || string(got) != text {
		t.Errorf("got %q, %v", got, err)
	}
	s.Addresses = prefixes("10.0.0.1/24")
	s.Peers = []SavedPeer{{PublicKey: bytesOf('B')}}
	want := "[Interface]\nAddress = 10.0.0.1/24\n\n[Peer]\nPublicKey = " + keyB + "\n"
	if got, err := Update([]byte(text), s); err != nil || string(got) != want {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := Update([]byte("PrivateKey = "+keyA), s); err == nil || strings.Contains(err.Error(), keyA) {
		t.Errorf("a bad file gives %q, %v", got, err)
	}
}

func TestSave(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "wg0.conf"), filepath.Join(dir, "link.conf")
	before, after := []byte("[Interface]\n"), []byte("[Interface]\nMTU = 1400\n")
	if err := os.WriteFile(path, before, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	owned := os.Chown(path, 12, 34) == nil // only root can
	if err := os.Symlink("wg0.conf", link); err != nil {
		t.Fatal(err)
	}
	if err := Save(link, before, after); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); !bytes.Equal(got, after) {
		t.Errorf("file has %q", got)
	}
	if fi, err := os.Lstat(link); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Errorf("link is %v, %v", fi, err)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("file is %v, %v", fi.Mode(), err)
	}
	if st := fi.Sys().(*syscall.Stat_t); owned && (st.Uid != 12 || st.Gid != 34) {
		t.Errorf("owner is %d:%d", st.Uid, st.Gid)
	}
	if err := Save(path, before, []byte("lost")); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), ": file has changed since it was read: line 2 is another now") {
		t.Errorf("saving over a change: %v", err)
	}
	if err := Save(filepath.Join(dir, "none.conf"), nil, after); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("saving to nothing: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
	if hidden, _ := filepath.Glob(filepath.Join(dir, ".*")); len(hidden) != 0 {
		t.Errorf("left behind: %v", hidden)
	}
}
