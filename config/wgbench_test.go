// SPDX-License-Identifier: MIT

package config

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// Reading a file of 10,000 peers, which setconf of the C tool does in a few
// milliseconds.
func BenchmarkParseWg(b *testing.B) {
	var s strings.Builder
	s.WriteString("[Interface]\nListenPort = 51820\n")
	for i := range 10000 {
		var k [32]byte
		binary.BigEndian.PutUint32(k[:], uint32(i))
		text := base64.StdEncoding.EncodeToString(k[:])
		fmt.Fprintf(&s, "[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = 10.%d.%d.%d/32, fd00::%x/128\nEndpoint = 192.0.2.%d:%d\n",
			text, text, i>>16, i>>8&255, i&255, i, i%250+1, 5000+i%1000)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseWg(strings.NewReader(s.String())); err != nil {
			b.Fatal(err)
		}
	}
}
