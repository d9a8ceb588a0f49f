// SPDX-License-Identifier: MIT

package firewall

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// skip skips the test because a probe failed, or fails it where nothing may be
// skipped.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("WGCTL_TEST_STRICT") == "1" {
		t.Fatalf("WGCTL_TEST_STRICT: "+format, args...)
	}
	t.Skipf(format, args...)
}

// notEmulated leaves a test out where every program takes a second, and the
// kernel has no say in what it shows.
func notEmulated(t *testing.T) {
	t.Helper()
	if os.Getenv("WGCTL_TEST_SLOW") != "" {
		t.Skip("an emulated processor has no say in this")
	}
}

// enterNetns puts the rest of the test into a network namespace of its own.
// The thread is never unlocked, so that it ends with the test and the
// namespace with it.
func enterNetns(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "network namespaces need root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		skip(t, "making a network namespace: %v", err)
	}
	// The lock of iptables is one for all namespaces of a host.
	t.Setenv("XTABLES_LOCKFILE", filepath.Join(t.TempDir(), "xtables.lock"))
	sh(t, "ip link set lo up")
}

// need skips the test if a program isn't there.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			skip(t, "%v", err)
		}
	}
}

// sh runs a shell command in the test's network namespace and returns what it
// printed on stdout.
func sh(t *testing.T, command string) string {
	t.Helper()
	cmd := exec.Command("sh", "-ec", command)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", command, err, stderr.String())
	}
	return string(out)
}
