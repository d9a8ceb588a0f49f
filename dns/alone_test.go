// SPDX-License-Identifier: MIT

package dns

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// The file of a namespace is made with its folder and goes with it; one that was
// there stays the same inode, for those who have it mounted, and gets its text back.
func TestFileOfNamespace(t *testing.T) {
	etc := t.TempDir()
	path := filepath.Join(etc, "netns", "blue", "resolv.conf")
	want := Settings{Interface: "wg0", Servers: []netip.Addr{netip.MustParseAddr("10.8.0.1")}, Search: []string{"corp.example"}}
	r := At(path)
	apply := func(s Settings) {
		t.Helper()
		if err := r.Apply(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	s, trace, err := r.Choose(t.Context(), want)
	if err != nil || s.Backend != BackendFile || s.File != path || trace != "dns: [netns="+path+" ret=file]" {
		t.Fatalf("%+v, %s, %v", s, trace, err)
	}
	apply(s)
	if now, err := r.Installed(t.Context(), "wg0"); err != nil || !now.Equal(s) {
		t.Errorf("installed: %+v, %v", now, err)
	}
	apply(Settings{Interface: "wg0"})
	if left, _ := os.ReadDir(etc); len(left) > 0 {
		t.Errorf("left: %v", left)
	}

	const before = "nameserver 192.0.2.1\n"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(before), 0o644); err != nil {
		t.Fatal(err)
	}
	inode := func() uint64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Ino
	}
	first := inode()
	apply(s)
	if inode() != first {
		t.Error("it is another file: who has it mounted sees the old one")
	}
	apply(Settings{Interface: "wg0"})
	if got := readText(path); got != before || inode() != first {
		t.Errorf("put back: %q", got)
	}
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 1 {
		t.Errorf("left beside it: %v", left)
	}
}

// Nobody else is told, and a namespace without a file can't be.
func TestNobodyInNamespace(t *testing.T) {
	want := Settings{Interface: "wg0", Servers: []netip.Addr{netip.MustParseAddr("10.8.0.1")}}
	if _, trace, err := At("").Choose(t.Context(), want); !errors.Is(err, ErrNoFile) || trace != "dns: [netns=- ret=none]" {
		t.Errorf("%s, %v", trace, err)
	}
	want.Backend = BackendResolved
	if _, _, err := At("/etc/netns/blue/resolv.conf").Choose(t.Context(), want); err == nil {
		t.Error("systemd-resolved is the host's")
	}
	if err := At("").Apply(t.Context(), Settings{Interface: "wg0"}); err != nil {
		t.Errorf("nothing to take away: %v", err)
	}
}
