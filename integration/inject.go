// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Fault is what happens to wgctl when it is about to make its N-th system
// call that matters: the call fails with an error that it can fail with, or the
// process gets a signal. Calls are counted over all threads until wgctl ends
// and, for errors, over the processes that serve its devices as well, but not
// over the programs that it runs. (strace's inject counts for every thread
// apart, and so puts several faults into one run.)
type Fault struct {
	Kind string // FaultError and so on, or the name of an error: "EINTR"
	At   int    // from 1; 0 is never, and EveryCall all of them
	// Changes lets only calls count that may change something. Before those in
	// between the host is the same, and so is what a killed run leaves.
	Changes bool
	// Reads lets only the others count.
	Reads bool
	// Names lets only calls count that name something, one of some words
	// between bars: a part of a path, of the words that Injected has for a
	// call, or of what is written.
	Names string
}

// EveryCall is where a fault happens to all calls that count.
const EveryCall = -1

// The kinds of faults. The signals come before the call is made; after
// SIGKILL it never is.
const (
	FaultError = "error"
	FaultKill  = "kill"
	FaultTerm  = "term"
	FaultInt   = "int"
	FaultHang  = "hang" // the call never returns
)

// Injected is what came of a run with a fault.
type Injected struct {
	Output
	Calls int    // that were counted
	Hit   string // the call that met the fault; "" if the run had fewer
}

const (
	injectReport = "\ninjected: "
	injectHangs  = "a call hangs here"
)

// Inject runs wgctl in the host and lets one fault happen to it. The program
// that injects stays behind until what wgctl started has ended.
func (h *Host) Inject(f Fault, args ...string) Injected {
	h.t.Helper()
	return h.StartInjected(f, args...).Injected()
}

// StartInjected is Inject, but does not wait.
func (h *Host) StartInjected(f Fault, args ...string) *InjectedProcess {
	h.t.Helper()
	args = append([]string{Bin(h.t)}, args...)
	words := append([]string{f.Kind, strconv.Itoa(f.At), f.which(), f.Names}, args...)
	return &InjectedProcess{h.startRole("inject", words...), args}
}

// which are the calls that count.
func (f Fault) which() string {
	switch {
	case f.Changes:
		return "changes"
	case f.Reads:
		return "reads"
	}
	return "all"
}

// An InjectedProcess is wgctl under injection, beside the test. Signals go to
// what injects, which hands on SIGINT and SIGTERM.
type InjectedProcess struct {
	*Process
	words []string
}

// Injected waits for wgctl to end.
func (p *InjectedProcess) Injected() Injected {
	h := p.h
	h.t.Helper()
	p.Expect(runLimit, injectReport)
	out := p.Output()
	var r injection
	before, report, _ := strings.Cut(out.Stderr, injectReport)
	if err := json.NewDecoder(strings.NewReader(report)).Decode(&r); err != nil {
		h.t.Fatalf("%s: reading what was injected: %v: %v", h.Name, err, out)
	}
	out.Args, out.Stderr, out.Code = p.words, before, r.Code
	return Injected{Output: out, Calls: r.Calls, Hit: r.Hit}
}

// injection is what the injecting process reports.
type injection struct {
	Code, Calls int
	Hit         string
}

func init() {
	roles["inject"] = inject
	roles["injected"] = injected
}

// inject runs the program in args[4:] under a filter of seccomp(2) that asks
// this process about every call of faults.
func inject(args []string) error {
	at, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	in := &injector{kind: args[0], at: at, which: args[2], words: strings.Split(args[3], "|"), exe: args[4]}
	if _, known := errnos[in.kind]; !known && !in.kills() && in.kind != FaultError {
		return fmt.Errorf("a fault of kind %q: %w", in.kind, unix.EINVAL)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	cmd := roleCommand("injected", args[4:]...)
	cmd.Env = append(cmd.Env, "GODEBUG=asyncpreemptoff=1") // its signals restart calls, which would count twice
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		return err
	}
	theirs.Close()
	in.pid = cmd.Process.Pid
	handOn(cmd.Process)
	if err := in.listen(ours); err != nil {
		return errors.Join(err, cmd.Wait())
	}
	done := make(chan struct{})
	go func() {
		in.serve()
		close(done)
	}()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	in.report(cmd.ProcessState)
	<-done // a device that was started is still under the filter
	return nil
}

// handOn passes signals on to the program.
func handOn(to *os.Process) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM)
	go func() {
		for s := range signals {
			_ = to.Signal(s)
		}
	}()
}

func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	file := os.NewFile(uintptr(fds[0]), "ours")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, nil, err
	}
	return conn.(*net.UnixConn), os.NewFile(uintptr(fds[1]), "theirs"), nil
}

// injected puts itself under the filter, hands the listener over, and becomes
// the program. Only the thread that executes the program is under the filter:
// another has to hand over.
func injected(args []string) error {
	runtime.LockOSThread()
	file := os.NewFile(3, "theirs")
	conn, err := net.FileConn(file)
	if err != nil {
		return err
	}
	listener, handed := make(chan int), make(chan error)
	go func() {
		runtime.LockOSThread() // a thread of its own, from before the filter
		listener <- 0
		_, _, err := conn.(*net.UnixConn).WriteMsgUnix([]byte{0}, unix.UnixRights(<-listener), nil)
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // until somebody listens
		}
		handed <- err
	}()
	<-listener
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, roleEnv+"=") })
	fd, err := filter()
	if err != nil {
		return err
	}
	listener <- fd
	if err := <-handed; err != nil {
		return err
	}
	return unix.Exec(args[0], args, env)
}

