// SPDX-License-Identifier: MIT

package tunnel

import (
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hooks are the process groups of the hooks of this process that run now.
var hooks hookGroups

type hookGroups struct {
	starting sync.Mutex // from before a hook starts until it is noted
	mu       sync.Mutex
	all      map[int]bool
}

// start starts a hook's shell in a group of its own, which is noted until end.
func (g *hookGroups) start(cmd *exec.Cmd) (end func(), err error) {
	g.starting.Lock()
	defer g.starting.Unlock()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
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
func KillHooks() { hooks.kill() }

// startPatience is how long a hook that is just starting is waited for.
const startPatience = time.Second

// kill waits for a hook that is just starting, which then is noted, but not for
// good: where the kernel doesn't answer there is none.
func (g *hookGroups) kill() {
	for end := time.Now().Add(startPatience); !g.starting.TryLock() && time.Now().Before(end); { // for good
		time.Sleep(time.Millisecond)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for group := range g.all {
		_ = unix.Kill(-group, unix.SIGKILL)
	}
}
