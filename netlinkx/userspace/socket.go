// SPDX-License-Identifier: MIT

package userspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leaving is how long a process that still answers on a socket is given to
// end. The link of that name is ours by then, so either the process is about
// to notice that its own link is gone (down, then up at once), or it serves a
// link of another network namespace.
const (
	leaving     = 3 * time.Second
	leavingSoon = 300 * time.Millisecond // after which one that is stopped is no longer waited for
)

const poll = 5 * time.Millisecond

// A socket is a UAPI socket in the file system: where it is, and which inode
// it is, so that nobody removes another's.
type socket struct {
	path     string
	dev, ino uint64
}

// socketAt returns the socket at a path. The error is fs.ErrNotExist if there
// is nothing, and unix.EEXIST if there is something else.
func socketAt(path string) (socket, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return socket{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode().Type() != fs.ModeSocket {
		return socket{}, fmt.Errorf("%s is not a socket: %w", path, unix.EEXIST)
	}
	return socket{path, uint64(st.Dev), st.Ino}, nil
}

// stands reports whether the file at the path is still this socket.
func (s socket) stands() bool {
	now, err := socketAt(s.path)
	return err == nil && now == s
}

// remove removes the socket if it is still this one.
func (s socket) remove() error {
	if !s.stands() {
		return nil
	}
	if err := os.Remove(s.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// makeSocket makes the UAPI socket of an interface, mode 0600, and returns it
// listening. The socket of a process that is gone is replaced; one that
// answers is unix.EADDRINUSE.
func makeSocket(ctx context.Context, dir, ifname string) (socket, *os.File, error) {
	path := socketPath(dir, ifname)
	unlock, err := lockSocketDir(ctx, dir)
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		err = fmt.Errorf("%w: root has to give you that folder, as install -d -m 700 -o %d %s does", err, os.Geteuid(), dir)
	}
	if err != nil {
		return socket{}, nil, fmt.Errorf("making UAPI socket %s: %w", path, err)
	}
	defer unlock()
	if err := clearStale(ctx, path, leaving); err != nil {
		return socket{}, nil, fmt.Errorf("making UAPI socket %s: %w", path, err)
	}
	s, file, err := listenAt(path)
	if err != nil {
		return socket{}, nil, fmt.Errorf("making UAPI socket %s: %w", path, err)
	}
	return s, file, nil
}

// lockSocketDir makes the directory, for root alone, if there is none, and
// takes a lock on it: "nobody answers, so remove it and put mine there" is
// three steps, and another process of ours must not come between them.
func lockSocketDir(ctx context.Context, dir string) (unlock func(), err error) {
	// #nosec G301 -- /var/run, if there is none: for all
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	f, err := os.OpenFile(dir, unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() {
				// Not left to Close: a process being started elsewhere in
				// this one may hold the description for a moment.
				_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
				f.Close()
			}, nil
		}
		if err == unix.EWOULDBLOCK {
			err = sleep(ctx, poll)
		}
		if err != nil && err != unix.EINTR {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", dir, err)
		}
	}
}

// clearStale sees to it that nothing is at the path, and waits so long for who
// still answers there. It counts its looks: what the machine paused was nobody's
// time.
func clearStale(ctx context.Context, path string, patience time.Duration) error {
	for looks := int(patience / poll); ; looks-- {
		old, err := socketAt(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		alive, err := answers(path)
		switch {
		case err != nil:
			return err
		case !alive:
			return old.remove()
		case looks == 0:
			return fmt.Errorf("another process serves %s: %w", path, unix.EADDRINUSE)
		}
		if err := sleep(ctx, poll); err != nil {
			return err
		}
	}
}

// answers reports whether some process listens on the socket. It doesn't
// block: a socket whose backlog is full has a listener.
func answers(path string) (bool, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err {
	case nil, unix.EAGAIN:
		return true, nil
	case unix.ECONNREFUSED, unix.ENOENT:
		return false, nil
	default:
		return false, fmt.Errorf("connecting: %w", err)
	}
}

// listenAt binds to a name that nobody looks for, and gives the socket its
// real one when it is private and listening: wg removes a socket that refuses
// it, so it must never see one that is bound and doesn't listen yet. There is
// no umask to change, which would be the whole process's.
func listenAt(path string) (_ socket, _ *os.File, err error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return socket{}, nil, err
	}
	file := os.NewFile(uintptr(fd), path)
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	temp := tempPath(path) // ours alone: the directory is locked
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return socket{}, nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: temp}); err != nil {
		return socket{}, nil, err
	}
	defer os.Remove(temp)
	if err := os.Chmod(temp, 0o600); err != nil {
		return socket{}, nil, err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return socket{}, nil, err
	}
	// A hard link, as a rename would replace what another program may have
	// put there since.
	if err := unix.Link(temp, path); err != nil {
		return socket{}, nil, err
	}
	s, err := socketAt(path)
	return s, file, err
}

// tempPath is where a socket is made ready.
func tempPath(path string) string {
	dir, name := filepath.Split(path)
	return filepath.Join(dir, "."+name+".new")
}

// socketOf returns the socket file that a listening descriptor belongs to:
// the interface's, in the directory that the descriptor was bound in.
func socketOf(fd int, ifname string) (socket, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return socket{}, fmt.Errorf("using descriptor %d as a UAPI socket: %w", fd, err)
	}
	at, ok := sa.(*unix.SockaddrUnix)
	if !ok || !filepath.IsAbs(at.Name) {
		return socket{}, fmt.Errorf("descriptor %d is not a UAPI socket", fd)
	}
	return socketAt(socketPath(filepath.Dir(at.Name), ifname))
}

// sleep waits, or returns why the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
