// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
)

// writeTunnel writes a wg-quick file of so many peers, the same for the same
// number: each with a preshared key, an endpoint and an allowed IP of its own.
// A changed one has another preshared key for the peer in the middle.
func writeTunnel(path string, peers int, changed bool) error {
	return write(path, peers, "Address = "+ownAddress4+"\nAddress = "+ownAddress6+"\n", changed)
}

// The addresses of a tunnel.
const (
	ownAddress4 = "192.168.255.1/32"
	ownAddress6 = "fd77::1/128"
)

// writeDevice writes the part of it that wg reads.
func writeDevice(path string, peers int) error { return write(path, peers, "", false) }

func write(path string, peers int, more string, changed bool) error {
	return writeFile(path, func(w *bufio.Writer) {
		fmt.Fprintf(w, "[Interface]\nPrivateKey = %s\nListenPort = 51820\n%s", newKey(peers, 0), more)
		for i := range peers {
			p := peerOf(peers, i, changed)
			fmt.Fprintf(w, "\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nEndpoint = %s\nAllowedIPs = %s\n", p.key, p.psk, p.endpoint, p.allowed)
		}
	})
}

func writeFile(path string, text func(w *bufio.Writer)) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	text(w)
	return errors.Join(w.Flush(), f.Close())
}

// A peer is one of a file's.
type peer struct{ key, psk, endpoint, allowed string }

// peerOf is number i of so many.
func peerOf(peers, i int, changed bool) peer {
	psk := newKey(peers, -i-1)
	if changed && i == peers/2 {
		psk = newKey(peers, -peers-1)
	}
	return peer{newKey(peers, i+1), psk, fmt.Sprintf("203.0.113.%d:%d", i%250+1, 1024+i%60000), fmt.Sprintf("10.%d.%d.%d/32", i>>16, i>>8&255, i&255)}
}

// newKey returns a key, private or public: any 32 bytes are one.
func newKey(peers, n int) string {
	var seed, k [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(peers))
	binary.LittleEndian.PutUint64(seed[8:], uint64(n))
	_, _ = rand.NewChaCha8(seed).Read(k[:])
	k[0], k[31] = k[0]&248, k[31]&127|64
	return base64.StdEncoding.EncodeToString(k[:])
}
