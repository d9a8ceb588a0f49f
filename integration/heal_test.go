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
