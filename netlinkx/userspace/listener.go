// SPDX-License-Identifier: MIT

package userspace

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
)

const (
	// requestLimit is how long a request may stand still in the middle. The
	// device holds a lock from its first line to its last, so without a limit
	// one stopped `wg` would keep all others out for good.
	requestLimit = 10 * time.Second
	// watchInterval is how often to look for the socket where inotify, of
	// which each user has a limited number of instances, can't be had.
	watchInterval = 2 * time.Second
)

// A listener accepts requests on a UAPI socket for as long as the socket
// stands in the file system: removing it is how wireguard-go is told to end.
type listener struct {
	sock  socket
	ln    net.Listener
	watch *os.File      // inotify, or nil
	gone  chan struct{} // closed when the socket is, whoever closed it
	end   func()        // closes gone, once

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool

	intake *intake
}

// newListener listens on an open socket, of which it takes a copy, for the device of
// an intake.
func newListener(sock socket, file *os.File, in *intake) (*listener, error) {
	ln, err := net.FileListener(file)
	if err == nil {
		err = listenAgain(file)
	}
	if err != nil {
		return nil, fmt.Errorf("listening on UAPI socket %s: %w", sock.path, err)
	}
	l := &listener{sock: sock, ln: ln, gone: make(chan struct{}), conns: make(map[net.Conn]struct{}), intake: in}
	l.end = sync.OnceFunc(func() { close(l.gone) })
	l.watch = watchFile(sock.path)
	go l.watchSocket()
	return l, nil
}

// listenAgain makes this process the one that the kernel names to those who
// connect (SO_PEERCRED): they look at it when it is silent.
func listenAgain(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	cerr := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), unix.SOMAXCONN) })
	return errors.Join(cerr, err)
}

// watchFile returns a file that becomes readable when the number of links of
// the inode at the path changes, or nil.
func watchFile(path string) *os.File {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	file := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_ATTRIB|unix.IN_DELETE_SELF|unix.IN_MOVE_SELF|unix.IN_DONT_FOLLOW); err != nil {
		file.Close()
		return nil
	}
	return file
}

// watchSocket ends the listener when its socket is removed or replaced.
func (l *listener) watchSocket() {
	var events [4096]byte
	for l.sock.stands() {
		if l.watch == nil {
			select {
			case <-l.gone:
				return
			case <-time.After(watchInterval):
			}
		} else if _, err := l.watch.Read(events[:]); err != nil {
			return // closed
		}
	}
	l.end()
}

// serve answers requests until the listener is closed.
func (l *listener) serve(dev *device.Device) {
	for {
		conn, err := l.ln.Accept()
		if err != nil {
			l.end()
			return
		}
		if !l.add(conn) {
			conn.Close()
			continue
		}
		go func() {
			defer l.drop(conn)
			defer conn.Close()
			r := &request{Conn: conn, limit: requestLimit, intake: l.intake}
			defer r.forget()
			defer r.settle()
			if l.intake.serve(r) {
				dev.IpcHandle(r)
			}
		}()
	}
}

func (l *listener) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.conns[c] = struct{}{}
	}
	return !l.closed
}

func (l *listener) drop(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// hangUp closes every connection, and from then on each new one at once.
func (l *listener) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for c := range l.conns {
		c.Close()
	}
}

// close removes the socket, if it is still this one, and ends the listening.
// The file goes first: as long as a socket answers, nobody puts another in its
// place.
func (l *listener) close() {
	_ = l.sock.remove()
	l.end()
	l.ln.Close()
	if l.watch != nil {
		l.watch.Close()
	}
}
