// SPDX-License-Identifier: MIT

package config

import (
	"errors"
	"io"
	"strings"
)

// A wgWord is one that may stand after "wg set IF".
type wgWord struct {
	key     string  // what it sets
	section section // interfaceSection: only before the first peer
}

// wgWords are those that take a value, besides "peer". Case matters.
var wgWords = map[string]wgWord{
	"listen-port":          {"ListenPort", interfaceSection},
	"fwmark":               {"FwMark", interfaceSection},
	"private-key":          {"PrivateKey", interfaceSection},
	"preshared-key":        {"PresharedKey", peerSection},
	"endpoint":             {"Endpoint", peerSection},
	"persistent-keepalive": {"PersistentKeepalive", peerSection},
	"allowed-ips":          {"AllowedIPs", peerSection},
}

// ParseWgWords reads the words after "wg set IF". Keys but a peer's are in
// files, which readKey reads: ReadWgKey, most of the time. It ends at the
// first fault, a *WgError or an error of readKey; the warnings are whole
// lines, and come with an error too.
func ParseWgWords(words []string, readKey func(path string) (Secret, error)) (*WgChange, []string, error) {
	w := &wgReader{section: interfaceSection}
	for len(words) > 0 {
		n, err := w.word(words, readKey)
		if err != nil {
			return nil, w.warnings, err
		}
		words = words[n:]
	}
	return &w.change, w.warnings, nil
}

// word reads the first of the words and returns how many it took.
func (w *wgReader) word(words []string, readKey func(string) (Secret, error)) (int, error) {
	if words[0] == "remove" && w.section == peerSection {
		w.peer.Remove = true
		return 1, nil
	}
	if len(words) < 2 {
		return 0, badWord(words[0])
	}
	if words[0] == "peer" {
		w.section = peerSection
		w.addPeer()
		return 2, w.publicKey(words[1])
	}
	word, ok := wgWords[words[0]]
	if !ok || word.section != w.section {
		return 0, badWord(words[0])
	}
	return 2, w.wordValue(word.key, words[1], readKey)
}

func (w *wgReader) wordValue(key, value string, readKey func(string) (Secret, error)) error {
	switch key {
	case "PrivateKey", "PresharedKey":
		s, err := readKey(value)
		if err != nil {
			return err
		}
		if key == "PrivateKey" {
			w.change.PrivateKey = &s
		} else {
			w.peer.PresharedKey = &s
		}
		return nil
	case "AllowedIPs":
		if value = squash(value); value == "" { // unlike in a file, this clears them
			w.peer.AllowedIPs, w.peer.ReplaceAllowedIPs = nil, true
			return nil
		}
		if len(w.peer.AllowedIPs) == 0 {
			w.peer.ReplaceAllowedIPs = true
		}
	}
	return wgSetters[key](w, value)
}

func badWord(word string) error {
	if maybeKey(word) {
		return wgErrorf("Invalid argument")
	}
	return wgErrorf("Invalid argument: %s", Printable(word))
}

// ReadWgKey reads a file with one key in it: its first 44 bytes, after which
// only white space may follow. An empty file is the zero key, which removes
// what is there.
func ReadWgKey(r io.Reader) (Secret, error) {
	k, err := readKey(r, space, func(c byte) error {
		return wgErrorf("Found trailing character in key file: `%s'", Printable(string(rune(c))))
	})
	if errors.Is(err, io.EOF) {
		return Secret{}, nil
	}
	if err != nil && !errors.As(err, new(*WgError)) {
		err = wgErrorf("Invalid length key in key file")
	}
	return k, err
}

// ReadWgPrivateKey reads the private key that "wg pubkey" is given. NUL bytes
// may follow it as white space may.
func ReadWgPrivateKey(r io.Reader) (Secret, error) {
	k, err := readKey(r, space+"\x00", func(byte) error { return wgErrorf("Trailing characters found after key") })
	if err != nil && !errors.As(err, new(*WgError)) {
		err = errWgKey
	}
	return k, err
}

// maxTrailing is how much may follow a key, in bytes.
const maxTrailing = 1 << 20

// readKey returns the key that r starts with; io.EOF if there is nothing.
// What may follow are the bytes of after, and trailing makes an error of any
// other.
func readKey(r io.Reader, after string, trailing func(byte) error) (Secret, error) {
	var text [keyLen]byte
	defer clear(text[:])
	if _, err := io.ReadFull(r, text[:]); err != nil {
		return Secret{}, err
	}
	rest, err := io.ReadAll(io.LimitReader(r, maxTrailing))
	if err != nil {
		return Secret{}, err
	}
	for _, c := range rest {
		if strings.IndexByte(after, c) < 0 {
			return Secret{}, trailing(c)
		}
	}
	k, ok := parseKeyText(text[:])
	if !ok {
		return Secret{}, errWgKey
	}
	return Secret(k), nil
}
