// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hangs are what one does about a tunnel whose device's process is stopped.
var hangs = []struct {
	words string
	limit time.Duration
	code  int
	says  string
	whole bool // the tunnel is, afterwards
}{
	// As in a unit, which may not look into a process that forbids it.
	{"setpriv --bounding-set=-sys_ptrace wgctl down wg0", 10 * time.Second, 0, "wg0: the process of its device does not answer", false},
	{"setpriv --bounding-set=-sys_ptrace wgctl reload wg0", 10 * time.Second, 0, "wg0: the process of its device does not answer", true},
	{"status wg0", 6 * time.Second, 0, "wg0 (broken: the process of its device does not answer)", false},
	{"status", 6 * time.Second, 0, "wg0 (broken: the process of its device does not answer)", false},
	{"down wg0", 10 * time.Second, 0, "wg0: the process of its device does not answer", false},
	{"up wg0", 10 * time.Second, 0, "wg0: the process of its device does not answer", true},
	{"reload wg0", 10 * time.Second, 0, "wg0: the process of its device does not answer", true},
	{"apply wg0", 10 * time.Second, 0, "wg0: the process of its device does not answer", true},
	{"up wg1", 10 * time.Second, 0, "wg1", false},
	{"wg show wg0", 6 * time.Second, 1, "Unable to access interface: Connection timed out\n", false},
	{"wg show", 6 * time.Second, 1, "Unable to access interface wg0: Connection timed out\n", false},
	{"wg set wg0 fwmark 7", 6 * time.Second, 1, "Unable to modify interface: Connection timed out\n", false},
}

// A device whose process is stopped keeps nobody for long: status says so, and
// so does wg, which would wait for ever; down takes the tunnel away, the process
// too, up and reload bring it up anew, and another tunnel is not concerned.
func TestDeviceHangs(t *testing.T) {
	Only(t, Userspace)
	Need(t, "setpriv")
	for _, c := range hangs {
		t.Run(c.words, func(t *testing.T) {
			t.Parallel() // it waits for a time-out most of the time
			h := newTunnelHost(t, "h")
			h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
			h.WriteFile(configOf("wg1"), fullTunnel(t, 1))
			before := h.Snapshot()
			wgctlOK(h, "up", "wg0")
			stopDevice(h)
			up := h.Snapshot()
			program, words := []string{Bin(t)}, strings.Fields(c.words)
			switch words[0] {
			case "wg":
				program, words = []string{As(t, "wg")}, words[1:]
			case "setpriv":
				program, words = []string{"setpriv", words[1], Bin(t)}, words[3:]
			}
			out := h.Start(append(program, words...)...).Wait(c.limit)
			if out.Code != c.code {
				t.Errorf("want exit %d: %v", c.code, out)
			}
			said(t, out.Stdout+out.Stderr, c.says)
			switch words[0] {
			case "status", "show", "set":
				h.Unchanged(up)
			}
			if c.whole {
				whole(h, "wg0")
			}
			if c.words == "up wg1" {
				if s := statuses(h)["wg1"]; s.State != "up" {
					t.Errorf("beside one that hangs: %+v", s)
				}
				wgctlOK(h, "down", "wg1")
			}
			if words[0] != "down" {
				wgctlOK(h, "down", "wg0")
			}
			h.Unchanged(before)
		})
	}
}

// A device that is at somebody's request with tens of thousands of peers, and
// gets little of a processor, is not one that hangs: status waits for it, and a
// reload leaves it alone.
func TestDeviceIsBusy(t *testing.T) {
	Only(t, Userspace)
	Need(t, "wg")
	t.Parallel()
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	wgctlOK(h, "up", "wg0")
	var peers strings.Builder
	for range 3000 {
		peers.WriteString(peerSection(newKeyPair(t), "AllowedIPs = 10.0.0.1/32"))
	}
	h.WriteFile("/run/peers", peers.String())
	pid := strings.TrimSpace(h.Must("pgrep", "-f", "[d]evice-serve wg0").Stdout)
	h.Must("sh", "-c", "renice -n 19 -p $(ls /proc/"+pid+"/task) >/dev/null; taskset -acp 0 "+pid+" >/dev/null")
	for range 2 {
		h.Start("taskset", "-c", "0", "sh", "-c", "while :; do :; done")
	}
	busy := h.Start("wg", "addconf", "wg0", "/run/peers")
	time.Sleep(Timeout(100 * time.Millisecond))
	if !busy.Running() {
		t.Log("it was done before anybody could ask")
	}
	if out := wgctlOK(h, "status", "wg0"); !strings.Contains(out.Stdout, "wg0 (up)") {
		t.Errorf("%v", out)
	}
	if out := busy.Wait(60 * time.Second); out.Code != 0 {
		t.Errorf("%v", out)
	}
	out := wgctlOK(h, "reload", "--yes", "wg0")
	if now := strings.TrimSpace(h.Must("pgrep", "-f", "[d]evice-serve wg0").Stdout); now != pid {
		t.Errorf("the reload made another device: %v", out)
	}
	if s := statuses(h)["wg0"]; s.State != "up" || len(s.Foreign) != 3000 {
		t.Errorf("%s, %d foreign peers", s.State, len(s.Foreign))
	}
}

