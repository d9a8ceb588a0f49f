// SPDX-License-Identifier: MIT

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
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
