// SPDX-License-Identifier: MIT

package dns

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

// Limits on one run of resolvconf, which runs the scripts of whoever else wants
// to know, and these may restart services. wg-quick has none; this one is for
// what hangs, not for what is slow.
const (
	commandTimeout = 30 * time.Second
	graceTime      = time.Second // between SIGTERM and SIGKILL
)

// run runs a program to its end and returns what it printed. When the context
// or the time ends, its process group is told to end, so that its scripts can
// release their locks, and is killed if it doesn't. The error carries stderr in
// one line.
func run(ctx context.Context, stdin, path string, args ...string) (string, error) {
	return runAs(ctx, &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}, stdin, path, args...)
}

// runToTheEnd is run for what takes away: it goes on when we are killed, as half
// of it can't be seen, nor done again.
func runToTheEnd(ctx context.Context, path string, args ...string) error {
	_, err := runAs(ctx, &syscall.SysProcAttr{Setpgid: true}, "", path, args...)
	return err
}

func runAs(ctx context.Context, attr *syscall.SysProcAttr, stdin, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C")
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// If we are killed, what adds must not go on beside whoever comes next. The
	// signal is sent when the thread ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = attr
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = graceTime

	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		// A service that a script restarted may keep stderr open: that is
		// no reason to wait for it, nor to kill it.
		return stdout.String(), nil
	}
	if ctx.Err() != nil {
		err = ctx.Err()
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // ESRCH when all are gone
		}
	}
	call := strings.Join(append([]string{filepath.Base(path)}, args...), " ")
	if line := oneLine(stderr.String()); line != "" {
		return "", fmt.Errorf("running %s: %s: %w", call, line, err)
	}
	return "", fmt.Errorf("running %s: %w", call, err)
}

// oneLine joins the lines of a program's stderr.
func oneLine(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}
