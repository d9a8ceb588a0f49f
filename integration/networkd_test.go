// SPDX-License-Identifier: MIT

package integration

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const networkdProgram = "/lib/systemd/systemd-networkd"

// startNetworkd runs systemd-networkd on a host, where it has the link eth0.
func startNetworkd(t testing.TB, h *Host) *Process {
	t.Helper()
	Need(t, "dbus-daemon", "networkctl")
	if _, err := os.Stat(networkdProgram); err != nil {
		unable(t, "no systemd-networkd: %v", err)
	}
	startBus(t, h)
	h.Sh(`grep -q ^systemd-network: /etc/passwd || echo 'systemd-network:x:998:998::/:/usr/sbin/nologin' >>/etc/passwd
		grep -q ^systemd-network: /etc/group || echo 'systemd-network:x:998:' >>/etc/group
		mount -o remount,ro /sys # no udev
		mkdir -p /run/systemd/netif
		chown systemd-network:systemd-network /run/systemd/netif
		rm -f /etc/systemd/network/*`)
	h.WriteFileMode("/etc/systemd/network/50-eth0.network", "[Match]\nName=eth0\n[Network]\nAddress=192.0.2.2/24\nIPv6AcceptRA=no\nLinkLocalAddressing=no\n", 0o644)
	p := h.Start(networkdProgram)
	hasEth0(h)
	return p
}

// hasEth0 waits until systemd-networkd has set eth0 up.
func hasEth0(h *Host) {
	h.t.Helper()
	WaitFor(h.t, 20*time.Second, "systemd-networkd to set eth0 up", func() bool {
		return strings.Contains(h.Must("ip", "address", "show", "dev", "eth0").Stdout, "192.0.2.2/24")
	})
}

// reconfigure has systemd-networkd set a link up anew, and eth0.
func reconfigure(h *Host, link string) {
	h.t.Helper()
	h.Must("ip", "address", "flush", "dev", "eth0")
	h.Must("networkctl", "reload")
	h.Must("networkctl", "reconfigure", link)
	h.Must("networkctl", "reconfigure", "eth0")
	hasEth0(h)
}

// systemd-networkd removes the rules of others when it sets up any link of its
// own, and all of a link that a file of its own fits: status shows it, and
// reload puts it back. Told as docs/networks.md says it leaves both alone.
func TestNetworkd(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	h.Sh("ip link add eth0 type veth peer name eth1; ip link set eth1 up")
	networkd := startNetworkd(t, h)
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	wgctlOK(h, "up", "wg0")
	warned := func(want bool) {
		t.Helper()
		// The host may lack other things, too.
		if out := h.Run(Bin(t), "check", "--host"); strings.Contains(out.Stdout, "[host-networkd]") != want {
			t.Errorf("warned of networkd: want %t\n%v", want, out)
		}
	}
	warned(true)
	mended := func(lost ...string) {
		t.Helper()
		WaitFor(t, 10*time.Second, "drift", func() bool {
			steps := strings.Join(driftSteps(h, "wg0"), "\n")
			return !slices.ContainsFunc(lost, func(l string) bool { return !strings.Contains(steps, l) })
		})
		wgctlOK(h, "reload", "wg0")
		whole(h, "wg0")
	}
	reconfigure(h, "eth0")
	mended("ip -6 rule add", "ip -4 rule add")

	const all = "/etc/systemd/network/99-all.network"
	h.WriteFileMode(all, "[Match]\nName=*\n[Network]\nDHCP=yes\n", 0o644)
	reconfigure(h, "wg0")
	mended("ip address add 10.8.0.2/24 dev wg0", "ip address add fd08::2/64 dev wg0", "ip -4 rule add")

	h.WriteFileMode("/etc/systemd/networkd.conf.d/wgctl.conf", blockAfter(t, "networks.md", "`/etc/systemd/networkd.conf.d/wgctl.conf`"), 0o644)
	h.WriteFileMode("/etc/systemd/network/10-wgctl.network", blockAfter(t, "networks.md", "`/etc/systemd/network/10-wgctl.network`"), 0o644)
	networkd.Signal(syscall.SIGTERM)
	networkd.Wait(20 * time.Second)
	h.Must("mv", "/etc/systemd/networkd.conf.d/wgctl.conf", "/run/aside")
	warned(false) // /run/systemd/netif is there still
	h.Must("mv", "/run/aside", "/etc/systemd/networkd.conf.d/wgctl.conf")
	h.Must("ip", "address", "flush", "dev", "eth0")
	h.Start(networkdProgram)
	hasEth0(h)
	warned(false)
	whole(h, "wg0")
	for _, link := range []string{"eth0", "wg0"} {
		reconfigure(h, link)
		whole(h, "wg0")
	}
	wgctlOK(h, "down", "wg0")
}
