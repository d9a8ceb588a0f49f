// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A step is a command of a round.
type step struct {
	Name string // what is measured; empty: nothing, and only what follows needs it
	Argv []string
	// Trace is where strace writes what the command does, a file a process,
	// from this name on; empty: it isn't traced. Of a command that leaves a
	// process behind, strace is left behind with it.
	Trace string
	// Sent says that the trace shows all that is sent.
	Sent bool
	// Others says that another's changes are timed meanwhile.
	Others bool
}

// A cost is what a step took: all its processes together, but for one that it
// left behind.
type cost struct {
	Name   string
	Wall   time.Duration
	CPU    time.Duration // user and system
	Memory int64         // KiB, of the largest of the processes
	Stall  time.Duration // the longest that another's change took meanwhile; 0: nobody looked
}

// inRound runs steps in a network namespace of their own, with their own /run
// and their own processes, which end with it. Of another that fails, the costs
// so far come with the error.
func inRound(ctx context.Context, path string, steps []step) ([]cost, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	in, err := json.Marshal(steps)
	if err != nil {
		return nil, err
	}
	// A process of its own also because what the kernel says of a process's
	// memory starts from that of the process that made it: this one is large.
	cmd := exec.CommandContext(ctx, self, "round")
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"), "GOMAXPROCS=", "WG_HIDE_KEYS=never")
	cmd.Stdin = bytes.NewReader(in)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
		Pdeathsig:  unix.SIGKILL,
	}
	err = cmd.Run()
	var costs []cost
	for d := json.NewDecoder(&out); d.More(); {
		var c cost
		if err := d.Decode(&c); err != nil {
			return costs, err
		}
		costs = append(costs, c)
	}
	if err != nil {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(complaints.String()))
	}
	return costs, err
}

// round is the process that inRound starts.
func round() error {
	var steps []step
	if err := json.NewDecoder(os.Stdin).Decode(&steps); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	for dir, kind := range map[string]string{"/run": "tmpfs", "/proc": "proc", "/sys": "sysfs"} {
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", dir, err)
		}
	}
	out := json.NewEncoder(os.Stdout)
	for _, s := range append([]step{{Argv: []string{"ip", "link", "set", "lo", "up"}}}, steps...) {
		c, err := s.run()
		if err != nil {
			return err
		}
		if s.Name != "" {
			if err := out.Encode(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s step) run() (cost, error) {
	if s.Trace != "" {
		return cost{Name: s.Name}, s.traced()
	}
	cmd := exec.Command(s.Argv[0], s.Argv[1:]...)
	// Files: a pipe would be waited for until a process that is left behind
	// closes it.
	complaints, err := os.CreateTemp("/run", "complaints")
	if err != nil {
		return cost{}, err
	}
	defer func() { _, _ = complaints.Close(), os.Remove(complaints.Name()) }()
	cmd.Stderr = complaints
	longest := func() (time.Duration, error) { return 0, nil }
	if s.Others {
		if longest, err = others(); err != nil {
			return cost{}, err
		}
	}
	start := time.Now()
	err = cmd.Run()
	wall := time.Since(start)
	stall, failed := longest()
	if err == nil {
		err = failed
	}
	if err != nil {
		text, _ := os.ReadFile(complaints.Name())
		return cost{}, fmt.Errorf("running %s: %w: %s", strings.Join(s.Argv, " "), err, lastLines(text, 3))
	}
	c := cost{Name: s.Name, Wall: wall, Stall: stall, CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if r, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.Memory = r.Maxrss
	}
	return c, nil
}

func lastLines(text []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
