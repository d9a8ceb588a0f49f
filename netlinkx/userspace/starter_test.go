// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStartShows(t *testing.T) {
	if !isolated(t) {
		return
	}
	mustStart(t, "wg0")
	if out := run(t, "wg", "show"); !strings.Contains(out, "interface: wg0") {
		t.Errorf("wg show printed %q", out)
	}
	out := run(t, "ip", "-d", "link", "show", "dev", "wg0")
	for _, want := range []string{"alias wgctl", "mtu 1420", "tun type tun", "vnet_hdr on", "persist off", "state DOWN"} {
		if !strings.Contains(out, want) {
			t.Errorf("ip link show lacks %q:\n%s", want, out)
		}
	}
	info, err := os.Lstat(socketPath(SocketDir, "wg0"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode(), fs.ModeSocket|0o600; got != want {
		t.Errorf("socket has mode %v, want %v", got, want)
	}
	if info, err = os.Stat(SocketDir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory has mode %v (%v), want 0700", info.Mode(), err)
	}
}

// What the process holds and shows: no descriptor by accident, no variable of
// its starter's, no controlling session, and a command line to be known by.
func TestStartProcess(t *testing.T) {
	if !isolated(t) {
		return
	}
	t.Setenv("SECRET_OF_THE_CALLER", "x")
	leak, err := os.Create("/run/leak")
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	if _, err := unix.FcntlInt(leak.Fd(), unix.F_SETFD, 0); err != nil { // as a shell's 9>file
		t.Fatal(err)
	}
	s := starter()
	s.Env = nil
	if err := s.Start(t.Context(), "wg0"); err != nil {
		t.Fatal(err)
	}
	pid := deviceProcess(t, "wg0")
	if pid == 0 {
		t.Fatal("no process with the argv that was promised")
	}
	proc := fmt.Sprintf("/proc/%d", pid)
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		t.Fatal(err)
	}
	var tuns int
	for _, fd := range fds {
		at, err := os.Readlink(proc + "/fd/" + fd.Name())
		if err != nil {
			continue
		}
		switch {
		case at == cloneDevice:
			tuns++
		case strings.HasPrefix(at, "/sys/fs/cgroup/"): // the Go runtime's, of its own process
		case at == "/dev/null", strings.HasPrefix(at, "socket:"), strings.HasPrefix(at, "anon_inode:"):
		case strings.HasPrefix(at, "pipe:"): // wireguard-go's own way to cancel a read
			if fd.Name() <= "2" && len(fd.Name()) == 1 {
				t.Errorf("holds its starter's %s as %s", at, fd.Name())
			}
		default:
			t.Errorf("holds %s as descriptor %s", at, fd.Name())
		}
	}
	if tuns != 1 {
		t.Errorf("holds %d TUN descriptors, want 1", tuns)
	}
	if env, err := os.ReadFile(proc + "/environ"); err != nil || string(env) != servicePath+"\x00" {
		t.Errorf("environment is %q (%v)", env, err)
	}
	if cwd, err := os.Readlink(proc + "/cwd"); err != nil || cwd != "/" {
		t.Errorf("works in %q (%v)", cwd, err)
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session is %d (%v), want its own, %d", sid, err, pid)
	}
	if err := unix.Kill(pid, unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if got := deviceProcess(t, "wg0"); got != pid {
		t.Error("a hangup ended it")
	}
}

func TestForbidDumps(t *testing.T) {
	out, err := role("hardened", "-").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "0 <nil>" {
		t.Errorf("got %q (%v), want not dumpable, and /proc/self/fd readable", out, err)
	}
}

// Whatever comes next may use link and socket at once.
func TestStartIsReady(t *testing.T) {
	if !isolated(t) {
		return
	}
	run(t, "ip", "netns", "add", "other")
	for i := range 100 {
		mustStart(t, "wg0")
		run(t, "wg", "set", "wg0", "listen-port", "5182", "fwmark", "7")
		if i%2 == 0 {
			run(t, "ip", "link", "set", "wg0", "netns", "other")
			run(t, "ip", "-n", "other", "link", "set", "wg0", "up")
			run(t, "ip", "-n", "other", "link", "del", "wg0")
		} else {
			run(t, "ip", "link", "set", "wg0", "mtu", "1300", "up")
			run(t, "ip", "link", "del", "wg0")
		}
		// No wait: the next Start has to cope with the last one's end.
	}
	wantGone(t, "wg0")
}

func TestStartRefuses(t *testing.T) {
	if !isolated(t) {
		return
	}
	run(t, "ip", "tuntap", "add", "dev", "mine", "mode", "tun")
	run(t, "ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1")
	if err := os.MkdirAll(SocketDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(SocketDir+"/file.sock", []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	live, err := net.Listen("unix", SocketDir+"/live.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	for _, tt := range []struct {
		name, ifname string
		want         error
		says         string
	}{
		{"too long", "wg-with-16-bytes", unix.ENAMETOOLONG, "longer than 15 bytes"},
		{"pattern", "wg%d", unix.EINVAL, ""},
		{"path", "../wg0", unix.EINVAL, ""},
		{"dots", "..", unix.EINVAL, ""},
		{"option", "-f", unix.EINVAL, ""},
		{"sysctl's", "all", unix.EINVAL, ""},
		{"none", "", unix.EINVAL, ""},
		{"persistent TUN", "mine", fs.ErrExist, "making TUN link mine: file exists"},
		{"veth", "veth0", unix.EEXIST, ""},
		{"a file where the socket goes", "file", unix.EEXIST, "is not a socket"},
		{"a live socket", "live", unix.EADDRINUSE, "another process serves"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := starter().Start(t.Context(), tt.ifname)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got error %v, want %v, saying %q", err, tt.want, tt.says)
			}
			if deviceProcess(t, tt.ifname) != 0 {
				t.Error("a process was left")
			}
		})
	}
	for _, ifname := range []string{"file", "live"} {
		if linkExists(ifname) {
			t.Errorf("link %s is left", ifname)
		}
	}
	if out := run(t, "ip", "-d", "link", "show", "dev", "mine"); !strings.Contains(out, "persist on") || strings.Contains(out, "alias") {
		t.Errorf("the persistent TUN was touched:\n%s", out)
	}
	if b, err := os.ReadFile(SocketDir + "/file.sock"); err != nil || string(b) != "kept" {
		t.Errorf("the file was touched: %q, %v", b, err)
	}
	if ok, err := answers(SocketDir + "/live.sock"); !ok || err != nil {
		t.Errorf("the live socket was touched: %v, %v", ok, err)
	}
}

// A device that doesn't come to answer leaves nothing, and its reason gets
// back to whoever wanted it.
func TestStartFails(t *testing.T) {
	if !isolated(t) {
		return
	}
	t.Run("the process says why", func(t *testing.T) {
		s := starter()
		s.Args = []string{"broken"}
		err := s.Start(t.Context(), "wg0")
		if err == nil || !strings.Contains(err.Error(), "it said: the device is broken") {
			t.Errorf("got error %v", err)
		}
		wantNothing(t, "wg0")
	})
	t.Run("no answer", func(t *testing.T) {
		s := starter()
		s.Args, s.Timeout = []string{"mute"}, 100*time.Millisecond
		err := s.Start(t.Context(), "wg0")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 100ms") {
			t.Errorf("got error %v", err)
		}
		wantNothing(t, "wg0")
	})
	t.Run("cancelled", func(t *testing.T) {
		s := starter()
		s.Args = []string{"mute"}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if err := s.Start(ctx, "wg0"); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
		wantNothing(t, "wg0")
	})
	t.Run("cancelled before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := starter().Start(ctx, "wg0"); !errors.Is(err, context.Canceled) {
			t.Errorf("got error %v", err)
		}
		wantNothing(t, "wg0")
	})
	t.Run("no such binary", func(t *testing.T) {
		s := starter()
		s.Executable = "/nonexistent"
		if err := s.Start(t.Context(), "wg0"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got error %v", err)
		}
		wantNothing(t, "wg0")
	})
	t.Run("cancelled at any moment", func(t *testing.T) {
		for d := range 40 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(d)*time.Millisecond/2)
			err := starter().Start(ctx, "wg0")
			cancel()
			if err == nil {
				run(t, "ip", "link", "del", "wg0")
				wantGone(t, "wg0")
			} else if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %d ms/2: %v", d, err)
			}
			wantNothing(t, "wg0")
		}
	})
}

