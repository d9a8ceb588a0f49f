// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// A secret key in a file is decoded where it was read, before a string is made of
// its line: strings can't be cleared, and the ini reader makes several. What goes
// on from here is the number of the key.
const secretMark = "secret " // white space can't be in a value of wg's

// secretKey is the key of each section whose value is secret.
func secretKey(s section) string {
	switch s {
	case interfaceSection:
		return "PrivateKey"
	case peerSection:
		return "PresharedKey"
	}
	return ""
}

// mayBeSecret reports whether a line begins as PrivateKey and PresharedKey do,
// for which wg allows white space between all letters.
func mayBeSecret(line []byte) bool {
	if len(line) == 0 || line[0]|0x20 != 'p' {
		return false
	}
	line = bytes.TrimLeft(line[1:], space)
	return len(line) > 0 && line[0]|0x20 == 'r'
}

// secretIn returns the secret that a line gives a section. Where that is no key
// the line is to be looked at like any other.
func secretIn(line []byte, s section) (*Secret, bool) {
	line = bytes.TrimLeft(line, space)
	if !mayBeSecret(line) || bytes.IndexByte(line, 0) >= 0 {
		return nil, false
	}
	line, _, _ = bytes.Cut(line, []byte("#"))
	name, value, assigned := bytes.Cut(line, []byte("="))
	if !assigned || len(name) > 64 || !strings.EqualFold(squash(string(name)), secretKey(s)) {
		return nil, false
	}
	var text [keyLen]byte
	defer clear(text[:])
	n := 0
	for _, c := range value {
		if isSpace(c) {
			continue
		}
		if n == len(text) {
			return nil, false
		}
		text[n] = c // #nosec G602 -- n was compared with its length
		n++
	}
	k, ok := parseKeyText(text[:n])
	defer clear(k[:])
	if !ok {
		return nil, false
	}
	secret := Secret(k)
	return &secret, true
}

// secretLine reads a line that gives a secret.
func (n *normaliser) secretLine(num int, line []byte) bool {
	secret, ok := secretIn(line, n.section)
	if !ok {
		return false
	}
	n.commented = false
	n.secrets = append(n.secrets, secret)
	n.emit(num, secretKey(n.section), secretMark+strconv.Itoa(len(n.secrets)-1))
	return true
}

// secret returns the key that a value is, or that it stands for.
func (b *builder) secret(value string) (*Secret, bool) {
	if number, ok := strings.CutPrefix(value, secretMark); ok {
		i, err := strconv.Atoi(number)
		if err == nil && i < len(b.secrets) {
			return b.secrets[i], true
		}
	}
	k, ok := b.base64Key(value)
	if !ok {
		return nil, false
	}
	s := Secret(k)
	return &s, true
}

// endDigest returns the digest of a text, of whose end the hash has nothing any more
// then.
func endDigest(h *xxhash.Digest) string {
	sum := h.Sum64()
	*h = xxhash.Digest{}
	return fmt.Sprintf("%016x", sum)
}

// ForgetKeys clears the keys that were read. What else stands in c stays.
func (c *Config) ForgetKeys() {
	if k := c.Interface.PrivateKey; k != nil {
		clear(k[:])
	}
	for i := range c.Peers {
		if k := c.Peers[i].PresharedKey; k != nil {
			clear(k[:])
		}
	}
}
