// SPDX-License-Identifier: MIT

package dns

import (
	"cmp"
	"fmt"
	"os"
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

// enterHost puts the rest of the test on a host of its own: its /etc and /run
// can be changed, and no daemon can be reached. The thread is never unlocked,
// so that it ends with the test and its namespaces with it.
//
// Each target of layers becomes writable, with the files of the folder that it
// names, if it names one, laid over its own.
func enterHost(t *testing.T, layers map[string]string) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, "mount namespaces need root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWNET); err != nil {
		skip(t, "making a mount namespace: %v", err)
	}
	mount := func(source, target, kind, data string, flags uintptr) {
		if err := unix.Mount(source, target, kind, flags, data); err != nil {
			skip(t, "mounting %s on %s: %v", kind, target, err)
		}
	}
	mount("none", "/", "", "", unix.MS_REC|unix.MS_PRIVATE)
	mount("tmpfs", "/run", "tmpfs", "mode=0755", 0)
	for target, lower := range layers {
		if lower != "" {
			lower += ":"
		}
		dir := filepath.Join("/run/layers", strings.ReplaceAll(target, "/", "_"))
		for _, sub := range []string{"upper", "work"} {
			if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		mount("overlay", target, "overlay", fmt.Sprintf("lowerdir=%s%s,upperdir=%s/upper,workdir=%s/work", lower, target, dir, dir), 0)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// debianPackage returns the folder in which scripts/witnesses has unpacked
// Debian's resolvconf, which can't be installed beside openresolv.
func debianPackage(t *testing.T) string {
	t.Helper()
	root := filepath.Join(cmp.Or(os.Getenv("WGCTL_RESOLVERS"), "/var/cache/wgctl-resolvers"), "resolvconf")
	if _, err := os.Stat(filepath.Join(root, "usr/sbin/resolvconf")); err != nil {
		skip(t, "Debian's resolvconf is not unpacked: run scripts/witnesses: %v", err)
	}
	return root
}
