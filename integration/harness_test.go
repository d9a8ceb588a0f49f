// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// peerConfig is a wg-quick file of one peer; allowed is its AllowedIPs.
func peerConfig(t testing.TB, h *Host, address, allowed, more string) string {
	t.Helper()
	private := h.Must("wg", "genkey").Stdout
	public := h.RunInput(h.Must("wg", "genkey").Stdout, "wg", "pubkey").Stdout
	return fmt.Sprintf("[Interface]\nPrivateKey = %sAddress = %s\n%s\n[Peer]\nPublicKey = %sAllowedIPs = %s\n",
		private, address, more, public, allowed)
}

// quickHost is a host in which the original wg-quick works on either backend.
func quickHost(t testing.TB, name string) *Host {
	t.Helper()
	Need(t, "wg", "wg-quick")
	h := NewHost(t, name)
	if Backend() == Userspace {
		h.Setenv("WG_QUICK_USERSPACE_IMPLEMENTATION", WireguardGo(t))
	}
	return h
}

func TestHostIsItsOwnMachine(t *testing.T) {
	h := NewHost(t, "alone")
	if got := h.Must("cat", "/etc/resolv.conf").Stdout; got != nameserver {
		t.Errorf("resolv.conf: %q", got)
	}
	if got := h.Must("ls", "-A", "/etc/wireguard", "/run").Stdout; got != "/etc/wireguard:\n\n/run:\n" {
		t.Errorf("not empty: %s", got)
	}
	if got := h.Must("ip", "-br", "link").Stdout; strings.Count(got, "\n") < 1 || strings.Contains(got, "eth") {
		t.Errorf("links of a new host: %s", got)
	}
	if !h.Ping("127.0.0.1") {
		t.Error("loopback is not up")
	}
	h.WriteFile("/etc/wireguard/deep/er/file", "secret")
	h.WriteFile("/var/run/here", "x") // an absolute symlink on Debian
	if got := h.Sh("stat -c %a /etc/wireguard/deep/er/file; cat /run/here").Stdout; got != "600\nx" {
		t.Errorf("written files: %q", got)
	}
	if _, err := os.Lstat("/etc/wireguard/deep"); err == nil {
		t.Error("a file of the host is on the machine")
	}
	if h.ReadFile("/etc/wireguard/deep/er/file") != "secret" || !h.Exists("/run/here") || h.Exists("/run/nowhere") {
		t.Error("reading back")
	}
	if out := h.Run("sh", "-c", "exit 7"); out.Code != 7 {
		t.Errorf("want exit 7: %v", out)
	}
	if out := h.Run("sh", "-c", "kill -KILL $$"); out.Code != 128+9 {
		t.Errorf("want exit 137: %v", out)
	}
}

// The snapshot must not change by itself, and must show each kind of change.
func TestSnapshot(t *testing.T) {
	oneGuest(t, "odd")
	Need(t, "nft")
	a, b := NewHost(t, "a"), NewHost(t, "b")
	Connect(t, a.At("eth0", "10.0.0.1/24", "fd00::1/64"), b.At("eth0", "10.0.0.2/24", "fd00::2/64"))
	a.MustPing("10.0.0.2")
	a.MustPing("fd00::2")
	a.Sh("touch /run/root")
	before := a.Snapshot()
	a.Ping("10.0.0.2")
	a.Unchanged(before)
	changes := []struct{ part, do, undo string }{
		{"links", "ip link set eth0 alias x", "ip link set eth0 alias ''"},
		{"addresses", "ip address add 10.9.9.9/32 dev eth0", "ip address del 10.9.9.9/32 dev eth0"},
		{"rules", "ip -6 rule add pref 99 table 99", "ip -6 rule del pref 99"},
		{"routes", "ip route add 10.8.0.0/16 dev eth0 table 99", "ip route flush table 99"},
		{"nftables", "nft add table inet x", "nft delete table inet x"},
		{"sysctls", "sysctl -qw net.ipv4.conf.all.src_valid_mark=1", "sysctl -qw net.ipv4.conf.all.src_valid_mark=0"},
		{"resolv.conf", "chmod 600 /etc/resolv.conf", "chmod 644 /etc/resolv.conf"},
		{"owner of resolv.conf", "chown 7:0 /etc/resolv.conf", "chown 0:0 /etc/resolv.conf"},
		{"group of resolv.conf", "chgrp 7 /etc/resolv.conf", "chgrp 0 /etc/resolv.conf"},
		{"etc", "touch /etc/x", "rm /etc/x"},
		{"run", "mkdir -p /run/x/y", "rm -r /run/x"},
		{"owner in run", "chown 7 /run/root", "chown 0 /run/root"},
		{"mounts", "touch /run/x; mount --bind /etc/hostname /run/x", "umount /run/x; rm /run/x"},
		{"processes", "sleep 1000 >/dev/null 2>&1 &", "kill $(pgrep -x sleep)"},
	}
	for _, c := range changes {
		t.Run(c.part, func(t *testing.T) {
			a.Sh(c.do)
			if d := Diff(before, a.Snapshot()); !strings.Contains(d, "\n+") && !strings.Contains(d, "\n-") {
				t.Errorf("%s: not seen", c.do)
			}
			a.Sh(c.undo)
			a.Unchanged(before)
		})
	}
}

