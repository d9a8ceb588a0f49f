// SPDX-License-Identifier: MIT

package netlinkx

import "testing"

// A name is never a path: that of a socket stays in the sockets' folder.
func TestIsSocketName(t *testing.T) {
	for name, want := range map[string]bool{
		"wg0": true, "a.b=c+d_e-f0": true, "": false, ".": true, "../wg0": false, "a/b": false, "/": false, "wg01234567890123": false,
	} {
		if got := isSocketName(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
