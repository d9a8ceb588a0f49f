// SPDX-License-Identifier: MIT

package integration

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"
)

// unpackedResolver returns the folder in which scripts/witnesses has unpacked a
// package that would take over the machine's look-ups if it were installed.
func unpackedResolver(t testing.TB, name string) string {
	t.Helper()
	root := filepath.Join(cmp.Or(os.Getenv("WGCTL_RESOLVERS"), "/var/cache/wgctl-resolvers"), name)
	if _, err := os.Stat(filepath.Join(root, "usr")); err != nil {
		unable(t, "%s is not unpacked: run scripts/witnesses: %v", name, err)
	}
	return root
}