// A snapshot is of what stays: the kernel tells of a link's carrier, and uses an
// address, some time after the program that asked for it has ended.
func TestUnfinished(t *testing.T) {
	const (
		lo     = `1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00` + "\n"
		early  = `2: eth0@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UNKNOWN mode DEFAULT group default \    link/ether 2e:99:81:bd:74:6d brd ff:ff:ff:ff:ff:ff` + "\n"
		up     = `2: eth0@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default \    link/ether 2e:99:81:bd:74:6d brd ff:ff:ff:ff:ff:ff` + "\n"
		alone  = `2: eth0@eth1: <NO-CARRIER,BROADCAST,MULTICAST,UP,M-DOWN> mtu 1500 qdisc noqueue state LOWERLAYERDOWN mode DEFAULT group default qlen 1000\    link/ether 3e:6a:46:a9:82:67 brd ff:ff:ff:ff:ff:ff` + "\n"
		tunnel = `3: wg0: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1420 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\    link/none ` + "\n"

		local     = "== rules and routes -6\nlocal fe80::2c99:81ff:febd:746d dev eth0 table local proto kernel metric 0 pref medium\n"
		used      = `2: eth0    inet6 fe80::2c99:81ff:febd:746d/64 scope link \       valid_lft forever preferred_lft forever` + "\n"
		tentative = `2: eth0    inet6 fe80::2c99:81ff:febd:746d/64 scope link tentative \       valid_lft forever preferred_lft forever` + "\n"
		failed    = `2: eth0    inet6 fe80::2c99:81ff:febd:746d/64 scope link dadfailed tentative \       valid_lft forever preferred_lft forever` + "\n"
		inTunnel  = `3: wg0    inet6 fd08::2/128 scope global tentative \       valid_lft forever preferred_lft forever` + "\n"
	)
	for _, tt := range []struct {
		name, printed string
		want          bool
	}{
		{"the carrier has come, the state not", lo + early + used + local, true},
		{"both have", lo + up + tunnel + used + local, false},
		{"the address has no route", lo + up + tunnel + used, true},
		{"the address isn't used yet", lo + up + tentative, true},
		{"and never will be", lo + up + failed, false},
		{"nor without a carrier", lo + alone + tentative, false},
		{"a tunnel's isn't", lo + up + tunnel + used + inTunnel + local, true},
	} {
		if got := unfinished(tt.printed); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

func TestSocketAddr(t *testing.T) {
	for in, want := range map[string]string{
		"0100007F:1F90":                         "127.0.0.1:8080",
		"00000000:CA6C":                         "0.0.0.0:51820",
		"B80D0120000000000000000001000000:0035": "[2001:db8::1]:53",
	} {
		if got := socketAddr(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}

// iptables-legacy keeps a table once it was looked at; rules in it count, the
// empty table doesn't.
func TestSnapshotLegacyTables(t *testing.T) {
	Need(t, "iptables-legacy")
	h := NewHost(t, "h")
	before := h.Snapshot()
	h.Must("iptables-legacy", "-w", "-A", "INPUT", "-s", "10.1.2.3", "-j", "DROP")
	if d := Diff(before, h.Snapshot()); !strings.Contains(d, "10.1.2.3") {
		t.Errorf("a rule of iptables-legacy is not seen:\n%s", d)
	}
	h.Must("iptables-legacy", "-w", "-F", "INPUT")
	h.Unchanged(before)
}

func TestSwitchAndTraffic(t *testing.T) {
	s := NewSwitch(t, "switch")
	a, b := NewHost(t, "a"), NewHost(t, "b")
	s.Plug(a.At("eth0", "10.0.0.1/24", "fd00::1/64"))
	s.Plug(b.At("eth0", "10.0.0.2/24", "fd00::2/64"))
	Transfer(a, b, "10.0.0.2:5001", 1<<20)
	Transfer(b, a, "[fd00::1]:5001", 1<<20)
	count := b.CountUDP("10.0.0.2:5002")
	a.SendUDP("10.0.0.2:5002", 50, time.Millisecond)
	if n := count.Stop(); n != 50 {
		t.Errorf("%d of 50 datagrams came", n)
	}
	if a.Ping("10.0.0.3") {
		t.Error("an address that nobody has answers")
	}
}

func TestProcess(t *testing.T) {
	h := NewHost(t, "h")
	p := h.Start("sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done")
	p.Expect(10*time.Second, "up")
	if !p.Running() {
		t.Error("ended by itself")
	}
	p.Signal(syscall.SIGTERM)
	if out := p.Wait(10 * time.Second); out.Code != 3 || out.Stdout != "up\nbye\n" {
		t.Errorf("after SIGTERM: %v", out)
	}
	p = h.Start("sleep", "1000")
	p.Signal(syscall.SIGKILL)
	if out := p.Wait(10 * time.Second); out.Code != 128+9 {
		t.Errorf("after SIGKILL: %v", out)
	}
}

func TestHide(t *testing.T) {
	h := NewHost(t, "h")
	h.Must("sh", "-c", "command -v tac")
	h.Hide("tac")
	if out := h.Run("sh", "-c", "command -v tac"); out.Code == 0 {
		t.Errorf("still there: %v", out)
	}
}

// A program is looked for in the host, by the host's PATH, and begins at the root.
func TestCommand(t *testing.T) {
	h := NewHost(t, "h")
	h.WriteFileMode("/run/own/said", "#!/bin/sh\necho \"$0 in $PWD\"\n", 0o755)
	h.WriteFile("/run/own/plain", "")
	if out := h.Run("said"); out.Code != 127 || !strings.Contains(out.Stderr, "said") {
		t.Errorf("found outside PATH: %v", out)
	}
	h.Setenv("PATH", "/run/own:"+os.Getenv("PATH"))
	if out := h.Run("said"); out.Code != 0 || out.Stdout != "/run/own/said in /\n" {
		t.Errorf("%v", out)
	}
	for words, code := range map[string]int{"plain": 127, "/run/own/plain": 126, "/run/own/none": 127} {
		if out := h.Run(words); out.Code != code {
			t.Errorf("want exit %d: %v", code, out)
		}
	}
	h.Hide("said")
	if out := h.Run("said"); out.Code != 127 {
		t.Errorf("hidden, and found: %v", out)
	}
	if net, own := h.runInNet("readlink", "/proc/self/ns/net"), h.Run("readlink", "/proc/self/ns/net"); net.Stdout != own.Stdout || net.Code != 0 {
		t.Errorf("in another network: %v, %v", net, own)
	}
}

// waitForOriginal waits until a wireguard-go whose link is gone has ended too.
func waitForOriginal(h *Host, ifname string) {
	h.t.Helper()
	WaitFor(h.t, 10*time.Second, "wireguard-go to end", func() bool {
		return !slices.ContainsFunc(h.Processes(), func(p string) bool { return strings.HasSuffix(p, "wireguard-go "+ifname) })
	})
}

// The harness's positive control: the original wg-quick, by what is known of
// it. A split tunnel leaves nothing; a full one leaves src_valid_mark.
func TestOriginalWgQuick(t *testing.T) {
	h := quickHost(t, "h")
	before := h.Snapshot()

	h.WriteFile("/etc/wireguard/wg0.conf", peerConfig(t, h, "10.8.0.1/24, fd08::1/64", "10.8.0.2/32, 10.9.0.0/16", ""))
	h.Must("wg-quick", "up", "wg0")
	if out := h.Must("wg", "show", "wg0", "allowed-ips"); !strings.Contains(out.Stdout, "10.9.0.0/16") {
		t.Errorf("wg show: %v", out)
	}
	up := h.Snapshot()
	for _, want := range []string{"wg0", "10.8.0.1/24", "10.9.0.0/16 dev wg0", "udp 0.0.0.0:"} {
		if !strings.Contains(Diff(before, up), want) {
			t.Errorf("the snapshot does not show %s:\n%s", want, Diff(before, up))
		}
	}
	if Backend() == Userspace && !h.Exists("/var/run/wireguard/wg0.sock") {
		t.Error("no UAPI socket")
	}
	h.Must("wg-quick", "down", "wg0")
	waitForOriginal(h, "wg0")
	h.Sh("rmdir /run/wireguard 2>/dev/null || true") // wireguard-go's own, which it leaves
	h.Unchanged(before)

	h.WriteFile("/etc/wireguard/wg1.conf", peerConfig(t, h, "10.8.0.1/24", "0.0.0.0/0", ""))
	h.Must("wg-quick", "up", "wg1")
	h.Must("wg-quick", "down", "wg1")
	waitForOriginal(h, "wg1")
	h.Sh("rmdir /run/wireguard 2>/dev/null || true")
	h.Sh("sysctl -n net.ipv4.conf.all.src_valid_mark | grep -qx 1")
	h.Must("sysctl", "-qw", "net.ipv4.conf.all.src_valid_mark=0")
	h.Unchanged(before)
}

// Two hosts, a tunnel, and bytes through it: what the other tests stand on.
func TestOriginalTunnelCarriesTraffic(t *testing.T) {
	a, b := quickHost(t, "a"), quickHost(t, "b")
	Connect(t, a.At("eth0", "192.0.2.1/24"), b.At("eth0", "192.0.2.2/24"))
	keyA, keyB := a.Must("wg", "genkey").Stdout, b.Must("wg", "genkey").Stdout
	config := func(h *Host, private, peer, address, peerAddress, endpoint string) {
		public := h.RunInput(peer, "wg", "pubkey").Stdout
		h.WriteFile("/etc/wireguard/wg0.conf", fmt.Sprintf(
			"[Interface]\nPrivateKey = %sAddress = %s/24\nListenPort = 51820\n[Peer]\nPublicKey = %sAllowedIPs = %s/32\nEndpoint = %s:51820\n",
			private, address, public, peerAddress, endpoint))
		h.Must("wg-quick", "up", "wg0")
	}
	config(a, keyA, keyB, "10.8.0.1", "10.8.0.2", "192.0.2.2")
	config(b, keyB, keyA, "10.8.0.2", "10.8.0.1", "192.0.2.1")
	a.MustPing("10.8.0.2")
	Transfer(a, b, net.JoinHostPort("10.8.0.2", "5001"), 1<<20)
}

// A host must not outlive its test, whatever ran in it.
func TestHostsEnd(t *testing.T) {
	var pid int
	t.Run("host", func(t *testing.T) {
		h := NewHost(t, "h")
		pid = h.PID()
		h.Sh("setsid sleep 12345 </dev/null >/dev/null 2>&1 & setsid sleep 12345 </dev/null >/dev/null 2>&1 &")
	})
	if pid == 0 {
		return // no host here, and the subtest said why
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the first process is still there: %v", err)
	}
	if n := countProcesses(t, "sleep\x0012345\x00"); n != 0 {
		t.Errorf("%d processes outlived their host", n)
	}
}

func TestHostsEndWhenTestIsKilled(t *testing.T) {
	needNamespaces(t)
	cmd := roleCommand("hold-another", t.TempDir())
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var holder int
	_, err = fmt.Fscanln(stdout, &holder)
	cmd.Process.Kill()
	cmd.Wait()
	if err != nil {
		t.Fatalf("reading the holder's number: %v", err)
	}
	WaitFor(t, 10*time.Second, "the host to end", func() bool { return syscall.Kill(holder, 0) == syscall.ESRCH })
}

func init() {
	roles["hold-another"] = func(args []string) error {
		h, err := startHolder(args[0])
		if err != nil {
			return err
		}
		fmt.Println(h.cmd.Process.Pid)
		select {}
	}
}

func countProcesses(t *testing.T, cmdline string) int {
	t.Helper()
	dir, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range dir {
		if b, err := os.ReadFile("/proc/" + e.Name() + "/cmdline"); err == nil && string(b) == cmdline {
			n++
		}
	}
	return n
}
