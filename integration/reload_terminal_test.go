// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A reload that takes most peers away is asked about on a terminal, and done
// if the answer is yes.
func TestReloadAsksOnATerminal(t *testing.T) {
	t.Parallel()
	Need(t, "wg")
	Only(t, Userspace) // who asks does not depend on the backend
	h := newTunnelHost(t, "h")
	h.Sh("mkdir /run/pts; mount -t devpts -o newinstance,ptmxmode=666 devpts /run/pts")
	file := interfaceSection(newKeyPair(t), "Address = 10.8.0.1/24")
	peers := ""
	for i := range 3 {
		peers += peerSection(newKeyPair(t), fmt.Sprintf("AllowedIPs = 10.8.0.%d/32", i+2))
	}
	h.WriteFile(configOf("wg0"), file+peers)
	wgctlOK(h, "up", "wg0")
	h.WriteFile(configOf("wg0"), file)
	for _, tt := range []struct {
		answer      string
		code, peers int
		says        string
	}{
		{"", 1, 3, "wgctl: reloading wg0 would remove all of its peers (3): not done"},
		{"n", 1, 3, "not done"},
		{"yes", 0, 0, " remove peer "},
	} {
		out := h.startRole("dialogue", "/run/pts", "go on? [y/N]", tt.answer, Bin(t), "reload", "wg0").Wait(runLimit)
		left := strings.Count(h.Must("wg", "show", "wg0", "peers").Stdout, "\n")
		if out.Code != tt.code || left != tt.peers || !strings.Contains(out.Stdout, tt.says) {
			t.Errorf("answer %q: %d peers are left: %v", tt.answer, left, out)
		}
	}
}

// Several tunnels that come up at once have a line each on a terminal, which
// says in the end what became of it; errors stand below.
func TestSeveralOnATerminal(t *testing.T) {
	t.Parallel()
	Only(t, Userspace) // as above
	h := newTunnelHost(t, "h")
	h.Sh("mkdir /run/pts; mount -t devpts -o newinstance,ptmxmode=666 devpts /run/pts")
	for n := range 3 {
		h.WriteFile(configOf(fmt.Sprintf("wg%d", n)), fullTunnel(t, n))
	}
	h.WriteFile(configOf("wg1"), "[Interface]\nAddress = 10.8.0.0.1\n")
	out := h.startRole("terminal", "/run/pts", "never said", Bin(t), "up", "wg0", "wg1", "wg2").Wait(runLimit)
	_, screen, _ := cutLast(out.Stdout, "\x1b[J")
	lines := strings.Split(strings.ReplaceAll(screen, "\r", ""), "\n")
	if out.Code != 1 || len(lines) < 4 ||
		!strings.HasPrefix(lines[0], "wg0 ") || !strings.Contains(lines[0], " done, ") ||
		!strings.HasPrefix(lines[1], "wg1 ") || !strings.HasSuffix(lines[1], " failed") ||
		!strings.HasPrefix(lines[2], "wg2 ") || !strings.Contains(lines[2], " done, ") ||
		!strings.HasPrefix(lines[3], "wgctl: /etc/wireguard/wg1.conf:2: ") {
		t.Errorf("in the end the screen shows\n%s\nof %q", screen, out.Stdout)
	}
	whole(h, "wg0")
	whole(h, "wg2")
	wgctlOK(h, "down", "--all")
}

// Thousands of peers and routes show on a terminal how far they are, of how many,
// and how fast it goes; elsewhere nothing of that is said.
func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	Only(t, Userspace) // as above
	h := newTunnelHost(t, "h")
	h.Sh("mkdir /run/pts; mount -t devpts -o newinstance,ptmxmode=666 devpts /run/pts")
	const n = 3500
	for i := range 2 {
		var b strings.Builder
		b.WriteString(interfaceSection(newKeyPair(t), fmt.Sprintf("Address = 10.%d.0.1/32", 100+i)))
		for j := range n {
			key := [32]byte{byte(j), byte(j >> 8), byte(i), 1}
			fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\nAllowedIPs = 10.%d.%d.%d/32\n", base64.StdEncoding.EncodeToString(key[:]), 10+i, j>>8, j&255)
		}
		h.WriteFile(configOf(fmt.Sprintf("wg%d", i)), b.String())
	}
	counts := func(screen, before string) map[string][]int {
		t.Helper()
		said := map[string][]int{}
		for _, m := range regexp.MustCompile(before+` *(\d+) of 3500 (peers|routes), (\d+) a second`).FindAllStringSubmatch(screen, -1) {
			done, _ := strconv.Atoi(m[1])
			said[m[2]] = append(said[m[2]], done)
			if rate, _ := strconv.Atoi(m[3]); rate < 10 || rate > 2e6 || rate%done == 0 && rate/done == 1000 {
				t.Errorf("a rate of %d: %q", rate, m[0])
			}
		}
		return said
	}
	out := h.startRole("terminal", "/run/pts", "never said", Bin(t), "up", "wg0").Wait(runLimit)
	said := counts(out.Stdout, `\r\x1b\[K`)
	for _, what := range []string{"peers", "routes"} {
		if want := []int{1000, 2000, 3000}; out.Code != 0 || !slices.Equal(said[what], want) {
			t.Errorf("of %s is shown %v, want %v: %v", what, said[what], want, out)
		}
	}
	// The line of a tunnel among several shows them too.
	wgctlOK(h, "down", "wg0")
	out = h.startRole("terminal", "/run/pts", "never said", Bin(t), "up", "wg0", "wg1").Wait(runLimit)
	for _, name := range []string{"wg0", "wg1"} {
		said := counts(out.Stdout, name)
		if out.Code != 0 || len(said["peers"]) == 0 || len(said["routes"]) == 0 {
			t.Errorf("%s: shown is %v: %v", name, said, out)
		}
	}
	wgctlOK(h, "down", "--all")
	if out := wgctlOK(h, "up", "wg0"); strings.Contains(out.Stderr, "a second") {
		t.Errorf("no terminal: %v", out)
	}
	wgctlOK(h, "down", "--all")
}

// cutLast is strings.Cut at the last place.
func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
