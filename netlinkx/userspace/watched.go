// SPDX-License-Identifier: MIT

package userspace

import (
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// A watchedTUN is a TUN with events of its own instead of the device's.
type watchedTUN struct {
	tun.Device
	fd     int
	intake *intake
	events chan tun.Event
	closed chan struct{}
	ended  chan struct{} // closed when nobody sends events any more
	once   sync.Once
}

const (
	lookSoon  = 50 * time.Millisecond // until the link comes up for the first time
	lookAfter = time.Second
)

// newWatchedTUN returns one that waits for whom to tell its events.
func newWatchedTUN(dev tun.Device, fd int, in *intake) *watchedTUN {
	return &watchedTUN{Device: dev, fd: fd, intake: in, events: make(chan tun.Event, 4), closed: make(chan struct{}), ended: make(chan struct{})}
}

// Read reads packets, of which the intake hears first. That the link is gone is
// os.ErrClosed, which wireguard-go makes of what the kernel says of it, but not of
// what the poller does who was asked later (ErrNotPollable of internal/poll).
func (t *watchedTUN) Read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	n, err = t.Device.Read(bufs, sizes, offset)
	if n > 0 {
		t.intake.meet(t.closed)
	}
	if err != nil && strings.HasSuffix(err.Error(), ": not pollable") {
		err = os.ErrClosed
	}
	return n, err
}

// Events returns what became of the link.
func (t *watchedTUN) Events() <-chan tun.Event { return t.events }

// Close ends the link.
func (t *watchedTUN) Close() error {
	var err error
	t.once.Do(func() {
		close(t.closed)
		<-t.ended
		close(t.events)
		err = t.Device.Close()
	})
	return err
}

// send tells an event, and reports whether there will be more.
func (t *watchedTUN) send(event tun.Event) bool {
	select {
	case t.events <- event:
		return true
	case <-t.closed:
		return false
	}
}

// watch looks at the link, which the device takes for up, and sends events until
// the device is closed.
func (t *watchedTUN) watch(isUp func() (up, ok bool), mtuOf func() (int, error)) {
	defer close(t.ended)
	mtu, up := device.DefaultMTU, true
	for {
		var event tun.Event
		if now, ok := isUp(); ok && now != up {
			event, up = tun.EventDown, now
			if now {
				event = tun.EventUp
			}
		}
		if n, err := mtuOf(); err == nil && n != mtu {
			event, mtu = event|tun.EventMTUUpdate, n
		}
		if event != 0 && !t.send(event) {
			return
		}
		select {
		case <-time.After(lookAfter):
		case <-t.closed:
			return
		}
	}
}

// A nearTUN is a TUN whose link is in the namespace of this process, so that
// netlink tells wireguard-go what becomes of it. That listener gives up at its
// first error, as when more changes on the host than its buffer takes, and the
// error comes out of Read and would end the device (routineNetlinkListener in its
// tun/tun_linux.go). From then on the link is looked at now and then.
type nearTUN struct {
	*watchedTUN
	deaf chan struct{} // closed when the device hears nothing any more
	tell func()
}

func newNearTUN(dev tun.Device, fd int, in *intake) *nearTUN {
	t := &nearTUN{watchedTUN: newWatchedTUN(dev, fd, in), deaf: make(chan struct{})}
	t.tell = sync.OnceFunc(func() { close(t.deaf) })
	go t.forward()
	return t
}

// forward passes on what the device hears, and watches when that ends. What comes
// before the intake has brought the device up says that the link is up, whatever it is
// (routineHackListener in wireguard-go's tun/tun_linux.go).
func (t *nearTUN) forward() {
	select {
	case <-t.intake.ready:
	case <-t.closed:
		close(t.ended)
		return
	}
	for {
		select {
		case event, more := <-t.Device.Events():
			if !more {
				t.watch(t.isUp, t.MTU)
				return
			}
			if !t.send(event) {
				close(t.ended)
				return
			}
		case <-t.deaf:
			t.watch(t.isUp, t.MTU)
			return
		case <-t.closed:
			close(t.ended)
			return
		}
	}
}

// isUp asks for the flag that netlink tells of, too. An empty write, wireguard-go's
// way across namespaces, is refused alike whatever the link is, if its packets have
// a header for segments (tun_get_user in drivers/net/tun.c).
func (t *nearTUN) isUp() (up, ok bool) {
	name, err := TUNName(t.fd)
	if err == nil {
		err = withIfreq(name, func(fd int, ifr *unix.Ifreq) error {
			err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr)
			up = ifr.Uint16()&unix.IFF_RUNNING != 0
			return err
		})
	}
	return up, err == nil
}

// Read reads packets. That the device hears nothing any more is no error of it.
func (t *nearTUN) Read(bufs [][]byte, sizes []int, offset int) (n int, err error) {
	for {
		n, err = t.watchedTUN.Read(bufs, sizes, offset)
		if err == nil || !strings.HasPrefix(err.Error(), "failed to receive netlink message: ") {
			return n, err
		}
		t.tell()
	}
}
