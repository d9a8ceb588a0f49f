// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ordinary is a user who isn't root, and admin the same with one capability.
const ordinaryUser = "4711"

func ordinary(more ...string) []string {
	return append([]string{"setpriv", "--reuid=" + ordinaryUser, "--regid=" + ordinaryUser, "--clear-groups"}, more...)
}

func netAdmin(words ...string) []string {
	return append(ordinary("--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin"), words...)
}

// userHost is a host on which an ordinary user may bring a tunnel up: with a
// folder for records and one for sockets, and a TUN device for all, as udev
// makes it. The config is the user's own.
func userHost(t *testing.T, lines ...string) (h *Host, conf string) {
	h = newTunnelHost(t, "h")
	underlay(h)
	h.Sh(fmt.Sprintf(`mount -t tmpfs none /dev/net; chmod 755 /dev/net; mknod /dev/net/tun c 10 200; chmod 666 /dev/net/tun
chmod 755 /run; mkdir -p /run/user-records /run/wireguard /run/user; chmod 700 /run/user-records /run/wireguard; chown %[1]s /run/user-records /run/wireguard /run/user`, ordinaryUser))
	conf = "/run/user/wg0.conf"
	h.WriteFile(conf, fullTunnel(t, 0, lines...))
	h.Must("chown", ordinaryUser, conf)
	h.Setenv("WGCTL_RUNTIME_DIRECTORY", "/run/user-records")
	return h, conf
}

// An ordinary user with CAP_NET_ADMIN, and nothing else, does all that takes
// no file of root's; and it is undone as it is for root.
func TestOnlyNetAdmin(t *testing.T) {
	Need(t, "setpriv")
	h, conf := userHost(t, "KillSwitch = on", "Forward = on", "Masquerade = auto",
		"PostUp = id -u >/run/user/hook; grep CapEff /proc/self/status >>/run/user/hook")
	before := h.Snapshot()
	does := func(want string, words ...string) {
		t.Helper()
		out := h.Run(netAdmin(append([]string{Bin(t)}, words...)...)...)
		if out.Code != 0 || !strings.Contains(out.Stdout+out.Stderr, want) {
			t.Fatalf("want %q: %v", want, out)
		}
	}
	does("table inet wgctl-wg0", "plan", "up", conf)
	does("unreachable", "up", conf)
	if hook := h.ReadFile("/run/user/hook"); !strings.HasPrefix(hook, ordinaryUser+"\n") {
		t.Errorf("the hook ran as %q", hook)
	}
	does("drift:        none", "status", "wg0")
	does("interface: wg0", "show", "wg0")
	h.WriteFile(conf, strings.Replace(h.ReadFile(conf), "[Peer]", "[Peer]\nPersistentKeepalive = 17", 1))
	does("persistent-keepalive 17", "reload", conf)
	does("", "reload", conf)
	// Root isn't led by what the user keeps there.
	out := h.Wgctl("down", "wg0")
	if out.Code != 1 || !strings.Contains(out.Stderr, "/run/user-records belongs to user "+ordinaryUser) {
		t.Errorf("root goes by a user's record: %v", out)
	}
	does("wgctl-wg0", "down", conf)
	h.Sh("rm /run/user/hook")
	h.Unchanged(before)
}

