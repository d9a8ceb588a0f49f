// SPDX-License-Identifier: MIT

package userspace

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// A device whose link is in one network namespace and whose UDP sockets are in
// another has its process in the latter, and the link is made there and moved:
// an open TUN keeps the namespace alive that it was made in, a socket the one of
// its thread, and so does a process (tun_chr_open in drivers/net/tun.c). So
// nothing of ours does that to the namespace with the link: when it ends, the
// link goes, and with it the device.

// AtFlag comes before the interface's name in the words of a process whose link
// is in another namespace, with the number of that: several may serve links of
// one name.
const AtFlag = "at"

const threadNamespace = "/proc/thread-self/ns/net"

// words are the arguments of the process that serves a link in the namespace of
// the calling thread.
func (s *Starter) words(ifname string) []string {
	words := slices.Clone(s.Args)
	var st unix.Stat_t
	if s.Sockets != nil && unix.Stat(threadNamespace, &st) == nil {
		words = append(words, fmt.Sprintf("--%s=%d", AtFlag, st.Ino))
	}
	return append(words, ifname)
}

// inOuter runs f on a thread in the namespace of the sockets.
func (s *Starter) inOuter(f func() error) error {
	if s.Sockets == nil {
		return f()
	}
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("opening the thread's network namespace: %w", err)
	}
	defer here.Close()
	if err := netns.Set(netns.NsHandle(s.Sockets.Fd())); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("entering the namespace of the sockets: %w", err)
	}
	err = f()
	if back := netns.Set(here); back != nil {
		// The thread stays locked, and ends with its goroutine.
		return errors.Join(err, fmt.Errorf("leaving the namespace of the sockets: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// makeTUNAway makes a TUN link in the namespace of the sockets, under a name
// that nobody looks for, and moves it to that of the calling thread.
func (s *Starter) makeTUNAway(ifname string) (fd int, err error) {
	target, err := netns.Get()
	if err != nil {
		return -1, fmt.Errorf("opening the network namespace: %w", err)
	}
	defer target.Close()
	err = s.inOuter(func() error {
		passing := "wgctl" + rand.Text()[:8]
		if fd, err = makeTUN(passing, ""); err != nil {
			return err
		}
		if err := moveLink(passing, ifname, s.Alias, int(target)); err != nil {
			unix.Close(fd) // the link goes, wherever it is
			return fmt.Errorf("moving TUN link %s to its namespace: %w", ifname, err)
		}
		return nil
	})
	return fd, err
}

// moveLink moves a link of the calling thread's namespace to another and gives
// it there its name, alias and first MTU.
func moveLink(from, to, alias string, target int) error {
	index, err := linkIndex(from)
	if err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = index
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(target))))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(to)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(device.DefaultMTU)))
	if alias != "" {
		req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	}
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// linkIndex returns the number of a link of the calling thread's namespace.
func linkIndex(name string) (int32, error) {
	var index int32
	err := withIfreq(name, func(fd int, ifr *unix.Ifreq) error {
		err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
		index = int32(ifr.Uint32())
		return err
	})
	return index, err
}

// withIfreq calls f with a socket of the calling thread's namespace.
func withIfreq(name string, f func(fd int, ifr *unix.Ifreq) error) error {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f(fd, ifr)
}

// openNamespaceOf opens the namespace of a TUN's link.
func openNamespaceOf(tun int) (netns.NsHandle, error) {
	fd, err := unix.IoctlRetInt(tun, unix.TUNGETDEVNETNS)
	return netns.NsHandle(fd), err
}

// isAway reports whether a TUN's link is in another namespace than this process.
// Kernels before 5.6 don't tell.
func isAway(fd int) bool {
	there, err := openNamespaceOf(fd)
	if err != nil {
		return false
	}
	defer there.Close()
	here, err := netns.Get()
	if err != nil {
		return false
	}
	defer here.Close()
	return !here.Equal(there)
}

// An awayTUN is a TUN whose link is in another namespace. Netlink would tell of
// its changes only to a socket there, which would keep that namespace alive, so
// it is looked at now and then.
type awayTUN struct {
	*watchedTUN
	name string
}

func openAwayTUN(fd int, in *intake) (tun.Device, error) {
	dev, name, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("using descriptor %d as a TUN: %w", fd, err)
	}
	t := &awayTUN{watchedTUN: newWatchedTUN(dev, fd, in), name: name}
	go t.follow()
	return t, nil
}

// follow waits for the link to come up for the first time, after the intake has
// brought the device up, and then has the device do as the link does. Until then the
// device keeps its port: one that is down accepts any, and who is to bring the link up
// would not hear that another socket has it.
func (t *awayTUN) follow() {
	select {
	case <-t.intake.ready:
	case <-t.closed:
		close(t.ended)
		return
	}
	for wait := lookSoon; ; wait = min(wait*2, lookAfter) {
		if up, _ := t.isUp(); up {
			break
		}
		select {
		case <-time.After(wait):
		case <-t.closed:
			close(t.ended)
			return
		}
	}
	t.watch(t.isUp, t.MTU)
}

func (t *awayTUN) isUp() (up, ok bool) {
	err := t.ifreq(unix.SIOCGIFFLAGS, func(ifr *unix.Ifreq) { up = ifr.Uint16()&unix.IFF_RUNNING != 0 })
	return up, err == nil
}

// MTU returns that of the link.
func (t *awayTUN) MTU() (mtu int, err error) {
	err = t.ifreq(unix.SIOCGIFMTU, func(ifr *unix.Ifreq) { mtu = int(ifr.Uint32()) })
	return mtu, err
}

// ifreq asks for something of the link in its namespace.
func (t *awayTUN) ifreq(request uint, read func(*unix.Ifreq)) error {
	there, err := openNamespaceOf(t.fd)
	if err != nil {
		return fmt.Errorf("opening the namespace of %s: %w", t.name, err)
	}
	ns := os.NewFile(uintptr(there), "namespace")
	defer ns.Close()
	return (&Starter{Sockets: ns}).inOuter(func() error {
		return withIfreq(t.name, func(fd int, ifr *unix.Ifreq) error {
			err := unix.IoctlIfreq(fd, request, ifr)
			if err == nil {
				read(ifr)
			}
			return err
		})
	})
}
