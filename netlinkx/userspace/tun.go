// SPDX-License-Identifier: MIT

package userspace

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

const cloneDevice = "/dev/net/tun"

// openCloneDevice opens the device that TUN links are made from. Its errors
// say what an administrator can do about them.
func openCloneDevice() (int, error) {
	fd, err := unix.Open(cloneDevice, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		return fd, nil
	}
	err = &os.PathError{Op: "opening", Path: cloneDevice, Err: err}
	switch {
	case errors.Is(err, unix.ENOENT):
		return -1, fmt.Errorf("%w (load the module tun, or give the container --device %s)", err, cloneDevice)
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return -1, fmt.Errorf("%w (the kernel has no TUN driver: load the module tun)", err)
	case errors.Is(err, unix.EACCES) && os.Geteuid() == 0:
		return -1, fmt.Errorf("%w (its mode keeps out who is root in a user namespace alone: chmod 0666 %s, as udev has it)", err, cloneDevice)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return -1, fmt.Errorf("%w (run as root, or give the container --device %s)", err, cloneDevice)
	}
	return -1, err
}

// checkNetAdmin reports whether this process may make links at all. It saves
// making one just to see: that would show up in every monitor of the host.
func checkNetAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return fmt.Errorf("reading capabilities: %w", err)
	}
	if data[0].Effective&(1<<unix.CAP_NET_ADMIN) == 0 {
		return fmt.Errorf("making a TUN link takes CAP_NET_ADMIN: %w (give the container --cap-add NET_ADMIN)", unix.EPERM)
	}
	return nil
}

// makeTUN makes a TUN link that lives as long as the returned descriptor is
// open in some process, and gives it the alias unless that is empty. A link
// that has the name already is unix.EEXIST, and is left alone. The link
// appears in the network namespace of the calling thread.
func makeTUN(ifname, alias string) (int, error) {
	fd, err := openCloneDevice()
	if err != nil {
		return -1, err
	}
	if err := attach(fd, ifname); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("making TUN link %s: %w", ifname, err)
	}
	if alias == "" {
		return fd, nil
	}
	link := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: ifname}}
	if err := netlink.LinkSetAlias(link, alias); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("setting alias of %s: %w", ifname, err)
	}
	return fd, nil
}

// attach makes the link for an open clone device. IFF_VNET_HDR is what lets
// wireguard-go read and write segments of many packets; IFF_TUN_EXCL keeps
// TUNSETIFF from attaching to a persistent TUN that someone else made
// (__tun_set_iff in drivers/net/tun.c).
func attach(fd int, ifname string) error {
	ifr, err := unix.NewIfreq(ifname)
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	if err == unix.EBUSY { // what IFF_TUN_EXCL says of a name that is taken
		return unix.EEXIST
	}
	return err
}

// openTUN makes wireguard-go's device of the descriptor of a TUN, whose link
// must have the given name, and sets the link's MTU to 1420. The intake hears of
// packets. A descriptor that is something else is left as it is.
func openTUN(fd int, ifname string, in *intake) (tun.Device, error) {
	if err := checkTUN(fd, ifname); err != nil {
		return nil, err
	}
	// Before os.NewFile: it looks at the flag to decide about polling, and
	// a read that isn't polled could not be interrupted by Close.
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, fmt.Errorf("using descriptor %d as a TUN: %w", fd, err)
	}
	if isAway(fd) {
		return openAwayTUN(fd, in)
	}
	file := os.NewFile(uintptr(fd), cloneDevice)
	dev, err := tun.CreateTUNFromFile(file, device.DefaultMTU)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("using descriptor %d as a TUN: %w", fd, err)
	}
	return newNearTUN(dev, fd, in), nil
}

// TUNName returns the name of the link behind the descriptor of a TUN.
func TUNName(fd int) (string, error) {
	ifr, err := unix.NewIfreq("")
	if err != nil {
		return "", err
	}
	if err := unix.IoctlIfreq(fd, unix.TUNGETIFF, ifr); err != nil {
		return "", fmt.Errorf("using descriptor %d as a TUN: %w", fd, err)
	}
	return ifr.Name(), nil
}

// checkTUN reports whether a descriptor is the TUN of that name. Called by
// hand, a detached process may find anything there, the runtime's own epoll
// descriptor included.
func checkTUN(fd int, ifname string) error {
	name, err := TUNName(fd)
	if err == nil && name != ifname {
		err = fmt.Errorf("descriptor %d is the TUN of %s, not of %s", fd, name, ifname)
	}
	return err
}