func TestStartReadOnlyRun(t *testing.T) {
	if !isolated(t) {
		return
	}
	if err := unix.Mount("", "/run", "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	err := starter().Start(t.Context(), "wg0")
	if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "making UAPI socket /var/run/wireguard/wg0.sock") {
		t.Errorf("got error %v", err)
	}
	wantNothing(t, "wg0")
}

func TestAvailable(t *testing.T) {
	if !isolated(t) {
		return
	}
	if err := starter().Available(t.Context()); err != nil {
		t.Errorf("with everything: %v", err)
	}
	if out := run(t, "ip", "-o", "link"); strings.Count(out, "\n") != 1 {
		t.Errorf("links were made:\n%s", out)
	}
	if err := withoutNetAdmin(t, func() error { return starter().Available(t.Context()) }); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("without the capability: %v", err)
	}
	if err := unix.Mount("tmpfs", "/dev/net", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{starter().Available(t.Context()), starter().Start(t.Context(), "wg0")} {
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "--device /dev/net/tun") {
			t.Errorf("without the device node: %v", err)
		}
	}
	wantNothing(t, "wg0")
}

// withoutNetAdmin calls f on a thread that lacks the capability and isn't used
// for anything else.
func withoutNetAdmin(t *testing.T, f func() error) error {
	t.Helper()
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		if err == nil {
			data[0].Effective &^= 1 << unix.CAP_NET_ADMIN
			err = unix.Capset(&header, &data[0])
		}
		if err != nil {
			t.Error(err)
		}
		result <- f()
	}()
	return <-result
}

