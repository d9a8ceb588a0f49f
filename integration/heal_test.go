// SPDX-License-Identifier: MIT

package integration

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The second up of a tunnel says that it is up, exits 1 and changes nothing.
func TestUpTwice(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	up := h.Snapshot()
	out := wgctlFails(h, 1, "up", "wg0")
	if !strings.HasPrefix(out.Stderr, "wgctl: wg0 is up already\nhint: ") || strings.Count(out.Stderr, "\n") != 2 {
		t.Errorf("want one line and a hint: %v", out)
	}
	h.Unchanged(up)
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// A link that wgctl did not make is refused by up and by down, and stays.
func TestForeignLink(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	h.Must("ip", "link", "add", "wg0", "type", "bridge")
	before := h.Snapshot()
	for _, verb := range []string{"up", "down"} {
		out := wgctlFails(h, 1, verb, "wg0")
		if !strings.HasPrefix(out.Stderr, "wgctl: wg0 exists and was not brought up by wgctl\nhint: ") {
			t.Errorf("want one line and a hint: %v", out)
		}
		h.Unchanged(before)
	}
}

// The down of what is not up is one line with a hint, exits 1 and changes
// nothing.
func TestDownOfNothing(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	before := h.Snapshot()
	for _, name := range []string{"wg0", "nofile"} {
		out := wgctlFails(h, 1, "down", name)
		if !strings.HasPrefix(out.Stderr, "wgctl: "+name+" is not up\nhint: ") || strings.Count(out.Stderr, "\n") != 2 {
			t.Errorf("want one line and a hint: %v", out)
		}
	}
	h.Unchanged(before)
}

// Down undoes what up did, whatever became of the file meanwhile.
func TestDownAfterTheFileChanged(t *testing.T) {
	Need(t, "resolvconf")
	h := newTunnelHost(t, "h")
	useResolvconf(h)
	before := h.Snapshot()
	for _, tt := range []struct{ name, file string }{
		{"edited", interfaceSection(newKeyPair(t), "Address = 10.66.0.1/24", "Table = off") +
			peerSection(newKeyPair(t), "AllowedIPs = 10.67.0.0/16")},
		{"broken", "[Interface\nPrivateKey = nonsense\n"},
		{"empty", ""},
		{"gone", "-"},
	} {
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "DNS = 10.8.0.1, corp.example", "PostDown = echo ran %i"))
		wgctlOK(h, "up", "wg0")
		said(t, h.ReadFile("/etc/resolv.conf"), "10.8.0.1", "corp.example")
		if tt.file == "-" {
			h.Must("rm", configOf("wg0"))
		} else {
			h.WriteFile(configOf("wg0"), tt.file)
		}
		out := wgctlOK(h, "down", "wg0")
		// The hooks are the file's where it can be read, else those of up.
		if ran := strings.Contains(out.Stdout, "ran wg0"); ran == (tt.name == "edited") {
			t.Errorf("%s: hook ran: %v: %v", tt.name, ran, out)
		}
		h.Unchanged(before)
		if len(statuses(h)) != 0 {
			t.Errorf("%s: status still shows a tunnel", tt.name)
		}
	}
}

// useResolvconf has resolvconf make the folders that it keeps.
func useResolvconf(h *Host) {
	h.t.Helper()
	h.Sh("echo nameserver 192.0.2.9 | resolvconf -a eth9 -m 0 -x; resolvconf -d eth9 -f")
}

// accidents leave of a tunnel what no command of wgctl would.
var accidents = []struct {
	name, do string
	state    string // what status says then
	only     string // backend
	forgets  bool   // what sysctls had been, which only the record knew
}{
	{"device killed", "kill -KILL $(pgrep -f '[d]evice-serve wg0')", "device has died", Userspace, false},
	{"link deleted", "ip link delete wg0", "link was deleted", "", false},
	{"record lost", "rm /run/wgctl/wg0.json", "record is lost", "", true},
	{"record cut short", "truncate -s 100 /run/wgctl/wg0.json", "record is lost", "", true},
	{"record of nonsense", "head -c 3000 /dev/urandom >/run/wgctl/wg0.json", "record is lost", "", true},
	{"link and record lost", "ip link delete wg0; rm /run/wgctl/wg0.json", "", "", true},
	{"reboot", reboot, "", "", false},
}

// reboot leaves nothing but what is on disk.
const reboot = `pkill -KILL -f '[d]evice-serve wg0' || :
	ip link delete wg0 2>/dev/null || :
	while ip link show wg0 2>/dev/null; do :; done
	nft flush ruleset
	for f in -4 -6; do
		while ip $f rule delete protocol 87 2>/dev/null; do :; done
		ip $f route flush table 51820 2>/dev/null || :
	done
	sysctl -qw net.ipv4.conf.all.src_valid_mark=0
	rm -rf /run/wgctl /run/wireguard; mkdir -m 700 /run/wgctl /run/wireguard`

