// SPDX-License-Identifier: MIT

package userspace

import (
	"context"
	"runtime/debug"
	"time"
)

// A device's process makes hardly any garbage while it starts and is given its
// peers: of 25 KiB a peer all but a hundredth stays. To look for some nevertheless,
// as the runtime does each time that memory has doubled, takes more than all else
// that a small tunnel needs to come up. So nobody looks until it has.
const (
	quietTime = time.Second // without a request for a change: the device was configured
	quietMost = time.Minute // and after this, whatever comes in
)

// stopCollecting ends the collection of garbage, and returns what begins it again.
func stopCollecting() (again func()) {
	percent := debug.SetGCPercent(-1)
	return func() { debug.SetGCPercent(percent) }
}

// whenQuiet calls f when there was no change for a while, or too many.
func (c *changes) whenQuiet(ctx context.Context, quiet, most time.Duration, f func()) {
	defer f()
	begun, _ := c.state()
	for end := time.Now().Add(most); time.Now().Before(end) && sleep(ctx, quiet) == nil; {
		now, underWay := c.state()
		if now == begun && !underWay {
			return
		}
		begun = now
	}
}
