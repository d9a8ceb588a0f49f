// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

// A mishap is a command that can't succeed, and what it says. It prints one
// line of error, hints maybe, no result, and leaves the host as it was.
type mishap struct {
	name  string
	do    string   // makes the host ready for it, by sh
	file  string   // of wg0; "" is a tunnel of every kind of step
	lines []string // of its [Interface]
	args  []string // of wgctl; none is "up wg0"
	code  int      // 0 stands for 1
	said  []string // on standard error
	// A file with several faults has a line for each; 0 stands for 1.
	errors int
	early  bool // refused before anything is done, so on any backend alike
}

// check lets it happen on a host of its own.
func (m mishap) check(t *testing.T) {
	h := newTunnelHost(t, "h")
	m.prepare(t, h)
	before := h.Snapshot()
	args := m.args
	if args == nil {
		args = []string{"up", "wg0"}
	}
	m.holds(t, h.Wgctl(args...))
	h.Unchanged(before)
}

func (m mishap) prepare(t *testing.T, h *Host) {
	t.Helper()
	file := m.file
	if file == "" {
		file = fullTunnel(t, 0, m.lines...)
	}
	h.WriteFile(configOf("wg0"), file)
	h.Sh(`ip link add eth0 type veth peer name eth1
		for i in eth0 eth1; do ip link set $i addrgenmode none; ip link set $i up; done
		ip address add 192.0.2.2/24 dev eth0`)
	WaitFor(t, 10*time.Second, "a carrier", func() bool {
		return h.Sh("cat /sys/class/net/eth[01]/operstate").Stdout == "up\nup\n"
	})
	h.Sh(m.do + "\n:")
}

// holds compares what the command answered.
func (m mishap) holds(t *testing.T, out Output) {
	t.Helper()
	if want := max(m.code, 1); out.Code != want {
		t.Errorf("exit status %d, want %d", out.Code, want)
	}
	if n, want := len(errorLines(out)), max(m.errors, 1); n != want {
		t.Errorf("%d lines of error, want %d", n, want)
	}
	if out.Stdout != "" {
		t.Error("it printed a result")
	}
	for _, words := range m.said {
		if !strings.Contains(out.Stderr, words) {
			t.Errorf("it does not say %q", words)
		}
	}
	if t.Failed() {
		t.Logf("%v", out)
	}
}

func mishaps(t *testing.T, all []mishap) {
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			if m.early {
				onceForAll(t)
			}
			m.check(t)
		})
	}
}

// onceForAll ends a test in an emulated guest: what it shows depends neither on
// the kernel nor on the backend, and the machine runs it. This is a choice, so
// that it is a skip even under WGCTL_TEST_STRICT=1.
func onceForAll(t *testing.T) {
	t.Helper()
	if slowness() > 1 && !wholeSweep() {
		t.Skip("the same on every kernel")
	}
}

// split is a file without a default route.
func split(t *testing.T, address, allowed string, lines ...string) string {
	return interfaceSection(newKeyPair(t), append([]string{"Address = " + address}, lines...)...) +
		peerSection(newKeyPair(t), "AllowedIPs = "+allowed)
}

// wrapResolvconf puts a script around the real resolvconf: after is what it
// does when that has done its work.
func wrapResolvconf(after string) string {
	return `p=$(command -v resolvconf); cp $p /run/real
		{ echo '#!/bin/sh'; echo '# openresolv'; grep ^VARDIR= $p; cat <<'END'
/run/real "$@"
` + after + `
END
		} >/run/wrapped
		chmod 755 /run/real /run/wrapped
		mount --bind /run/wrapped $p; `
}

// keepsFolders lets resolvconf make the folders and copies that it keeps.
const keepsFolders = `echo nameserver 192.0.2.9 | resolvconf -a eth9 -m 0 -x; resolvconf -d eth9 -f; `

