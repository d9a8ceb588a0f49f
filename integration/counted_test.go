// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tracedWrites runs a reload under strace and returns what it sent that changes
// something: messages of netlink that are no question, requests to an embedded
// device that set something, and writes of kernel parameters; and the public keys
// of the peers that the device was told of.
func tracedWrites(h *Host, args ...string) (writes, peers []string) {
	h.t.Helper()
	const file = "/tmp/writes"
	h.Sh("rm -f " + file)
	h.Must(append([]string{"strace", "-f", "-qq", "-v", "-s", "4096", "-e", "signal=none", "-e", "trace=sendto,sendmsg,write,writev,openat", "-o", file, Bin(h.t)}, args...)...)
	trace := h.ReadFile(file)
	questions := 0
	for line := range strings.Lines(trace) {
		if strings.Contains(line, "openat(") && strings.Contains(line, `"/proc/sys/`) && !strings.Contains(line, "O_RDONLY") {
			writes = append(writes, line)
		}
		for i, message := range strings.Split(line, "{nlmsg_len=") {
			head, _, _ := strings.Cut(message, "}")
			switch {
			case i == 0:
			case regexp.MustCompile(`RTM_GET|NFT_MSG_GET|nlctrl|NLM_F_DUMP|NLMSG_DONE|nlmsg_type=0x[0-9a-f]*[26ae] [^,]*, nlmsg_flags=[^,]*\|0x300`).MatchString(head):
				questions++
			default:
				writes = append(writes, line)
			}
		}
		if strings.Contains(line, `"set=1\n`) {
			writes = append(writes, line)
		}
		for _, m := range regexp.MustCompile(`public_key=([0-9a-f]{64})`).FindAllStringSubmatch(line, -1) {
			if !slices.Contains(peers, m[1]) {
				peers = append(peers, m[1])
			}
		}
	}
	if questions == 0 {
		h.t.Fatalf("%s: strace saw no question to the kernel:\n%.3000s", h.Name, trace)
	}
	return writes, peers
}

// Of a tunnel with ten thousand peers that is as its file says nothing is written to
// the kernel or the device, and after one peer has changed that one is sent
// and nothing else: as strace counts.
func TestReloadOfManySendsWhatChanged(t *testing.T) {
	t.Parallel()
	Need(t, "strace")
	Only(t, Userspace) // make bench counts both
	h := newTunnelHost(t, "h")
	const n = 10000
	var b strings.Builder
	b.WriteString(interfaceSection(newKeyPair(t), "Address = 10.0.0.1/8", "ListenPort = 51820"))
	keyOf := func(i int) []byte { return append([]byte{byte(i), byte(i >> 8), 7, 1}, make([]byte, 28)...) }
	for i := range n {
		fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nAllowedIPs = 172.16.%d.%d/32\n", base64.StdEncoding.EncodeToString(keyOf(i)), i>>8, i&255)
	}
	file := b.String()
	h.WriteFile(configOf("wg0"), file)
	wgctlOK(h, "up", "wg0")
	changed := fmt.Sprintf("AllowedIPs = 172.16.%d.%d/32\n", 4321>>8, 4321&255)
	for _, tt := range []struct {
		what, file    string
		writes, peers int
	}{
		{"nothing changed", file, 0, 0},
		{"nothing but a comment", file + "# the end\n", 0, 0},
		{"one peer's keepalive", strings.Replace(file, changed, changed+"PersistentKeepalive = 25\n", 1), 1, 1},
		{"the same again", strings.Replace(file, changed, changed+"PersistentKeepalive = 25\n", 1), 0, 0},
		// What comes and what goes, of the peer and of its routes.
		{"one peer's allowed IP", strings.Replace(file, changed, "AllowedIPs = 172.31.0.1/32\n", 1), 4, 1},
	} {
		h.WriteFile(configOf("wg0"), tt.file)
		writes, peers := tracedWrites(h, "reload", "wg0")
		if len(writes) != tt.writes || len(peers) != tt.peers || tt.peers == 1 && peers[0] != hex.EncodeToString(keyOf(4321)) {
			t.Errorf("%s: %d writes and %d peers were sent, want %d and %d: %s %.2000q", tt.what, len(writes), len(peers), tt.writes, tt.peers, peers, writes)
		}
	}
	if got := strings.Count(h.Must("wg", "show", "wg0", "peers").Stdout, "\n"); got != n {
		t.Errorf("%d peers", got)
	}
	wgctlOK(h, "down", "wg0")
}
