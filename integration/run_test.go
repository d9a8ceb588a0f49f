// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

const notifySocket = "/run/notify.sock"

// startRun starts wgctl run on the client under a supervisor, and returns both.
func (s *site) startRun(args ...string) (run, supervisor *Process) {
	s.client.t.Helper()
	supervisor = s.client.startRole("notified", notifySocket)
	supervisor.Expect(10*time.Second, "listening")
	words := append([]string{"env", "NOTIFY_SOCKET=" + notifySocket, "WATCHDOG_USEC=4000000", Bin(s.client.t), "run"}, args...)
	return s.client.Start(words...), supervisor
}

// ends waits for run to end with a code.
func ends(t *testing.T, run *Process, code int) Output {
	t.Helper()
	out := run.Wait(30 * time.Second)
	if out.Code != code {
		t.Errorf("exit status %d, want %d: %v", out.Code, code, out)
	}
	return out
}

// A tunnel with a kill switch whose endpoint's name nobody knows comes up, lets
// nothing out, and finds its peer when there is a nameserver, past itself and
// though the tunnel has a nameserver of its own by then. What is taken away from
// it comes back. A reload by another command is followed. It ends whole by
// SIGTERM, and but for its kill switch by SIGUSR1.
func TestRun(t *testing.T) {
	Only(t, Userspace) // the guest of the units has the other
	t.Parallel()       // it waits most of the time
	s := newSite(t)
	s.client.Hide("resolvconf")
	s.client.WriteFileMode("/etc/resolv.conf", "nameserver "+hubLAN4+"\noptions timeout:1 attempts:1\n", 0o644)
	resolver := s.client.ReadFile("/etc/resolv.conf")
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	wgctlOK(s.hub, "up", "wg0")
	s.client.WriteFile(configOf("wg0"), s.clientFile("hub.example:51820", fullAllowed, "KillSwitch = on", "DNS = 10.8.0.1"))
	run, supervisor := s.startRun("--repair", "wg0")
	supervisor.Expect(30*time.Second, "READY=1\nSTATUS=up, but an endpoint could not be found: /etc/wireguard/wg0.conf:")
	whole(s.client, "wg0")
	for _, to := range []string{internet4 + ":5001", "[" + internet6 + "]:5001"} {
		s.client.StartUDP(to, 10*time.Millisecond)
	}
	s.arrived()
	time.Sleep(500 * time.Millisecond) // a chance to leak
	if got := s.clear(); got != nothing {
		t.Errorf("without an endpoint: %s in clear", got)
	}
	s.hub.startRole("names", hubLAN4+":53", hubEndpoint4).Expect(10*time.Second, "listening")
	run.Expect(60*time.Second, "all endpoints of wg0 are found")
	WaitFor(t, 20*time.Second, "a handshake", func() bool { return s.client.Ping(hubInside4) })
	s.endpointIs(hubEndpoint4)
	supervisor.Expect(30*time.Second, "WATCHDOG=1\nSTATUS=up\n")

	s.client.Sh("ip rule delete priority 32765; ip -6 rule delete priority 32765; nft flush ruleset")
	run.Expect(30*time.Second, "wg0 is not as it was brought up; putting it back")
	WaitFor(t, 30*time.Second, "the tunnel to be whole again", func() bool { return len(statuses(s.client)["wg0"].Drift) == 0 })
	s.clear() // it was open in between

	file := s.client.ReadFile(configOf("wg0"))
	s.client.WriteFile(configOf("wg0"), strings.Replace(file, "KillSwitch", "MTU = 1300\nKillSwitch", 1))
	wgctlOK(s.client, "reload", "wg0")
	s.client.Must("ip", "link", "set", "wg0", "mtu", "1200")
	WaitFor(t, 30*time.Second, "what was reloaded to be put back", func() bool { return statuses(s.client)["wg0"].MTU == 1300 })
	s.client.WriteFile(configOf("wg0"), file)
	run.Signal(syscall.SIGHUP)
	WaitFor(t, 30*time.Second, "the old file's MTU", func() bool { return statuses(s.client)["wg0"].MTU != 1300 })
	descriptors := func() int {
		return strings.Count(s.client.Sh("ls /proc/$(pgrep -x -f '.* run --repair wg0')/fd").Stdout, "\n")
	}
	first := descriptors() // and some more for a moment, while it looks at its tunnel
	for n := range 5 {
		run.Signal(syscall.SIGHUP)
		WaitFor(t, 30*time.Second, "a reload", func() bool { return strings.Count(supervisor.Output().Stdout, "RELOADING=1") == n+2 })
		s.client.Must("ip", "link", "set", "wg0", "mtu", "1200")
		WaitFor(t, 30*time.Second, "a repair", func() bool { return statuses(s.client)["wg0"].MTU != 1200 })
	}
	if first == 0 {
		t.Error("no descriptor is open")
	}
	WaitFor(t, 10*time.Second, "no more descriptors than before five reloads and repairs", func() bool { return descriptors() <= first+2 })
	said(t, supervisor.Output().Stdout, "RELOADING=1\nMONOTONIC_USEC=")

	run.Signal(syscall.SIGUSR1)
	ends(t, run, 0)
	if state := statuses(s.client)["wg0"].State; state != "down, and its kill switch stands" {
		t.Errorf("state %q", state)
	}
	if got := s.clear(); got != nothing {
		t.Errorf("through a reload and a stop that is a restart: %s in clear", got)
	}
	run, _ = s.startRun("--repair", "wg0")
	WaitFor(t, 30*time.Second, "a handshake", func() bool { return s.client.Ping(hubInside4) })
	if got := s.clear(); got != nothing {
		t.Errorf("through a restart: %s in clear", got)
	}
	run.Signal(syscall.SIGTERM)
	ends(t, run, 0)
	WaitFor(t, 10*time.Second, "packets in clear after the stop, which the witness must see", func() bool {
		n := s.arrived()
		return n["around4"] > 0 && n["around6"] > 0
	})
	if now := s.client.ReadFile("/etc/resolv.conf"); now != resolver {
		t.Errorf("resolv.conf is %q", now)
	}
	if left := statuses(s.client); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// Each way in which run ends has its exit code, and its reason is told.
func TestRunEnds(t *testing.T) {
	Only(t, Userspace) // nothing of it depends on the device
	s := newSite(t)
	s.client.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	before := s.client.Snapshot()
	var supervisors []*Process

	run, supervisor := s.startRun("wg0")
	supervisor.Expect(30*time.Second, "READY=1")
	supervisors = append(supervisors, supervisor)
	wgctlOK(s.client, "down", "wg0")
	said(t, ends(t, run, 0).Stderr, "wg0 was taken down by another command")

	run, supervisor = s.startRun("wg0") // without --repair
	supervisor.Expect(30*time.Second, "READY=1")
	supervisors = append(supervisors, supervisor)
	s.client.Sh("kill -9 $(pgrep -x -f 'wgctl device-serve wg0')")
	said(t, ends(t, run, 1).Stderr, "wgctl: wg0 is broken: the process of its device has died, or the link was deleted")
	supervisor.Expect(10*time.Second, "STATUS=wg0 is broken")

	run, supervisor = s.startRun("--repair", "wg0") // heals what is left
	supervisor.Expect(30*time.Second, "READY=1")
	supervisors = append(supervisors, supervisor)
	s.client.Sh("kill -9 $(pgrep -x -f 'wgctl device-serve wg0')")
	run.Expect(30*time.Second, "bringing it up again")
	WaitFor(t, 30*time.Second, "the tunnel to be up again", func() bool { return statuses(s.client)["wg0"].State == "up" })

	good := s.client.ReadFile(configOf("wg0"))
	s.client.WriteFile(configOf("wg0"), good+"Oops = 1\n")
	run.Signal(syscall.SIGHUP)
	run.Expect(30*time.Second, "reloading wg0: /etc/wireguard/wg0.conf:")
	supervisor.Expect(10*time.Second, "STATUS=as before a reload that failed: /etc/wireguard/wg0.conf:")
	whole(s.client, "wg0")
	run.Signal(syscall.SIGINT)
	ends(t, run, 0)
	s.client.WriteFile(configOf("wg0"), good)
	for _, p := range supervisors {
		p.Signal(syscall.SIGKILL)
		p.Wait(10 * time.Second)
	}
	s.client.Must("rm", notifySocket)
	s.client.Unchanged(before)

	s.client.WriteFile(configOf("bad"), "[Interface]\nListenPort = 99999\n")
	run, supervisor = s.startRun("bad")
	out := ends(t, run, 78)
	if lines := errorLines(out); len(lines) != 1 {
		t.Errorf("not one line: %v", out)
	}
	supervisor.Expect(10*time.Second, `STATUS=/etc/wireguard/bad.conf:2: [Interface] ListenPort: "99999" is not a port`)
	run, _ = s.startRun("nofile")
	ends(t, run, 78)
}

// The endpoint of a peer without a session is set where its name leads now.
func TestRunFollowsName(t *testing.T) {
	Only(t, Userspace)
	t.Parallel() // it waits for the agent to look, for half a minute
	s := newSite(t)
	s.client.WriteFileMode("/etc/resolv.conf", "nameserver "+hubLAN4+"\noptions timeout:1 attempts:1\n", 0o644)
	names := s.hub.startRole("names", hubLAN4+":53", internet4)
	names.Expect(10*time.Second, "listening")
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	wgctlOK(s.hub, "up", "wg0")
	s.client.WriteFile(configOf("wg0"), s.clientFile("hub.example:51820", fullAllowed))
	run, supervisor := s.startRun("wg0")
	supervisor.Expect(30*time.Second, "READY=1\nSTATUS=up\n")
	s.endpointIs(internet4)
	names.Signal(syscall.SIGKILL)
	names.Wait(10 * time.Second)
	s.hub.startRole("names", hubLAN4+":53", hubEndpoint4).Expect(10*time.Second, "listening")
	WaitFor(t, 100*time.Second, "the endpoint to move", func() bool {
		return strings.Contains(fmt.Sprint(statuses(s.client)["wg0"].Peers), hubEndpoint4)
	})
	s.client.MustPing(hubInside4)
	run.Signal(syscall.SIGTERM)
	ends(t, run, 0)
}
