// SPDX-License-Identifier: MIT

package userspace

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"

	"golang.org/x/sys/unix"
)

// detach makes a process that a Starter started independent of whoever ran
// that: no hangup ends it, no log that nobody reads any more does, and it
// holds no descriptor that it came by.
func detach() {
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	unix.CloseOnExec(detachedTUNFD)
	if waits() { // it has one descriptor less
		closeForeign(detachedUAPIFD)
		return
	}
	unix.CloseOnExec(detachedUAPIFD)
	closeForeign(detachedUAPIFD + 1)
}

// closeForeign closes what was inherited by accident, from a descriptor on: a
// lock of flock(1), a pipe of a shell. What this process opened itself is
// close-on-exec, and what came over an exec can't be.
func closeForeign(first int) {
	for _, fd := range openFDs() {
		if fd < first {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd)
		}
	}
}

// openFDs returns the numbers of the open descriptors, or where /proc doesn't
// tell, those that can be in use without anybody having asked for more.
func openFDs() []int {
	var fds []int
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		for fd := range 1024 {
			fds = append(fds, fd)
		}
		return fds
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil {
			fds = append(fds, fd)
		}
	}
	return fds
}

// readyWord is all that a process says whose device is ready.
const readyWord = "ready\n"

// tellReady says that the device is ready, and lets go of the pipe to the one who
// started us. What the runtime has to say of a crash goes to the log
// from here on.
func tellReady() error {
	_, _ = unix.Write(wordsFD, []byte(readyWord)) // who started us may be gone
	if err := unix.Dup3(logFD, wordsFD, 0); err != nil {
		return fmt.Errorf("detaching standard error: %w", err)
	}
	return nil
}

// forbidDumps keeps the keys out of core dumps, and other processes of the
// same user out of our memory.
func forbidDumps() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbidding core dumps: %w", err)
	}
	return nil
}
