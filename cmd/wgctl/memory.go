// SPDX-License-Identifier: MIT

package main

import (
	"os"
	"runtime/debug"
	"sync"
)

// What the garbage of a process may come to.
const (
	garbageBase = 48 << 20 // bytes
	garbagePeer = 2 << 10

	smallFile = 4 << 20 // bytes
	peerText  = 128     // bytes: most peers have more
)

var parsed struct {
	sync.Mutex
	peers    int // of all the files that this process has read
	expected int // of the small ones before they were
}

// collectLess lets garbage lie in a process that ends soon, but no more than a
// share that grows with the number of peers, of all files together. A process
// that stays collects as it goes.
func (u *ui) collectLess(peers int) {
	if u.stays {
		return
	}
	parsed.Lock()
	defer parsed.Unlock()
	parsed.peers += peers
	letLie()
}

// collectLate does so before a file is read, if it is small: of a large one
// nobody knows yet what it comes to.
func (u *ui) collectLate(path string) {
	if u.stays {
		return
	}
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > smallFile {
		return
	}
	parsed.Lock()
	defer parsed.Unlock()
	parsed.expected += int(fi.Size() / peerText)
	letLie()
}

// letLie is called with parsed locked.
func letLie() {
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(int64(garbageBase + garbagePeer*max(parsed.peers, parsed.expected)))
}
