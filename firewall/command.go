// SPDX-License-Identifier: MIT

package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// commandTimeout bounds one run of an iptables program. It is longer than the
	// programs themselves wait for the xtables lock (see lockWait), and than a host
	// stalls that is short of everything.
	commandTimeout = 30 * time.Second
	// outputTimeout is how long after the program's end its output may come: cut
	// off, a list of rules would be taken for all of them.
	outputTimeout = 10 * time.Second
)

// run runs a program to its end and returns what it printed. Its process group
// is killed when the context or the time ends. The error carries what it
// wrote to stderr.
func run(ctx context.Context, stdin string, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// If we are killed it must not add its rules behind the back of whoever clears
	// up after us. The signal comes when the thread ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = outputTimeout

	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	name := filepath.Base(path)
	if line := complaint(stderr.String()); line != "" && !errors.Is(err, context.Canceled) {
		return "", fmt.Errorf("running %s: %s: %w", name, line, err)
	}
	return "", fmt.Errorf("running %s: %w", name, err)
}

// complaint returns what an iptables program said on stderr, as one line and
// without warnings and pointers to its manual.
func complaint(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.HasPrefix(line, "#"), strings.HasPrefix(line, "Try `"), strings.HasPrefix(line, "Warning:"):
		default:
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, " ")
}
