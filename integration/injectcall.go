// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// faults are the calls that matter, with what the fault makes them answer: by
// these, wgctl learns of the host and changes it. What the Go runtime itself
// can't live without (memory, threads, its own polling) isn't among them.
var faults = map[int]struct {
	name  string
	errno unix.Errno
}{
	unix.SYS_SENDTO:     {"sendto", unix.ENOBUFS},
	unix.SYS_SENDMSG:    {"sendmsg", unix.ENOBUFS},
	unix.SYS_RECVFROM:   {"recvfrom", unix.ENOBUFS},
	unix.SYS_RECVMSG:    {"recvmsg", unix.ENOBUFS},
	unix.SYS_SOCKET:     {"socket", unix.EMFILE},
	unix.SYS_CONNECT:    {"connect", unix.ECONNREFUSED},
	unix.SYS_BIND:       {"bind", unix.ENOMEM},
	unix.SYS_LISTEN:     {"listen", unix.EADDRINUSE},
	unix.SYS_WRITE:      {"write", unix.ENOSPC},
	unix.SYS_FSYNC:      {"fsync", unix.EIO},
	unix.SYS_FTRUNCATE:  {"ftruncate", unix.EIO},
	unix.SYS_OPENAT:     {"openat", unix.EMFILE},
	unix.SYS_MKDIRAT:    {"mkdirat", unix.ENOSPC},
	unix.SYS_LINKAT:     {"linkat", unix.ENOSPC},
	unix.SYS_UNLINKAT:   {"unlinkat", unix.EIO},
	unix.SYS_RENAMEAT:   {"renameat", unix.ENOSPC},
	unix.SYS_FCHMOD:     {"fchmod", unix.EIO},
	unix.SYS_FCHMODAT:   {"fchmodat", unix.EIO},
	unix.SYS_FLOCK:      {"flock", unix.ENOLCK},
	unix.SYS_IOCTL:      {"ioctl", unix.EIO},
	unix.SYS_EXECVE:     {"execve", unix.ENOMEM},
	unix.SYS_PIPE2:      {"pipe2", unix.EMFILE},
	unix.SYS_SETSOCKOPT: {"setsockopt", unix.ENOBUFS},
}

// errnos are the errors that any call may be made to fail with.
var errnos = map[string]unix.Errno{
	"ENOBUFS": unix.ENOBUFS, "EOPNOTSUPP": unix.EOPNOTSUPP, "EAFNOSUPPORT": unix.EAFNOSUPPORT, "EINTR": unix.EINTR, "ENOMEM": unix.ENOMEM, "EPERM": unix.EPERM, "EBUSY": unix.EBUSY, "EEXIST": unix.EEXIST,
}

// notification and response are struct seccomp_notif and seccomp_notif_resp of
// linux/seccomp.h.
type (
	notification struct {
		id         uint64
		pid, flags uint32
		nr         int32
		arch       uint32
		ip         uint64
		args       [6]uint64
	}
	response struct {
		id    uint64
		val   int64
		errno int32
		flags uint32
	}
)

// changes reports whether the call may change something beyond its process.
func (n *notification) changes() bool {
	switch int(n.nr) {
	case unix.SYS_RECVFROM, unix.SYS_RECVMSG, unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_SETSOCKOPT, unix.SYS_PIPE2, unix.SYS_IOCTL:
		return false
	case unix.SYS_OPENAT:
		return n.args[2]&(unix.O_WRONLY|unix.O_RDWR|unix.O_CREAT) != 0
	case unix.SYS_SENDTO:
		header := n.header()
		typ, flags := uint16(header[4])|uint16(header[5])<<8, uint16(header[6])|uint16(header[7])<<8
		const dump, create = unix.NLM_F_DUMP, unix.NLM_F_CREATE
		get := typ < unix.NLMSG_MIN_TYPE<<4 && typ >= unix.NLMSG_MIN_TYPE && typ%4 == unix.RTM_GETLINK%4
		return !get && flags&(dump|create) != dump
	}
	return true
}

// file is what the descriptor in the call's first argument leads to.
func (n *notification) file() string {
	target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", n.pid, n.args[0]))
	return target
}

// text reads a string of the caller's memory.
func (n *notification) text(at uint64) string {
	text, _, _ := strings.Cut(n.memory(at, 256), "\x00")
	return text
}

// describe names the call for messages.
func (n *notification) describe() string {
	name := faults[int(n.nr)].name
	switch int(n.nr) {
	case unix.SYS_OPENAT, unix.SYS_MKDIRAT, unix.SYS_UNLINKAT, unix.SYS_RENAMEAT, unix.SYS_LINKAT, unix.SYS_FCHMODAT:
		return fmt.Sprintf("%s(%s)", name, n.text(n.args[1]))
	case unix.SYS_EXECVE:
		return fmt.Sprintf("%s(%s)", name, n.text(n.args[0]))
	case unix.SYS_SENDTO, unix.SYS_WRITE:
		return fmt.Sprintf("%s(%s, %s)", name, n.file(), n.message())
	case unix.SYS_SOCKET:
		return fmt.Sprintf("%s(family %d)", name, n.args[0])
	case unix.SYS_PIPE2:
		return name
	}
	return fmt.Sprintf("%s(%s)", name, n.file())
}

// message is the type of a message to the kernel: the second word of struct
// nlmsghdr, if it is one.
func (n *notification) message() string {
	header := n.header()
	return fmt.Sprintf("type %d", uint16(header[4])|uint16(header[5])<<8)
}

// header is the start of what is sent or written.
func (n *notification) header() (header [8]byte) {
	if mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", n.pid)); err == nil {
		_, _ = mem.ReadAt(header[:], int64(n.args[1]))
		_ = mem.Close()
	}
	return header
}

// names reports whether a call names, or writes, a word.
func (n *notification) names(word string) bool {
	if word == "" || strings.Contains(n.describe(), word) {
		return true
	}
	return int(n.nr) == unix.SYS_WRITE && n.args[0] > 2 && strings.Contains(n.memory(n.args[1], min(n.args[2], 4096)), word)
}

// memory reads the caller's memory.
func (n *notification) memory(at, size uint64) string {
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", n.pid))
	if err != nil {
		return ""
	}
	defer mem.Close()
	b := make([]byte, size)
	got, _ := mem.ReadAt(b, int64(at))
	return string(b[:got])
}
