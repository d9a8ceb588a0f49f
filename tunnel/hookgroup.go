// SPDX-License-Identifier: MIT

package tunnel

import (
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"
)

// hooks are the process groups of the hooks of this process that run now.
var hooks hookGroups

type hookGroups struct {
	mu  sync.Mutex
	all map[int]bool
}

// start starts a hook's shell in a group of its own, which is noted until end.
func (g *hookGroups) start(cmd *exec.Cmd) (end func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if g.all == nil {
		g.all = map[int]bool{}
	}
	group := cmd.Process.Pid
	g.all[group] = true
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.all, group)
	}, nil
}

// KillHooks ends all hooks that run, and what they started in their process
// groups, at once: for a process that is about to end and won't wait. No hook
// begins any more.
func KillHooks() {
	hooks.mu.Lock() // for good
	for group := range hooks.all {
		_ = unix.Kill(-group, unix.SIGKILL)
	}
}