// What is missing is told in one line, before anything is done or after it was
// undone.
func TestMissingPrivileges(t *testing.T) {
	onceForAll(t)
	Need(t, "setpriv")
	for _, tt := range []struct {
		name, do, line string
		run            func(...string) []string
		said           []string
	}{
		{name: "no capability", run: ordinary, said: []string{"up needs root, or CAP_NET_ADMIN at least"}},
		{name: "no folder for records", do: "rm -rf /run/user-records", run: netAdmin, said: []string{"mkdir /run/user-records: permission denied", "WGCTL_RUNTIME_DIRECTORY"}},
		{name: "another's folder", do: "chown 4712 /run/user-records", run: netAdmin, said: []string{"/run/user-records"}},
		{name: "an open folder", do: "chmod 777 /run/user-records", run: netAdmin, said: []string{"can be written by others than its owner: its mode is 0777"}},
		{name: "another's config", do: "chown root /run/user/wg0.conf; chmod 600 /run/user/wg0.conf", run: netAdmin, said: []string{"/run/user/wg0.conf: permission denied"}},
		{name: "no TUN device", do: "chmod 600 /dev/net/tun", line: "Backend = userspace", run: netAdmin, said: []string{"opening /dev/net/tun: permission denied"}},
		{name: "no folder for sockets", do: "chown root /run/wireguard", line: "Backend = userspace", run: netAdmin, said: []string{"/wireguard", "permission denied", "install -d -m 700 -o " + ordinaryUser}},
		{name: "no resolv.conf", do: "mount -t tmpfs none /etc; echo nameserver 192.0.2.53 >/etc/resolv.conf", line: "DNS = 10.8.0.1\nDNSBackend = file", run: netAdmin, said: []string{"/etc", "denied"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, conf := userHost(t)
			if tt.line != "" {
				h.WriteFile(conf, strings.Replace(h.ReadFile(conf), "[Interface]", "[Interface]\n"+tt.line, 1))
			}
			h.Sh(tt.do + "\n:")
			before := h.Snapshot()
			mishap{said: tt.said}.holds(t, h.Run(tt.run(Bin(t), "up", conf)...))
			h.Unchanged(before)
		})
	}
}

// A file that can't be read any more, and one that has gone, leave the tunnel as
// it is.
func TestReloadOfUnreadableFile(t *testing.T) {
	t.Parallel()
	Need(t, "setpriv", "wg")
	h, conf := userHost(t)
	user := func(words ...string) Output { return h.Run(netAdmin(append([]string{Bin(t)}, words...)...)...) }
	if out := user("up", conf); out.Code != 0 {
		t.Fatalf("%v", out)
	}
	before := settled(h) + h.ReadFile("/run/user-records/wg0.json")
	for _, tt := range []struct{ do, says string }{
		{"chown root " + conf + "; chmod 600 " + conf, "/run/user/wg0.conf: permission denied"},
		{"rm " + conf, "/run/user/wg0.conf: no such file"},
	} {
		h.Sh(tt.do)
		if out := user("reload", conf); out.Code != 1 || len(errorLines(out)) != 1 || !strings.Contains(out.Stderr, tt.says) {
			t.Errorf("%v", out)
		}
		if now := looks(h) + h.ReadFile("/run/user-records/wg0.json"); now != before {
			t.Errorf("%s:\n%s", tt.do, Diff(before, now))
		}
	}
}

// Neither what runs a verb nor the process of an embedded device leaves a core
// behind when it dies of a signal that makes one; a shell in the same place
// does.
func TestNoCoreDumps(t *testing.T) {
	onceForAll(t)
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	h.Setenv("GOTRACEBACK", "crash") // or the runtime exits by itself
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "PreUp = touch /run/cores/gate; while [ -e /run/cores/gate ]; do sleep 0.01; done"))
	h.Sh("mkdir /run/cores; chmod 777 /run/cores")
	cores := func() string {
		return strings.TrimSpace(h.Sh("ls -d /run/cores/*core* /core* 2>/dev/null || :").Stdout)
	}
	h.Sh("cd /run/cores; ulimit -c unlimited; sh -c 'kill -ABRT $$' || :")
	if cores() == "" {
		unable(t, "no core of a shell to compare with: where does core_pattern lead?")
	}
	h.Sh("rm -f /run/cores/*core*")
	p := h.Start("sh", "-c", "cd /run/cores; ulimit -c unlimited; exec "+Bin(t)+" up wg0")
	WaitFor(t, 20*time.Second, "the hook to run", func() bool { return h.Exists("/run/cores/gate") })
	p.Signal(syscall.SIGABRT)
	p.Wait(runLimit)
	h.Sh("rm /run/cores/gate")
	if left := cores(); left != "" {
		t.Errorf("wgctl up left %s", left)
	}
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	h.Must("sh", "-c", "cd /run/cores; ulimit -c unlimited; exec "+Bin(t)+" up wg0")
	if out := h.Sh("grep -h 'core file' /proc/$(pgrep -f '[d]evice-serve')/limits").Stdout; !strings.Contains(out, " 0 ") {
		t.Errorf("the device's limit is %q", out)
	}
	h.Sh("pkill -ABRT -f '[d]evice-serve'; sleep 0.3")
	if left := cores(); left != "" {
		t.Errorf("the device left %s", left)
	}
}
