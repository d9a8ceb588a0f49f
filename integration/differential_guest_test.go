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
// beside the embedded device. The guests share the files between them.
func TestCorpusComesAndGoes(t *testing.T) {
	Only(t, Kernel)
	Need(t, "wg", "nft", "iptables", "resolvconf", "bash")
	compared := func(name string) bool { return slices.Contains(inGuest, name) }
	names := guestShare(t, slices.DeleteFunc(corpusNames(t, ""), compared))
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

// guestShare is the part of a list that this kernel has to take, in the emulated
// guest: where the minor number of its version is odd every second, where it is
// even the others. Elsewhere it is the whole.
func guestShare(t *testing.T, names []string) []string {
	t.Helper()
	if slowness() == 1 || wholeSweep() {
		return names
	}
	var release unix.Utsname
	if err := unix.Uname(&release); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(release.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatalf("reading the kernel's version: %v", err)
	}
	var share []string
	for i, name := range names {
		if i%2 == minor%2 {
			share = append(share, name)
		}
	}
	return share
}

// oneGuest ends a test in one of two guests, and leaves it to the other: what it
// shows needs the kernel's WireGuard, but has nothing to do with its version.
func oneGuest(t *testing.T, turn string) {
	t.Helper()
	if !slices.Contains(guestShare(t, []string{"even", "odd"}), turn) {
		t.Skip("the other guest has it")
	}
}
