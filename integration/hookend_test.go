// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// deaf is a hook that heeds no signal, nor do its children.
const deaf = "trap '' TERM INT HUP; (trap '' TERM INT HUP; sleep 1000; sleep 1000) & sleep 1000; sleep 1000; wait"

// sleepers are the programs of such a hook that are there still.
func sleepers(h *Host) (out []string) {
	for _, p := range h.Processes() {
		if strings.Contains(p, "sleep 1000") || strings.Contains(p, "bash") {
			out = append(out, p)
		}
	}
	return out
}

// HookTimeout ends a hook of any phase with all its children, heed they a signal
// or not. An up is undone, a down goes on.
func TestHookTimeoutOfEachPhase(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	for _, phase := range []string{"PreUp", "PostUp", "PreDown", "PostDown"} {
		h.WriteFile(configOf("wg0"), splitTunnel(t, "HookTimeout = 300ms", phase+" = "+deaf))
		verb := "up"
		if strings.HasSuffix(phase, "Down") {
			wgctlOK(h, "up", "wg0")
			verb = "down"
		}
		out := wgctlFails(h, 1, verb, "wg0")
		said(t, out.Stderr, "wgctl: running "+phase+" hook: "+phase+" hook was interrupted: it took longer than HookTimeout, 300ms\n")
		WaitFor(t, 2*time.Second, "the hook of "+phase+" to end", func() bool { return len(sleepers(h)) == 0 })
		h.Unchanged(before)
	}
}

// The third signal ends wgctl at once, and the hook that runs with all its
// children: what goes on beside the next down would be half a tunnel. Down takes
// away what is left.
func TestThirdSignalEndsTheHook(t *testing.T) {
	Only(t, Userspace)
	t.Parallel()
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	interrupt := func(phase string) Output {
		h.WriteFile(configOf("wg0"), splitTunnel(t, phase+" = "+deaf))
		verb := "up"
		if strings.HasSuffix(phase, "Down") {
			wgctlOK(h, "up", "wg0")
			verb = "down"
		}
		p := h.Start(Bin(t), verb, "wg0")
		waitForSleep(h)
		// Two that come at once may become one.
		for p.Running() && !strings.Contains(p.Output().Stderr, "still undoing") {
			p.Signal(syscall.SIGINT)
			time.Sleep(Timeout(50 * time.Millisecond))
		}
		p.Signal(syscall.SIGINT)
		return p.Wait(10 * time.Second)
	}
	for _, phase := range []string{"PreUp", "PostUp", "PreDown", "PostDown"} {
		out := interrupt(phase)
		for n := 0; n < 3 && out.Code == 1 && !strings.Contains(out.Stderr, "still undoing"); n++ {
			out = interrupt(phase) // the hook had been given up, and all undone, before the second signal came
		}
		if out.Code != 3 {
			t.Errorf("%s: %v", phase, out)
		}
		WaitFor(t, 2*time.Second, "the hook of "+phase+" to end", func() bool { return len(sleepers(h)) == 0 })
		h.WriteFile(configOf("wg0"), splitTunnel(t))
		wgctlOK(h, "down", "wg0")
		h.Unchanged(before)
	}
}