// What stands in the way of each kind of step is met before the step or at it,
// is named, and everything that was done is undone.
func TestUpObstructed(t *testing.T) {
	oneGuest(t, "even")
	Need(t, "resolvconf", "bash")
	mishaps(t, []mishap{
		{name: "the name is taken", do: "ip link add wg0 type veth peer name other",
			said: []string{"wgctl: wg0 exists and was not brought up by wgctl", "hint: "}},
		{name: "another has the route", do: "ip route add 10.77.0.0/16 dev eth0", file: split(t, "10.8.0.2/24", "10.77.0.0/16"),
			said: []string{"ip route add 10.77.0.0/16 dev wg0: file exists", "eth0 has that route"}},
		{name: "another has the IPv6 route", do: "ip route add fd77::/64 dev eth0", file: split(t, "10.8.0.2/24", "10.78.0.0/16, fd77::/64"),
			said: []string{"ip route add fd77::/64 dev wg0: file exists", "eth0 has that route"}},
		{name: "a hook has added the address", lines: []string{"PreUp = ip address add 10.8.0.2/24 dev %i"},
			said: []string{"ip address add 10.8.0.2/24 dev wg0: file exists", "hint: this hook had run"}},
		{name: "the kernel refuses the address", file: split(t, "ff02::5/64", "10.77.0.0/16"),
			said: []string{"ff02::5"}},
		{name: "the last hook fails", lines: []string{"DNS = 10.8.0.53", "PostUp = exit 3"}, do: keepsFolders,
			said: []string{"wgctl: running PostUp hook: "}},
		{name: "resolvconf fails after its work", lines: []string{"DNS = 10.8.0.53"},
			do:   keepsFolders + wrapResolvconf("case $1 in -a) echo no good >&2; exit 1;; esac"),
			said: []string{"resolvconf -a wg0", "no good"}},
		{name: "resolvconf is missing", early: true, lines: []string{"DNS = 10.8.0.53", "DNSBackend = resolvconf"}, do: "mount --bind /dev/null $(command -v resolvconf)",
			said: []string{"DNS: ", "install openresolv or remove DNS"}},
		{name: "no resolver at all", early: true, lines: []string{"DNS = 10.8.0.53"},
			do:   "mount --bind /dev/null $(command -v resolvconf); mount --bind /etc/resolv.conf /etc/resolv.conf; mount -o remount,ro,bind /etc/resolv.conf; mount --rbind /etc /etc; mount -o remount,ro,bind /etc",
			said: []string{"DNS: ", "nobody here can be told of nameservers", "read-only"}},
		{name: "resolv.conf is read-only", early: true, lines: []string{"DNS = 10.8.0.53"},
			do:   keepsFolders + "mount --bind /etc/resolv.conf /etc/resolv.conf; mount -o remount,ro,bind /etc/resolv.conf",
			said: []string{"DNS: ", "/etc/resolv.conf", "read-only"}},
		{name: "sysctls are read-only", do: "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys",
			said: []string{"sysctl -w net.ipv4.conf.all.src_valid_mark=1", "read-only", "--sysctl"}},
		{name: "there is no IPv6", early: true, do: "sysctl -qw net.ipv6.conf.default.disable_ipv6=1",
			errors: 2, said: []string{"/etc/wireguard/wg0.conf:3: [Interface] Address: ", "AllowedIPs: ::/0", "IPv6 is disabled here"}},
		{name: "no such table", early: true, file: split(t, "10.8.0.2/24", "10.77.0.0/16", "Table = nowhere"),
			said: []string{`no table is called "nowhere"`}},
		{name: "/run is read-only", early: true, do: "mount -o remount,ro /run", said: []string{"/run/wgctl", "read-only"}},
		{name: "/run is full", early: true, do: "mount -o remount,size=64k /run; dd if=/dev/zero of=/run/full bs=1k 2>/dev/null || :",
			said: []string{"record of wg0", "no space left"}},
	})
}

