// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// nameserver stands in a new host's /etc/resolv.conf: an address that answers
// nowhere (RFC 5737), so that a test that needs names has to serve them.
const nameserver = "nameserver 192.0.2.53\n"

// hold is the first process of a host: it furnishes the fresh namespaces,
// says "ready", reaps orphans, and ends with its standard input. As process 1
// it takes everything else in the host along, however the test process ended.
func hold(scratch string) error {
	if err := furnish(scratch); err != nil {
		return err
	}
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	go reap(children)
	fmt.Println("ready")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// reap collects what daemons leave when they die; zombies would stay in the
// list of processes that tests compare.
func reap(children <-chan os.Signal) {
	for range children {
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if err != nil && err != unix.EINTR || err == nil && pid <= 0 {
				break
			}
		}
	}
}

// mountPoint is one argument list of mount(2).
type mountPoint struct {
	source, target, fstype string
	flags                  uintptr
	data                   string
}

// furnish gives the host its own /proc, /sys, /run and /etc, and a loopback.
func furnish(scratch string) error {
	upper, work := filepath.Join(scratch, "upper"), filepath.Join(scratch, "work")
	// Without privacy first, every mount below would show up on the machine.
	mounts := []mountPoint{
		{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"tmpfs", scratch, "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	}
	if err := mountAll(mounts); err != nil {
		return err
	}
	for _, dir := range []string{upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	layers := fmt.Sprintf("lowerdir=/etc,upperdir=%s,workdir=%s", upper, work)
	if err := mountAll([]mountPoint{{"overlay", "/etc", "overlay", 0, layers}}); err != nil {
		return err
	}
	if err := furnishEtc(); err != nil {
		return err
	}
	return furnishNet()
}

func mountAll(mounts []mountPoint) error {
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.data); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.fstype, m.target, err)
		}
	}
	return nil
}

// furnishEtc makes /etc/resolv.conf a plain file, whatever it is on the
// machine, and /etc/wireguard an empty folder.
func furnishEtc() error {
	const resolvConf = "/etc/resolv.conf"
	if err := os.Remove(resolvConf); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.WriteFile(resolvConf, []byte(nameserver), 0o644); err != nil {
		return err
	}
	if err := os.MkdirAll("/etc/wireguard", 0o700); err != nil {
		return err
	}
	return mountAll([]mountPoint{{"tmpfs", "/etc/wireguard", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0700"}})
}

// furnishNet sets what a new network namespace may inherit from the machine
// (net.core.devconf_inherit_init_net) to the kernel's defaults, and turns
// duplicate address detection off, whose second of "tentative" no test is about.
// send_redirects is off because the first link of the WireGuard module to be
// set up turns it off for good (wg_open in drivers/net/wireguard/device.c).
func furnishNet() error {
	settings := []struct{ key, value string }{
		{"ipv4/ip_forward", "0"},
		{"ipv4/conf/all/src_valid_mark", "0"},
		{"ipv4/conf/default/src_valid_mark", "0"},
		{"ipv4/conf/all/rp_filter", "0"},
		{"ipv4/conf/default/rp_filter", "0"},
		{"ipv4/conf/all/send_redirects", "0"},
		{"ipv6/conf/all/accept_dad", "0"},
		{"ipv6/conf/default/accept_dad", "0"},
	}
	for _, s := range settings {
		if err := os.WriteFile("/proc/sys/net/"+s.key, []byte(s.value), 0); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("setting lo up: %w: %s", err, out)
	}
	return nil
}
