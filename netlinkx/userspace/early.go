// SPDX-License-Identifier: MIT

package userspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A process takes longer to start than a link to be made. So it may be started
// when it is all but certain that there will be a device, and waits until it is
// given the link and the socket. If its starter ends before, it does too: the
// other end of the descriptor that it waits at is closed then, whatever ended
// the starter, and link and socket aren't made yet.

// waitsVariable is in the environment of such a process.
const waitsVariable = "WGCTL_DEVICE_WAITS"

// waits reports whether this is such a process.
func waits() bool { return os.Getenv(waitsVariable) != "" }

// controlFD is what it waits at, in the place of the TUN that others begin with.
const controlFD = detachedTUNFD

// An early process is one that waits.
type early struct {
	*process
	ifname  string
	control *os.File
}

// earlyPlace has at most one.
type earlyPlace struct {
	mu sync.Mutex
	e  *early
}

// put leaves e there, which may be nil, and returns what was there.
func (p *earlyPlace) put(e *early) *early {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.e
	p.e = e
	return was
}

// has reports whether one waits for that name.
func (p *earlyPlace) has(ifname string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.e != nil && p.e.ifname == ifname
}

// Prepare starts the process that the next Start of that name, by this Starter,
// will need, unless it was called for that before. It makes neither link nor socket;
// an error is as if it hadn't been called. The caller calls Forget, in any case.
func (s *Starter) Prepare(ifname string) error {
	if err := checkName(ifname); err != nil || s.TUN != 0 || s.early.has(ifname) {
		return err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("making a socket pair: %w", err)
	}
	e := &early{ifname: ifname, control: os.NewFile(uintptr(pair[0]), "control")}
	theirs := os.NewFile(uintptr(pair[1]), "control")
	defer theirs.Close()
	words := s.words(ifname)
	if err := s.inOuter(func() error {
		e.process, err = s.spawn(words, []string{waitsVariable + "=1"}, theirs)
		return err
	}); err != nil {
		e.control.Close()
		return fmt.Errorf("starting the device's process: %w", err)
	}
	s.early.put(e).end()
	return nil
}

// Forget ends the process that Prepare started, if Start has not used it.
func (s *Starter) Forget() { s.early.put(nil).end() }

func (e *early) end() {
	if e == nil {
		return
	}
	e.control.Close()
	e.words.Close()
	e.kill()
}

// take returns the process that waits for a device of that name, with the link
// and the socket in its hands, or nil.
func (s *Starter) take(ifname string, tun, listener *os.File) *process {
	e := s.early.put(nil)
	if e == nil {
		return nil
	}
	rights := unix.UnixRights(int(tun.Fd()), int(listener.Fd()))
	if e.ifname != ifname || unix.Sendmsg(int(e.control.Fd()), []byte{0}, rights, nil, unix.MSG_NOSIGNAL) != nil {
		e.end()
		return nil
	}
	e.control.Close()
	return e.process
}

// await waits for what take sends. It returns net.ErrClosed if nothing will come.
func await(ctx context.Context) (tun, listener int, err error) {
	file := os.NewFile(controlFD, "control")
	conn, err := net.FileConn(file)
	file.Close()
	if err != nil {
		return 0, 0, fmt.Errorf("using descriptor %d as a socket: %w", controlFD, err)
	}
	defer conn.Close()
	c, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, 0, fmt.Errorf("using descriptor %d as a socket: %w", controlFD, unix.EPROTOTYPE)
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetReadDeadline(longAgo) })
	defer stop()
	var word [1]byte
	rights := make([]byte, unix.CmsgSpace(8))
	n, size, _, _, err := c.ReadMsgUnix(word[:], rights)
	if n == 0 {
		return 0, 0, net.ErrClosed
	}
	messages, parseErr := unix.ParseSocketControlMessage(rights[:size])
	if err = errors.Join(err, parseErr); err == nil && len(messages) == 1 {
		var fds []int
		if fds, err = unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 2 {
			return fds[0], fds[1], nil
		}
	}
	return 0, 0, errors.Join(errors.New("being given a link and a socket: something else came"), err)
}
