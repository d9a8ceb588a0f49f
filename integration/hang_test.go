// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// A device whose process is stopped does not keep anybody for ever: status says
// so, and down takes the tunnel away, the process too.
func TestDeviceHangs(t *testing.T) {
	Only(t, Userspace)
	t.Parallel() // it waits for a time-out most of the time
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	stopDevice(h)
	status := h.Start(Bin(t), "status", "wg0")
	wgctlOK(h, "down", "wg0")
	if out := status.Wait(runLimit); out.Code != 0 {
		t.Errorf("%v", out)
	} else {
		said(t, out.Stdout, "wg0 (broken: the process of its device does not answer)")
	}
	h.Unchanged(before)
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

// A call that never returns does not keep wgctl from ending: where Ctrl-C can't
// undo what was done, two more end it at once, and a down then finds its way.
func TestCallHangs(t *testing.T) {
	for _, verb := range guestShare(t, []string{"up", "reload", "down"}) {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t)
			plain := w.kill(verb, 0)
			codes, hung := map[int]int{}, 0
			for _, at := range crashPoints(t, plain.Calls, rounds(4, 1)) {
				i := w.hang(verb, at)
				if i.Hit != "" {
					hung++
				}
				codes[i.Code]++
				if wrong := w.gaveUp(verb, i); wrong != "" {
					t.Errorf("%s hung at call %d, %s: %v\n%s", verb, at, i.Hit, i, wrong)
				}
				w.Wgctl("down", "wg0")
				if diff := w.comesTo(w.down); diff != "" {
					t.Errorf("%s hung at call %d, %s, then down: %v\n%s", verb, at, i.Hit, i, diff)
					w = newWreck(t)
				}
				w.rested = "down"
			}
			t.Logf("%s: %d of about %d calls hung; exit codes and how often: %v", verb, hung, plain.Calls, codes)
			if hung == 0 {
				t.Error("no call hung")
			}
		})
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
func (w *wreck) hang(verb string, at int) Injected {
	w.t.Helper()
	p := w.StartInjected(Fault{Kind: FaultHang, At: at, Changes: true}, w.ready(verb)...)
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
