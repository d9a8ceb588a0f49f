// SPDX-License-Identifier: MIT

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The two ways a WireGuard interface comes to be, as Backend names them.
const (
	Kernel    = "kernel"
	Userspace = "userspace"
)

// Backend says which kind of WireGuard interface this machine makes: Kernel
// when a link of type wireguard can be added, else Userspace. The environment
// variable WGCTL_TEST_BACKEND overrides the probe, so that a run that was meant
// for the module cannot quietly test the other backend.
var Backend = sync.OnceValue(func() string {
	if b := os.Getenv("WGCTL_TEST_BACKEND"); b != "" {
		return b
	}
	// A namespace of its own: the probe leaves nothing behind and no
	// interface ever shows up on the machine itself.
	if exec.Command("unshare", "-n", "ip", "link", "add", "wgprobe", "type", "wireguard").Run() == nil {
		return Kernel
	}
	return Userspace
})

// Only ends the test unless the machine has the named backend. This is a
// choice, not a failed probe, so that it is a skip even under
// WGCTL_TEST_STRICT=1: the other run of the same list covers the test.
func Only(t testing.TB, backend string) {
	t.Helper()
	if b := Backend(); b != backend {
		t.Skipf("for the %s backend, this machine has %s", backend, b)
	}
}

// Need ends the test when one of the named programs is not in PATH.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			unable(t, "%s is not installed", p)
		}
	}
}

// unable reports that a probe failed: a skip, or a failure under
// WGCTL_TEST_STRICT=1.
func unable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("WGCTL_TEST_STRICT") == "1" {
		t.Fatalf("cannot run here: "+format, args...)
	}
	t.Skipf("cannot run here: "+format, args...)
}

// needNamespaces ends the test where no Host can be made.
func needNamespaces(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		unable(t, "not root")
	}
	Need(t, "ip")
	if Backend() == Userspace {
		if err := probeTUN(); err != nil {
			unable(t, "no TUN device: %v", err)
		}
	}
}

// probeTUN opens the clone device: it exists in a container as a file even
// where the driver or the permission is missing.
var probeTUN = sync.OnceValue(func() error {
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening /dev/net/tun: %w", err)
	}
	return syscall.Close(fd)
})

// Timeout stretches a time limit, which the author chose for a real machine,
// by the factor WGCTL_TEST_SLOW.
func Timeout(d time.Duration) time.Duration {
	return time.Duration(float64(d) * slowness())
}

var slowness = sync.OnceValue(func() float64 {
	f, err := strconv.ParseFloat(os.Getenv("WGCTL_TEST_SLOW"), 64)
	if err != nil || f < 1 {
		return 1
	}
	return f
})

// WaitFor calls ok until it holds, and fails the test when it does not within
// Timeout(limit).
func WaitFor(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(Timeout(limit))
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s: not within %v", what, Timeout(limit))
		}
		time.Sleep(Timeout(10 * time.Millisecond))
	}
}

// Bin is the path of the wgctl binary under test: WGCTL_BIN, else it is built
// as a release is, statically.
func Bin(t testing.TB) string {
	t.Helper()
	return prebuilt(t, "WGCTL_BIN", buildWgctl)
}

// WireguardGo is the path of upstream's wireguard-go, the reference for the
// userspace device: WGCTL_WIREGUARD_GO, else it is built from the module that
// go.mod pins.
func WireguardGo(t testing.TB) string {
	t.Helper()
	return prebuilt(t, "WGCTL_WIREGUARD_GO", buildWireguardGo)
}

// As is the path of wgctl under another name (wg, wg-quick, wireguard-go), by
// which it is that tool.
func As(t testing.TB, tool string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), tool)
	if err := os.Symlink(Bin(t), link); err != nil {
		t.Fatalf("naming wgctl %s: %v", tool, err)
	}
	return link
}

var (
	buildWgctl       = sync.OnceValues(func() (string, error) { return build("wgctl", "../cmd/wgctl") })
	buildWireguardGo = sync.OnceValues(func() (string, error) { return build("wireguard-go", "golang.zx2c4.com/wireguard") })
)

func prebuilt(t testing.TB, env string, build func() (string, error)) string {
	t.Helper()
	if p := os.Getenv(env); p != "" {
		return p
	}
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// buildDir holds what this run built; Main makes and removes it.
var buildDir string

func build(name, pkg string) (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return "", errors.New("building " + name + ": no go here: set WGCTL_BIN and WGCTL_WIREGUARD_GO")
	}
	path := filepath.Join(buildDir, name)
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return path, nil
}
