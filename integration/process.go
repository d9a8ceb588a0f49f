// SPDX-License-Identifier: MIT

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Process is a program that runs in a host beside the test.
type Process struct {
	h      *Host
	args   []string
	cmd    *exec.Cmd
	cancel context.CancelFunc
	stdout *output
	stderr *output
	done   chan struct{}
	err    error // of Wait, valid once done is closed
}

// Start starts a program in the host and does not wait for it. It is killed at
// the end of the test if it still runs.
func (h *Host) Start(args ...string) *Process {
	h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	return h.start(cancel, h.command(ctx, args), args)
}

// startRole starts the test binary in the host in one of its roles.
func (h *Host) startRole(role string, args ...string) *Process {
	h.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		h.t.Fatalf("%s: starting %s: %v", h.Name, role, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	words := append([]string{exe}, args...)
	cmd := h.command(ctx, words)
	cmd.Env = append(cmd.Env, roleEnv+"="+role)
	return h.start(cancel, cmd, words)
}

func (h *Host) start(cancel context.CancelFunc, cmd *command, args []string) *Process {
	h.t.Helper()
	p := &Process{h: h, args: args, cmd: cmd.Cmd, cancel: cancel,
		stdout: new(output), stderr: new(output), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.stdout, p.stderr
	if err := cmd.Start(); err != nil {
		cancel()
		h.t.Fatalf("%s: starting %v: %v", h.Name, args, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	h.t.Cleanup(func() {
		cancel()
		<-p.done
	})
	return p
}

// Wait waits until the program ends and fails the test if that takes longer
// than Timeout(limit).
func (p *Process) Wait(limit time.Duration) Output {
	p.h.t.Helper()
	select {
	case <-p.done:
	case <-time.After(Timeout(limit)):
		p.h.t.Fatalf("%s: not done within %v: %v", p.h.Name, Timeout(limit), p.Output())
	}
	out := p.Output()
	out.Code = p.h.exitCode(p.err, p.args)
	return out
}

// Output is what the program printed so far; its Code means nothing yet.
func (p *Process) Output() Output {
	return Output{Args: p.args, Stdout: p.stdout.String(), Stderr: p.stderr.String()}
}

// Running reports whether the program has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Expect waits until the program has printed text on either stream.
func (p *Process) Expect(limit time.Duration, text string) {
	p.h.t.Helper()
	WaitFor(p.h.t, limit, fmt.Sprintf("%v to print %q", p.args, text), func() bool {
		running := p.Running() // before the look at what it said
		if strings.Contains(p.stdout.String(), text) || strings.Contains(p.stderr.String(), text) {
			return true
		}
		if !running {
			p.h.t.Fatalf("%s: ended without printing %q: %v", p.h.Name, text, p.Output())
		}
		return false
	})
}

// Signal sends a signal to the program itself, not to its children. It may have
// ended first, which the caller's Wait tells.
func (p *Process) Signal(sig syscall.Signal) {
	p.h.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.h.t.Fatalf("%s: sending %v to %v: %v", p.h.Name, sig, p.args, err)
	}
}

// holds reports whether the program has a file of that name open.
func (p *Process) holds(name string) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid))
	return slices.ContainsFunc(fds, func(fd string) bool {
		target, err := os.Readlink(fd)
		return err == nil && filepath.Base(target) == name
	})
}

// output is a buffer that can be read while a program still writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
