// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// endHung kills the processes that served the interface in this network
// namespace, and reports whether there were any. It is for after the link was
// deleted: by then one that isn't stuck has ended by itself, and one that
// serves a link of that name elsewhere is in another namespace.
func (s *Starter) endHung(ifname string) (ended bool, err error) {
	return s.end(ifname, func(int) bool { return true })
}

// endStopped is endHung for those that a signal or a debugger has stopped: they
// can't notice that their link is gone, and nobody needs to wait for it.
func (s *Starter) endStopped(ifname string) (ended bool, err error) {
	return s.end(ifname, func(pid int) bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		i := bytes.LastIndexByte(stat, ')')
		return err == nil && i >= 0 && (bytes.HasPrefix(stat[i:], []byte(") T")) || bytes.HasPrefix(stat[i:], []byte(") t")))
	})
}

func (s *Starter) end(ifname string, which func(pid int) bool) (ended bool, err error) {
	pids, err := s.processes(ifname)
	if err != nil {
		return false, err
	}
	for _, pid := range pids {
		if !which(pid) {
			continue
		}
		process, err := os.FindProcess(pid) // holds on to it, not to its number
		if err != nil || !s.served(pid, ifname) {
			continue // it has ended
		}
		if err := process.Kill(); err != nil {
			return ended, fmt.Errorf("ending process %d: %w", pid, err)
		}
		ended = true
	}
	return ended, nil
}

// processes returns the numbers of those that serve the interface.
func (s *Starter) processes(ifname string) (pids []int, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && s.served(pid, ifname) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// dying are processes whose end is near, by their pidfds.
type dying []int

// serving returns the processes that serve the interface now: who listens, or
// where nobody does any more, who is about to end.
func (s *Starter) serving(ifname, path string) (last dying) {
	pids := []int{whoListens(path)}
	if !s.served(pids[0], ifname) {
		pids, _ = s.processes(ifname)
	}
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			last = append(last, fd)
		}
	}
	return last
}

// wait waits for their end, which nothing but a processor's time is between now. It
// counts its looks, as clearStale does.
func (d dying) wait(ctx context.Context) {
	looks := int(leaving / poll)
	for _, fd := range d {
		for ; ctx.Err() == nil && looks > 0; looks-- {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(poll/time.Millisecond)) // #nosec G115 -- a descriptor
			if n > 0 || err != nil && err != unix.EINTR {
				break
			}
		}
	}
}

func (d dying) close() {
	for _, fd := range d {
		_ = unix.Close(fd)
	}
}

// served reports whether a process was started for the interface, by its
// arguments and its network namespace.
func (s *Starter) served(pid int, ifname string) bool {
	folder := fmt.Sprintf("/proc/%d/", pid)
	text, err := os.ReadFile(folder + "cmdline")
	if err != nil {
		return false
	}
	_, args, _ := bytes.Cut(text, []byte{0})
	if string(args) != strings.Join(s.words(ifname), "\x00")+"\x00" {
		return false
	}
	var own, its unix.Stat_t
	home := threadNamespace
	if s.Sockets != nil {
		home = fmt.Sprintf("/proc/self/fd/%d", s.Sockets.Fd())
	}
	switch err := unix.Stat(folder+"ns/net", &its); err {
	case nil:
		return unix.Stat(home, &own) == nil && own.Ino == its.Ino
	case unix.EACCES, unix.EPERM: // it forbids to be looked into, and we may not for all that
		return pid == whoListens(s.pathOf(ifname))
	}
	return false
}

// whoListens returns the number of the process that listens at a socket of this
// namespace, 0 if nobody does. Of a device of ours that is its own process.
func whoListens(path string) int {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
