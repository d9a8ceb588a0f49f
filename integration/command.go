// SPDX-License-Identifier: MIT

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A command is a program that is to run in some of a host's namespaces. It is
// entered by a thread of the test's, and not by nsenter, which cost as much as
// many a program that it ran.
type command struct {
	*exec.Cmd
	pid    int // of the host's first process
	spaces []space
}

// A space is a kind of namespace: its file in /proc/PID/ns, and its flag.
type space struct {
	name string
	flag int
}

// The mounts come last: /proc is another's then.
var (
	network   = space{"net", unix.CLONE_NEWNET}
	processes = space{"pid", unix.CLONE_NEWPID}
	mounts    = space{"mnt", unix.CLONE_NEWNS}
)

// command is a program in the host.
func (h *Host) command(ctx context.Context, args []string) *command {
	return h.enter(ctx, args, network, processes, mounts)
}

// enter prepares a program in a process group of its own, so that a time-out ends
// it and what it started.
func (h *Host) enter(ctx context.Context, args []string, spaces ...space) *command {
	cmd := exec.CommandContext(ctx, "/found/later", args[1:]...)
	cmd.Args[0] = args[0]
	cmd.Env = append(os.Environ(), h.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = Timeout(2 * time.Second)
	return &command{cmd, h.pid, spaces}
}

// Run is Start and Wait.
func (c *command) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Start starts the program on a thread that has entered the namespaces.
func (c *command) Start() error { return onThread(c.startHere) }

// onThread calls f on a thread that is not used again, wherever f takes it: the
// runtime ends it with the goroutine that is locked to it.
func onThread(f func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- f()
	}()
	return <-result
}

func (c *command) startHere() error {
	for _, s := range c.spaces {
		if s == mounts {
			// A root of its own, and a working directory: / of the host.
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("parting from the other threads' root: %w", err)
			}
		}
		if err := enterSpace(c.pid, s); err != nil {
			return err
		}
	}
	path, err := inPathOf(c.Env, c.Args[0])
	if err != nil {
		return err
	}
	c.Path = path
	return c.Cmd.Start()
}

// enterSpace takes this thread into a namespace of a process; the children only,
// where it is one of processes. Its errors wrap none: a host that is gone is no
// program that isn't found.
func enterSpace(pid int, s space) error {
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, s.name))
	if err != nil {
		return fmt.Errorf("entering a namespace: %v", err)
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), s.flag); err != nil {
		return fmt.Errorf("entering a namespace (%s): %v", s.name, err)
	}
	return nil
}

// inPathOf finds a program by the PATH of an environment, as execvp(3) does.
func inPathOf(env []string, name string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := ""
	for _, e := range env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			path = value // the last one counts
		}
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() && unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
	}
	return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
}
