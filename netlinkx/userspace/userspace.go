// SPDX-License-Identifier: MIT

// Package userspace is one embedded wireguard-go device: its TUN, its UAPI
// socket, and the life of the process that serves them.
//
// A [Starter] makes the link and the socket, starts the own binary again as a
// detached process with both in its hands, and returns when the device
// answers. That process calls [Serve] and ends when the link goes, when its
// socket is removed, or when it is told to; whichever it is, link and socket
// go with it.
//
// It configures nothing: keys, peers and ports come in over the UAPI socket
// from whoever speaks it. It knows nothing of the rest of wgctl.
package userspace

import (
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// SocketDir is where wg(8) and wgctrl look for UAPI sockets.
const SocketDir = "/var/run/wireguard"

// inIfname are the characters of what wg-quick takes for an interface name.
const inIfname = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_=+.-"

// checkName refuses what can't be a link or isn't safe as part of a path. A
// "%" must not reach TUNSETIFF, which takes the name for a pattern; "all" and
// "default" are directories of the sysctls of links.
func checkName(name string) error {
	switch {
	case len(name) >= unix.IFNAMSIZ:
		return fmt.Errorf("interface name %q is longer than %d bytes: %w", name, unix.IFNAMSIZ-1, unix.ENAMETOOLONG)
	case name == "", strings.Trim(name, inIfname) != "", name[0] == '-', name == ".", name == "..", name == "all", name == "default":
		return fmt.Errorf("%q can't be an interface name: %w", name, unix.EINVAL)
	}
	return nil
}

// socketPath returns where the UAPI socket of an interface is.
func socketPath(dir, ifname string) string {
	return filepath.Join(dir, ifname+".sock")
}
