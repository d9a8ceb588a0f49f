// SPDX-License-Identifier: MIT

package userspace

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// homeVariable is in the environment of a process that is to end with its
// network namespace: where that is found. The process itself keeps it alive.
const homeVariable = "WGCTL_DEVICE_HOME"

const homeInterval = 2 * time.Second

// homeless returns a channel that is closed when another network namespace than
// this process', or none, is at a path. It never is if the path is empty or
// leads elsewhere from the beginning.
func homeless(ctx context.Context, path string) <-chan struct{} {
	gone := make(chan struct{})
	var own, there unix.Stat_t
	atHome := func() bool {
		return unix.Stat(path, &there) == nil && there.Dev == own.Dev && there.Ino == own.Ino
	}
	if path == "" || unix.Stat("/proc/self/ns/net", &own) != nil || !atHome() {
		return gone
	}
	go func() {
		for atHome() {
			if sleep(ctx, homeInterval) != nil {
				return
			}
		}
		close(gone)
	}()
	return gone
}
