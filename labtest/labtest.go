// SPDX-License-Identifier: MIT

// Package labtest makes a lab in a Go test: hosts in network namespaces, the
// networks between them, and WireGuard tunnels, from a topology as package lab
// reads it.
//
//	l := labtest.New(t, topology)
//	l.Up()                             // the tunnels
//	l.Run("a", "ping", "-c1", "10.8.0.2")
//	l.Do("b", func() error { … net.Listen … })
//
// The namespaces have no name on the machine and end with the test, or with its
// process, however that ends. It takes root, on Linux; where that isn't given the
// test is skipped. Tunnels take the program wgctl: $WGCTL_BIN, else that of PATH.
//
// It isn't integration's harness, whose hosts have processes and files of their
// own too.
package labtest

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/wgctl/wgctl/lab"
	"github.com/wgctl/wgctl/namespace"
)

// A Lab is one that is built.
type Lab struct {
	*lab.Topology

	t     testing.TB
	in    map[string]*os.File
	files []string // of tunnels
	hosts []string // of them
}

// New builds a lab, without its tunnels. A topology that is wrong fails the test,
// and one for which the rights are missing ends it: it is skipped, or failed if
// $WGCTL_TEST_STRICT is 1.
func New(t testing.TB, topology string) *Lab {
	t.Helper()
	top, err := lab.Parse("lab", topology)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		unable(t, "making network namespaces takes root")
	}
	l := &Lab{Topology: top, t: t, in: map[string]*os.File{}}
	t.Cleanup(l.close)
	for _, name := range top.Namespaces() {
		ns, err := namespace.New()
		if err != nil {
			unable(t, "%v", err)
		}
		l.in[name] = ns
	}
	if err := top.Build(context.Background(), l.in); err != nil {
		t.Fatal(err)
	}
	return l
}

func unable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("WGCTL_TEST_STRICT") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// close ends what the test made.
func (l *Lab) close() {
	for i, host := range l.hosts {
		if out, err := l.wgctl("down", host, l.files[i]); err != nil {
			l.t.Errorf("%s: taking a tunnel down: %v: %s", host, err, out)
		}
	}
	for _, ns := range l.in {
		_ = ns.Close()
	}
}

// Up brings the tunnels up, on all of their hosts.
func (l *Lab) Up() {
	l.t.Helper()
	files, err := l.Files()
	if err != nil {
		l.t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(l.t.TempDir(), f.Interface+".conf")
		if err := os.WriteFile(path, []byte(f.Text), 0o600); err != nil {
			l.t.Fatal(err)
		}
		if out, err := l.wgctl("up", f.Host, path); err != nil {
			l.t.Fatalf("%s: bringing %s up: %v: %s", f.Host, f.Interface, err, out)
		}
		l.hosts, l.files = append(l.hosts, f.Host), append(l.files, path)
	}
}

// wgctl runs the program for a file of a host.
func (l *Lab) wgctl(verb, host, file string) ([]byte, error) {
	bin := os.Getenv("WGCTL_BIN")
	if bin == "" {
		bin = "wgctl"
	}
	// The path ends with this process, and with it the device.
	return exec.Command(bin, verb, "--netns-all", l.Path(host), file).CombinedOutput()
}

// Path is where the namespace of a host is found as long as the test runs: for
// setns(2), or for --netns of wgctl.
func (l *Lab) Path(host string) string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), l.ns(host).Fd())
}

func (l *Lab) ns(host string) *os.File {
	l.t.Helper()
	ns := l.in[host]
	if ns == nil {
		l.t.Fatalf("there is no host %s in this lab", host)
	}
	return ns
}

// Do calls f on a thread in the network of a host: sockets that it makes, and
// those alone, are the host's. Goroutines that it starts run elsewhere.
func (l *Lab) Do(host string, f func() error) {
	l.t.Helper()
	if err := namespace.Inside(l.ns(host), f); err != nil {
		l.t.Fatalf("%s: %v", host, err)
	}
}

// Start starts a command in the network of a host.
func (l *Lab) Start(host string, cmd *exec.Cmd) {
	l.t.Helper()
	l.Do(host, cmd.Start)
}

// Run runs a program in the network of a host to its end and returns what it
// printed, on both streams. It fails the test unless the program exits 0.
func (l *Lab) Run(host string, args ...string) string {
	l.t.Helper()
	out, err := l.Try(host, args...)
	if err != nil {
		l.t.Fatalf("%s: %v: %v\n%s", host, args, err, out)
	}
	return out
}

// Try is Run for a program that may fail.
func (l *Lab) Try(host string, args ...string) (string, error) {
	l.t.Helper()
	var out bytes.Buffer
	cmd := exec.CommandContext(l.t.Context(), args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 30 * time.Second
	l.Start(host, cmd)
	err := cmd.Wait()
	return out.String(), err
}

// Address is the first address of a host on a network or in a tunnel. None fails
// the test.
func (l *Lab) Address(host, network string) netip.Addr {
	l.t.Helper()
	a := l.Topology.Address(host, network)
	if !a.IsValid() {
		l.t.Fatalf("%s has no address in %s", host, network)
	}
	return a
}