// stopDevice stops the process of wg0's device, and waits until all its threads
// have stopped.
func stopDevice(h *Host) {
	h.t.Helper()
	h.Sh("kill -STOP $(pgrep -f '[d]evice-serve wg0')")
	WaitFor(h.t, 10*time.Second, "the device to stop", func() bool {
		states := h.Sh("cut -d' ' -f3 /proc/$(pgrep -f '[d]evice-serve wg0')/task/*/stat").Stdout
		return states != "" && strings.Trim(states, "T\n") == ""
	})
}

// When more changes on a host than the device's process hears in time, netlink
// tells it so in place of the changes. It goes on, and sees its link go down and
// come up all the same.
func TestDeviceMissesChanges(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	stopDevice(h)
	const most = 2000 // a buffer of net.core.rmem_default takes some hundred
	h.Sh("ip link add d0 type veth peer name d1; for i in $(seq " + strconv.Itoa(most) + "); do echo link set d0 mtu $((1400 + i % 2)); done | ip -batch -; ip link delete d0")
	h.Sh("kill -CONT $(pgrep -f '[d]evice-serve wg0')")
	for range 3 { // it is told of that when it reads
		h.Run("ping", "-c", "1", "-W", "0.2", "-I", "wg0", "192.0.2.99")
	}
	whole(h, "wg0")
	port := fmt.Sprintf("sport = :%d", statuses(h)["wg0"].ListenPort)
	listens := func() bool { return h.Must("ss", "-lunH", port).Stdout != "" }
	for _, word := range []string{"down", "up"} {
		h.Must("ip", "link", "set", "wg0", word)
		WaitFor(t, 5*time.Second, "the device to see that its link is "+word, func() bool { return listens() == (word == "up") })
	}
	wgctlOK(h, "reload", "wg0")
	whole(h, "wg0")
	wgctlOK(h, "down", "wg0")
	h.Unchanged(before)
}

// A call that never returns does not keep wgctl from ending: where Ctrl-C can't
// undo what was done, two more end it at once, and a down then finds its way.
func TestCallHangs(t *testing.T) {
	for _, verb := range guestShare(t, []string{"up", "reload", "down"}) {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			newWreck(t).hangs(t, verb, Fault{Kind: FaultHang, Changes: true}, rounds(4, 1))
		})
	}
}

// Nor does one that only reads.
func TestReadingCallHangs(t *testing.T) {
	onceForAll(t)
	for _, verb := range []string{"up", "reload", "down"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t)
			w.hangs(t, verb, Fault{Kind: FaultHang, Reads: true}, 3)
			if os.Getenv("WGCTL_TEST_FAULTS") == "" { // the first call of the start of a program, or of a hook
				w.hangs(t, verb, Fault{Kind: FaultHang, Reads: true, Names: "pipe2"}, 2)
			}
		})
	}
}

// hangs lets some of the calls of a verb hang, or all of them.
func (w *wreck) hangs(t *testing.T, verb string, f Fault, sample int) {
	t.Helper()
	plain := w.Inject(f, w.ready(verb)...)
	codes, hung := map[int]int{}, 0
	for _, f.At = range crashPoints(t, plain.Calls, sample) {
		i := w.hang(verb, f)
		if i.Hit != "" {
			if hung++; hung%50 == 0 {
				t.Logf("%d hung, the last at call %d of about %d", hung, f.At, plain.Calls)
			}
		}
		codes[i.Code]++
		if wrong := w.gaveUp(verb, i); wrong != "" {
			t.Errorf("%s hung at call %d, %s: %v\n%s", verb, f.At, i.Hit, i, wrong)
		}
		w.Wgctl("down", "wg0")
		if diff := w.comesTo(w.down); diff != "" {
			t.Errorf("%s hung at call %d, %s, then down: %v\n%s", verb, f.At, i.Hit, i, diff)
			*w = *newWreck(t)
		}
		w.rested = "down"
	}
	t.Logf("%s: %d of about %d calls hung; exit codes and how often: %v", verb, hung, plain.Calls, codes)
	if hung == 0 {
		t.Error("no call hung")
	}
}

// gaveUp says what is wrong with how a command ended of which a call hung: it
// was undone, in one line, or says that something is left.
func (w *wreck) gaveUp(verb string, i Injected) string {
	w.t.Helper()
	before := map[string]string{"up": w.down, "reload": w.asA, "down": w.asA}[verb]
	switch n := len(errorLines(i.Output)); {
	case i.Hit == "" && i.Code == 0, i.Code == 3:
		return ""
	case i.Code == 128+int(syscall.SIGINT): // it had not begun
		return w.comesTo(before)
	case i.Code == 1 && verb == "down" && strings.Contains(i.Stderr, "Down hook: "):
		return w.comesTo(w.down)
	case i.Code == 1 && n == 1:
		return w.comesTo(before)
	case i.Code == 0 && verb == "down": // what hung was not needed
		return w.comesTo(w.down)
	}
	return "exit status, or lines of error"
}

// hang runs the command with a call that hangs, and interrupts it until it ends.
func (w *wreck) hang(verb string, f Fault) Injected {
	w.t.Helper()
	p := w.StartInjected(f, w.ready(verb)...)
	for {
		said := p.Output().Stderr
		if strings.Contains(said, injectReport) || !p.Running() {
			return p.Injected()
		}
		if strings.Contains(said, injectHangs) {
			p.Signal(syscall.SIGINT)
		}
		time.Sleep(Timeout(50 * time.Millisecond))
	}
}
