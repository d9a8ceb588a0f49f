// SPDX-License-Identifier: MIT

package vm

import (
	"cmp"
	_ "embed"
	"os"
	"path/filepath"
	"strings"
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
	m := Machine{
		Kernel: "6.12", Init: "systemd", Prepare: resolvedPrepare,
		Env: []string{"WGCTL_BIN=" + bin, "UNITS=" + filepath.Join(root, "packaging/systemd"), "DNSMASQ=" + dnsmasq},
	}
	out := Run(guestContext(t), t, m, "sh", "-c", resolvedScript)
	seen := 0
	for line := range strings.Lines(out.Console) {
		if strings.HasPrefix(line, "ok ") {
			seen++
		}
		if what, failed := strings.CutPrefix(strings.TrimSpace(line), "FAIL "); failed {
			t.Error(strings.ReplaceAll(what, "|", "\n"))
		}
	}
	if want := strings.Count(resolvedScript, "\tcheck \""); seen != want && !t.Failed() {
		t.Errorf("%d of %d checks were made", seen, want)
	}
	if out.Code != 7 {
		t.Errorf("exit status %d, want 7, which the script ends with", out.Code)
	}
}
