// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/xml"
	"io"
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

// graph draws a lab that needn't be up, nor any right: as text, for Graphviz, as a
// picture.
func TestLabGraph(t *testing.T) {
	Only(t, Userspace) // the backend does not matter
	h := NewHost(t, "h")
	h.WriteFileMode("/tmp/office.lab", officeLab, 0o644)
	const text = `internet (switch)
├─ hub eth0  203.0.113.1/24
├─ branch eth0  203.0.113.2/24
└─ router eth0  203.0.113.3/24
home (cable)
├─ router eth1  192.168.1.1/24
└─ laptop eth0  192.168.1.2/24
wg0 (tunnel, by way of hub)
├─ hub  10.8.0.1/24, fd08::1/64  at 203.0.113.1
├─ branch  10.8.0.2/24, fd08::2/64  at 203.0.113.2
└─ laptop  10.8.0.3/24, fd08::3/64  roaming
`
	const dot = `graph "office" {
	"hub" [shape=box];
	"branch" [shape=box];
	"router" [shape=box];
	"laptop" [shape=box];
	"internet" [shape=ellipse];
	"hub" -- "internet" [label="eth0 203.0.113.1/24"];
	"branch" -- "internet" [label="eth0 203.0.113.2/24"];
	"router" -- "internet" [label="eth0 203.0.113.3/24"];
	"home" [shape=ellipse];
	"router" -- "home" [label="eth1 192.168.1.1/24"];
	"laptop" -- "home" [label="eth0 192.168.1.2/24"];
	"hub" -- "branch" [style=dashed, label="wg0"];
	"hub" -- "laptop" [style=dashed, label="wg0"];
}
`
	h.Must("install", "-D", "-m", "0755", Bin(t), "/run/anybody/wgctl")
	graph := func(words ...string) Output {
		return h.Run(append([]string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "/run/anybody/wgctl", "lab", "graph", "/tmp/office.lab"}, words...)...)
	}
	for want, words := range map[string][]string{text: nil, dot: {"--format", "dot"}} {
		if out := graph(words...); out.Code != 0 || out.Stdout != want || out.Stderr != "" {
			t.Errorf("%v, want\n%s", out, want)
		}
	}
	if out := graph("--format", "text"); out.Stdout != text {
		t.Errorf("%v", out)
	}
	svg := graph("--format=svg").Stdout
	names, lines := 0, 0
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Space == "http://www.w3.org/2000/svg" {
			names += map[string]int{"text": 1}[e.Name.Local]
			lines += map[string]int{"line": 1}[e.Name.Local]
		}
	}
	if names != 6 || lines != 7 {
		t.Errorf("a picture of %d names and %d lines:\n%s", names, lines, svg)
	}
	if out := graph("--format", "pdf"); out.Code != 2 || out.Stdout != "" || out.Stderr != "wgctl: --format must be text, dot or svg: \"pdf\"\n" {
		t.Errorf("%v", out)
	}
	h.Must("rm", "/tmp/office.lab")
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
		} else {
			said(t, wgctlFails(h, 1, "lab", "down", "office").Stderr, "lab office is not up")
		}
		h.Unchanged(before)
	}
	// Killed when it changes something for the first to the fifth time: before and
	// after its folder is there, and before and after its topology is.
	for at := range 5 {
		i := h.Inject(Fault{Kind: FaultKill, At: at + 1, Changes: true, Names: "/run/wgctl/lab"}, "lab", "up", "/tmp/office.lab")
		if i.Hit == "" {
			t.Fatalf("not killed: %v", i)
		}
		if h.Exists("/run/wgctl/lab/office") {
			said(t, wgctlFails(h, 1, "lab", "up", "/tmp/office.lab").Stderr, `hint: "wgctl lab down office" takes it away`)
			wgctlOK(h, "lab", "down", "office")
		} else {
			h.Wgctl("lab", "down", "office")
		}
		h.Unchanged(before)
	}
	h.Must("rm", "/tmp/office.lab")
}
