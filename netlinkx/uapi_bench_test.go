// SPDX-License-Identifier: MIT

package netlinkx

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Reading a device of 10,000 peers as wireguard-go prints it, which wg does in
// some 10 ms.
func BenchmarkUAPIGet(b *testing.B) {
	var reply strings.Builder
	fmt.Fprintf(&reply, "private_key=%064x\nlisten_port=51820\n", 1)
	for i := range 10_000 {
		fmt.Fprintf(&reply, "public_key=%064x\npreshared_key=%064x\nprotocol_version=1\nendpoint=203.0.113.%d:%d\n"+
			"last_handshake_time_sec=0\nlast_handshake_time_nsec=0\ntx_bytes=0\nrx_bytes=0\npersistent_keepalive_interval=0\n"+
			"allowed_ip=10.0.%d.%d/32\n", i+1, i+1, i%250, 1024+i, i>>8, i&255)
	}
	reply.WriteString("errno=0\n\n")
	path := filepath.Join(b.TempDir(), "wg0.sock")
	serveUAPIBy(b, path, func(string) string { return reply.String() })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := uapiGet(b.Context(), path, "wg0"); err != nil {
			b.Fatal(err)
		}
	}
}
