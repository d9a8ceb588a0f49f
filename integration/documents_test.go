// SPDX-License-Identifier: MIT

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documentText reads a document of docs.
func documentText(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// commandsUnder are the lines of a document below a heading that begin with a
// program's name, be they indented or in a block of sh; comments are cut.
func commandsUnder(t testing.TB, name, heading string) (commands []string) {
	t.Helper()
	_, text, ok := strings.Cut("\n"+documentText(t, name), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("docs/%s has no heading %q", name, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	for _, m := range regexp.MustCompile(`(?m)^(?:    )?((?:unshare -rnm )?wgctl .*)$`).FindAllStringSubmatch(text, -1) {
		command, _, _ := strings.Cut(m[1], "  #")
		command, _, _ = strings.Cut(command, " # ")
		commands = append(commands, strings.TrimSpace(command))
	}
	return commands
}

// blockAfter is the first block of a document after some words.
func blockAfter(t testing.TB, name, words string) string {
	t.Helper()
	_, text, ok := strings.Cut(documentText(t, name), words)
	m := regexp.MustCompile("(?s)```[a-z]*\n(.*?)```").FindStringSubmatch(text)
	if !ok || m == nil {
		t.Fatalf("docs/%s has no block after %q", name, words)
	}
	return m[1]
}

// playLines runs commands as they are in a document, in a folder of the host.
func playLines(h *Host, want int, commands []string, codes ...int) {
	h.t.Helper()
	h.Setenv("PATH", filepath.Dir(Bin(h.t))+":"+os.Getenv("PATH"))
	if len(commands) != want {
		h.t.Errorf("%d commands, not %d: %q", len(commands), want, commands)
	}
	for _, c := range commands {
		out := h.Run("sh", "-c", "cd /run/here && exec </dev/null\n"+c)
		allowed := out.Code == 0
		for _, code := range codes {
			allowed = allowed || out.Code == code
		}
		if !allowed {
			h.t.Errorf("%s: %v", c, out)
		}
	}
}

// The commands of docs/netns.md, in their order.
func TestNetnsDocument(t *testing.T) {
	t.Parallel()
	Only(t, Userspace) // TestUpInNamespace has the other
	Need(t, "unshare")
	h := newTunnelHost(t, "h")
	h.Must("mkdir", "/run/here")
	file := splitTunnel(t)
	h.WriteFile(configOf("wg0"), file)
	for _, name := range []string{"office", "wg0"} {
		h.WriteFile("/run/here/"+name+".conf", file)
	}
	h.Must("ip", "netns", "add", "blue")
	before := h.Snapshot()
	playLines(h, 4, commandsUnder(t, "netns.md", "## A tunnel in a namespace"))
	// There is no internet here to get a page from: the way there is shown.
	behind := commandsUnder(t, "netns.md", "## A command behind a tunnel")
	for i := range behind {
		behind[i] = strings.Replace(behind[i], "curl https://example.org", "ip route get 10.77.0.1", 1)
	}
	playLines(h, 3, behind)
	h.Sh("rmdir /run/wgctl/netns/* /run/wgctl/netns 2>/dev/null || true")
	h.Unchanged(before)
	rootless := commandsUnder(t, "netns.md", "## As an ordinary user")
	for i := range rootless {
		rootless[i] = "export XDG_RUNTIME_DIR=/run/here; " + rootless[i]
	}
	playLines(h, 1, rootless)
}

// The lab of docs/lab.md, and its commands.
func TestLabDocument(t *testing.T) {
	t.Parallel()
	Only(t, Userspace) // the backend does not matter
	Need(t, "nft", "ping")
	h := newTunnelHost(t, "h")
	h.Must("ip", "netns", "add", "other") // which makes /run/netns what it then stays
	h.Must("mkdir", "/run/here")
	before := h.Snapshot()
	h.WriteFile("/run/here/office.lab", blockAfter(t, "lab.md", "from a file:"))
	commands := commandsUnder(t, "lab.md", "# Labs")
	playLines(h, 5, commands)
	said(t, h.ReadFile("/run/here/office.svg"), "<svg ", "laptop", "</svg>\n")
	h.Must("rm", "/run/here/office.lab", "/run/here/office.svg")
	h.Unchanged(before)
}

// The commands of docs/check.md find what they find: no fault but of what this
// host is.
func TestCheckDocument(t *testing.T) {
	t.Parallel()
	Only(t, Userspace)
	h := newTunnelHost(t, "h")
	h.Must("mkdir", "/run/here")
	Connect(t, h.At("eth0", "192.0.2.2/24"), NewHost(t, "beside").At("eth0", "192.0.2.1/24"))
	h.Must("ip", "route", "add", "default", "via", "192.0.2.1")
	linkSettles(h)
	file := interfaceSection(newKeyPair(t), "Address = 10.8.0.2/24") + peerSection(newKeyPair(t), "Endpoint = 192.0.2.1:51820", "AllowedIPs = 10.8.0.5/24")
	h.WriteFile(configOf("wg0"), file)
	h.WriteFile("/run/here/office.conf", strings.Replace(file, "10.8.0.5", "10.8.0.0", 1))
	playLines(h, 9, commandsUnder(t, "check.md", "# wgctl check"), 4)
	said(t, h.ReadFile(configOf("wg0")), "AllowedIPs = 10.8.0.0/24\n") // --fix was among them
	playLines(h, 1, []string{"wgctl check wg0"})
}
