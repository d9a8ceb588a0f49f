// SPDX-License-Identifier: MIT

package config

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// keyFiles stands for the file system: key1's file is "one".
func keyFiles(path string) (Secret, error) {
	if path == "one" {
		return ones(1), nil
	}
	return Secret{}, os.ErrNotExist
}

func TestParseWgWords(t *testing.T) {
	for _, tt := range []struct {
		words string // separated by spaces; "" is an empty word
		want  *WgChange
	}{
		{"listen-port 5 fwmark 0xff private-key one listen-port 6",
			&WgChange{ListenPort: &Port{Number: 6}, FwMark: pointer(uint32(255)), PrivateKey: pointer(Secret(ones(1)))}},
		{"fwmark off peer " + key1, &WgChange{FwMark: pointer(uint32(0)), Peers: []WgPeer{{Peer: Peer{PublicKey: ones(1)}}}}},
		{"peer " + key1 + " remove peer " + key2 + " preshared-key one persistent-keepalive 25 endpoint ::1:5",
			&WgChange{Peers: []WgPeer{{Peer: Peer{PublicKey: ones(1)}, Remove: true},
				{Peer: Peer{PublicKey: ones(2), PresharedKey: pointer(Secret(ones(1))), PersistentKeepalive: pointer(uint16(25)),
					Endpoint: Endpoint{"::1", Port{Number: 5}}}}}}},
		{"peer " + key1 + " allowed-ips 10.0.0.1,fd00::/64",
			&WgChange{Peers: []WgPeer{{Peer: Peer{PublicKey: ones(1), AllowedIPs: allowed("10.0.0.1/32", "fd00::/64")}, ReplaceAllowedIPs: true}}}},
		{"peer " + key1 + " allowed-ips 10.0.0.1 allowed-ips 10.0.0.2",
			&WgChange{Peers: []WgPeer{{Peer: Peer{PublicKey: ones(1), AllowedIPs: allowed("10.0.0.1/32", "10.0.0.2/32")}, ReplaceAllowedIPs: true}}}},
		{"peer " + key1 + " allowed-ips ", &WgChange{Peers: []WgPeer{{Peer: Peer{PublicKey: ones(1)}, ReplaceAllowedIPs: true}}}},
		{"peer " + key1 + " allowed-ips -10.0.0.1,10.0.0.2",
			&WgChange{Peers: []WgPeer{{Peer: Peer{PublicKey: ones(1), AllowedIPs: allowed("-10.0.0.1/32", "10.0.0.2/32")}}}}},
	} {
		got, _, err := ParseWgWords(strings.Split(tt.words, " "), keyFiles)
		if err != nil {
			t.Errorf("%s: %v", tt.words, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got, exactly); diff != "" {
			t.Errorf("%s: %s", tt.words, diff)
		}
	}
}

func TestParseWgWordsFaults(t *testing.T) {
	peer := "peer " + key1 + " "
	for words, want := range map[string]string{
		"listen-port":                      "Invalid argument: listen-port",
		"Listen-Port 5":                    "Invalid argument: Listen-Port",
		"endpoint 1.1.1.1:5":               "Invalid argument: endpoint",
		"remove":                           "Invalid argument: remove",
		peer + "listen-port 5":             "Invalid argument: listen-port",
		peer + "remove x":                  "Invalid argument: x",
		peer + "allowed-ips":               "Invalid argument: allowed-ips",
		key1:                               "Invalid argument",
		"listen-port ":                     "Unable to parse empty port",
		"peer x":                           "Key is not the correct length or format",
		"fwmark ":                          "Fwmark is neither 0/off nor 0-0xffffffff: `'",
		peer + "endpoint ":                 "Unable to parse empty endpoint",
		peer + "allowed-ips ,":             "Unable to parse IP address: `'",
		peer + "allowed-ips 1.1.1.1/33":    "AllowedIP is not in the correct format: `1.1.1.1/33'",
		peer + "preshared-key nosuch":      os.ErrNotExist.Error(),
		"private-key nosuch listen-port x": os.ErrNotExist.Error(),
	} {
		if _, _, err := ParseWgWords(strings.Split(words, " "), keyFiles); err == nil || err.Error() != want {
			t.Errorf("%q:\n got %v\nwant %s", words, err, want)
		}
	}
}

// Key files of set, and the standard input of pubkey.
func TestReadWgKeys(t *testing.T) {
	const (
		length   = "Invalid length key in key file"
		format   = "Key is not the correct length or format"
		trailing = "Trailing characters found after key"
	)
	for _, tt := range []struct{ text, file, stdin string }{
		{key1, "", ""},
		{key1 + " \n\t", "", ""},
		{"", "", format},
		{"\n", length, format},
		{key1[:43], length, format},
		{key1 + "x", "Found trailing character in key file: `x'", trailing},
		{key1 + "\n" + key1, "Found trailing character in key file: `A'", trailing},
		{" " + key1, "Found trailing character in key file: `='", trailing},
		{key1 + "\x00\n", "Found trailing character in key file: `?'", ""},
		{strings.Repeat("a", 44), format, format},
	} {
		for what, read := range map[string]func(io.Reader) (Secret, error){tt.file: ReadWgKey, tt.stdin: ReadWgPrivateKey} {
			if tt.file == tt.stdin {
				read = ReadWgKey
			}
			k, err := read(strings.NewReader(tt.text))
			switch {
			case err != nil && err.Error() != what, err == nil && what != "":
				t.Errorf("%q: got %v, want %q", tt.text, err, what)
			case err == nil && tt.text == "" && k != Secret{}, err == nil && tt.text != "" && k != ones(1):
				t.Errorf("%q: another key", tt.text)
			}
		}
	}
	if _, err := ReadWgKey(failing{}); err == nil || err.Error() != length {
		t.Errorf("a file that can't be read: %v: it must not be taken for an empty one", err)
	}
}

// Whatever stands after "wg set IF": no panic, no half a word taken, and no
// key in a message.
func FuzzCommandWords(f *testing.F) {
	for _, s := range []string{
		"listen-port 5", "fwmark 0x1 private-key one", "peer " + key1 + " remove", "peer " + key1 + " allowed-ips +10.0.0.1,-fd00::/8",
		"peer " + key2 + " endpoint [::1%lo]:domain persistent-keepalive off preshared-key one", "peer " + key1 + " allowed-ips ",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Split(line, " ")
		c, _, err := ParseWgWords(words, keyFiles)
		if err != nil {
			fault := (*WgError)(nil)
			if !errors.As(err, &fault) && !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("%q: error of another kind: %v", line, err)
			}
			if fault != nil && (strings.Contains(fault.Msg, key1) || strings.Contains(fault.Msg, "\n") || maybeKey(fault.Msg)) {
				t.Fatalf("%q: message %q", line, fault.Msg)
			}
			return
		}
		if taken := wordsOf(c, words); taken != len(words) {
			t.Fatalf("%q: %d of %d words are accounted for", line, taken, len(words))
		}
	})
}

// wordsOf counts the words that a change accounts for: all must be known ones
// in their places, each with a value that it can have.
func wordsOf(c *WgChange, words []string) int {
	n, peers := 0, 0
	for n < len(words) {
		switch w := words[n]; {
		case w == "remove" && peers > 0 && c.Peers[peers-1].Remove:
			n++
			continue
		case w == "peer" && peers < len(c.Peers) && words[n+1] == c.Peers[peers].PublicKey.String():
			peers++
		case w == "listen-port" && peers == 0 && c.ListenPort != nil,
			w == "fwmark" && peers == 0 && c.FwMark != nil,
			w == "private-key" && peers == 0 && c.PrivateKey != nil,
			w == "preshared-key" && peers > 0 && c.Peers[peers-1].PresharedKey != nil,
			w == "endpoint" && peers > 0 && !c.Peers[peers-1].Endpoint.IsZero(),
			w == "persistent-keepalive" && peers > 0 && c.Peers[peers-1].PersistentKeepalive != nil,
			w == "allowed-ips" && peers > 0 && (c.Peers[peers-1].ReplaceAllowedIPs || len(c.Peers[peers-1].AllowedIPs) > 0):
		default:
			return n
		}
		n += 2
	}
	return n
}
