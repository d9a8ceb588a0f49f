// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
)

// The promise: each file of the good corpus comes up on the kernel's own device
// and goes without a trace. In the guest wg-quick takes too long for a
// comparison of all; TestLikeWgQuick makes that of some there, and of all
// beside the embedded device.
func TestCorpusComesAndGoes(t *testing.T) {
	Only(t, Kernel)
	Need(t, "wg", "nft", "iptables", "resolvconf", "bash")
	names := corpusNames(t, "")
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
