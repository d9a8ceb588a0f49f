// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The promise: each file of the good corpus comes up on the kernel's own device
// and goes without a trace. In the guest wg-quick takes too long for a
// comparison of all; TestLikeWgQuick makes that of some there, and of all
// beside the embedded device. The guests share the rest between them: a kernel
// whose minor number is odd takes every second file, an even one the others.
func TestCorpusComesAndGoes(t *testing.T) {
	Only(t, Kernel)
	Need(t, "wg", "nft", "iptables", "resolvconf", "bash")
	names := corpusHalf(t)
	var all strings.Builder
	for _, name := range names {
		all.WriteString(corpusFile(t, "", name))
	}
	x := newToolHost(t, "wgctl", "all", all.String())
	const together = 10 // files between two snapshots, which take as long as a tunnel
	for i, name := range names {
		x.ifname = name
		x.h.WriteFile(x.path(), corpusFile(t, "", name))
		for _, verb := range []string{"up", "down"} {
			if out := x.run(verb); out.Code != 0 {
				t.Fatalf("%v", out)
			}
			shown := x.h.Run("wg", "show", name, "public-key").Code == 0
			if shown != (verb == "up") {
				t.Errorf("%s: after %s there is a device: %v", name, verb, shown)
			}
		}
		if i%together == together-1 || i == len(names)-1 {
			x.h.Unchanged(x.before)
			if t.Failed() {
				t.Fatalf("after %s and the %d files before", name, together)
			}
		}
	}
}

// corpusHalf are the files of the good corpus that this kernel has to take.
func corpusHalf(t *testing.T) []string {
	t.Helper()
	var release unix.Utsname
	if err := unix.Uname(&release); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(release.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatalf("reading the kernel's version: %v", err)
	}
	var half []string
	for i, name := range corpusNames(t, "") {
		if i%2 == minor%2 && !slices.Contains(inGuest, name) {
			half = append(half, name)
		}
	}
	return half
}
