// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A boxed host has a network namespace "box" that has no link of its own, and a
// peer with a tunnel:
//
//	box ─ (wg0) ─ host ─ 10.0.0.0/24 ─ peer
type boxed struct {
	host, peer *Host
	before     string // a snapshot of the host
}

func newBoxed(t testing.TB, lines ...string) *boxed {
	t.Helper()
	Need(t, "ping", "ss")
	b := &boxed{host: newTunnelHost(t, "host"), peer: newTunnelHost(t, "peer")}
	Connect(t, b.host.At("eth0", "10.0.0.1/24"), b.peer.At("eth0", "10.0.0.2/24"))
	b.host.Must("ip", "netns", "add", "box")
	host, peer := newKeyPair(t), newKeyPair(t)
	b.peer.WriteFile(configOf("wg0"), interfaceSection(peer, "Address = 10.8.0.2/24, fd08::2/64", "ListenPort = 51820")+
		peerSection(host, "AllowedIPs = 10.8.0.1/32, fd08::1/128"))
	b.host.WriteFile(configOf("wg0"), interfaceSection(host, append([]string{"Address = 10.8.0.1/24, fd08::1/64", "ListenPort = 51821"}, lines...)...)+
		peerSection(peer, "Endpoint = 10.0.0.2:51820", "AllowedIPs = 0.0.0.0/0, ::/0"))
	wgctlOK(b.peer, "up", "wg0")
	b.before = b.host.Snapshot() + b.inside("ip -br address; ip rule; ip route; ip -6 route; cat /proc/sys/net/ipv4/conf/all/src_valid_mark")
	return b
}

// inside runs a line of shell in the box.
func (b *boxed) inside(script string) string {
	b.host.t.Helper()
	return b.host.Must("ip", "netns", "exec", "box", "sh", "-ec", script).Stdout
}

// ping fails the test unless the box reaches the peer through the tunnel.
func (b *boxed) ping() {
	b.host.t.Helper()
	for _, to := range []string{"10.8.0.2", "fd08::2"} {
		WaitFor(b.host.t, 20*time.Second, "an answer from "+to, func() bool {
			return b.host.Run("ip", "netns", "exec", "box", "ping", "-n", "-q", "-c", "1", "-W", "1", to).Code == 0
		})
	}
}

// unchanged fails the test unless host and box are as before.
func (b *boxed) unchanged() {
	b.host.t.Helper()
	now := ""
	for deadline := time.Now().Add(Timeout(5 * time.Second)); ; time.Sleep(50 * time.Millisecond) {
		now = b.host.Snapshot() + b.inside("ip -br address; ip rule; ip route; ip -6 route; cat /proc/sys/net/ipv4/conf/all/src_valid_mark")
		if now == b.before {
			return
		}
		if time.Now().After(deadline) {
			b.host.t.Errorf("not as before:\n%s", Diff(b.before, now))
			return
		}
	}
}

// The link is in the namespace; the socket is where wgctl was called, or in the
// namespace too, which then needs a way of its own.
func TestUpInNamespace(t *testing.T) {
	b := newBoxed(t, "DNS = 10.8.0.2, corp.example")
	wgctlOK(b.host, "up", "--netns", "box", "wg0")
	b.ping()
	said(t, b.inside("ip -br link"), "wg0")
	if got := b.host.Must("ip", "-br", "link").Stdout; strings.Contains(got, "wg0") {
		t.Errorf("the link is out here: %s", got)
	}
	if out, in := b.host.Must("ss", "-Hlun").Stdout, b.inside("ss -Hlun"); !strings.Contains(out, ":51821") || in != "" {
		t.Errorf("sockets out here:\n%sand inside:\n%s", out, in)
	}
	if got := b.inside("ip route show default; ip rule"); !strings.HasPrefix(got, "default dev wg0") || strings.Contains(got, "fwmark") {
		t.Errorf("a default route that nobody else has needs no rules:\n%s", got)
	}
	said(t, b.inside("cat /etc/resolv.conf"), "nameserver 10.8.0.2", "search corp.example")
	said(t, b.host.ReadFile("/etc/netns/box/resolv.conf"), "nameserver 10.8.0.2")
	if got := b.host.ReadFile("/etc/resolv.conf"); got != nameserver {
		t.Errorf("the host's nameservers were changed: %s", got)
	}
	said(t, wgctlOK(b.host, "status", "--netns", "box").Stdout, "wg0 (up)", "drift:        none", "10.8.0.2")
	for _, args := range []string{"show --netns box wg0", "show wg0 --netns box", "show --netns-all box wg0", "show wg0 --netns-all=box", "show --netns=/run/netns/box"} {
		said(t, wgctlOK(b.host, strings.Fields(args)...).Stdout, "endpoint: 10.0.0.2:51820")
	}
	said(t, wgctlOK(b.host, "show", "wg0", "--netns", "box", "endpoints").Stdout, "10.0.0.2:51820\n")
	said(t, wgctlFails(b.host, 2, "show", "--netns", "box", "wg0", "--netns-all", "box").Stderr, "show takes --netns or --netns-all, not both")
	said(t, wgctlFails(b.host, 2, "show", "wg0", "--netns").Stderr, "--netns takes a NAME, PATH or PID")
	wgctlOK(b.host, "set", "wg0", "fwmark", "7", "--netns-all", "box")
	said(t, wgctlOK(b.host, "show", "wg0", "fwmark", "--netns", "box").Stdout, "0x7\n")
	wgctlOK(b.host, "set", "--netns", "box", "wg0", "fwmark", "0")
	said(t, wgctlOK(b.host, "reload", "--netns", "box", "wg0").Stderr, "nothing to change")
	// From inside it is a tunnel like any other.
	said(t, b.inside(Bin(t)+" reload wg0 2>&1"), "nothing to change")
	wgctlFails(b.host, 1, "status", "wg0")
	wgctlOK(b.host, "down", "--netns", "/run/netns/box", "wg0")
	b.unchanged()
}

