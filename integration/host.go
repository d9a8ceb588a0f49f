// SPDX-License-Identifier: MIT

package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runLimit bounds one command in a host, before Timeout.
const runLimit = 60 * time.Second

// A Host is a machine of its own as far as WireGuard can tell: its own network,
// processes, /run and /etc (a copy on write of the machine's, with an empty
// /etc/wireguard and a plain /etc/resolv.conf), the rest of the file system
// shared with the machine. It ends with the test, or with the test process, and
// everything in it ends too.
//
// A Host's methods fail the test of NewHost when the harness itself fails;
// what a command answers is for the test to judge.
type Host struct {
	Name string

	t       testing.TB
	pid     int    // of the holder, seen from the machine
	scratch string // folder with the upper layer of /etc, inside
	env     []string
}

// Output is what a command left.
type Output struct {
	Args           []string
	Stdout, Stderr string
	Code           int // exit status; 128 + N for death by signal N, as in a shell
}

// String shows the command and all it printed, for failure messages.
func (o Output) String() string {
	return fmt.Sprintf("$ %s\n%s%s(exit %d)", strings.Join(o.Args, " "), o.Stdout, o.Stderr, o.Code)
}

// NewHost makes a host; name is for messages.
func NewHost(t testing.TB, name string) *Host {
	t.Helper()
	needNamespaces(t)
	h := &Host{Name: name, t: t, scratch: t.TempDir()}
	holder, err := startHolder(h.scratch)
	if err != nil {
		t.Fatalf("making host %s: %v", name, err)
	}
	t.Cleanup(holder.end)
	h.pid = holder.cmd.Process.Pid
	return h
}

// A holder is the first process of a host, seen from the machine.
type holder struct {
	cmd   *exec.Cmd
	stdin io.Closer
}

// startHolder makes the namespaces and returns when they are furnished.
func startHolder(scratch string) (*holder, error) {
	cmd := roleCommand("hold", scratch)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID,
	}
	// The holder lives as long as this pipe is open, and the kernel closes it
	// when the test process dies, however it dies.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	h := &holder{cmd, stdin}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		h.end()
		return nil, fmt.Errorf("%w: %s", err, stderr.String())
	}
	return h, nil
}

// end returns when the namespaces are empty: the kernel lets process 1 be
// waited for last.
func (h *holder) end() {
	h.stdin.Close()
	h.cmd.Process.Kill()
	h.cmd.Wait()
}

// roleCommand is the test binary, to be run in one of its roles.
func roleCommand(role string, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	return cmd
}

// Setenv sets a variable for every later command in the host.
func (h *Host) Setenv(key, value string) { h.env = append(h.env, key+"="+value) }

// PID is the host's first process as the machine numbers it.
func (h *Host) PID() int { return h.pid }

// Run runs a program in the host, with nothing on standard input, and waits.
func (h *Host) Run(args ...string) Output {
	h.t.Helper()
	return h.RunInput("", args...)
}

// RunInput is Run with text on standard input.
func (h *Host) RunInput(stdin string, args ...string) Output {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout(runLimit))
	defer cancel()
	return h.run(ctx, h.command(ctx, args), stdin, args)
}

// runInNet runs a program of the machine, with the machine's processes and
// files, in the host's network.
func (h *Host) runInNet(args ...string) Output {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Timeout(runLimit))
	defer cancel()
	return h.run(ctx, h.enter(ctx, args, network), "", args)
}

func (h *Host) run(ctx context.Context, cmd *command, stdin string, args []string) Output {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	out := Output{Args: args, Stdout: stdout.String(), Stderr: stderr.String()}
	switch {
	case ctx.Err() != nil:
		h.t.Fatalf("%s: not done within %v: %v", h.Name, Timeout(runLimit), out)
	case errors.Is(err, exec.ErrWaitDelay):
		// A caller that captures output, as a script does, would hang here.
		h.t.Errorf("%s: left a process behind that holds its output: %v", h.Name, out)
	case cmd.Process == nil && err != nil:
		out.Stderr = err.Error() + "\n" // as a shell says it
	}
	out.Code = h.exitCode(err, args)
	return out
}

// Must is Run, and fails the test unless the program exits 0.
func (h *Host) Must(args ...string) Output {
	h.t.Helper()
	out := h.Run(args...)
	if out.Code != 0 {
		h.t.Fatalf("%s: %v", h.Name, out)
	}
	return out
}

