// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

// A pipe whose writer says nothing, as a command that waits for a passphrase,
// is waited for; Ctrl-C ends that at once, in one line, with nothing done. Once
// the writer is through, the tunnel comes up.
func TestSilentPipe(t *testing.T) {
	onceForAll(t)
	t.Parallel()
	h := newTunnelHost(t, "h")
	const conf = "/etc/wireguard/wg0.conf"
	h.Must("mkfifo", "-m", "600", conf)
	before := h.Snapshot()
	silent := h.Start("sh", "-c", "exec 9<>"+conf+"; echo open; exec sleep 1000")
	silent.Expect(10*time.Second, "open")
	for _, words := range []string{"up wg0", "plan up wg0", "apply wg0", "check wg0", "strip wg0", "convert wg0", "diff wg0 wg0", "run wg0"} {
		p := h.Start(append([]string{Bin(t)}, strings.Fields(words)...)...)
		WaitFor(t, 10*time.Second, words+" to open its file", func() bool { return p.holds("wg0.conf") || !p.Running() })
		time.Sleep(50 * time.Millisecond) // until it reads
		if !p.Running() {
			t.Errorf("%s did not wait: %v", words, p.Output())
			continue
		}
		p.Signal(syscall.SIGINT)
		out := p.Wait(10 * time.Second)
		if words == "run wg0" {
			continue // it ends by its agent, as from any other moment
		}
		if lines := errorLines(out); out.Code != 1 || len(lines) != 1 || !strings.HasPrefix(lines[0], "reading "+conf+": ") || out.Stdout != "" {
			t.Errorf("%s, interrupted: %v", words, out)
		}
	}
	silent.Signal(syscall.SIGKILL)
	silent.Wait(10 * time.Second)
	h.Unchanged(before)

	// A slow one is no fault.
	h.WriteFile("/run/slow", fullTunnel(t, 0))
	slow := h.Start("sh", "-c", "exec 9<>"+conf+"; head -c 40 /run/slow >"+conf+"; echo open; sleep 1; tail -c +41 /run/slow >"+conf)
	slow.Expect(10*time.Second, "open")
	wgctlOK(h, "up", "wg0")
	wgctlOK(h, "down", "wg0")
	h.Must("rm", "/run/slow")
	slow.Wait(10 * time.Second)
	h.Unchanged(before)
}
