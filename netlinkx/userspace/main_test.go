// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// slowToEnd is the interface of a process that gets no processor when all but its
// end is done.
const slowToEnd = "slow"

// The roles that the test binary plays besides that of the test: what a
// Starter starts, and commands whose end a test watches.
var roles = map[string]func(ifname string) error{
	"device-serve": func(ifname string) error {
		// SIGHUP, as a command has it; Serve has to take that back.
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
		defer stop()
		err := Serve(ctx, ServeOptions{Interface: ifname, Detached: true, LogLevel: os.Getenv("LOG_LEVEL")})
		if ifname == slowToEnd {
			time.Sleep(500 * time.Millisecond)
		}
		return err
	},
	"foreground": func(ifname string) error {
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
		defer stop()
		return Serve(ctx, ServeOptions{Interface: ifname, LogLevel: "debug", Log: os.Stdout})
	},
	"prepare": func(ifname string) error {
		s := starter()
		defer s.Forget()
		if err := s.Prepare(ifname); err != nil {
			return err
		}
		return s.Start(context.Background(), ifname)
	},
	"start": func(ifname string) error {
		s := starter()
		s.LogLevel = os.Getenv("LOG_LEVEL")
		return s.Start(context.Background(), ifname)
	},
	// prepared has a process waiting, and then comes to no more.
	"prepared": func(ifname string) error {
		if err := starter().Prepare(ifname); err != nil {
			return err
		}
		fmt.Println("waiting")
		time.Sleep(time.Hour)
		return nil
	},
	// replaced starts a device after its own binary was replaced on disk.
	"replaced": func(ifname string) error {
		exe, err := os.Executable()
		if err != nil {
			return err
		}
		if err := os.WriteFile(exe+".new", []byte("#!/bin/false\n"), 0o755); err != nil {
			return err
		}
		if err := os.Rename(exe+".new", exe); err != nil {
			return err
		}
		return starter().Start(context.Background(), ifname)
	},
	"mute":   func(string) error { time.Sleep(time.Hour); return nil },
	"broken": func(string) error { return errors.New("the device is broken") },
	"hardened": func(string) error {
		if err := forbidDumps(); err != nil {
			return err
		}
		dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		if err != nil {
			return err
		}
		_, err = os.ReadDir("/proc/self/fd")
		fmt.Println(dumpable, err)
		return nil
	},
}