// A device whose link is in another namespace than its process lets go of its
// port while the link is down, and comes back with it.
func TestLinkGoesDownInNamespace(t *testing.T) {
	Only(t, Userspace)
	b := newBoxed(t)
	wgctlOK(b.host, "up", "--netns", "box", "wg0")
	b.ping()
	for _, word := range []string{"down", "up"} {
		b.inside("ip link set wg0 " + word)
		WaitFor(t, 5*time.Second, "the device to see that its link is "+word, func() bool {
			return strings.Contains(b.host.Must("ss", "-Hlun").Stdout, ":51821") == (word == "up")
		})
	}
	wgctlOK(b.host, "reload", "--netns", "box", "wg0")
	b.ping()
	wgctlOK(b.host, "down", "--netns", "box", "wg0")
	b.unchanged()
}

// In a namespace that has a default route already the tunnel's goes by rules,
// with a mark that no tunnel out here has.
func TestUpInNamespaceWithWayOut(t *testing.T) {
	Only(t, Userspace) // the guests have TestUpInNamespace
	b := newBoxed(t)
	b.host.Must("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", "box")
	b.inside("ip link set v1 up; ip address add 10.1.0.2/24 dev v1; ip route add default via 10.1.0.1")
	wgctlOK(b.host, "up", "--netns", "box", "wg0")
	b.ping()
	said(t, b.inside("ip rule; wg show wg0 fwmark 2>/dev/null || :"), "not from all fwmark 0x2510c lookup 151820")
	wgctlOK(b.host, "down", "--netns", "box", "wg0")
	if got := b.inside("ip rule; ip -6 rule"); strings.Contains(got, "151820") {
		t.Errorf("rules are left:\n%s", got)
	}
	// A process in it stands for it, too; the socket stays out here.
	sleeper := b.host.Start("ip", "netns", "exec", "box", "sleep", "1000")
	var pid string
	WaitFor(t, 10*time.Second, "a process in the namespace", func() bool {
		pid = strings.TrimSpace(b.host.Must("ip", "netns", "pids", "box").Stdout)
		return pid != ""
	})
	wgctlOK(b.host, "up", "--netns", pid, "wg0")
	b.ping()
	if out, in := b.host.Must("ss", "-Hlun").Stdout, b.inside("ss -Hlun"); !strings.Contains(out, ":51821") || in != "" {
		t.Errorf("sockets out here:\n%sand inside:\n%s", out, in)
	}
	said(t, wgctlOK(b.host, "status", "--netns", pid).Stdout, "wg0 (up)", "drift:        none")
	said(t, wgctlOK(b.host, "reload", "--netns", pid, "wg0").Stderr, "nothing to change")
	said(t, wgctlOK(b.host, "show", "wg0", "endpoints", "--netns", pid).Stdout, "10.0.0.2:51820")
	wgctlOK(b.host, "down", "--netns", pid, "wg0")
	sleeper.Stop()
	said(t, wgctlFails(b.host, 1, "up", "--netns", pid, "wg0").Stderr, "wgctl: there is no ")
}

