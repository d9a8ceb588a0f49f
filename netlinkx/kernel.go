// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/mdlayher/genetlink"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
)

// Kernel has all the verbs, over the netlink sockets of one network namespace.
// It may be used by several goroutines, and from any thread.
type Kernel struct {
	ns      netns.NsHandle
	nsFile  unix.Stat_t              // what ns is open on
	sockets map[int]*nl.SocketHandle // for the requests that a handle can't make
	ctl     *os.File                 // a socket for ioctl(2)
	uapiDir string
	ownDir  string // of sockets of this namespace alone, looked at first; "" for none

	// outer, if not nil, is where links are made that belong here: their UDP
	// sockets stay there.
	outer *Kernel

	handlesMu sync.Mutex
	handles   []*netlink.Handle // the last is in use, see renew

	mu      sync.Mutex
	wg      *wgctrl.Client       // nil until a device of the kernel is configured
	gl      *genetlink.Conn      // nil until the family is asked for
	asked   time.Time            // when the kernel said which it is, the last time
	known   genetlink.Family     // what it said
	batches map[int]*batchSocket // by protocol

	told tally // of this Kernel's requests to embedded devices

	fault func() error // tests: an error to put in the place of a dump's success
}

var _ interface {
	Links
	Addresses
	Routes
	Rules
	Devices
	Sysctls
} = (*Kernel)(nil)

// NewKernel opens the network namespace of the calling thread. Where several
// namespaces meet in one process, the caller locks its thread around the call.
func NewKernel() (*Kernel, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ns, err := netns.Get()
	if err != nil {
		return nil, fmt.Errorf("opening the network namespace: %w", err)
	}
	return newKernel(ns)
}

// NewKernelAt opens the network namespace bound to a path, as
// "/run/netns/blue" or "/proc/1/ns/net".
func NewKernelAt(nsPath string) (*Kernel, error) {
	ns, err := netns.GetFromPath(nsPath)
	if err != nil {
		return nil, fmt.Errorf("opening network namespace %s: %w", nsPath, err)
	}
	return newKernel(ns)
}

