// SPDX-License-Identifier: MIT

package integration

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
)

// A keyPair is a WireGuard private key and its public key, in base64.
type keyPair struct{ private, public string }

func newKeyPair(t testing.TB) keyPair {
	t.Helper()
	var k [32]byte
	if _, err := rand.Read(k[:]); err != nil {
		t.Fatal(err)
	}
	k[0], k[31] = k[0]&248, k[31]&127|64 // as wg genkey clamps it
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		t.Fatal(err)
	}
	text := base64.StdEncoding.EncodeToString
	return keyPair{text(k[:]), text(private.PublicKey().Bytes())}
}

// publicOf is the public key of a private one.
func publicOf(t testing.TB, private string) string {
	t.Helper()
	k, err := base64.StdEncoding.DecodeString(private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdh.X25519().NewPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(key.PublicKey().Bytes())
}

var (
	privateLine = regexp.MustCompile(`(?m)^(?:> )?PrivateKey = ([A-Za-z0-9+/]{43}=)$`)
	aloneKey    = regexp.MustCompile(`^([A-Za-z0-9+/]{43}=)\n$`)
)

// An ownKeys says which key stands for which that a page shows.
type ownKeys map[string]string

// keysFor makes a key for each private one that a text shows.
func keysFor(t testing.TB, text string) ownKeys {
	t.Helper()
	own := ownKeys{}
	for _, m := range privateLine.FindAllStringSubmatch(text, -1) {
		if own[m[1]] == "" {
			k := newKeyPair(t)
			own[m[1]], own[publicOf(t, m[1])] = k.private, k.public
		}
	}
	return own
}

// in puts the keys into a text.
func (own ownKeys) in(text string) string {
	for shown, key := range own {
		text = strings.ReplaceAll(text, shown, key)
	}
	return text
}

// learn takes a key that a command has made for the one that the page shows.
func (own ownKeys) learn(c typedLine, printed string) {
	shown, made := aloneKey.FindStringSubmatch(c.output), aloneKey.FindStringSubmatch(printed)
	if shown != nil && made != nil && strings.Contains(c.command, "genkey") {
		own[shown[1]] = made[1]
	}
}
