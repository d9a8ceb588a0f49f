// SPDX-License-Identifier: MIT

package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
)

// The files that are read at once share one limit of memory, in whatever order
// they come, and small ones have theirs before; a process that stays keeps what it
// was started with.
func TestMemoryLimitIsOfAllFiles(t *testing.T) {
	limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
	t.Cleanup(func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	})
	debug.SetMemoryLimit(limit)
	u := newUI(io.Discard, io.Discard)
	u.stays = true
	u.collectLess(1000)
	path := filepath.Join(t.TempDir(), "wg0.conf")
	if err := os.WriteFile(path, make([]byte, 1000*peerText), 0o600); err != nil {
		t.Fatal(err)
	}
	u.collectLate(path)
	if now := debug.SetMemoryLimit(-1); now != limit {
		t.Errorf("a process that stays has a limit of %d, it had %d", now, limit)
	}
	if now := debug.SetGCPercent(100); now != 100 {
		t.Errorf("a process that stays collects at %d%%", now)
	}
	u.stays = false
	before, sum := parsed.peers, 0
	u.collectLate(path)
	var wg sync.WaitGroup
	for n := range 64 {
		sum += n * 100
		wg.Go(func() { u.collectLess(n * 100) })
	}
	wg.Wait()
	if err := os.Truncate(path, smallFile+1); err != nil {
		t.Fatal(err)
	}
	u.collectLate(path)
	u.collectLate(filepath.Dir(path))
	if now, want := debug.SetMemoryLimit(-1), int64(garbageBase+garbagePeer*(before+sum)); now != want {
		t.Errorf("the limit is %d, want %d", now, want)
	}
}