func newKernel(ns netns.NsHandle) (*Kernel, error) {
	k := &Kernel{ns: ns, uapiDir: uapiDir, batches: make(map[int]*batchSocket)}
	if err := unix.Fstat(int(ns), &k.nsFile); err != nil {
		return nil, errors.Join(fmt.Errorf("reading the network namespace: %w", err), k.Close())
	}
	err := k.inside(func() error {
		h, err := newHandle()
		if err != nil {
			return err
		}
		k.handles = append(k.handles, h)
		s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
		if err != nil {
			return err
		}
		k.sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		k.ctl = os.NewFile(uintptr(fd), "ioctl socket")
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening netlink sockets: %w", err), k.Close())
	}
	return k, nil
}

// newHandle opens a handle in the namespace of the calling thread.
func newHandle() (*netlink.Handle, error) {
	// Not NewHandleAt: that one doesn't notice when it can't get back to
	// the thread's own namespace.
	opts := netlink.HandleOptions{DisableVFInfoCollection: true}
	h, err := netlink.NewHandleWithOptions(opts, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	// Kernels before 4.20 don't know strict checking; they filter
	// nothing in dumps, and the verbs here filter again.
	_ = h.SetStrictCheck(true)
	return h, nil
}

// handle returns the handle in use.
func (k *Kernel) handle() *netlink.Handle {
	k.handlesMu.Lock()
	defer k.handlesMu.Unlock()
	return k.handles[len(k.handles)-1]
}

// renew puts a new handle in the place of one whose socket has a list that
// nobody read to its end, for it can't be drained from here. The old one stays
// open: another goroutine may wait at it.
func (k *Kernel) renew(old *netlink.Handle) error {
	k.handlesMu.Lock()
	defer k.handlesMu.Unlock()
	if k.handles[len(k.handles)-1] != old {
		return nil
	}
	return k.inside(func() error {
		h, err := newHandle()
		if err == nil {
			k.handles = append(k.handles, h)
		}
		return err
	})
}

// Close closes the sockets. It changes nothing of the network.
func (k *Kernel) Close() error {
	var errs []error
	for _, s := range k.sockets {
		errs = append(errs, s.Close())
	}
	if k.ctl != nil {
		errs = append(errs, k.ctl.Close())
	}
	k.handlesMu.Lock()
	for _, h := range k.handles {
		errs = append(errs, h.Close())
	}
	k.handlesMu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wg != nil {
		errs = append(errs, k.wg.Close())
	}
	if k.gl != nil {
		errs = append(errs, k.gl.Close())
	}
	for _, s := range k.batches {
		errs = append(errs, s.close())
	}
	return errors.Join(append(errs, k.ns.Close())...)
}

// inside runs f on a thread that is in k's namespace: sockets belong to the
// namespace of the thread that makes them, and so do the files of
// /proc/sys/net of the thread that opens them.
func (k *Kernel) inside(f func() error) error {
	runtime.LockOSThread()
	if k.isHere() {
		defer runtime.UnlockOSThread()
		return f()
	}
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening the thread's network namespace: %w", err)
	}
	defer func() { _ = here.Close() }()
	if err := netns.Set(k.ns); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering the network namespace: %w", err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		// The thread stays locked, so that it dies with its goroutine and
		// nobody else runs in the wrong namespace.
		return errors.Join(err, fmt.Errorf("leaving the network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// isHere reports whether the calling thread, which is locked, is in k's namespace.
func (k *Kernel) isHere() bool {
	var here unix.Stat_t
	err := unix.Stat("/proc/thread-self/ns/net", &here)
	return err == nil && here.Dev == k.nsFile.Dev && here.Ino == k.nsFile.Ino
}

// request starts a message on k's own route socket.
func (k *Kernel) request(kind, flags int) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(kind, flags)
	r.Sockets = k.sockets
	return r
}

const (
	dumpTries = 10
	dumpPause = 2 * time.Millisecond // times the number of the try
)

// dump calls f, which asks the kernel for a list, again and again while the
// list changes under the kernel's hands (NLM_F_DUMP_INTR), at most dumpTries
// times, or has not told all of another one. f starts its result afresh each time.
func (k *Kernel) dump(ctx context.Context, f func() error) error {
	var err error
	for try := range dumpTries {
		if err := ctx.Err(); err != nil {
			return err
		}
		err = f()
		if err == nil && k.fault != nil {
			err = k.fault()
		}
		if errors.Is(err, unix.EBUSY) {
			k.drain()
		} else if !errors.Is(err, unix.EINTR) { // netlink.ErrDumpInterrupted is one as well
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(dumpPause * time.Duration(try)):
		}
	}
	return err
}

// dumped is dump for a question that a handle asks.
func (k *Kernel) dumped(ctx context.Context, f func(*netlink.Handle) error) error {
	return k.dump(ctx, func() error {
		h := k.handle()
		err := f(h)
		if errors.Is(err, unix.EBUSY) {
			return errors.Join(err, k.renew(h))
		}
		return err
	})
}

// drain reads what k's own route socket still has for nobody: of a list that was
// not read to its end, as after an error of recvfrom(2), the kernel has more to
// tell, and no other list before (__netlink_dump_start in net/netlink/af_netlink.c).
func (k *Kernel) drain() {
	s := k.sockets[unix.NETLINK_ROUTE].Socket
	s.Lock() // who waits for an answer has it
	defer s.Unlock()
	b := make([]byte, 64<<10)
	for err := error(nil); err == nil || err == unix.EINTR; {
		_, _, err = unix.Recvfrom(s.GetFd(), b, unix.MSG_DONTWAIT)
	}
}

// A missingError is an errno that says in its own way that the thing doesn't
// exist: an os.ErrNotExist as well.
type missingError struct{ error }

func (e missingError) Unwrap() []error { return []error{e.error, os.ErrNotExist} }

// missing makes err an os.ErrNotExist if it is one of the errnos.
func missing(err error, errnos ...unix.Errno) error {
	if isOneOf(err, errnos...) {
		return missingError{err}
	}
	return err
}

func isOneOf(err error, errnos ...unix.Errno) bool {
	for _, e := range errnos {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
