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
			deadline := time.Now().Add(10 * time.Second)
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
	mutes.Store(path, time.Now())
	start := time.Now()
	_, err = uapiGet(t.Context(), path, "wg0")
	if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, unix.ETIMEDOUT) || time.Since(start) > stoppedPatience {
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
