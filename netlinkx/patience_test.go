// SPDX-License-Identifier: MIT

package netlinkx

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A process is seen to be stopped, to work and to sleep.
func TestActivity(t *testing.T) {
	for _, c := range []struct {
		name, script string
		signal       syscall.Signal
		want         activity
	}{
		{"sleeps", "exec sleep 1000", 0, asleep},
		{"works", "while :; do :; done", 0, working},
		{"was stopped at work", "while :; do :; done", syscall.SIGSTOP, stopped},
		{"was stopped asleep", "exec sleep 1000", syscall.SIGSTOP, stopped},
		{"has ended", "exec sleep 1000", syscall.SIGKILL, asleep},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", c.script)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			}()
			if c.signal != 0 {
				if err := cmd.Process.Signal(c.signal); err != nil {
					t.Fatal(err)
				}
			}
			if c.signal == syscall.SIGKILL {
				_ = cmd.Wait()
			}
			deadline := time.Now().Add(time.Minute)
			got, _ := lookAt(cmd.Process.Pid)
			for got != c.want && time.Now().Before(deadline) {
				time.Sleep(5 * time.Millisecond)
				got, _ = lookAt(cmd.Process.Pid)
			}
			if got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// Who works is waited for longest, and for who has just let somebody wait in
// vain a command does not wait as long again, unless he works.
func TestPatience(t *testing.T) {
	if !(patience(stopped, false) < patience(asleep, false) && patience(asleep, false) < patience(working, false)) {
		t.Error("the order of patience")
	}
	for _, a := range []activity{stopped, asleep} {
		if patience(a, true) >= patience(stopped, false) {
			t.Errorf("%v: as long again", a)
		}
	}
	if patience(working, true) != patience(working, false) {
		t.Error("who works now is given up by what he did before")
	}
}

// A device that is silent is given up for the while of muteFor, in terms that
// say so, and what it is asked then comes back sooner; one that answers again is
// not mute any more.
func TestSilentDevice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg0.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mutes.Store(path, time.Now().Add(time.Minute)) // however slow this runs
	start := time.Now()
	_, err = uapiGet(t.Context(), path, "wg0")
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, unix.ETIMEDOUT) || time.Since(start) >= asleepPatience {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	_ = ln.Close()
	serveUAPI(t, path, "listen_port=5\nerrno=0\n\n")
	if _, err := uapiGet(t.Context(), path, "wg0"); err != nil {
		t.Fatal(err)
	}
	if _, mute := mutes.Load(path); mute {
		t.Error("still mute")
	}
}

// A device is silent while it could have spoken: not while the machine was paused,
// nor before its last byte, nor while it works, but for a limit.
func TestSilence(t *testing.T) {
	begin := time.Now()
	s := silence{at: begin, last: begin}
	for _, step := range []struct {
		name    string
		at      time.Duration // of the look
		last    time.Duration // byte
		working bool
		want    time.Duration
	}{
		{"at once", 250 * time.Millisecond, 0, false, 250 * time.Millisecond},
		{"a look that is late", 650 * time.Millisecond, 0, false, 650 * time.Millisecond},
		{"after a pause of a minute", time.Minute, 0, false, 1150 * time.Millisecond},
		{"after a byte", time.Minute + 250*time.Millisecond, time.Minute + 200*time.Millisecond, false, 50 * time.Millisecond},
		{"and then none", time.Minute + 500*time.Millisecond, time.Minute + 200*time.Millisecond, false, 300 * time.Millisecond},
		{"at work", time.Minute + 750*time.Millisecond, time.Minute + 200*time.Millisecond, true, 0},
		{"and then not", time.Minute + time.Second, time.Minute + 200*time.Millisecond, false, 250 * time.Millisecond},
	} {
		s.pass(begin.Add(step.at), begin.Add(step.last))
		if step.working {
			s.idle = 0
		}
		if got := s.lasted(); got != step.want {
			t.Errorf("%s: %v, want %v", step.name, got, step.want)
		}
	}
	for at := 61 * time.Second; s.silent < busyPatience; {
		at += lookInterval
		s.pass(begin.Add(at), s.last)
		s.idle = 0
		if at > 2*time.Minute {
			t.Fatal("it may work for ever")
		}
	}
	if s.lasted() < busyPatience {
		t.Errorf("at work for ever: %v", s.lasted())
	}
}