// With --netns-all everything is in there. A namespace is also meant by a process
// in it, and its nameservers are nobody's business then.
func TestUpWhollyInNamespace(t *testing.T) {
	oneGuest(t, "odd")
	b := newBoxed(t, "KillSwitch = on")
	b.host.Must("ip", "link", "set", "eth0", "netns", "box")
	b.inside("ip address add 10.0.0.1/24 dev eth0; ip link set eth0 up; ip link set lo up")
	sleeper := b.host.Start("ip", "netns", "exec", "box", "sleep", "1000")
	var pid string
	WaitFor(t, 10*time.Second, "a process in the namespace", func() bool {
		pid = strings.TrimSpace(b.host.Must("ip", "netns", "pids", "box").Stdout)
		return pid != "" && slices.Contains(b.host.Processes(), "sleep 1000")
	})
	before := b.host.Snapshot()
	wgctlOK(b.host, "up", "--netns-all", pid, "wg0")
	b.ping()
	if out, in := b.host.Must("ss", "-Hlun").Stdout, b.inside("ss -Hlun"); out != "" || !strings.Contains(in, ":51821") {
		t.Errorf("sockets out here:\n%sand inside:\n%s", out, in)
	}
	said(t, wgctlOK(b.host, "status", "--netns-all", "box").Stdout, "wg0 (up)", "drift:        none")
	said(t, wgctlOK(b.host, "reload", "--netns-all", pid, "wg0").Stderr, "nothing to change")
	b.host.Sh("sed -i 's/^ListenPort = .*/ListenPort = 51829/' /etc/wireguard/wg0.conf")
	wgctlOK(b.host, "reload", "--netns-all", "box", "wg0")
	b.ping()
	if out, in := b.host.Must("ss", "-Hlun").Stdout, b.inside("ss -Hlun"); out != "" || !strings.Contains(in, ":51829") {
		t.Errorf("after a reload sockets out here:\n%sand inside:\n%s", out, in)
	}
	b.host.Sh("sed -i 's/^ListenPort = .*/ListenPort = 51821/' /etc/wireguard/wg0.conf")
	wgctlOK(b.host, "down", "--netns-all", "box", "wg0")
	b.host.Unchanged(before)
	sleeper.Stop()
	said(t, wgctlFails(b.host, 1, "up", "--netns", "nowhere", "wg0").Stderr, "wgctl: there is no network namespace nowhere")
	said(t, wgctlFails(b.host, 1, "up", "--netns", "/etc/passwd", "wg0").Stderr, "/etc/passwd is no network namespace")
	said(t, wgctlFails(b.host, 2, "up", "--netns", "box", "--netns-all", "box", "wg0").Stderr, "not both")
}

// A namespace that is deleted takes the tunnel along, and down forgets it; one
// that got its number is not taken for it.
func TestNamespaceGone(t *testing.T) {
	b := newBoxed(t, "DNS = 10.8.0.2")
	fresh := b.host.Snapshot()
	wgctlOK(b.host, "up", "--netns", "box", "wg0")
	b.ping()
	b.host.Must("ip", "netns", "delete", "box")
	WaitFor(t, 10*time.Second, "the end of device and socket", func() bool {
		return len(b.host.Processes()) == 0 && b.host.Must("ss", "-Hlun").Stdout == ""
	})
	said(t, wgctlFails(b.host, 1, "status", "--netns", "box").Stderr, "there is no network namespace box", "wgctl down --netns")
	wgctlFails(b.host, 1, "down", "--netns", "box", "wg7")
	said(t, wgctlOK(b.host, "down", "--netns", "box", "wg0").Stderr, "gone with its network namespace")
	b.host.Must("ip", "netns", "add", "box")
	b.host.Unchanged(fresh)
	// Left and not forgotten, under the same name.
	wgctlOK(b.host, "up", "--netns", "box", "wg0")
	b.host.Must("ip", "netns", "delete", "box")
	b.host.Must("ip", "netns", "add", "box")
	wgctlOK(b.host, "up", "--netns", "box", "wg0")
	b.ping()
	wgctlOK(b.host, "down", "--netns", "box", "wg0")
	// The kernel takes its time with a namespace, and so has the port for as long.
	busy := b.host.CountUDP(":51821")
	up := b.host.Start(Bin(t), "up", "--netns", "box", "wg0")
	time.Sleep(2500 * time.Millisecond) // longer than a device of ours looks whether its link is up
	busy.Stop()
	if out := up.Wait(20 * time.Second); out.Code != 0 {
		t.Fatalf("with a port that gets free: %v", out)
	}
	b.ping()
	wgctlOK(b.host, "down", "--netns", "box", "wg0")
}

