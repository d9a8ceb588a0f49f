// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// systemd-networkd makes devices of the kernel only. In a round it runs on a bus
// of its own, as Debian installs it but for udev, and what is measured is
// networkctl, and the wait for what that told it to do.

const networkdTool = "systemd-networkd"

const (
	networkdProgram = "/lib/systemd/systemd-networkd"
	networkdFiles   = "/run/systemd/network"
	networkdUser    = "systemd-network" // by whom it runs
)

// bus is a configuration of dbus-daemon that lets anybody do anything.
const bus = `<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_type="method_call"/><allow send_type="signal"/>
<allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
<allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/><allow receive_type="signal"/></policy></busconfig>
`

// hasNetworkd reports whether the programs are there.
func hasNetworkd() bool {
	_, bus := exec.LookPath("dbus-daemon")
	_, ctl := exec.LookPath("networkctl")
	_, err := os.Stat(networkdProgram)
	return errors.Join(bus, ctl, err) == nil
}

// asNetworkd is the life of a tunnel by systemd-networkd. It does not change a
// device that is there when its file does.
func (b *bench) asNetworkd(base string, peers int) ([]step, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	n := fmt.Sprint(peers)
	device, network := networkdFiles+"/"+ifname+".netdev", networkdFiles+"/"+ifname+".network"
	return []step{
		{Argv: []string{self, "networkd", "start"}},
		{Argv: []string{"cp", base + ".netdev", device}},
		{Argv: []string{"cp", base + ".network", network}},
		{Argv: []string{"chown", "root:" + networkdUser, device, network}},
		{Argv: []string{"chmod", "640", device, network}},
		{Name: bringUp, Argv: []string{self, "networkd", "up", n}},
		{Name: "down", Argv: []string{self, "networkd", "down", "0"}},
	}, nil
}

// networkd is what a round's steps call.
func networkd(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "start":
		return startNetworkd()
	case len(args) == 2 && args[0] == "up":
		return networkctl(args[1], "reload")
	case len(args) == 2 && args[0] == "down":
		return networkctl(args[1], "delete", ifname)
	}
	return errors.New("usage: bench networkd start | up ROUTES | down ROUTES")
}

// startNetworkd leaves both programs behind: they end with the round.
func startNetworkd() error {
	if err := unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil { // no udev
		return fmt.Errorf("making /sys read-only: %w", err)
	}
	for _, dir := range []string{"/run/dbus", networkdFiles, "/run/systemd/netif"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := lendUser(networkdUser, "/run/systemd/netif"); err != nil {
		return err
	}
	if err := os.WriteFile("/run/bus.conf", []byte(bus), 0o644); err != nil {
		return err
	}
	if err := exec.Command("dbus-daemon", "--config-file=/run/bus.conf", "--nofork", "--nopidfile").Start(); err != nil {
		return err
	}
	if err := wait("the bus", func() (bool, error) {
		_, err := os.Stat("/run/dbus/system_bus_socket")
		return err == nil, nil
	}); err != nil {
		return err
	}
	if err := exec.Command(networkdProgram).Start(); err != nil {
		return err
	}
	return wait(networkdTool, func() (bool, error) { return exec.Command("networkctl", "reload").Run() == nil, nil })
}

// lendUser has a user of the name in the round's /etc, and gives it a folder.
func lendUser(name, dir string) error {
	for path, entry := range map[string]string{
		"/etc/passwd": name + ":x:998:998::/:/usr/sbin/nologin\n",
		"/etc/group":  name + ":x:998:\n",
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(text, []byte(name+":")) || bytes.Contains(text, []byte("\n"+name+":")) {
			continue
		}
		lent := filepath.Join("/run", filepath.Base(path))
		if err := os.WriteFile(lent, append(text, entry...), 0o644); err != nil {
			return err
		}
		if err := unix.Mount(lent, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("lending %s: %w", path, err)
		}
	}
	return exec.Command("chown", name, dir).Run()
}

// networkctl has systemd-networkd do something, and waits until the tunnel has so
// many routes of IPv4, which come last; with none, until it is gone.
func networkctl(routes string, args ...string) error {
	if out, err := exec.Command("networkctl", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("running networkctl: %w: %s", err, lastLines(out, 3))
	}
	return wait("the tunnel", func() (bool, error) {
		if routes == "0" {
			_, err := os.Stat("/sys/class/net/" + ifname)
			return err != nil, nil
		}
		n, err := routesOf(ifname)
		return fmt.Sprint(n) == routes, err
	})
}

// routesOf counts the routes of IPv4 of a link in the main table.
func routesOf(link string) (n int, err error) {
	f, err := os.Open("/proc/self/net/route")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), link+"\t") {
			n++
		}
	}
	return n, lines.Err()
}

// wait looks again and again, at most for some minutes.
func wait(what string, done func() (bool, error)) error {
	for end := time.Now().Add(30 * time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok, err := done(); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("waiting for %s: %w", what, os.ErrDeadlineExceeded)
}

// writeNetdev writes the tunnel's device in systemd-networkd's words.
func writeNetdev(path string, peers int) error {
	return writeFile(path, func(w *bufio.Writer) {
		fmt.Fprintf(w, "[NetDev]\nName=%s\nKind=wireguard\n[WireGuard]\nPrivateKey=%s\nListenPort=51820\nRouteTable=main\n", ifname, newKey(peers, 0))
		for i := range peers {
			p := peerOf(peers, i, false)
			fmt.Fprintf(w, "[WireGuardPeer]\nPublicKey=%s\nPresharedKey=%s\nEndpoint=%s\nAllowedIPs=%s\n", p.key, p.psk, p.endpoint, p.allowed)
		}
	})
}

// writeNetwork writes its addresses.
func writeNetwork(path string) error {
	return writeFile(path, func(w *bufio.Writer) {
		fmt.Fprintf(w, "[Match]\nName=%s\n[Link]\nMTUBytes=1420\n[Network]\nAddress=%s\nAddress=%s\nLinkLocalAddressing=no\n", ifname, ownAddress4, ownAddress6)
	})
}
