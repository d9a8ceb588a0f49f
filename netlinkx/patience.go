// SPDX-License-Identifier: MIT

package netlinkx

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How long to wait for a device's process depends on what it does meanwhile:
// one that is stopped won't answer; one that works may be at another's request
// with 65,000 peers, or wait for a processor. In between is one that sleeps,
// which may wait for the rest of another's request, for which a device of ours
// does so long (requestLimit of userspace).
const (
	stoppedPatience = 3 * time.Second
	asleepPatience  = 12 * time.Second
	busyPatience    = 30 * time.Second
	// mutePatience is for a device that has just let somebody wait in vain: one
	// command asks several times, and the next one begins anew.
	mutePatience = 500 * time.Millisecond
	muteFor      = 10 * time.Second

	lookInterval = 250 * time.Millisecond
)

// A silentError says that nobody answers in time: an os.ErrDeadlineExceeded as
// well.
type silentError struct{}

func (silentError) Error() string   { return "the process of the device does not answer" }
func (silentError) Unwrap() []error { return []error{unix.ETIMEDOUT, os.ErrDeadlineExceeded} }

// An activity is what a process is seen to do.
type activity int

const (
	asleep  activity = iota // or out of sight
	stopped                 // by a signal or a debugger
	working
)

// patience returns how long a device that was last seen to do something so long
// ago is still waited for.
func patience(a activity, mute bool) time.Duration {
	switch {
	case a == working:
		return busyPatience
	case mute:
		return mutePatience
	case a == stopped:
		return stoppedPatience
	}
	return asleepPatience
}

// A vigil is a connection to a device, and ends when that is silent for too
// long: every byte that comes is a sign of life, and so is work of its process.
type vigil struct {
	net.Conn
	path  string
	began time.Time
	last  atomic.Int64 // sign of life, in nanoseconds since then, whatever is done to the clock
	over  atomic.Bool  // in vain
	done  chan struct{}
}

// mutes are the sockets on which nobody answered, and since when.
var mutes sync.Map

func newVigil(conn net.Conn, path string) *vigil {
	v := &vigil{Conn: conn, path: path, began: time.Now(), done: make(chan struct{})}
	go v.watch()
	return v
}

// Read reads, and takes note.
func (v *vigil) Read(p []byte) (int, error) {
	n, err := v.Conn.Read(p)
	if n > 0 {
		v.last.Store(int64(time.Since(v.began)))
	}
	return n, v.verdict(err)
}

// Write writes.
func (v *vigil) Write(p []byte) (int, error) {
	n, err := v.Conn.Write(p)
	return n, v.verdict(err)
}

func (v *vigil) verdict(err error) error {
	if err != nil && v.over.Load() {
		return silentError{}
	}
	return err
}

// end ends the vigil. A device that answered is not mute.
func (v *vigil) end(answered bool) {
	close(v.done)
	if answered {
		mutes.Delete(v.path)
	}
}

func (v *vigil) watch() {
	ticker := time.NewTicker(lookInterval)
	defer ticker.Stop()
	since, isMute := mutes.Load(v.path)
	mute := isMute && time.Since(since.(time.Time)) < muteFor
	s, ticks, pid := silence{at: v.began, last: v.began}, int64(-1), -1
	for {
		select {
		case <-v.done:
			return
		case <-ticker.C:
		}
		now := time.Now()
		if s.pass(now, v.began.Add(time.Duration(v.last.Load()))); s.silent < mutePatience {
			continue
		}
		if pid < 0 {
			pid = pidOf(v.Conn, v.path)
		}
		doing, spent := lookAt(pid)
		if ticks >= 0 && spent != ticks {
			doing = working
		}
		ticks = spent
		if doing == working {
			s.idle = 0
		}
		if s.lasted() >= patience(doing, mute) {
			mutes.Store(v.path, now)
			v.over.Store(true)
			_ = v.SetDeadline(time.Unix(1, 0))
			return
		}
	}
}

// A silence is how long a device has shown no sign of life, of the time in which it
// could have: a machine that is paused, or has no processor for us, has none for the
// device.
type silence struct {
	at, last     time.Time     // the last look, and the last byte that it knew of
	silent, idle time.Duration // since a byte came, and since the process was seen to work
}

// pass counts the time since the last look.
func (s *silence) pass(now, last time.Time) {
	passed := min(now.Sub(s.at), 2*lookInterval)
	if last.After(s.last) {
		s.silent, s.last = 0, last
	}
	s.silent += min(passed, now.Sub(last))
	s.idle += passed
	s.at = now
}

// lasted is how long it has lasted; who works is not silent, up to a limit.
func (s *silence) lasted() time.Duration {
	if s.silent < busyPatience {
		return min(s.silent, s.idle)
	}
	return s.silent
}

// pidOf returns the number of the process that listens, 0 if it is unknown. The
// kernel knows who called listen(2) last (unix_listen in net/unix/af_unix.c). A
// device of ours does that itself; of another that may be who started it, and has
// ended: so the last word must be the interface, as of all that serve one.
func pidOf(conn net.Conn, path string) int {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if cerr != nil || err != nil || cred.Pid <= 0 {
		return 0
	}
	words, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cred.Pid))
	name := strings.TrimSuffix(filepath.Base(path), ".sock")
	if err != nil || !bytes.HasSuffix(words, []byte("\x00"+name+"\x00")) {
		return 0
	}
	return int(cred.Pid)
}

// lookAt tells what a process does, and what it has spent of a processor's time
// in ticks (proc_pid_stat(5)).
func lookAt(pid int) (activity, int64) {
	if pid == 0 {
		return asleep, 0
	}
	state, spent := statOf(fmt.Sprintf("/proc/%d/stat", pid))
	if state == 'T' || state == 't' {
		return stopped, spent
	}
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range threads {
		switch s, _ := statOf(path); s {
		case 'R', 'D':
			return working, spent
		}
	}
	return asleep, spent
}

func statOf(path string) (state byte, spent int64) {
	b, err := os.ReadFile(path) // #nosec G304 -- below /proc
	i := bytes.LastIndexByte(b, ')')
	if err != nil || i < 0 {
		return 0, 0
	}
	f := strings.Fields(string(b[i+1:]))
	const user, system = 14 - 3, 15 - 3 // counted from 1, less the first three
	if len(f) <= system {
		return 0, 0
	}
	for _, word := range []string{f[user], f[system]} {
		n, _ := strconv.ParseInt(word, 10, 64)
		spent += n
	}
	return f[0][0], spent
}