// One of two has the link, and the other doesn't touch anything of it.
func TestStartTwiceAtOnce(t *testing.T) {
	if !isolated(t) {
		return
	}
	for range 20 {
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = starter().Start(t.Context(), "wg0") })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			switch {
			case err == nil:
				won++
			case !errors.Is(err, unix.EEXIST):
				t.Errorf("a loser says %v", err)
			}
		}
		if won != 1 {
			t.Fatalf("%d of %d starts won: %v", won, len(errs), errs)
		}
		run(t, "wg", "set", "wg0", "fwmark", "1")
		run(t, "ip", "link", "del", "wg0")
		wantGone(t, "wg0")
	}
}

// The command's reader sees its end, though the device lives on.
func TestStartHoldsNoPipe(t *testing.T) {
	if !isolated(t) {
		return
	}
	for _, level := range []string{"", "silent"} {
		cmd := role("start", "wg0")
		cmd.Env = append(os.Environ(), "LOG_LEVEL="+level)
		cmd.WaitDelay = 5 * time.Second // Wait fails if the pipe stays open longer
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			t.Fatalf("LOG_LEVEL=%s: %v\n%s", level, err, &out)
		}
		if deviceProcess(t, "wg0") == 0 || out.Len() > 0 {
			t.Errorf("LOG_LEVEL=%s: no device, or it spoke: %s", level, &out)
		}
		run(t, "ip", "link", "del", "wg0")
		wantGone(t, "wg0")
	}
}

// With LOG_LEVEL set it's wanted there, and its reader may go away.
func TestStartLogsToStderr(t *testing.T) {
	if !isolated(t) {
		return
	}
	log, err := os.CreateTemp("/run", "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	s := starter()
	s.LogLevel, s.Stderr = "debug", log
	if err := s.Start(t.Context(), "wg0"); err != nil {
		t.Fatal(err)
	}
	run(t, "ip", "link", "del", "wg0")
	wantGone(t, "wg0")
	b, err := os.ReadFile(log.Name())
	if err != nil || !strings.Contains(string(b), "DEBUG: (wg0) ") || !strings.Contains(string(b), "Device closed") {
		t.Errorf("log: %v\n%s", err, b)
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.Stderr = w
	if err := s.Start(t.Context(), "wg0"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.Close()
	run(t, "wg", "set", "wg0", "fwmark", "2")
	run(t, "ip", "link", "set", "wg0", "up")
	if out := run(t, "wg", "show", "wg0", "fwmark"); out != "0x2\n" {
		t.Errorf("with the log's reader gone, wg show printed %q", out)
	}
}

func TestStartLogsToJournal(t *testing.T) {
	if !isolated(t) {
		return
	}
	const path = "/run/systemd/journal/socket"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A journal that doesn't read: its queue, of ten datagrams, is soon full.
	s := starter()
	s.LogLevel = "verbose"
	if err := s.Start(t.Context(), "wg0"); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		run(t, "wg", "set", "wg0", "fwmark", "1")
	}
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	entry := make([]byte, 4096)
	n, err := conn.Read(entry)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"SYSLOG_IDENTIFIER=wgctl\n", "INTERFACE=wg0\n", "PRIORITY=7\n", "MESSAGE="} {
		if !strings.Contains(string(entry[:n]), want) {
			t.Errorf("entry lacks %q: %q", want, entry[:n])
		}
	}
}

// A binary that was replaced on disk since it was started still starts
// itself, not its successor.
func TestStartAfterUpgrade(t *testing.T) {
	if !isolated(t) {
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	const path = "/run/wgctl"
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, "replaced", "wg0").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if deviceProcess(t, "wg0") == 0 {
		t.Error("no device")
	}
}