// A port that another socket has: the message says so, the hint how to find
// whose it is.
func TestUpPortInUse(t *testing.T) {
	m := mishap{lines: []string{"ListenPort = 51820"},
		said: []string{"address already in use", `hint: another socket has the port: "ss -lunp" shows whose`}}
	h := newTunnelHost(t, "h")
	m.prepare(t, h)
	count := h.CountUDP(":51820")
	before := h.Snapshot()
	m.holds(t, h.Wgctl("up", "wg0"))
	h.Unchanged(before)
	count.Stop()
}

// On a kernel without nf_tables and without a program for iptables, a default
// route is refused before anything is done. (A guest without nf_tables runs
// this: its name has the word for that.)
func TestUpWithoutPacketFilterLegacy(t *testing.T) {
	if NewHost(t, "probe").Run("nft", "list", "tables").Code == 0 {
		t.Skip("for a kernel without nf_tables, this one has them")
	}
	mishap{do: "for p in iptables ip6tables iptables-legacy ip6tables-legacy; do q=$(command -v $p) && mount --bind /dev/null $(readlink -f $q) || :; done",
		said: []string{"a default route needs firewall rules", "no packet filter"}}.check(t)
}

// A failed step of down stops nothing: the rest is taken away, the exit status
// is 3, and it says what is left. When the cause is gone, a second down takes
// that away too.
func TestDownStepFails(t *testing.T) {
	Need(t, "resolvconf", "bash")
	for name, c := range map[string]struct{ breaks, mends, said string }{
		"resolvconf": {
			`printf '#!/bin/sh\n# openresolv\nVARDIR=/run/resolvconf\necho no good >&2\nexit 1\n' >/run/bad
				chmod 755 /run/bad; mount --bind /run/bad $(command -v resolvconf)`,
			"umount $(command -v resolvconf); rm -f /run/bad", "resolvconf -d wg0"},
		"sysctl": {"mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys", "umount /proc/sys", "sysctl -w net.ipv4.conf.all.src_valid_mark=0"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTunnelHost(t, "h")
			mishap{lines: []string{"DNS = 10.8.0.53"}, do: keepsFolders}.prepare(t, h)
			before := h.Snapshot()
			wgctlOK(h, "up", "wg0")
			h.Sh(c.breaks)
			out := wgctlFails(h, 3, "down", "wg0")
			said(t, out.Stderr, c.said, "wg0 is not wholly down: still to do: ", `hint: "wgctl down" takes away what is left`)
			if h.Run("ip", "link", "show", "wg0").Code == 0 || strings.Contains(h.Must("ip", "rule").Stdout, "51820") {
				t.Errorf("down did not go on: %v", out)
			}
			h.Sh(c.mends)
			wgctlOK(h, "down", "wg0")
			h.Unchanged(before)
		})
	}
}

// A hook that hangs is ended by Ctrl-C, be it typed at a terminal, where the
// hook has the foreground, or sent to wgctl alone; its children are gone, those
// too that don't listen, and everything is rolled back.
func TestHookHangs(t *testing.T) {
	for _, phase := range []string{"PreUp", "PostUp"} {
		h := newTunnelHost(t, "h")
		mishap{lines: []string{phase + " = echo hanging; (trap '' INT TERM HUP; sleep 1000; sleep 1000) & sleep 1000; wait"},
			do: "mkdir /run/pts; mount -t devpts -o newinstance,ptmxmode=666 devpts /run/pts"}.prepare(t, h)
		before := h.Snapshot()
		p := h.startRole("terminal", "/run/pts", "hanging\r\n", Bin(t), "up", "wg0")
		out := p.Wait(20 * time.Second)
		if out.Code != 1 || !strings.Contains(out.Stdout, "running "+phase+" hook") && !strings.Contains(out.Stdout, phase+" hook was interrupted") {
			t.Errorf("%s, Ctrl-C at a terminal: %v", phase, out)
		}
		h.Unchanged(before)
	}
}