// After an accident status says what happened, down leaves the host as it was
// before up, and so it does after an up or a reload, which bring a whole tunnel.
// Only what the record alone can know stays when that is lost.
func TestAccidents(t *testing.T) {
	for _, backend := range backends() {
		h := newTunnelHost(t, "h")
		lines := []string{"Backend = " + backend}
		if slowness() == 1 {
			lines = append(lines, "PreUp = ip link show %i >/dev/null", "PostUp = ip rule show >/dev/null", "PreDown = ip rule show >/dev/null", "PostDown = ip rule show >/dev/null")
		}
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, lines...))
		before := h.Snapshot()
		for i, a := range accidents {
			if slowness() > 1 && (a.do == reboot || a.name == "record of nonsense") {
				continue // to the kernel no news
			}
			if a.only == Userspace && backend != Userspace && Backend() != Userspace {
				continue
			}
			// In turns where it is slow.
			for n := range rounds(3, 1) {
				heal := []string{"", "up", "reload"}[(i+n)%3]
				t.Logf("Backend = %s: %s, healed by %q", backend, a.name, heal)
				wgctlOK(h, "up", "wg0")
				h.Sh(a.do)
				WaitFor(t, 5*time.Second, "the link to go", func() bool {
					return !strings.HasPrefix(a.do, "ip link") && a.only == "" || h.Run("ip", "link", "show", "wg0").Code != 0
				})
				if a.state != "" {
					said(t, wgctlOK(h, "status").Stdout, "wg0", a.state)
					said(t, statuses(h)["wg0"].State, a.state)
				}
				gone := a.do == reboot
				switch {
				case heal == "reload" && gone:
					said(t, wgctlFails(h, 1, "reload", "wg0").Stderr, "wgctl: wg0 is not up\n")
				case heal != "":
					wgctlOK(h, heal, "wg0")
					whole(h, "wg0")
					gone = false
				}
				if gone {
					said(t, wgctlFails(h, 1, "down", "wg0").Stderr, "wgctl: wg0 is not up\n")
				} else {
					wgctlOK(h, "down", "wg0")
				}
				if a.forgets {
					h.Must("sysctl", "-qw", "net.ipv4.conf.all.src_valid_mark=0")
				}
				h.Unchanged(before)
			}
		}
	}
}

// An up that is killed while a hook runs leaves a state from which both up and
// down find their way.
func TestKilledInAHook(t *testing.T) {
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	for _, hook := range []string{"PreUp", "PostUp", "PreDown", "PostDown"} {
		for _, heal := range []bool{strings.HasPrefix(hook, "Pre"), strings.HasPrefix(hook, "Post")}[:rounds(2, 1)] {
			t.Logf("killed in %s, up afterwards: %v", hook, heal)
			file := fullTunnel(t, 0, "Backend = auto")
			h.WriteFile(configOf("wg0"), strings.Replace(file, "Backend = auto", hook+" = sleep 1000", 1))
			verb := "up"
			if strings.HasSuffix(hook, "Down") {
				wgctlOK(h, "up", "wg0")
				verb = "down"
			}
			p := h.Start(Bin(t), verb, "wg0")
			waitForSleep(h)
			p.Signal(syscall.SIGKILL)
			h.Must("pkill", "-KILL", "-x", "sleep") // the hook itself outlives the kill
			p.Wait(20 * time.Second)
			if out := wgctlOK(h, "status"); !strings.Contains(out.Stdout, "cut short") {
				t.Errorf("status doesn't say that a run was cut short: %v", out)
			}
			h.WriteFile(configOf("wg0"), file)
			if heal {
				wgctlOK(h, "up", "wg0")
				whole(h, "wg0")
			}
			wgctlOK(h, "down", "wg0")
			h.Unchanged(before)
		}
	}
}

// waitForSleep waits for a hook to sleep.
func waitForSleep(h *Host) {
	h.t.Helper()
	WaitFor(h.t, 20*time.Second, "the hook to sleep", func() bool { return slices.Contains(h.Processes(), "sleep 1000") })
}

// Ctrl-C during a hook undoes everything and ends the hook's children too.
func TestInterruptedInAHook(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "PostUp = (trap '' TERM INT; sleep 1000) & sleep 1000; wait"))
	before := h.Snapshot()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p := h.Start(Bin(t), "up", "wg0")
		waitForSleep(h)
		p.Signal(sig)
		if out := p.Wait(20 * time.Second); out.Code == 0 {
			t.Errorf("%v: want a failure: %v", sig, out)
		} else {
			said(t, out.Stderr, "PostUp hook")
		}
		h.Unchanged(before)
	}
}

// A hook that gives the link another name makes up fail, or a tunnel that is
// broken: in either case its link does not stay behind.
func TestHookRenamesLink(t *testing.T) {
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	for _, backend := range backends() {
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "Backend = "+backend, "PreUp = ip link set %i name other"))
		out := wgctlFails(h, 1, "up", "wg0")
		if len(errorLines(out)) != 1 {
			t.Errorf("%v", out)
		}
		h.Unchanged(before)
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, "Backend = "+backend, "PostUp = ip link set %i down; ip link set %i name other"))
		wgctlOK(h, "up", "wg0")
		said(t, wgctlOK(h, "status").Stdout, "wg0 (broken: the link was renamed to other)")
		wgctlOK(h, "down", "wg0")
		h.Unchanged(before)
	}
}
