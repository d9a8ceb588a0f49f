// SPDX-License-Identifier: MIT

package main

import (
	"runtime/debug"
	"sync"
)

// What the garbage of a process may come to.
const (
	garbageBase = 48 << 20 // bytes
	garbagePeer = 2 << 10
)

var parsed struct {
	sync.Mutex
	peers int // of all the files that this process has read
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
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(int64(garbageBase + garbagePeer*parsed.peers))
}
