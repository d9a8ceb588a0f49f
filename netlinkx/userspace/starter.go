// SPDX-License-Identifier: MIT

package userspace

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"
)

// A Starter starts embedded devices, each in a process of its own. The zero
// value with Args set is useful.
type Starter struct {
	// Executable is the binary to start; empty is this process's own.
	Executable string
	// Name is the process's argv[0]; empty is "wgctl".
	Name string
	// Args are the words that make it call Serve; the interface's name
	// follows them. The process shows as "NAME ARGS IFNAME".
	Args []string
	// TUN and UAPI are descriptors to hand on instead of making a link and a
	// socket: an attached TUN, and a bound, listening socket. 0 is none. They
	// are Start's from then on.
	TUN, UAPI int
	// Sockets, if not nil, is the network namespace that the device's UDP
	// sockets are in, while its link is in that of the calling thread.
	Sockets *os.File
	// Home, if not empty, is where the namespace of the calling thread is
	// found: the device ends when another one or none is there.
	Home string
	// SocketDir is an absolute path; empty is the constant SocketDir. It is
	// made, for root alone, if it doesn't exist, and stays.
	SocketDir string
	// OwnSocketDir, if not empty, is another folder that may hold the socket
	// of a device: Reap and Stale look there first.
	OwnSocketDir string
	// Alias is the alias of the links; empty is none.
	Alias string
	// LogLevel is what LOG_LEVEL says: "verbose" or "debug", "error",
	// "silent", or empty where it isn't set.
	LogLevel string
	// Stderr is where the device logs when there is no journal and LogLevel
	// is set; nil is os.Stderr. Otherwise the process holds nothing of ours
	// open.
	Stderr *os.File
	// NoJournal makes it log there even if there is a journal. The process
	// has to know it too (ServeOptions).
	NoJournal bool
	// Env is what the process gets in its environment, as "K=V", besides a
	// PATH and LOG_LEVEL. Nothing is inherited.
	Env []string
	// Timeout is how long the device may take to answer; 0 is 30 seconds.
	Timeout time.Duration

	early earlyPlace
}

const (
	startTimeout = 30 * time.Second
	servicePath  = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Available returns nil if a TUN link could be made here, else why not. It
// makes none.
func (s *Starter) Available(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	fd, err := openCloneDevice()
	if err != nil {
		return err
	}
	unix.Close(fd)
	return checkNetAdmin()
}

// Counts returns true: devices answer GenerationRequest.
func (s *Starter) Counts() bool { return true }

// Start makes a TUN link of that name, in the network namespace of the
// calling thread, and serves it by a process of its own. It returns when the
// device is ready to answer on its UAPI socket; then link and socket may be used at
// once. The link is down, has MTU 1420 and no keys.
//
// On an error nothing is left, and what others have is as it was. A name that
// a link has already is unix.EEXIST; a socket that another process answers on
// is unix.EADDRINUSE.
func (s *Starter) Start(ctx context.Context, ifname string) (err error) {
	if err := checkName(ifname); err != nil {
		return err
	}
	if err := s.Available(ctx); err != nil {
		return err
	}
	limit := cmp.Or(s.Timeout, startTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("no answer within %v: %w", limit, context.DeadlineExceeded))
	defer cancel()

	// The link comes first: it is what two starts at once contend for, and
	// whoever has it may take the socket of a dead predecessor.
	tun, err := s.tun(ifname)
	if err != nil {
		return err
	}
	defer tun.Close()
	var sock socket
	var listener *os.File
	err = s.inOuter(func() (err error) {
		sock, listener, err = s.uapi(ctx, ifname)
		return err
	})
	if err != nil {
		return err
	}
	defer listener.Close()
	defer func() {
		if err != nil && s.UAPI == 0 {
			_ = sock.remove()
		}
	}()
	p := s.take(ifname, tun, listener)
	if p == nil {
		words := s.words(ifname)
		err = s.inOuter(func() error {
			p, err = s.spawn(words, nil, tun, listener)
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("starting the device's process: %w", err)
	}
	// From here the link and the socket live and die with the process alone.
	tun.Close()
	listener.Close()
	if err := p.ready(ctx, sock.path); err != nil {
		p.kill()
		return fmt.Errorf("waiting for the device to answer: %w", err)
	}
	return nil
}

// tun returns the link to serve.
func (s *Starter) tun(ifname string) (*os.File, error) {
	fd := s.TUN
	if fd != 0 {
		if err := checkTUN(fd, ifname); err != nil {
			return nil, err
		}
	} else {
		var err error
		if s.Sockets != nil {
			fd, err = s.makeTUNAway(ifname)
		} else {
			fd, err = makeTUN(ifname, s.Alias)
		}
		if err != nil {
			return nil, err
		}
	}
	return os.NewFile(uintptr(fd), cloneDevice), nil
}

// uapi returns the socket to serve it on.
func (s *Starter) uapi(ctx context.Context, ifname string) (socket, *os.File, error) {
	if s.UAPI == 0 {
		return makeSocket(ctx, cmp.Or(s.SocketDir, SocketDir), ifname)
	}
	sock, err := socketOf(s.UAPI, ifname)
	if err != nil {
		return socket{}, nil, err
	}
	return sock, os.NewFile(uintptr(s.UAPI), sock.path), nil
}

// logTarget returns what the process gets for its log. That is no file of
// ours unless it is asked for: a daemon that holds the standard error of the
// command that started it keeps `wgctl up wg0 2>&1 | cat` from ending.
func (s *Starter) logTarget(null *os.File) *os.File {
	if s.LogLevel == "" || s.LogLevel == "silent" || !s.NoJournal && journal.Enabled() {
		return null
	}
	return cmp.Or(s.Stderr, os.Stderr)
}

// environ returns the process's whole environment.
func (s *Starter) environ() []string {
	env := []string{servicePath}
	if s.LogLevel != "" {
		env = append(env, "LOG_LEVEL="+s.LogLevel)
	}
	if s.Home != "" {
		env = append(env, homeVariable+"="+s.Home)
	}
	return append(env, s.Env...)
}

// executable returns the binary to start. The path of a binary that was
// replaced since leads to another version, or nowhere; the kernel's link
// always leads to the one that runs (but shows as "exe" in ps).
func (s *Starter) executable() (string, error) {
	const self = "/proc/self/exe"
	if s.Executable != "" {
		return s.Executable, nil
	}
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	running, err := os.Stat(self)
	if err != nil { // no /proc here
		return path, nil
	}
	if now, err := os.Stat(path); err != nil || !os.SameFile(now, running) {
		return self, nil
	}
	return path, nil
}
