// SPDX-License-Identifier: MIT

package userspace

import (
	"crypto/rand"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// GenerationRequest is sent to the UAPI socket of a device of ours, alone on a
// connection. The answer has two lines, "generation=" and "errno=0", and an empty
// one. As long as the generation is the same, the device is the same, and nobody
// has sent it anything but gets: keys, port, mark, and peers with keys, allowed IPs
// and keepalive are as they were, while peers may roam and count. While a change
// is under way that wasn't answered yet, the answer is "errno=-16".
//
// Other devices take it for nonsense, and hang up.
const GenerationRequest = "wgctl-generation=1\n\n"

// changes counts the requests that may change a device.
type changes struct {
	instance string

	mu       sync.Mutex
	begun    uint64
	underWay int // connections with such requests
}

func newChanges() changes { return changes{instance: rand.Text()} }

func (c *changes) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun++
	c.underWay++
}

func (c *changes) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay--
}

// state returns how many changes have begun, and whether one is under way.
func (c *changes) state() (begun uint64, underWay bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.begun, c.underWay > 0
}

// answer is that to GenerationRequest. Who gets a generation and then reads the
// device reads that generation or a later one, never an earlier.
func (c *changes) answer() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.underWay > 0 {
		return fmt.Appendf(nil, "errno=-%d\n\n", unix.EBUSY)
	}
	return fmt.Appendf(nil, "generation=%s-%d\nerrno=0\n\n", c.instance, c.begun)
}
