// SPDX-License-Identifier: MIT

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// What the README shows works: its commands, in their order, on its file, each
// exits 0, and afterwards the host is as it was.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	file := regexp.MustCompile("(?s)```ini\n(.*?)```").FindSubmatch(text)
	var commands []string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllString(string(text), -1) {
		commands = append(commands, regexp.MustCompile(`(?m)^wgctl .*$`).FindAllString(block, -1)...)
	}
	if file == nil || len(commands) < 10 {
		t.Fatalf("README.md has a file: %t, and %d commands", file != nil, len(commands))
	}
	h := NewHost(t, "reader")
	Connect(t, h.At("eth0", "192.0.2.2/24", "2001:db8:1::2/64"), NewHost(t, "beside").At("eth0", "192.0.2.1/24"))
	h.Must("ip", "route", "add", "default", "via", "192.0.2.1")
	linkSettles(h)
	own := keysFor(t, string(file[1])).in(string(file[1]))
	h.WriteFile("/etc/wireguard/wg0.conf", own)
	h.WriteFile("/run/reader/office.conf", own)
	h.Setenv("PATH", filepath.Dir(Bin(t))+":"+os.Getenv("PATH"))
	h.Must("mkdir", "-m", "700", "/run/wgctl", "/run/wireguard") // which stay
	before := h.Snapshot()
	for _, c := range commands {
		if out := h.Run("sh", "-c", "cd /run/reader && "+c); out.Code != 0 {
			t.Error(out)
		}
	}
	h.Unchanged(before)
}

// volatile are the numbers of the README's transcript that are others each time.
var volatile = regexp.MustCompile(`(?m)(listen port: +|time |mdev = |transfer: +|latest handshake: +).*$`)

// The README's first screen is what is printed, on the files of the demo: but for
// times, a port that is chosen, and how much went through.
func TestReadmeTranscript(t *testing.T) {
	t.Parallel()
	Only(t, Userspace) // as it says
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?s)```console\n(.*?)```").FindSubmatch(text)
	if shown == nil {
		t.Fatal("README.md has no transcript")
	}
	block := pageBlock{language: "console", host: "laptop", text: volatile.ReplaceAllString(string(shown[1]), "$1…")}
	if n := len(block.typedLines(t)); n != 4 {
		t.Fatalf("it has %d commands", n)
	}
	hosts := internetOf(t, "relay", "nas", "laptop")
	for name, h := range hosts {
		file, err := os.ReadFile("../testdata/demo/" + name + ".conf")
		if err != nil {
			t.Fatal(err)
		}
		h.WriteFile(configOf(name), string(file))
	}
	wgctlOK(hosts["relay"], "up", "relay")
	wgctlOK(hosts["nas"], "up", "nas")
	WaitFor(t, 20*time.Second, "the relay to hear of the NAS", func() bool { return hosts["nas"].Ping("10.87.0.1") })
	before := hosts["laptop"].Snapshot()
	page{path: "../README.md", blocks: []pageBlock{block}}.play(t, hosts)
	hosts["laptop"].Unchanged(before)
}

// "make demo" does what the README says: tunnels up, pings across, tunnels down,
// nothing left behind.
func TestDemo(t *testing.T) {
	t.Parallel()
	Only(t, Userspace) // the guests have no source
	Need(t, "ip", "unshare", "nsenter", "ping")
	out, err := exec.Command("../scripts/demo", Bin(t)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said(t, string(out), "laptop# wgctl up ./laptop.conf", "[#] ip address add 10.87.0.3/24 dev laptop", "3 packets transmitted, 3 received, 0% packet loss",
		"peer: laptop (", "[#] ip link delete dev relay", "files and processes, as before")
	if !strings.HasSuffix(string(out), "nothing left behind\n") {
		t.Errorf("it ends so:\n%s", out)
	}
	if makefile, err := os.ReadFile("../Makefile"); err != nil || !strings.Contains(string(makefile), "\ndemo: build") || !strings.Contains(string(makefile), "@scripts/demo ./wgctl\n") {
		t.Errorf("make demo is something else: %v", err)
	}
}
