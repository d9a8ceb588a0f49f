// SPDX-License-Identifier: MIT

package agent

import (
	"context"
	"sync/atomic"
	"time"
)

// orders are the commands as the loop takes them: a stop ends what is under way
// by its context, a reload waits for its turn.
type orders struct {
	ctx     context.Context // ends with a stop
	end     context.CancelFunc
	stopped chan struct{}
	reload  chan struct{}
	stop    atomic.Int32 // the Command
}

// last is the stop that was ordered, 0 if none was.
func (o *orders) last() Command { return Command(o.stop.Load()) }

func (a *Agent) listen(ctx context.Context) *orders {
	o := &orders{stopped: make(chan struct{}), reload: make(chan struct{}, 1)}
	o.ctx, o.end = context.WithCancel(ctx)
	go func() {
		for {
			select {
			case <-o.ctx.Done():
				return
			case c := <-a.Commands:
				if c != Reload {
					o.stop.Store(int32(c))
					close(o.stopped)
					o.end()
					return
				}
				select {
				case o.reload <- struct{}{}:
				default: // one is waiting already
				}
			}
		}
	}()
	return o
}

// repairs keep an agent from fighting whoever else changes the tunnel: one that
// follows soon after another waits longer.
type repairs struct {
	last time.Time
	wait time.Duration
}

// The bounds of that wait, and after how long without a repair it is forgotten.
const (
	fightWait  = time.Second
	fightLimit = time.Minute
	fightOver  = 5 * time.Minute
)

// took notes a repair.
func (r *repairs) took(at time.Time) {
	if !r.last.IsZero() && at.Sub(r.last) < fightOver {
		r.wait = min(max(2*r.wait, fightWait), fightLimit)
	}
	r.last = at
}

// calm forgets repairs of long ago.
func (r *repairs) calm(at time.Time) {
	if at.Sub(r.last) > fightOver {
		r.wait = 0
	}
}