// filter puts the calling thread under a filter that hands the calls of faults
// to the returned listener.
func filter() (listener int, err error) {
	prog := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // seccomp_data.nr
	for nr := range faults {
		prog = append(prog,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(nr), Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	prog = append(prog, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return -1, fmt.Errorf("installing a filter of system calls: %w", errno)
	}
	return int(fd), nil
}

// An injector answers for the kernel.
type injector struct {
	kind     string
	at       int
	which    string
	words    []string
	exe      string
	pid      int // of the program
	listener int

	ended chan struct{}
	count chan injection
}

func (in *injector) listen(conn *net.UnixConn) error {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(make([]byte, 1), oob)
	if err != nil {
		return err
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return fmt.Errorf("receiving the listener: %v", err)
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return err
	}
	in.listener = fds[0]
	in.ended, in.count = make(chan struct{}), make(chan injection, 1)
	_, err = conn.Write([]byte{0})
	return err
}

// report prints what happened, once the program has ended.
func (in *injector) report(state *os.ProcessState) {
	close(in.ended)
	// The next call of what is left, or its end, comes too late to count.
	r := <-in.count
	r.Code = state.ExitCode()
	if ws, ok := state.Sys().(interface {
		Signaled() bool
		Signal() unix.Signal
	}); ok && ws.Signaled() {
		r.Code = 128 + int(ws.Signal())
	}
	b, _ := json.Marshal(r)
	// After all that the program printed there.
	fmt.Fprintf(os.Stderr, "%s%s\n", injectReport, b)
}

// serve answers until nobody is under the filter any more.
func (in *injector) serve() {
	var r injection
	ended := in.ended
	var hung notification
	for {
		select {
		case <-ended:
			in.count <- r
			ended = nil
		default:
		}
		fds := []unix.PollFd{{Fd: int32(in.listener), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(10*time.Millisecond/time.Millisecond)); n == 0 || err == unix.EINTR {
			continue
		}
		if fds[0].Revents&unix.POLLIN == 0 { // the last one is gone
			if ended != nil {
				<-ended
				in.count <- r
			}
			return
		}
		var n notification
		if err := in.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&n)); err != nil {
			continue // it was killed meanwhile
		}
		if hung.nr == n.nr && hung.pid == n.pid && hung.args == n.args && r.Hit != "" {
			continue // a signal made it start anew
		}
		answer := response{id: n.id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
		if ended != nil && in.counts(&n) {
			r.Calls++
			if r.Calls == in.at || in.at == EveryCall {
				r.Hit = n.describe() + in.strike(&n, &answer)
				if in.kind == FaultHang {
					fmt.Fprintln(os.Stderr, injectHangs)
					hung = n
					continue
				}
			}
		}
		_ = in.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer))
	}
}

func (in *injector) ioctl(request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(in.listener), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

// strike lets the fault happen, and tells where it is another than was asked for.
func (in *injector) strike(n *notification, answer *response) (instead string) {
	switch in.kind {
	case FaultError:
		answer.errno, answer.flags = -int32(faults[int(n.nr)].errno), 0
	case FaultKill:
		_ = unix.Kill(in.pid, unix.SIGKILL)
	case FaultTerm:
		_ = unix.Kill(in.pid, unix.SIGTERM)
	case FaultInt:
		_ = unix.Kill(in.pid, unix.SIGINT)
	case FaultHang:
	default:
		errno := errnos[in.kind]
		if errno == unix.EINTR && (n.nr == unix.SYS_SENDMSG || n.nr == unix.SYS_RECVMSG) {
			// Their sockets don't block, and so are never interrupted; the
			// library takes this for EAGAIN, and would wait for ever.
			errno, instead = unix.ENOBUFS, " (by ENOBUFS)"
		}
		answer.errno, answer.flags = -int32(errno), 0
	}
	return instead
}

// counts reports whether a call is wgctl's and matters.
func (in *injector) counts(n *notification) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", n.pid))
	if err != nil || exe != in.exe {
		return false
	}
	// A device whose process gets a signal of its own is another story.
	if in.kills() && !in.isThread(n.pid) || in.which != "all" && n.changes() != (in.which == "changes") {
		return false
	}
	if !slices.ContainsFunc(in.words, n.names) {
		return false
	}
	switch int(n.nr) {
	case unix.SYS_WRITE:
		// What is printed is no step, and the runtime's own wake-ups go
		// through an eventfd.
		return n.args[0] > 2 && !strings.HasPrefix(n.file(), "anon_inode:")
	case unix.SYS_OPENAT:
		return !strings.HasPrefix(n.text(n.args[1]), "/sys/kernel/mm/")
	}
	return true
}

// kills reports whether the fault concerns the program alone.
func (in *injector) kills() bool {
	return slices.Contains([]string{FaultKill, FaultTerm, FaultInt, FaultHang}, in.kind)
}

// isThread reports whether the number is that of a thread of the program.
func (in *injector) isThread(tid uint32) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", in.pid, tid))
	return err == nil
}
