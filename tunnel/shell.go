// SPDX-License-Identifier: MIT

package tunnel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Shell runs hooks as wg-quick's execute_hooks does, by bash where there is
// one: with "set -e -o pipefail" and extglob, LC_ALL=C, $INTERFACE and
// $CONFIG_FILE as shell variables, and the caller's folder and standard
// input. Each runs in a process group of its own, which is killed whole when
// the context ends or the hook takes longer than it may.
type Shell struct {
	Stdin          *os.File
	Stdout, Stderr io.Writer
	// Embedded are the words that start a shell of our own, for hosts without
	// bash; an interface and the path of a file are added. It gets the text
	// over descriptor 3, and tells its exit status over 4.
	Embedded []string

	bash string // its path, "" before it was looked for
}

// The text of a hook reaches the shell over descriptor 3: on a command line
// anybody on the host could read it.
const bashPreamble = `set -e -o pipefail; shopt -s extglob; export LC_ALL=C; INTERFACE=$1 CONFIG_FILE=$2 PROGRAM=wg-quick
cmd() { echo "[#] $*" >&2; "$@"; }
IFS= read -r -d '' -u 3 HOOK || :; exec 3<&-; shift 2; eval "$HOOK"`

// Run runs one hook. The error names the phase, not the command's text.
func (s *Shell) Run(ctx context.Context, h Hook) error {
	ctx, done := within(ctx, h.Timeout)
	defer done()
	text, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("running hook: %w", err)
	}
	defer text.Close()
	go func() {
		_, _ = io.WriteString(w, h.Command)
		_ = w.Close()
	}()
	cmd, embedded := s.command(ctx, h)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	cmd.ExtraFiles = []*os.File{text}
	cmd.Env = append(os.Environ(), HookVariable+"="+h.Interface)
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	restore := s.group(cmd)
	if embedded {
		err = runEmbedded(cmd)
	} else {
		err = runBash(cmd)
	}
	restore()
	return ended(ctx, h, cmd, err)
}

// within ends with a context, and after the time if there is one; but not any
// more when the caller is done: what a hook leaves behind may go on.
func within(parent context.Context, limit time.Duration) (ctx context.Context, done func()) {
	ctx, end := context.WithCancelCause(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() { end(context.Cause(parent)) })
	if limit == 0 {
		return ctx, func() { stop() }
	}
	timer := time.AfterFunc(limit, func() { end(fmt.Errorf("it took longer than HookTimeout, %v", limit)) })
	return ctx, func() {
		stop()
		timer.Stop()
	}
}

// command is the shell with its words: bash, or where there is none our own.
func (s *Shell) command(ctx context.Context, h Hook) (cmd *exec.Cmd, embedded bool) {
	if s.bash == "" {
		s.bash, _ = exec.LookPath("bash")
	}
	if s.bash != "" {
		return exec.CommandContext(ctx, s.bash, "-c", bashPreamble, "wg-quick", h.Interface, h.Config), false
	}
	words := append(s.Embedded[1:len(s.Embedded):len(s.Embedded)], h.Interface, h.Config)
	return exec.CommandContext(ctx, s.Embedded[0], words...), true
}

// runBash runs bash to its end. If we are killed, it is too: the rest of a hook
// must not run beside the down that clears up. wg-quick's would go on.
func runBash(cmd *exec.Cmd) error {
	// The signal comes when the thread ends that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	end, err := hooks.start(cmd)
	if err != nil {
		return err
	}
	defer end()
	return cmd.Wait()
}

// runEmbedded runs our own shell until it tells the exit status of the hook.
// What the hook left in the background may go on in its process.
func runEmbedded(cmd *exec.Cmd) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.ExtraFiles = append(cmd.ExtraFiles, w)
	end, err := hooks.start(cmd)
	_ = w.Close()
	if err != nil {
		return err
	}
	defer end()
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	line, err := bufio.NewReader(r).ReadString('\n')
	code, convErr := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || convErr != nil {
		return <-waited // it died
	}
	if !copies(cmd.Stdout) && !copies(cmd.Stderr) {
		return status(code)
	}
	select { // what the hook printed is still on its way
	case err := <-waited:
		return err
	case <-time.After(cmd.WaitDelay):
		return status(code)
	}
}

// copies reports whether output goes to a writer by way of a pipe.
func copies(w io.Writer) bool {
	_, file := w.(*os.File)
	return w != nil && !file
}

// An exitStatus is the exit status of a hook, other than 0.
type exitStatus int

func status(code int) error {
	if code == 0 {
		return nil
	}
	return exitStatus(code)
}

// Error returns what os/exec says of such an exit.
func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// ended says how a hook ended, after it was seen to that nothing of one that
// was interrupted goes on.
func ended(ctx context.Context, h Hook, cmd *exec.Cmd, err error) error {
	if ctx.Err() != nil && cmd.Process != nil {
		// Whatever the hook started and did not heed the first signal.
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		return fmt.Errorf("%s hook was interrupted: %w", h.Phase, context.Cause(ctx))
	}
	if bySignal(err) {
		// Ctrl-C at a terminal goes to the hook alone. What it started and
		// doesn't listen must not outlive the rollback.
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // ended well; something it left running holds its output
	}
	return err
}

// bySignal reports whether a shell died of a signal, or says that what it ran
// did.
func bySignal(err error) bool {
	exit, own := (*exec.ExitError)(nil), exitStatus(0)
	return errors.As(err, &exit) && (!exit.Exited() || exit.ExitCode() > 128) || errors.As(err, &own) && own > 128
}

// group puts the hook into a process group of its own. Where a terminal is
// the standard input the group becomes its foreground, as a shell would do, so
// that the hook can ask for a password and Ctrl-C reaches it.
func (s *Shell) group(cmd *exec.Cmd) (restore func()) {
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if s.Stdin == nil {
		return func() {}
	}
	tty := int(s.Stdin.Fd())
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		return func() {}
	}
	cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, tty
	return func() {
		signal.Ignore(unix.SIGTTOU)
		defer signal.Reset(unix.SIGTTOU)
		_ = unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, group)
	}
}
