// SPDX-License-Identifier: MIT

package userspace

import (
	"bufio"
	"io"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A process that waits becomes the device's, and is like any other then.
func TestPrepare(t *testing.T) {
	if !isolated(t) {
		return
	}
	s := starter()
	if err := s.Prepare("wg0"); err != nil {
		t.Fatal(err)
	}
	defer s.Forget()
	waiting := wantProcess(t, "wg0")
	if err := s.Prepare("wg0"); err != nil || deviceProcess(t, "wg0") != waiting {
		t.Errorf("asked again: %v, process %d waits after %d", err, deviceProcess(t, "wg0"), waiting)
	}
	if _, err := linkIndex("wg0"); err == nil || exists(socketPath(SocketDir, "wg0")) {
		t.Error("there is a link or a socket before a start")
	}
	if err := s.Start(t.Context(), "wg0"); err != nil {
		t.Fatal(err)
	}
	s.Forget()
	if now := deviceProcess(t, "wg0"); now != waiting || now == 0 {
		t.Errorf("process %d serves, %d has waited", now, waiting)
	}
	run(t, "wg", "set", "wg0", "fwmark", "7")
	run(t, "ip", "link", "set", "wg0", "up")
	if mark := run(t, "wg", "show", "wg0", "fwmark"); mark != "0x7\n" {
		t.Errorf("mark %q", mark)
	}
	run(t, "ip", "link", "del", "wg0")
	wantGone(t, "wg0")
}

// It holds no descriptor that its starter came by, from the first one that is free.
func TestPrepareHoldsNoPipe(t *testing.T) {
	if !isolated(t) {
		return
	}
	cmd := role("prepare", "wg0")
	var pipes []*os.File
	for range 4 { // descriptors 3 to 6 of the starter
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		pipes = append(pipes, r)
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i, w := range cmd.ExtraFiles {
		w.Close()
		_ = pipes[i].SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := pipes[i].Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("descriptor %d is still held: %d, %v", 3+i, n, err)
		}
	}
	if deviceProcess(t, "wg0") == 0 {
		t.Error("no device")
	}
	run(t, "ip", "link", "del", "wg0")
	wantGone(t, "wg0")
}

// Of a process that waits nothing is left when nobody needs it, whatever ended
// the one who started it.
func TestPrepareForNothing(t *testing.T) {
	if !isolated(t) {
		return
	}
	for name, end := range map[string]func(t *testing.T){
		"forgotten": func(t *testing.T) {
			s := starter()
			if err := s.Prepare("wg0"); err != nil {
				t.Fatal(err)
			}
			s.Forget()
			if deviceProcess(t, "wg0") != 0 {
				t.Error("is still there")
			}
			s.Forget()
		},
		"another name": func(t *testing.T) {
			s := starter()
			if err := s.Prepare("wg0"); err != nil {
				t.Fatal(err)
			}
			if err := s.Start(t.Context(), "wg1"); err != nil {
				t.Fatal(err)
			}
			run(t, "ip", "link", "del", "wg1")
			wantGone(t, "wg1")
		},
		"prepared twice": func(t *testing.T) {
			s := starter()
			for range 2 {
				if err := s.Prepare("wg0"); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Start(t.Context(), "wg0"); err != nil {
				t.Fatal(err)
			}
			run(t, "ip", "link", "del", "wg0")
		},
		"told to end": func(t *testing.T) {
			s := starter()
			if err := s.Prepare("wg0"); err != nil {
				t.Fatal(err)
			}
			pid := wantProcess(t, "wg0")
			if err := unix.Kill(pid, unix.SIGTERM); err != nil {
				t.Fatal(err)
			}
			// It has no words any more before its socket is closed.
			eventually(t, "waiting process ended", func() bool { return unix.Kill(pid, 0) == unix.ESRCH })
			// It is started once more.
			if err := s.Start(t.Context(), "wg0"); err != nil {
				t.Fatal(err)
			}
			run(t, "ip", "link", "del", "wg0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			end(t)
			wantGone(t, "wg0")
		})
	}
	for _, sig := range []unix.Signal{unix.SIGKILL, unix.SIGTERM, unix.SIGSEGV} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			cmd := role("prepared", "wg0")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if line, _ := bufio.NewReader(out).ReadString('\n'); line != "waiting\n" {
				t.Fatalf("said %q", line)
			}
			wantProcess(t, "wg0") // else this tells nothing
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			wantGone(t, "wg0")
		})
	}
}
