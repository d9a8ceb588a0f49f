// SPDX-License-Identifier: MIT

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// networkManagerFolder is where scripts/witnesses unpacks NetworkManager and the
// dnsmasq that it runs.
func networkManagerFolder() string {
	if dir := os.Getenv("WGCTL_NETWORKMANAGER"); dir != "" {
		return dir
	}
	return "/var/cache/wgctl-networkmanager"
}

// A networkManager is a host's NetworkManager.
type networkManager struct {
	h       *Host
	process *Process
}

// startNetworkManager runs Debian's NetworkManager on a host, with a bus of its
// own and some lines of configuration. It makes /etc/resolv.conf, and has the
// client's end of a site as a connection with the nameserver outside.
func startNetworkManager(t testing.TB, h *Host, lines ...string) *networkManager {
	t.Helper()
	dir := networkManagerFolder()
	if _, err := os.Stat(filepath.Join(dir, "usr")); err != nil {
		unable(t, "NetworkManager is not unpacked: %v", err)
	}
	n := &networkManager{h: h}
	// A read-only /sys tells NetworkManager that there is no udev.
	h.Sh(strings.ReplaceAll(`
		mount -t overlay overlay -o lowerdir=DIR/usr:/usr /usr
		mount -t tmpfs tmpfs /mnt
		mkdir /mnt/upper /mnt/work
		mount -t overlay overlay -o lowerdir=/var/lib,upperdir=/mnt/upper,workdir=/mnt/work /var/lib
		mount -o remount,ro /sys
		mkdir -p /var/lib/NetworkManager /run/NetworkManager/conf.d
		cp -a DIR/etc/NetworkManager /etc/`, "DIR", dir))
	h.WriteFileMode("/etc/NetworkManager/NetworkManager.conf", "[main]\nplugins=keyfile\nno-auto-default=*\nrc-manager=symlink\n"+
		strings.Join(lines, "\n")+"\n", 0o644)
	startBus(t, h)
	n.start()
	h.Must("nmcli", "connection", "add", "type", "ethernet", "ifname", "eth0", "con-name", "lan",
		"ipv4.method", "manual", "ipv4.addresses", "192.0.2.2/24", "ipv4.gateway", hubLAN4, "ipv4.dns", hubLAN4, "ipv4.dns-search", "lan.example",
		"ipv6.method", "manual", "ipv6.addresses", "2001:db8:2::2/64", "ipv6.gateway", hubLAN6)
	h.Must("nmcli", "connection", "up", "lan")
	WaitFor(t, 10*time.Second, "addresses that nobody else has", func() bool {
		return !strings.Contains(h.Must("ip", "-6", "address", "show", "dev", "eth0").Stdout, "tentative")
	})
	return n
}

func (n *networkManager) start() {
	n.h.t.Helper()
	n.process = n.h.Start("NetworkManager", "--no-daemon")
	WaitFor(n.h.t, 20*time.Second, "NetworkManager", func() bool {
		return n.h.Run("nmcli", "-g", "STARTUP", "general").Stdout == "started\n"
	})
}

func (n *networkManager) stop() {
	n.h.t.Helper()
	n.process.Signal(syscall.SIGTERM)
	n.process.Wait(20 * time.Second)
}

func (n *networkManager) restart() {
	n.h.t.Helper()
	n.stop()
	n.start()
}

// freeze has it answer nobody until thaw.
func (n *networkManager) freeze() { n.process.Signal(syscall.SIGSTOP) }
func (n *networkManager) thaw()   { n.process.Signal(syscall.SIGCONT) }

// shape is the host's snapshot but for what NetworkManager remembers of links
// that come and go.
func (n *networkManager) shape() string {
	n.h.t.Helper()
	return accidental.ReplaceAllString(remembered.ReplaceAllString(n.h.Snapshot(), ""), "")
}

// comesTo returns how the host differs from a shape, to which it is given a
// moment to come.
func (n *networkManager) comesTo(want string) string {
	n.h.t.Helper()
	deadline := time.Now().Add(Timeout(5 * time.Second))
	for {
		now := n.shape()
		if now == want || time.Now().After(deadline) {
			return Diff(want, now)
		}
		time.Sleep(Timeout(20 * time.Millisecond))
	}
}

var remembered = regexp.MustCompile(`(?m)^.*/NetworkManager/devices/.*\n`)

// view is what NetworkManager says of look-ups, devices and connections, and
// what it has written.
func (n *networkManager) view() string {
	n.h.t.Helper()
	get := func(path, of, property string) string {
		out := n.h.Must("dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.NetworkManager", path,
			"org.freedesktop.DBus.Properties.Get", "string:"+of, "string:"+property)
		_, reply, _ := strings.Cut(out.Stdout, "\n") // the head has the time
		return reply
	}
	const of, path = "org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager"
	parts := []string{
		get(path, of, "GlobalDnsConfiguration"),
		get(path+"/DnsManager", of+".DnsManager", "Mode"),
		get(path+"/DnsManager", of+".DnsManager", "RcManager"),
		get(path+"/DnsManager", of+".DnsManager", "Configuration"),
		n.h.Must("nmcli", "-t", "device").Stdout,
		n.h.Must("nmcli", "connection", "show", "lan").Stdout,
		n.h.Must("NetworkManager", "--print-config").Stdout,
		n.h.Must("stat", "-c", "%N %a %U:%G", "/etc/resolv.conf").Stdout,
		n.h.ReadFile("/etc/resolv.conf"),
	}
	text := changing.ReplaceAllString(strings.Join(parts, "\n"), "")
	lines := strings.Split(counted.ReplaceAllString(text, ":"), "\n")
	slices.Sort(lines) // of routes and addresses it has no order
	return strings.Join(lines, "\n")
}

// changing are the lines of the view that are about when, and not what, and
// counted the numbers of items.
var (
	changing = regexp.MustCompile(`(?m)^(connection\.timestamp|GENERAL\.[A-Z-]*PATH):.*\n`)
	counted  = regexp.MustCompile(`\[\d+\]: *`)
)
