// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// inBox is a root folder that holds the program, the files of the host's
// tunnels, and what the kernel mounts there: no shell and no library.
// /proc/sys is read-only, as in a container, and there is no TUN.
const inBox = `mkdir -p /run/box && mount -t tmpfs tmpfs /run/box && cd /run/box
	mkdir -p proc sys dev/net run etc/wireguard && touch wgctl dev/null && mount --bind /dev/null dev/null
	mount --bind "$0" wgctl && mount --bind /etc/wireguard etc/wireguard
	mount -t proc proc proc && mount --bind -o ro /proc/sys proc/sys
	`

// withTUN gives the box the device, as --device /dev/net/tun does.
const withTUN = "touch dev/net/tun && mount --bind /dev/net/tun dev/net/tun\n"

// box runs wgctl in the box after more lines of shell.
func (h *Host) box(more string, args ...string) Output {
	h.t.Helper()
	return h.Run(append([]string{"unshare", "-m", "sh", "-ec", inBox + more + `exec chroot . /wgctl "$@"`, Bin(h.t)}, args...)...)
}

func TestContainer(t *testing.T) {
	Only(t, Userspace)
	Need(t, "unshare", "chroot", "setpriv", "ping")
	a, b := newTunnelHost(t, "a"), newTunnelHost(t, "b")
	Connect(t, a.At("eth0", "10.0.0.1/24"), b.At("eth0", "10.0.0.2/24"))
	a.Must("mkdir", "/run/box")
	aKey, bKey := newKeyPair(t), newKeyPair(t)
	split := interfaceSection(aKey, "Address = 10.8.0.1/24", "ListenPort = 51820", "PostUp = test \"$INTERFACE\" = wg0") +
		peerSection(bKey, "Endpoint = 10.0.0.2:51820", "AllowedIPs = 10.8.0.0/24")
	full := interfaceSection(aKey, "Address = 10.8.0.1/24") +
		peerSection(bKey, "Endpoint = 10.0.0.2:51820", "AllowedIPs = 0.0.0.0/0")
	b.WriteFile(configOf("wg0"), interfaceSection(bKey, "Address = 10.8.0.2/24", "ListenPort = 51820")+peerSection(aKey, "AllowedIPs = 10.8.0.1/32"))
	wgctlOK(b, "up", "wg0")

	// What is missing is said in one line, with the flag that gives it.
	for _, c := range []struct{ name, file, more, want string }{
		{"TUN", split, "", "opening /dev/net/tun: no such file or directory (load the module tun, or give the container --device /dev/net/tun)"},
		{"sysctl", full, withTUN, "--sysctl net.ipv4.conf.all.src_valid_mark=1"},
		{"run", split, withTUN + "mount --bind -o ro run run\n", "read-only file system (give the container --tmpfs /run"},
		{"capability", split, withTUN + "set -- setpriv --bounding-set -net_admin,-net_raw chroot . /wgctl \"$@\"; exec \"$@\"\n", "--cap-add NET_ADMIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.WriteFile(configOf("wg0"), c.file)
			before := a.Snapshot()
			out := a.box(c.more, "up", "wg0")
			fault := ""
			for line := range strings.Lines(out.Stderr) {
				if strings.HasPrefix(line, "wgctl: ") {
					fault += line
				}
			}
			if out.Code != 1 || strings.Count(fault, "\n") != 1 || !strings.Contains(fault, c.want) {
				t.Errorf("want one line with %q: %v", c.want, out)
			}
			a.Unchanged(before)
		})
	}
	// With what it takes, nothing else is needed; it stays, and goes on SIGTERM.
	a.WriteFile(configOf("wg0"), split)
	before := a.Snapshot()
	p := a.Start("unshare", "-m", "sh", "-ec", inBox+withTUN+`exec chroot . /wgctl "$@"`, Bin(t), "run", "wg0")
	WaitFor(t, 20*time.Second, "an answer through the tunnel", func() bool { return a.Ping("10.8.0.2") })
	if !p.Running() {
		t.Errorf("it did not stay: %v", p.Output())
	}
	p.Signal(syscall.SIGTERM)
	if out := p.Wait(20 * time.Second); out.Code != 0 {
		t.Errorf("%v", out)
	}
	a.Unchanged(before)
}
