// SPDX-License-Identifier: MIT

package vm

import (
	"cmp"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var (
	//go:embed testdata/units-prepare.sh
	unitsPrepare string
	//go:embed testdata/units.sh
	unitsScript string
	//go:embed testdata/sandbox-prepare.sh
	sandboxPrepare string
	//go:embed testdata/sandbox.sh
	sandboxScript string
)

// What the units promise, on a host that systemd booted with them, and what the
// package does beside tunnels that are up.
func TestUnits(t *testing.T) {
	runUnits(t, "", unitsScript)
}

// What a tunnel may want of its host it gets in the unit's sandbox, and what
// others change beside it doesn't stay.
func TestUnitsSandbox(t *testing.T) {
	runUnits(t, sandboxPrepare, sandboxScript)
}

// runUnits runs the checks in a guest in which the package is installed and the
// units are enabled.
func runUnits(t *testing.T, prepare, script string) {
	t.Helper()
	needGuest(t)
	t.Parallel()
	runChecks(t, Machine{
		Kernel: "6.1", Init: "systemd", Prepare: unitsPrepare + prepare,
		Env: []string{"PACKAGES=" + makePackages(t), "NETWORKMANAGER=" + networkManagerTree(), "WORD=it's a word"},
	}, script)
}

// networkManagerTree is where scripts/witnesses unpacks NetworkManager.
func networkManagerTree() string {
	return cmp.Or(os.Getenv("WGCTL_NETWORKMANAGER"), "/var/cache/wgctl-networkmanager")
}

// makePackages makes the packages of Debian in the folder 1 of the one that it
// returns, and in 2 the same as if they were of a later version.
func makePackages(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	bin := os.Getenv("WGCTL_BIN")
	if bin == "" {
		bin = filepath.Join(t.TempDir(), "wgctl")
		build(t, root, "build", "-trimpath", "-o", bin, "./cmd/wgctl")
	}
	const next = `set -e
		mkdir -p "$1/2"
		for p in "$1"/1/*.deb; do
			dpkg-deb -R "$p" "$1/tree"
			sed -i 's/1[.]0[.]0/1.0.1/' "$1/tree/DEBIAN/control"
			dpkg-deb --root-owner-group -Znone -b "$1/tree" "$1/2/$(basename "$p")"
			rm -r "$1/tree"
		done`
	for _, cmd := range [][]string{
		{filepath.Join(root, "scripts/package"), bin, "v1.0.0", "amd64", bin, filepath.Join(dir, "1")},
		{"sh", "-c", next, "sh", dir},
	} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(cmd, " "), err, out)
		}
	}
	return dir
}

// The units have no line that systemd doesn't know, and are as little exposed as
// docs/systemd.md says: the network daemon of systemd itself scores 2.8.
func TestUnitFiles(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		needed(t, "systemd-analyze is not installed")
	}
	tree := t.TempDir()
	units := filepath.Join(tree, "usr/lib/systemd/system")
	sources, err := filepath.Glob("../../packaging/systemd/w*")
	if err != nil || len(sources) != 4 {
		t.Fatalf("the units are %q (%v)", sources, err)
	}
	// What they name besides: the targets of systemd, and the program.
	if err := os.MkdirAll(filepath.Join(tree, "usr/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(tree, "usr/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "usr/bin/wgctl"), []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", "/usr/lib/systemd", filepath.Join(tree, "usr/lib/")).CombinedOutput(); err != nil {
		t.Fatalf("copying systemd's own units: %v: %s", err, out)
	}
	for _, s := range sources {
		b, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(units, filepath.Base(s)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The drop-in for hooks is of one of them.
	hooks, err := os.ReadFile("../../packaging/systemd/hooks.conf")
	if err == nil {
		err = os.Mkdir(filepath.Join(units, "wgctl@hooks.service.d"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(units, "wgctl@hooks.service.d/hooks.conf"), hooks, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, unit := range []string{"wgctl@wg0.service", "wgctl@hooks.service", "wg-quick@wg0.service", "wgctl.target", "wg-quick.target"} {
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--generators=no", "--root="+tree, unit).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("systemd-analyze verify %s: %v\n%s", unit, err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(units, "bad.service"), []byte("[Service]\nExecStart=/usr/bin/wgctl\nNoSuchKey=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, _ := exec.Command("systemd-analyze", "verify", "--man=no", "--generators=no", "--root="+tree, "bad.service").CombinedOutput(); !strings.Contains(string(out), "NoSuchKey") {
		t.Errorf("systemd-analyze takes any key: %s", out)
	}
	for _, unit := range []string{"wgctl@.service", "wg-quick@.service"} {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=23", "--no-pager", "../../packaging/systemd/"+unit).CombinedOutput()
		if err != nil {
			t.Errorf("systemd-analyze security %s: %v\n%s", unit, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Log(lines[len(lines)-1])
	}
}

// The unit under wg-quick's name is the other but for its head.
func TestUnitFilesAreOne(t *testing.T) {
	body := func(name string) string {
		b, err := os.ReadFile("../../packaging/systemd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		_, service, ok := strings.Cut(string(b), "[Service]\n")
		if !ok {
			t.Fatalf("%s has no [Service]", name)
		}
		service, _, _ = strings.Cut(service, "[Install]")
		return service
	}
	if a, b := body("wgctl@.service"), body("wg-quick@.service"); a != b {
		t.Errorf("wgctl@.service runs\n%s\nand wg-quick@.service\n%s", a, b)
	}
}
