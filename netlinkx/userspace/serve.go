// SPDX-License-Identifier: MIT

package userspace

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// ServeOptions say what to serve. In the simplest form, with Interface alone,
// Serve makes a link and a socket of its own.
type ServeOptions struct {
	// Interface is the name of the link and of its socket. With a TUN given
	// it must be that one's name.
	Interface string
	// Detached is set in a process that a Starter started. Its TUN and UAPI
	// descriptors are the ones it was started with, SIGHUP is ignored, and
	// it logs to the journal, or where its starter said.
	Detached bool
	// TUN and UAPI are inherited descriptors: an attached TUN and a bound,
	// listening socket (WG_TUN_FD and WG_UAPI_FD of wireguard-go). 0 is none.
	// They are Serve's from then on.
	TUN, UAPI int
	// SocketDir is where the socket is made if none is given; empty is the
	// constant SocketDir.
	SocketDir string
	// Alias is the alias of the link if none is given; empty is none.
	Alias string
	// LogLevel is what LOG_LEVEL says: "verbose" or "debug", "error",
	// "silent"; anything else is as "error".
	LogLevel string
	// Log gets the log of a device that is not Detached; nil discards it.
	Log io.Writer
	// NoJournal makes a Detached device log where its starter said, even if
	// there is a journal.
	NoJournal bool
}

// closing is how long a device may take to close. The end of the process
// takes the link away in any case.
const closing = 10 * time.Second

// Serve runs one device until the context ends, the link goes, or its UAPI
// socket is removed from the file system; these are no errors, and link, port
// and socket are gone when it returns, in this order. If it fails to begin, nothing is left of
// what it made itself. Handling signals is the caller's, by the context.
//
// It forbids core dumps of the whole process, as keys will be in it.
func Serve(ctx context.Context, o ServeOptions) error {
	collect := func() {}
	if o.Detached {
		collect = stopCollecting() // the process is the device's alone
		detach()                   // before forbidDumps, which closes /proc/self to us if we aren't root
		o.TUN, o.UAPI = detachedTUNFD, detachedUAPIFD
	}
	if err := forbidDumps(); err != nil {
		return err
	}
	if err := checkName(o.Interface); err != nil {
		return err
	}
	if o.Detached && waits() {
		var err error
		if o.TUN, o.UAPI, err = await(ctx); errors.Is(err, net.ErrClosed) {
			return nil // nobody needs a device any more
		} else if err != nil {
			return err
		}
	}
	in := newIntake()
	link, err := o.tun(in)
	if err != nil {
		return err
	}
	uapi, err := o.uapi(ctx, in)
	if err != nil {
		link.Close()
		return err
	}
	logger, flush := newLogger(o)
	defer flush()
	dev := device.NewDevice(link, newBind(in), logger)
	in.dev = dev
	logger.Verbosef("Device started")
	go uapi.serve(dev)
	logger.Verbosef("UAPI listener started")
	if o.Detached {
		err = tellReady()
	}
	if err == nil {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		go in.changes.whenQuiet(ctx, quietTime, quietMost, collect)
		select {
		case <-ctx.Done():
		case <-dev.Wait():
		case <-uapi.gone:
		case <-homeless(ctx, os.Getenv(homeVariable)):
		}
	}
	logger.Verbosef("Shutting down")
	// Connections first: one that is in the middle of a request holds a lock
	// that Close waits for. The socket last: who waits for it to go (Reap,
	// the next Start) may count on link and port being free.
	uapi.hangUp()
	closeDevice(dev, in)
	uapi.close()
	return err
}

// tun returns the device's link.
func (o *ServeOptions) tun(in *intake) (tun.Device, error) {
	fd := o.TUN
	if fd == 0 {
		var err error
		if fd, err = makeTUN(o.Interface, o.Alias); err != nil {
			return nil, err
		}
	}
	return openTUN(fd, o.Interface, in)
}

// uapi returns the device's socket.
func (o *ServeOptions) uapi(ctx context.Context, in *intake) (*listener, error) {
	if o.UAPI != 0 {
		file := os.NewFile(uintptr(o.UAPI), "uapi")
		defer file.Close()
		sock, err := socketOf(o.UAPI, o.Interface)
		if err != nil {
			return nil, err
		}
		return newListener(sock, file, in)
	}
	sock, file, err := makeSocket(ctx, cmp.Or(o.SocketDir, SocketDir), o.Interface)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	l, err := newListener(sock, file, in)
	if err != nil {
		_ = sock.remove()
	}
	return l, err
}

// closeDevice closes the device and with it the link.
func closeDevice(dev *device.Device, in *intake) {
	go func() {
		in.end()
		dev.Close()
	}()
	select {
	case <-dev.Wait():
	case <-time.After(closing):
	}
}
