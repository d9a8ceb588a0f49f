// SPDX-License-Identifier: MIT

package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// LoadInterface says of [Interface] what Load says, wherever that stands in
// the file, and nothing of peers.
func TestLoadInterface(t *testing.T) {
	paths := corpusFiles(t, "", "modern")
	behind := filepath.Join(t.TempDir(), "wg0.conf")
	const text = "[Peer]\nPublicKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n# [Interface]\nAllowedIPs = 10.0.0.0/8\n" +
		" [interface] # here\nAddress = 10.0.0.1/8\nPostUp = echo '[Peer]'\n\t[Peer]\nPublicKey = AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n[Interface]\nMTU = 1400\n"
	if err := os.WriteFile(behind, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, path := range append(paths, behind) {
		whole, _, err := Load(t.Context(), path)
		if err != nil || !whole.Quiet() {
			continue
		}
		got, _, err := LoadInterface(t.Context(), path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got.Digest() != whole.Digest() || len(got.Peers) > 0 || !whole.SelfContained() || !reflect.DeepEqual(got.Interface, whole.Interface) {
			t.Errorf("%s: got %+v, want %+v", path, got.Interface, whole.Interface)
		}
		compared++
	}
	if compared < 10 {
		t.Errorf("%d files compared", compared)
	}
	cfg, _, err := LoadInterface(t.Context(), behind)
	if err != nil || cfg.Interface.MTU != 1400 || len(cfg.Interface.Addresses) != 1 {
		t.Errorf("got %+v, %v", cfg, err)
	}
}

// A header of an [Interface] is found wherever it stands in what is read at once,
// however it is written.
func TestLoadInterfaceBehindMuch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg0.conf")
	const peer = "[Peer]\nPublicKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
	for _, header := range []string{"[Interface]", "\t[INTERFACE] # [Peer]", " [ i n t e r f a c e ]"} {
		for pad := range 30 {
			text := peer + strings.Repeat("# [\n", (64<<10-len(peer))/4-10) + strings.Repeat("#\n", 15+pad/2) + strings.Repeat("\n", pad%2) +
				header + "\nListenPort = 7\n" + peer
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, _, err := LoadInterface(t.Context(), path)
			if err != nil || cfg.Interface.ListenPort == nil {
				t.Fatalf("%q, %d bytes before the end of a read: %+v, %v", header, pad, cfg, err)
			}
		}
	}
}

// Who writes to a named pipe doesn't see it opened, and so doesn't write to nobody.
func TestLoadInterfaceOpensNoPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(path, []byte("[Interface]\nMTU = 1400\n"), 0o600) }()
	for range 20 {
		if _, _, err := LoadInterface(t.Context(), path); err == nil {
			t.Error("a pipe was read")
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-written:
		t.Errorf("its writer saw it opened: %v", err)
	default:
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		cfg, _, err := Load(t.Context(), path)
		if err == nil && cfg.Interface.MTU == 1400 {
			break
		}
		if time.Now().After(end) { // else it was opened before there was a writer
			t.Fatalf("then Load gives %+v, %v", cfg, err)
		}
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// A pipe still has its text afterwards, for Load.
func TestLoadInterfaceLeavesPipes(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if _, err := w.WriteString("[Interface]\nMTU = 1400\n"); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, _, err := LoadInterface(t.Context(), path); err == nil {
		t.Error("a pipe was read")
	}
	if cfg, _, err := Load(t.Context(), path); err != nil || cfg.Interface.MTU != 1400 {
		t.Errorf("then Load gives %+v, %v", cfg, err)
	}
}