// Fails is Run, and fails the test unless the program exits with code.
func (h *Host) Fails(code int, args ...string) Output {
	h.t.Helper()
	out := h.Run(args...)
	if out.Code != code {
		h.t.Fatalf("%s: want exit %d: %v", h.Name, code, out)
	}
	return out
}

// Wgctl runs the wgctl under test.
func (h *Host) Wgctl(args ...string) Output {
	h.t.Helper()
	return h.Run(append([]string{Bin(h.t)}, args...)...)
}

// Sh runs a line of shell and fails the test unless it exits 0.
func (h *Host) Sh(script string) Output {
	h.t.Helper()
	return h.Must("sh", "-ec", script)
}

// exitCode reads an exit status out of the error of os/exec.
func (h *Host) exitCode(err error, args []string) int {
	h.t.Helper()
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return 0
	case errors.Is(err, os.ErrPermission):
		return 126 // as in a shell
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return 127
	case !errors.As(err, &exit):
		h.t.Fatalf("%s: starting %v: %v", h.Name, args, err)
	case exit.Sys().(syscall.WaitStatus).Signaled():
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal())
	}
	return exit.ExitCode()
}

// WriteFile writes a file in the host, making its folders: mode 0600, as a
// file with keys has it.
func (h *Host) WriteFile(path, content string) {
	h.t.Helper()
	h.writeFile(path, content, 0o600)
}

// WriteFileMode is WriteFile with a mode.
func (h *Host) WriteFileMode(path, content string, mode os.FileMode) {
	h.t.Helper()
	h.writeFile(path, content, mode)
}

func (h *Host) writeFile(path, content string, mode os.FileMode) {
	h.t.Helper()
	// A child of another thread's has what is open here until it runs its program,
	// and nobody can run a file that somebody writes to.
	forking := syscall.ForkLock.RLocker()
	forking.Lock()
	f, err := h.open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, mode)
	if errors.Is(err, os.ErrNotExist) {
		forking.Unlock()
		h.Must("mkdir", "-p", filepath.Dir(path))
		forking.Lock()
		f, err = h.open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, mode)
	}
	if err == nil {
		_, err = f.WriteString(content)
		// The mode is the caller's, not the umask's nor an older file's.
		err = errors.Join(err, f.Chmod(mode), f.Close())
	}
	forking.Unlock()
	if err != nil {
		h.t.Fatalf("%s: writing %s: %v", h.Name, path, err)
	}
}

// ReadFile reads a file in the host.
func (h *Host) ReadFile(path string) string {
	h.t.Helper()
	f, err := h.open(path, unix.O_RDONLY, 0)
	if err != nil {
		h.t.Fatalf("%s: reading %s: %v", h.Name, path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		h.t.Fatalf("%s: reading %s: %v", h.Name, path, err)
	}
	return string(b)
}

// Exists reports whether the path is there, without following a final symlink.
func (h *Host) Exists(path string) bool {
	h.t.Helper()
	f, err := h.open(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// open opens a path as the host sees it. RESOLVE_IN_ROOT keeps absolute
// symlinks (/var/run) inside the host, which a plain path below
// /proc/PID/root would not.
func (h *Host) open(path string, flags int, mode os.FileMode) (*os.File, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", h.pid), unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(root)
	how := &unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Mode:    uint64(mode.Perm()),
		Resolve: unix.RESOLVE_IN_ROOT,
	}
	if flags&unix.O_CREAT == 0 {
		how.Mode = 0 // openat2(2) refuses a mode that it would ignore
	}
	fd, err := unix.Openat2(root, strings.TrimPrefix(path, "/"), how)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// Hide takes programs away from the host, wherever in PATH they are: the
// name stays, but is nothing that can be run. Hiding one name of a multi-call
// binary (iptables) hides them all.
func (h *Host) Hide(programs ...string) {
	h.t.Helper()
	for _, p := range programs {
		for range 4 { // a name may be in several folders of PATH
			found := h.Run("sh", "-c", `p=$(command -v "$1") && readlink -f "$p"`, "sh", p)
			if found.Code != 0 {
				break
			}
			h.Must("mount", "--bind", "/dev/null", strings.TrimSpace(found.Stdout))
		}
	}
}
