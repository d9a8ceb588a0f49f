// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// Others who flush the ruleset, and the rules and routes that aren't theirs, as
// a restart of systemd-networkd does, make drift, which a reload puts right.
func TestFlushedByOthers(t *testing.T) {
	onceForAll(t)
	Need(t, "nft")
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	up := settled(h)
	h.Sh(`nft flush ruleset
		for f in -4 -6; do
			while ip $f rule delete protocol 87 2>/dev/null; do :; done
			ip $f route flush table 51820
		done
		sysctl -qw net.ipv4.conf.all.src_valid_mark=0`)
	if n := len(driftSteps(h, "wg0")); n != 8 {
		t.Errorf("%d steps of drift, want 4 rules, 2 routes, the table and the parameter: %q", n, driftSteps(h, "wg0"))
	}
	wgctlOK(h, "reload", "wg0")
	whole(h, "wg0")
	if now := comesToLook(h, up); now != up {
		t.Errorf("after the reload:\n%s", Diff(up, now))
	}
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// Where kernel parameters can't be written, as in a container, one that is
// right already is enough.
func TestReadOnlySysctlThatIsRight(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	h.Sh("sysctl -qw net.ipv4.conf.all.src_valid_mark=1; mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys")
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// A nameserver that never answers, as at boot, keeps nobody else waiting and
// nothing half done: up can be interrupted, and down asks no nameserver.
func TestLookupHangs(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	h.Sh(`ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up
		ip address add 192.0.2.2/24 dev eth0; ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev eth0
		sed -i 's/^hosts:.*/hosts: files dns/' /etc/nsswitch.conf`)
	h.WriteFileMode("/etc/resolv.conf", "nameserver 192.0.2.1\n", 0o644)
	const hosts = "127.0.0.1 localhost\n"
	h.WriteFileMode("/etc/hosts", hosts, 0o644)
	h.WriteFile(configOf("wg0"), strings.Replace(fullTunnel(t, 0), "Endpoint = 192.0.2.1", "Endpoint = hub.example", 1))
	h.WriteFile(configOf("wg1"), fullTunnel(t, 1))
	asks := func() bool { return strings.Contains(h.Sh("cat /proc/net/udp").Stdout, " 010200C0:0035 ") }
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		before := h.Snapshot()
		up := h.Start(Bin(t), "up", "wg0")
		WaitFor(t, 20*time.Second, "the nameserver to be asked", asks)
		wgctlOK(h, "up", "wg1")
		wgctlOK(h, "down", "wg1")
		wgctlFails(h, 1, "down", "wg0")
		up.Signal(sig)
		if out := up.Wait(20 * time.Second); out.Code != 1 || len(errorLines(out)) != 1 {
			t.Errorf("%v: %v", sig, out)
		}
		h.Unchanged(before)
	}
	before := h.Snapshot()
	h.WriteFileMode("/etc/hosts", hosts+"192.0.2.1 hub.example\n", 0o644)
	wgctlOK(h, "up", "wg0")
	h.WriteFileMode("/etc/hosts", hosts, 0o644)
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// A file that can't be saved because the disk is full stays as it is, whole,
// and doesn't keep the tunnel up; down says so and exits 1.
func TestSaveOnFullDisk(t *testing.T) {
	Need(t, "wg")
	onceForAll(t)
	h := newTunnelHost(t, "h")
	h.Sh("mount -t tmpfs -o size=64k tmpfs /etc/wireguard")
	file := fullTunnel(t, 0, "SaveConfig = true")
	h.WriteFile(configOf("wg0"), file)
	h.Sh("dd if=/dev/zero of=/etc/wireguard/full bs=1k 2>/dev/null || :")
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	h.Must("wg", "set", "wg0", "peer", newKeyPair(t).public, "allowed-ips", "10.66.0.0/16")
	out := wgctlFails(h, 1, "down", "wg0")
	if len(errorLines(out)) != 1 {
		t.Errorf("%v", out)
	}
	said(t, out.Stderr, configOf("wg0"), "no space left")
	if now := h.ReadFile(configOf("wg0")); now != file {
		t.Errorf("the file:\n%s", Diff(file, now))
	}
	if list := h.Must("ls", "-A", "/etc/wireguard").Stdout; list != "full\nwg0.conf\n" {
		t.Errorf("files left: %s", list)
	}
	h.Unchanged(before)
}

// The socket of a device that is gone is in nobody's way, whatever its name,
// and an up under that name replaces it.
func TestStaleSocket(t *testing.T) {
	Only(t, Userspace)
	Need(t, "wg")
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	h.WriteFile(configOf("wg7"), fullTunnel(t, 1))
	before := h.Snapshot()
	for _, args := range [][]string{{"show"}, {"show", "interfaces"}, {"status"}, {"up", "wg7"}} {
		wgctlOK(h, "up", "wg0")
		h.Sh("kill -KILL $(pgrep -f '[d]evice-serve wg0')")
		WaitFor(t, 5*time.Second, "the link to go", func() bool { return h.Run("ip", "link", "show", "wg0").Code != 0 })
		h.Sh("cd /run/wireguard && mv wg0.sock wg7.sock")
		if out := wgctlOK(h, args...); strings.Contains(out.Stdout, "wg7") {
			t.Errorf("%v", out)
		}
		wgctlOK(h, "down", "wg0")
	}
	whole(h, "wg7")
	wgctlOK(h, "down", "--all")
	h.Unchanged(before)
}
