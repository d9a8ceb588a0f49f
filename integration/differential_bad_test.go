// SPDX-License-Identifier: MIT

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The promise: a file that is wrong is refused before anything is touched, with
// all that is wrong in it, a line each, and exit status 1.
func TestBadFilesTouchNothing(t *testing.T) {
	h := NewHost(t, "h")
	underlay(h)
	names := corpusNames(t, "bad")
	for _, name := range names {
		h.WriteFile("/etc/wireguard/"+name+".conf", corpusFile(t, "bad", name))
	}
	h.Wgctl("up", names[0]) // makes the folder of locks, which stays
	before := h.Snapshot()
	for _, name := range names {
		out := h.Wgctl("up", name)
		if want := refusal(t, name); out.Code != 1 || out.Stdout != "" || out.Stderr != want {
			t.Errorf("want exit 1 and\n%sgot %v", want, out)
		}
		if slowness() == 1 {
			h.Unchanged(before)
		}
		if t.Failed() {
			t.Fatalf("%s: see above", name)
		}
	}
	h.Unchanged(before)
}

// refusal is what wgctl prints for a file of the bad corpus.
func refusal(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpusDir, "bad", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for line := range strings.Lines(string(b)) {
		lines.WriteString("wgctl: /etc/wireguard/" + line)
	}
	return lines.String()
}

// wgQuickTakes has the files of the bad corpus that wg-quick doesn't mind, the
// addresses that its interface then has, and why wgctl refuses them. All the
// others fail with wg-quick too, after the interface has been made, and leave
// nothing behind.
var wgQuickTakes = map[string]struct{ addresses, why string }{
	"blank":     {"", "the interface has no key, no address and no peer"},
	"dns":       {"", "resolv.conf gets nameservers that are no addresses, and nothing can be resolved"},
	"empty":     {"", "the interface has no key, no address and no peer: the file was lost, not meant"},
	"mtu":       {"", "of several values in doubt the last one counts"},
	"mtu6":      {"10.0.0.1/24", "the kernel takes the IPv6 address away for the small MTU, without a word"},
	"nul":       {"10.0.0.1/24 10.0.0.2/24", "bash reads over the NUL byte, wg ends the line there"},
	"peersonly": {"", "the interface has no key: no packet ever passes"},
	"table":     {"", "the table is no table: the first allowed IP would fail"},
}

// What wgctl refuses, wg-quick refuses too, only later; what it takes is in the
// table wgQuickTakes.
func TestBadFilesWithWgQuick(t *testing.T) {
	Only(t, Userspace) // wg-quick's own reading, for which the backend doesn't matter
	for _, name := range corpusNames(t, "bad") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newToolHost(t, "wg-quick", name, corpusFile(t, "bad", name))
			out := x.run("up")
			takes, ok := wgQuickTakes[name]
			if !ok {
				if out.Code == 0 {
					t.Errorf("should fail: %v", out)
				}
				x.left(t, nil)
				return
			}
			if out.Code != 0 {
				t.Fatalf("should be taken (%s): %v", takes.why, out)
			}
			if got := fileAddresses(x.h, name); got != takes.addresses {
				t.Errorf("addresses: %q, want %q (%s)", got, takes.addresses, takes.why)
			}
		})
	}
}

// fileAddresses lists the addresses of an interface without the kernel's own.
func fileAddresses(h *Host, ifname string) string {
	h.t.Helper()
	var got []string
	for line := range strings.Lines(h.Must("ip", "-o", "address", "show", "dev", ifname).Stdout) {
		if f := strings.Fields(line); len(f) > 3 && !strings.HasPrefix(f[3], "fe80:") {
			got = append(got, f[3])
		}
	}
	return strings.Join(got, " ")
}