// Killed in the middle, up leaves what down takes away: at the first hook the
// link is there, at the last everything is.
func TestUpInNamespaceKilled(t *testing.T) {
	Only(t, Userspace) // the guests have TestUpInNamespace
	for _, hook := range []string{"PreUp", "PostUp"} {
		t.Run(hook, func(t *testing.T) {
			b := newBoxed(t, "DNS = 10.8.0.2", hook+" = kill -9 $PPID; sleep 1")
			b.host.Run(Bin(t), "up", "--netns", "box", "wg0")
			said(t, wgctlFails(b.host, 137, "reload", "--netns", "box", "wg0").Stderr, "not whole", "comes up anew")
			wgctlOK(b.host, "down", "--netns", "box", "wg0")
			b.unchanged()
		})
	}
}

// A command behind a tunnel has no other way out, is told by its nameservers,
// ends as it would by itself, and leaves nothing.
func TestExec(t *testing.T) {
	oneGuest(t, "even")
	Need(t, "nft")
	b := newBoxed(t, "DNS = 10.8.0.2", "PostUp = ip link show dev %i >/dev/null")
	run := func(script string) Output { return b.host.Wgctl("exec", "wg0", "--", "sh", "-c", script) }
	// A handshake that is lost is repeated after 5 s.
	ping := fmt.Sprintf("ping -n -q -W %v ", Timeout(10*time.Second).Seconds())
	out := run(ping + "-c 2 -i 0.2 10.8.0.2 >/dev/null; echo $?; ls /sys/class/net; ip route show default; cat /etc/resolv.conf; wg show interfaces; exit 7")
	if out.Code != 7 || !strings.HasPrefix(out.Stdout, "0\nlo\nwg0\ndefault dev wg0") {
		t.Errorf("%v", out)
	}
	said(t, out.Stdout, "nameserver 10.8.0.2")
	b.unchanged()
	// Nothing of it but the tunnel's own packets comes over the wire: not to the
	// tunnel's own endpoint, nor to anybody else, by either family, nor names.
	b.peer.Sh(`nft 'table inet leak {
		chain wire {
			type filter hook prerouting priority -400; policy accept;
			iifname != "eth0" accept
			udp dport 51820 accept
			icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } accept
			counter comment "leak"
		}
	}'`)
	leaked := func() bool {
		return !strings.Contains(b.peer.Must("nft", "list", "table", "inet", "leak").Stdout, "packets 0 bytes 0")
	}
	if out := run(ping + "-c 1 10.8.0.2; for a in 10.0.0.2 10.0.0.1 192.0.2.77 2001:db8::7; do ping -n -q -c 1 -W 1 $a; done; getent hosts name.example; :"); out.Code != 0 || leaked() {
		t.Errorf("past the tunnel went %s%v", b.peer.Must("nft", "list", "table", "inet", "leak").Stdout, out)
	}
	if b.host.Must("ping", "-n", "-c", "1", "10.0.0.2"); !leaked() {
		t.Error("the probe doesn't see what goes past the tunnel")
	}
	b.unchanged()
	for script, code := range map[string]int{"exit 0": 0, "kill -KILL $$": 137, "setsid sleep 1000 & exit 3": 3} {
		if out := run(script); out.Code != code {
			t.Errorf("%s: want %d: %v", script, code, out)
		}
	}
	said(t, b.host.Fails(127, Bin(t), "exec", "wg0", "no-such-program").Stderr, "wgctl: no-such-program: no such program")
	b.host.Fails(126, Bin(t), "exec", "wg0", "--", "/etc/passwd")
	wgctlFails(b.host, 2, "exec", "wg0")
	b.unchanged()
	wgctlOK(b.host, "up", "--dns-backend", "off", "wg0")
	said(t, wgctlFails(b.host, 1, "exec", "wg0", "true").Stderr, "wg0 is up already, and its key can't be in use twice")
	wgctlOK(b.host, "down", "wg0")
	said(t, wgctlOK(b.host, "exec", "--netns", "box", "--", "ip", "-br", "link").Stdout, "lo")
	b.unchanged()
}

// However it is ended, nothing stays: a signal goes to the command, and SIGKILL
// takes all of it.
func TestExecEnded(t *testing.T) {
	Only(t, Userspace) // the guests have TestUpInNamespace
	b := newBoxed(t, "DNS = 10.8.0.2")
	for _, c := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGTERM, 4}, {syscall.SIGKILL, 137}} {
		t.Run(fmt.Sprint(c.signal), func(t *testing.T) {
			p := b.host.Start(Bin(t), "exec", "wg0", "--", "sh", "-c", `trap "exit 4" TERM; echo here; while :; do sleep 0.1; done`)
			p.Expect(20*time.Second, "here")
			p.Signal(c.signal)
			if out := p.Wait(20 * time.Second); out.Code != c.code {
				t.Errorf("want %d: %v", c.code, out)
			}
			b.unchanged()
		})
	}
}
