// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
	"time"
)

const officeLab = `
[Network internet]
Subnet = 203.0.113.0/24
[Network home]
Subnet = 192.168.1.0/24
[Host hub]
Link = internet
[Host branch]
Link = internet
[Host router]
Link = internet
Link = home
Masquerade = eth0
[Host laptop]
Link = home
Gateway = router
[Tunnel wg0]
Subnet = 10.8.0.0/24, fd08::/64
Hub = hub
Member = hub
Member = branch
Member = laptop roaming
`

// A lab comes up, its hosts reach each other by their names and its members
// through the tunnel; down leaves nothing, not even what still runs there.
func TestLab(t *testing.T) {
	Only(t, Userspace) // the backend does not matter
	Need(t, "nft", "ping")
	h := newTunnelHost(t, "h")
	h.Must("ip", "netns", "add", "other") // which makes /run/netns what it then stays
	before := h.Snapshot()
	h.WriteFile("/root/office.lab", officeLab)
	said(t, wgctlOK(h, "lab", "up", "/root/office.lab").Stderr, "laptop  10.8.0.3/24, fd08::3/64  roaming")
	for _, to := range []string{"hub", "10.8.0.1", "10.8.0.2", "fd08::2"} {
		WaitFor(t, 20*time.Second, "an answer from "+to, func() bool {
			return h.Wgctl("lab", "exec", "laptop", "--", "ping", "-n", "-c", "1", "-W", "1", to).Code == 0
		})
	}
	wgctlFails(h, 7, "lab", "exec", "office/hub", "sh", "-c", "exit 7")
	said(t, wgctlFails(h, 1, "lab", "exec", "desk", "true").Stderr, "lab office has no host desk")
	said(t, wgctlFails(h, 1, "lab", "up", "/root/office.lab").Stderr, "lab office is up already")
	said(t, wgctlOK(h, "status", "--netns-all", "office-branch").Stdout, "wg0 (up)", "drift:        none", "peer: hub")
	runs := h.Start(Bin(t), "lab", "exec", "branch", "sleep", "1000")
	WaitFor(t, 10*time.Second, "a process on a host", func() bool {
		return strings.TrimSpace(h.Must("ip", "netns", "pids", "office-branch").Stdout) != ""
	})
	wgctlOK(h, "lab", "down")
	runs.Wait(10 * time.Second)
	h.Unchanged(before)
	said(t, wgctlFails(h, 1, "lab", "down", "office").Stderr, "lab office is not up")
}

// A lab that can't be made leaves nothing, and one whose making was killed goes
// with down.
func TestLabFails(t *testing.T) {
	Only(t, Userspace) // the backend does not matter
	h := newTunnelHost(t, "h")
	h.Must("ip", "netns", "add", "office-router")
	before := h.Snapshot()
	h.WriteFile("/root/office.lab", officeLab)
	said(t, wgctlFails(h, 1, "lab", "up", "/root/office.lab").Stderr, "there is a network namespace office-router already")
	h.WriteFile("/root/bad.lab", strings.Replace(officeLab, "Member = hub", "Member = hup", 1))
	said(t, wgctlFails(h, 1, "lab", "up", "/root/bad.lab").Stderr, "wgctl: /root/bad.lab:20: [Tunnel wg0] Member: there is no host hup\n")
	said(t, wgctlFails(h, 1, "lab", "graph", "/root/bad.lab").Stderr, "bad.lab:20:")
	// The second tunnel's port is taken.
	second := officeLab[strings.Index(officeLab, "[Tunnel"):]
	h.WriteFile("/root/twice.lab", "[Lab]\nName = twice\n"+officeLab+strings.ReplaceAll(second, "wg0", "wg1"))
	said(t, wgctlFails(h, 1, "lab", "up", "/root/twice.lab").Stderr, "wg1", "address already in use")
	h.Must("rm", "/root/office.lab", "/root/bad.lab", "/root/twice.lab")
	h.Unchanged(before)
}

func TestLabKilled(t *testing.T) {
	Only(t, Userspace) // the backend does not matter
	Need(t, "timeout")
	h := newTunnelHost(t, "h")
	h.Must("ip", "netns", "add", "other")
	before := h.Snapshot()
	h.WriteFile("/tmp/office.lab", officeLab)
	for _, after := range []string{"0.01", "0.05", "0.1", "0.2"} {
		h.Run("timeout", "-s", "KILL", after, Bin(t), "lab", "up", "/tmp/office.lab")
		WaitFor(t, 20*time.Second, "what it ran to end", func() bool {
			return !strings.Contains(strings.Join(h.Processes(), "\n"), " up --netns-all")
		})
		if h.Exists("/run/wgctl/lab/office") {
			wgctlOK(h, "lab", "down", "office")
		}
		h.Run("sh", "-c", "rm -rf /run/wgctl/lab/.new-*; rmdir /run/wgctl/lab")
		h.Unchanged(before)
	}
	h.Must("rm", "/tmp/office.lab")
}
