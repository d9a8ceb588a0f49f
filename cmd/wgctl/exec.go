// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/namespace"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// Exit codes of a command that could not be started, as those of a shell.
const (
	exitNotRunnable = 126
	exitNotFound    = 127
)

func newExec(ui *ui) *cobra.Command {
	var netns string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "exec {NAME|FILE | --netns NAME|PATH|PID} [--] COMMAND [WORD...]",
		Short: "Run a command whose only way out is a tunnel, or one in a namespace",
		Long: `Run a command in a network namespace of its own, whose only way out is the tunnel
of a file: the tunnel is brought up for it and goes with it, and its UDP socket is
out here. Nothing is left, however it ends. With --netns, run a command in a
namespace that is there, as "ip netns exec" does. The exit status is the
command's; 126 and 127 are those of a command that can't be run or isn't there.`,
		Example: `  wgctl exec wg0 -- curl https://example.org
  wgctl exec ./office.conf -- sh
  wgctl exec --netns blue -- ip address`,
		ValidArgsFunction: completeConfigs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot("exec"); err != nil {
				return err
			}
			if netns != "" {
				return execIn(netns, args)
			}
			return execBehind(cmd, ui, args, verbose)
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVar(&netns, "netns", "", "run it in the network namespace `NAME|PATH|PID`")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "show the steps that the tunnel takes")
	_ = cmd.RegisterFlagCompletionFunc("netns", completeNamespaces)
	return cmd
}

func noCommand() error {
	return usageError{withHint(errors.New("exec takes a tunnel or --netns, and a command"), "wgctl help exec shows how")}
}

// execIn becomes a command in a namespace that is there.
func execIn(word string, args []string) error {
	if len(args) == 0 {
		return noCommand()
	}
	p, err := namespace.Find(word)
	if err != nil {
		return err
	}
	ns, err := p.Open()
	if err != nil {
		return err
	}
	runtime.LockOSThread() // for good: the thread is in another namespace
	if err := namespace.Enter(ns); err != nil {
		return err
	}
	if err := namespace.Furnish(p.Name); err != nil {
		return err
	}
	path, code := lookCommand(args[0])
	if code != 0 {
		return notStarted(args[0], code)
	}
	return fmt.Errorf("starting %s: %w", args[0], syscall.Exec(path, args, os.Environ()))
}

// lookCommand finds a program, or the exit status of a shell that can't.
func lookCommand(name string) (path string, code int) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, 0
	case errors.Is(err, fs.ErrPermission):
		return "", exitNotRunnable
	}
	return "", exitNotFound
}

func notStarted(name string, code int) error {
	why := "no such program"
	if code == exitNotRunnable {
		why = "it can't be run"
	}
	return codedError{fmt.Errorf("%s: %s", name, why), code}
}

// A codedError ends the program with a code of its own.
type codedError struct {
	error
	code int
}

// execBehind runs a command behind the tunnel of a file. The command's namespace
// begins with a process of this program as its first, which brings the tunnel
// up; it is killed when this process ends, and the kernel with it all that runs
// there and the namespace itself.
func execBehind(cmd *cobra.Command, ui *ui, args []string, verbose bool) error {
	if len(args) > 1 && args[1] == "--" {
		args = append(args[:1:1], args[2:]...)
	}
	if len(args) < 2 {
		return noCommand()
	}
	path, err := execFile(cmd, ui, args[0])
	if err != nil {
		return err
	}
	if _, code := lookCommand(args[1]); code != 0 {
		return notStarted(args[1], code)
	}
	outer, err := namespace.Here()
	if err != nil {
		return fmt.Errorf("opening the own network namespace: %w", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding wgctl itself: %w", err)
	}
	words := []string{execInsideVerb, fmt.Sprintf("--steps=%t", verbose), path}
	inner := exec.Command(exe, append(words, args[1:]...)...)
	inner.Stdin, inner.Stdout, inner.Stderr = os.Stdin, os.Stdout, os.Stderr
	inner.ExtraFiles = []*os.File{outer}
	inner.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL,
	}
	runtime.LockOSThread() // it is the end of the thread that kills the child
	defer runtime.UnlockOSThread()
	if err := inner.Start(); err != nil {
		return execHint(fmt.Errorf("making a namespace for %s: %w", args[1], err))
	}
	stop := passSignals(inner.Process.Pid)
	err = inner.Wait()
	stop()
	return asExit(err, inner.ProcessState)
}

// execFile returns the file that a word means, if its tunnel can be brought up
// a second time: two devices with one key would take each other's sessions.
func execFile(cmd *cobra.Command, ui *ui, word string) (string, error) {
	_, name, err := config.Locate(word)
	if err != nil {
		return "", err
	}
	in, err := read(cmd.Context(), ui, word)
	if err != nil {
		return "", err
	}
	have, err := tunnel.Observe(cmd.Context(), in.host, name)
	if err != nil {
		return "", err
	}
	if have.Up() {
		return "", withHint(fmt.Errorf("%s %w, and its key can't be in use twice", name, tunnel.ErrUp), fmt.Sprintf(`"wgctl down %s" first, or use a file with another key`, name))
	}
	return filepath.Abs(in.path)
}

func execHint(err error) error {
	if errors.Is(err, unix.EPERM) {
		return withHint(err, "this takes CAP_SYS_ADMIN: a container has it with --cap-add SYS_ADMIN")
	}
	return err
}

// asExit ends the program as a process ended.
func asExit(err error, state *os.ProcessState) error {
	if state == nil {
		return err
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return exitError(128 + int(ws.Signal()))
	}
	if code := state.ExitCode(); code != 0 {
		return exitError(code)
	}
	return nil
}

// passSignals passes what comes to this process on to another, but for what the
// terminal sends to both.
func passSignals(pid int) (stop func()) {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGUSR1, unix.SIGUSR2)
	go func() {
		for s := range signals {
			number := s.(syscall.Signal)
			if (number == unix.SIGINT || number == unix.SIGQUIT) && inForeground() {
				continue
			}
			_ = unix.Kill(pid, number)
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
	}
}

// inForeground reports whether keys typed at a terminal send signals to this
// process, and then to all of its group.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
