// SPDX-License-Identifier: MIT

package vm

import (
	"cmp"
	_ "embed"
	"os"
	"path/filepath"
	"testing"
)

var (
	//go:embed testdata/resolved-prepare.sh
	resolvedPrepare string
	//go:embed testdata/resolved.sh
	resolvedScript string
)

// A unit whose tunnel has nameservers, on a host that systemd booted with
// systemd-resolved: with the capabilities and the sandbox of the unit, and the
// bus and its policy as they are.
func TestResolvedUnit(t *testing.T) {
	needGuest(t)
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := os.Getenv("WGCTL_BIN")
	if bin == "" {
		bin = filepath.Join(t.TempDir(), "wgctl")
		build(t, root, "build", "-trimpath", "-o", bin, "./cmd/wgctl")
	}
	dnsmasq := filepath.Join(cmp.Or(os.Getenv("WGCTL_RESOLVERS"), "/var/cache/wgctl-resolvers"), "dnsmasq-base/usr/sbin/dnsmasq")
	if _, err := os.Stat(dnsmasq); err != nil {
		needed(t, "dnsmasq is not unpacked: run scripts/witnesses")
	}
	runChecks(t, Machine{
		Kernel: "6.12", Init: "systemd", Prepare: resolvedPrepare,
		Env: []string{"WGCTL_BIN=" + bin, "UNITS=" + filepath.Join(root, "packaging/systemd"), "DNSMASQ=" + dnsmasq},
	}, resolvedScript)
}