func TestMain(m *testing.M) {
	if len(os.Args) >= 3 && roles[os.Args[1]] != nil {
		if err := roles[os.Args[1]](os.Args[len(os.Args)-1]); err != nil {
			fmt.Fprintln(os.Stderr, "wgctl:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// starter returns a Starter whose processes are this test binary.
func starter() *Starter {
	return &Starter{
		Args: []string{"device-serve"}, Alias: "wgctl",
		Env: []string{raceEnv, upstreamEnv + "=" + os.Getenv(upstreamEnv)},
	}
}

const (
	// What a race detector finds in a process whose standard error leads
	// nowhere goes to a file that settle looks at.
	raceEnv   = "GORACE=atexit_sleep_ms=0 log_path=/run/race"
	insideEnv = "WGCTL_TEST_INSIDE" // the test that runs in its own namespaces
	strictEnv = "WGCTL_TEST_STRICT"
)

// missing skips the test because of what the machine lacks, or fails it where
// the machine is supposed to have everything.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(strictEnv) == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// isolated runs the rest of the test in network, mount and process namespaces
// of its own, with an empty /run: it returns true there, and false in the
// outer process, for which the test is over. With the inner process all that
// it started ends. The tools are programs that it needs besides wg and ip.
func isolated(t *testing.T, tools ...string) bool {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		settle(t)
		return true
	}
	for _, tool := range append(tools, "wg", "ip", "true") {
		if _, err := exec.LookPath(tool); err != nil {
			missing(t, "probe: %v", err)
		}
	}
	probe := exec.Command("true")
	probe.SysProcAttr = isolation
	if err := probe.Run(); err != nil {
		missing(t, "probe: making namespaces: %v", err)
	}
	if err := new(Starter).Available(t.Context()); err != nil {
		missing(t, "probe: %v", err)
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.timeout=10m"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := inside(args...)
	cmd.Env = append(os.Environ(), insideEnv+"="+t.Name(), strictEnv+"=1", raceEnv)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err != nil {
		t.Fatalf("in its own namespaces: %v\n%s", err, out.String())
	}
	if strings.Contains(out.String(), "no tests to run") {
		t.Fatal("the inner process didn't find its test")
	}
	t.Log("\n" + out.String())
	return false
}

// isolation is namespaces of its own for a process.
var isolation = &syscall.SysProcAttr{
	Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: unix.SIGKILL,
}

// inside returns the test binary as a command in namespaces of its own.
func inside(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.SysProcAttr = isolation
	return cmd
}

// settle furnishes the namespaces.
func settle(t testing.TB) {
	t.Helper()
	for _, m := range []struct {
		source, target, fstype string
		flags                  uintptr
	}{
		{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"proc", "/proc", "proc", 0},
		{"tmpfs", "/run", "tmpfs", 0},
	} {
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, ""); err != nil {
			t.Fatalf("mounting %s: %v", m.target, err)
		}
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "set", "lo", "up")
	t.Cleanup(func() {
		reports, _ := filepath.Glob("/run/race*")
		for _, path := range reports {
			b, _ := os.ReadFile(path)
			t.Errorf("%s:\n%s", path, b)
		}
	})
}

// run runs a command that must succeed and returns its output.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// role returns a command that plays a role of TestMain.
func role(words ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exec.Command(exe, words...)
}

// mustStart starts a device.
func mustStart(t testing.TB, ifname string) {
	t.Helper()
	if err := starter().Start(t.Context(), ifname); err != nil {
		t.Fatalf("start %s: %v", ifname, err)
	}
}

// deviceProcess returns the id of the process that serves an interface, or 0.
func deviceProcess(t testing.TB, ifname string) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		argv := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if len(argv) == 3 && argv[0] == "wgctl" && argv[2] == ifname {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// wantProcess waits for the process: it has no words for a moment after it was
// started.
func wantProcess(t testing.TB, ifname string) (pid int) {
	t.Helper()
	eventually(t, "a process for "+ifname, func() bool {
		pid = deviceProcess(t, ifname)
		return pid != 0
	})
	return pid
}

// signalDevice sends the process a signal.
func signalDevice(t testing.TB, ifname string, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(wantProcess(t, ifname), sig); err != nil {
		t.Fatal(err)
	}
}

// patience is for what is on its way: so long that no pause of the machine is taken
// for a failure.
const patience = time.Minute

// eventually waits for a condition.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after %v still not: %s", patience, what)
		}
	}
}

func linkExists(ifname string) bool {
	return exec.Command("ip", "link", "show", "dev", ifname).Run() == nil
}

func socketExists(ifname string) bool {
	_, err := os.Lstat(socketPath(SocketDir, ifname))
	return !errors.Is(err, fs.ErrNotExist)
}

// wantNothing fails if anything of the interface is left: at once, as Start
// promises it for when it returns.
func wantNothing(t *testing.T, ifname string) {
	t.Helper()
	if linkExists(ifname) {
		t.Errorf("link %s is left", ifname)
	}
	if socketExists(ifname) {
		t.Errorf("socket of %s is left", ifname)
	}
	if pid := deviceProcess(t, ifname); pid != 0 {
		t.Errorf("process %d of %s is left", pid, ifname)
	}
	if names, _ := filepath.Glob(SocketDir + "/.*.new"); len(names) > 0 {
		t.Errorf("left: %v", names)
	}
}

// wantGone waits for a device to end by itself.
func wantGone(t *testing.T, ifname string) {
	t.Helper()
	eventually(t, "process of "+ifname+" ended", func() bool { return deviceProcess(t, ifname) == 0 })
	wantNothing(t, ifname)
}
