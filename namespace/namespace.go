// SPDX-License-Identifier: MIT

// Package namespace finds, enters, makes and removes network namespaces, by the
// conventions of "ip netns": a namespace with a name is bound to /run/netns/NAME,
// and the files of /etc/netns/NAME stand for those of /etc to what runs in it.
//
// It knows nothing of what is in a namespace: links are netlinkx's and lab's.
package namespace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is where the namespaces are that have a name, and EtcDir where the files
// are that stand for those of /etc there (ip-netns(8)).
const (
	Dir    = "/run/netns"
	EtcDir = "/etc/netns"
)

// own is the namespace of the calling thread.
const own = "/proc/thread-self/ns/net"

// A Place is where a network namespace is found.
type Place struct {
	Path string // of a file that is bound to it, or of a process' "ns/net"
	Name string // of "ip netns", or "" if it has none
}

// Find returns the namespace that a word means: a path if it has a slash, else
// a name of "ip netns", else the number of a process. One that isn't there is an
// fs.ErrNotExist; where the word could only be a name or a path, the Place says
// where it would be.
func Find(word string) (Place, error) {
	if word == "" {
		return Place{}, errors.New("a network namespace is a name, a path or the number of a process")
	}
	if strings.Contains(word, "/") {
		return find(placeOf(word), word)
	}
	if word == "." || word == ".." {
		return Place{}, fmt.Errorf("%q can't be the name of a network namespace", word)
	}
	p := Place{Path: filepath.Join(Dir, word), Name: word}
	_, err := find(p, word)
	if pid, numErr := strconv.ParseUint(word, 10, 31); errors.Is(err, fs.ErrNotExist) && numErr == nil {
		byPID, pidErr := find(Place{Path: fmt.Sprintf("/proc/%d/ns/net", pid)}, word)
		if errors.Is(pidErr, fs.ErrNotExist) {
			return byPID, fmt.Errorf("there is no network namespace %s and no such process: %w", word, fs.ErrNotExist)
		}
		return byPID, pidErr
	}
	return p, err
}

// placeOf is the place of a path, with its name if "ip netns" gave it one.
func placeOf(path string) Place {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	p := Place{Path: path}
	if dir := filepath.Dir(path); dir == Dir || dir == "/var/run/netns" {
		p.Name, p.Path = filepath.Base(path), filepath.Join(Dir, filepath.Base(path))
	}
	return p
}

// find looks whether something is at a place, and is a network namespace.
func find(p Place, word string) (Place, error) {
	f, err := p.Open()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return p, fmt.Errorf("there is no network namespace %s: %w", word, fs.ErrNotExist)
	case err != nil:
		return p, fmt.Errorf("opening network namespace %s: %w", word, err)
	}
	return p, f.Close()
}

// Open opens the namespace. What is at the path and isn't one is unix.EINVAL:
// as on the mere file that is left of a namespace when /run/netns isn't shared.
func (p Place) Open() (*os.File, error) {
	f, err := os.Open(p.Path)
	if err != nil {
		return nil, err
	}
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err == nil && kind == unix.CLONE_NEWNET {
		return f, nil
	}
	_ = f.Close()
	return nil, fmt.Errorf("%s is no network namespace: %w", p.Path, unix.EINVAL)
}

// Here opens the namespace of the calling thread.
func Here() (*os.File, error) { return os.Open(own) }

// Inode returns the number of a namespace. It is given out anew once the
// namespace is gone.
func Inode(f *os.File) uint64 {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return 0
	}
	return uint64(st.Ino)
}

// Same reports whether two files are the same namespace.
func Same(a, b *os.File) bool { return Inode(a) == Inode(b) && Inode(a) != 0 }

// Cookie returns a number of the calling thread's namespace that no other gets
// before the next boot; 0 where the kernel is older than 5.14.
func Cookie() uint64 {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	n, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0
	}
	return n
}

// Inside runs f on a thread that is in the namespace: sockets and processes
// that f makes belong to it.
func Inside(ns *os.File, f func() error) (err error) {
	aside(func() (left bool) {
		left, err = inside(ns, f)
		return left
	})
	return err
}

// inside runs f in the namespace and has the calling thread come back, unless it
// is left there.
func inside(ns *os.File, f func() error) (left bool, err error) {
	here, err := Here()
	if err != nil {
		return false, fmt.Errorf("opening the thread's network namespace: %w", err)
	}
	defer here.Close()
	if Same(here, ns) {
		return false, f()
	}
	if err := Enter(ns); err != nil {
		return false, err
	}
	err = f()
	if back := Enter(here); back != nil {
		return true, errors.Join(err, back)
	}
	return false, err
}

// aside runs f on a thread that f may take elsewhere, and which ends with f if it
// was left there. It is never the first of the process: that can't end, and by it
// /proc/self tells everybody where the process is.
func aside(f func() (left bool)) {
	done, returned := make(chan struct{}), false
	go func() {
		defer close(done)
		runtime.LockOSThread()
		left := false
		if unix.Gettid() == unix.Getpid() { // held while f gets another
			aside(f)
		} else {
			left = f()
		}
		if returned = true; !left {
			runtime.UnlockOSThread() // else the thread ends
		}
	}()
	<-done
	if !returned { // f has ended its goroutine, as a test's FailNow does: it means its caller's
		runtime.Goexit()
	}
}

// Enter moves the calling thread, which the caller has locked, to the namespace.
func Enter(ns *os.File) error {
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering network namespace %s: %w", ns.Name(), err)
	}
	return nil
}

// New makes a namespace without a name: it lives as long as something has it
// open or runs in it.
func New() (ns *os.File, err error) {
	aside(func() (left bool) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("making a network namespace: %w", err)
			return false
		}
		ns, err = Here()
		return true
	})
	return ns, err
}

// isMissing reports whether an error says that something isn't there or isn't
// mounted.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL)
}
