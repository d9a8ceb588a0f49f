// SPDX-License-Identifier: MIT

// Package agent is the long-running loop that looks after one tunnel: it brings
// it up, or adopts one that is up, finds endpoints that could not be found or
// have moved, puts back what something else took away, and tells systemd how
// the tunnel is.
//
// It decides when to do what; what is done is the business of package tunnel,
// by way of the Tunnel that it is given. It prints nothing and reads no file.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
)

// A Tunnel is what an agent looks after. It is the caller's, who knows where
// the file is and what host this is.
type Tunnel interface {
	// Read reads the file and checks it; Make works from what was read last.
	Read(ctx context.Context) error
	// Make makes the tunnel what was read, whether it is up or not. An endpoint
	// whose name can't be found now is left out, and missing says why; the
	// endpoints of the peers in again are looked up and set though the file says
	// nothing new of them. Reload asks what a person who reloads is asked: most
	// peers are not removed by it.
	Make(ctx context.Context, reload bool, again []netlinkx.Key) (missing, err error)
	// Look observes the tunnel, under its lock; ErrBusy tells that another
	// command has that. It follows what another command made of the tunnel.
	Look(ctx context.Context) (*tunnel.State, error)
	// Down takes the tunnel down, but for its kill switch if that is to stand.
	Down(ctx context.Context, keepKillSwitch bool) error
}

// ErrBusy says that another command works on the tunnel.
var ErrBusy = errors.New("another command works on it")

// A Command is what an agent can be told while it runs.
type Command int

// The commands.
const (
	Reload  Command = iota + 1 // make the tunnel what its file says now
	Stop                       // take it down and end
	Restart                    // the same, but its kill switch stands: it comes back
)

// An Agent looks after one tunnel. The zero value of each field but the first
// two is a good default.
type Agent struct {
	Name   string // of the interface
	Tunnel Tunnel

	Commands <-chan Command
	// Changes has a value when links, addresses, routes, rules or packet
	// filters of the host may have changed.
	Changes <-chan struct{}
	Names   tunnel.Names // of endpoints
	Repair  bool         // put back what isn't as it was applied
	// Notify tells the service's supervisor, in the words of sd_notify(3).
	Notify func(words ...string)
	// Say is told what people may want to read in a log.
	Say func(text string)
	// Watchdog is how often the supervisor wants to hear of the tunnel; 0: never.
	Watchdog time.Duration

	missing error         // endpoints that could not be found
	retry   time.Duration // between look-ups of them
	due     time.Time     // of the next
	stale   map[netlinkx.Key]string
	repairs repairs
	broken  int           // looks in a row that failed
	hung    bool          // at the last look the process of the device didn't answer
	pause   time.Duration // between a change of the host and a look: no more of them than it can bear
}

// How often is looked, and for what.
const (
	lookEvery   = 30 * time.Second
	settleTime  = 200 * time.Millisecond // after a change of the host, for others to come with it
	hungAgain   = 15 * time.Second       // after a look at which the device didn't answer
	retryFirst  = time.Second
	retryLimit  = time.Minute
	staleEvery  = 30 * time.Second
	maxFailures = 3
)

// Run looks after the tunnel until it is told to stop, or the tunnel is taken
// down by somebody else, which is no error; or it can't be brought up, or is
// broken and can't be repaired.
func (a *Agent) Run(ctx context.Context) error {
	if a.Notify == nil {
		a.Notify = func(...string) {}
	}
	if a.Say == nil {
		a.Say = func(string) {}
	}
	err := a.run(ctx)
	if err != nil {
		a.Notify("STATUS=" + firstLine(err))
	}
	return err
}

func (a *Agent) run(ctx context.Context) error {
	orders := a.listen(ctx)
	defer orders.end()
	a.Notify("STATUS=bringing " + a.Name + " up")
	err := a.Tunnel.Read(orders.ctx)
	if err == nil {
		err = a.make(orders.ctx, false, nil)
	}
	if last := orders.last(); last != 0 {
		return a.stop(ctx, last)
	}
	if err != nil {
		return err
	}
	a.Notify("READY=1", a.status())
	return a.watch(ctx, orders)
}

// watch is the loop.
func (a *Agent) watch(ctx context.Context, orders *orders) error {
	every := lookEvery
	if a.Watchdog > 0 {
		every = min(every, a.Watchdog/4)
	}
	look, retry, stale := time.NewTimer(every), time.NewTimer(a.untilRetry()), time.NewTicker(staleEvery)
	defer func() { look.Stop(); retry.Stop(); stale.Stop() }()
	changes, soon := a.Changes, false
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-orders.stopped:
			return a.stop(ctx, orders.last())
		case <-orders.reload:
			a.reload(orders.ctx)
		case _, ok := <-changes:
			switch {
			case !ok:
				changes = nil
			case !soon:
				soon = true
				look.Reset(min(every, max(settleTime, a.pause, a.repairs.wait)))
				if a.missing != nil { // the way to a nameserver may be there now
					a.retry, a.due = 0, time.Now().Add(retryFirst)
					retry.Reset(retryFirst)
				}
			}
			continue
		case <-retry.C:
			err = a.again(orders.ctx)
		case <-stale.C:
			a.moved(orders.ctx)
		case <-look.C:
			var gone bool
			soon = false
			if gone, err = a.look(orders.ctx); gone {
				a.Say(a.Name + " was taken down by another command")
				a.Notify("STOPPING=1", "STATUS=taken down by another command")
				return nil
			}
			next := every
			if a.hung {
				next = min(every, hungAgain)
			}
			look.Reset(next)
		}
		if orders.last() == 0 && err != nil {
			return err
		}
		retry.Reset(a.untilRetry())
	}
}

// make makes the tunnel what was read, and notes what is missing then.
func (a *Agent) make(ctx context.Context, reload bool, again []netlinkx.Key) error {
	missing, err := a.Tunnel.Make(ctx, reload, again)
	if err != nil {
		return err
	}
	switch {
	case missing == nil && a.missing != nil:
		a.Say("all endpoints of " + a.Name + " are found")
	case missing != nil && (a.missing == nil || lines(missing) != lines(a.missing)):
		a.Say(missing.Error())
		a.Say(a.Name + " goes without, and looks again")
	}
	a.missing = missing
	if missing == nil {
		a.retry = 0
	}
	a.later()
	return nil
}

// later puts the next look-up of missing endpoints off, for longer each time.
func (a *Agent) later() {
	a.retry = min(max(2*a.retry, retryFirst), retryLimit)
	a.due = time.Now().Add(a.retry)
}

// untilRetry is how long until missing endpoints are looked up again; with none
// missing it doesn't matter.
func (a *Agent) untilRetry() time.Duration {
	if a.missing == nil {
		return time.Hour
	}
	return max(time.Until(a.due), 0)
}

// again looks for endpoints that were missing.
func (a *Agent) again(ctx context.Context) error {
	if a.missing == nil || time.Now().Before(a.due) {
		return nil
	}
	before := a.missing
	if err := a.make(ctx, false, nil); err != nil {
		a.missing = before
		a.later()
		a.Say(err.Error())
	}
	a.Notify(a.status())
	return nil
}

// reload does what a reload of the command line does; one that fails leaves the
// tunnel as it is.
func (a *Agent) reload(ctx context.Context) {
	a.Notify(reloading()...)
	err := a.Tunnel.Read(ctx)
	if err == nil {
		err = a.make(ctx, true, nil)
	}
	if err != nil {
		a.Say("reloading " + a.Name + ": " + err.Error())
		a.Notify("READY=1", "STATUS=as before a reload that failed: "+firstLine(err))
		return
	}
	a.Notify("READY=1", a.status())
}

// look looks at the tunnel, puts back what is not as it should be, and tells
// the watchdog if all is well then.
func (a *Agent) look(ctx context.Context) (gone bool, err error) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, cmp.Or(a.Watchdog/2, lookEvery))
	s, err := a.Tunnel.Look(limited)
	cancel()
	a.pause = min(lookEvery, max(settleTime, 10*time.Since(began)))
	switch {
	case errors.Is(err, ErrBusy): // whoever it is looks after the tunnel now
		a.Notify("WATCHDOG=1")
		return false, nil
	case err != nil:
		return false, a.failed(err)
	case s.Record == nil && s.Link == nil, s.Record != nil && s.Record.Phase == tunnel.PhaseKept:
		return true, nil
	}
	defer s.ForgetKeys() // there are many looks, and each has a copy
	// Who takes a core of a device stops it for a while: sessions aren't given up
	// for that.
	if s.Link != nil && s.Link.Hung && !a.hung {
		a.hung = true
		a.Say(fmt.Sprintf("%s is %s; looking again", a.Name, s.Status().State))
		return false, nil
	}
	a.hung = false
	if s.Up() {
		drift := s.Status().Drift
		if len(drift) == 0 || !a.Repair {
			a.well(began, drift)
			return false, nil
		}
		a.Say(fmt.Sprintf("%s is not as it was brought up; putting it back: %s", a.Name, stepsOf(drift)))
	} else if err := fmt.Errorf("%s is %s", a.Name, s.Status().State); !a.Repair {
		return false, err
	} else {
		a.Say(err.Error() + "; bringing it up again")
	}
	a.repairs.took(began)
	if err := a.make(ctx, false, nil); err != nil {
		return false, a.failed(err)
	}
	a.well(began, nil)
	return false, nil
}

// well tells that the tunnel's own check has passed.
func (a *Agent) well(began time.Time, drift []tunnel.Drift) {
	a.broken = 0
	a.repairs.calm(began)
	status := a.status()
	if len(drift) > 0 {
		status += "; not as it was brought up: " + stepsOf(drift)
	}
	a.Notify("WATCHDOG=1", status)
}

// failed counts looks and repairs that failed: some pass.
func (a *Agent) failed(err error) error {
	a.broken++
	a.Say(err.Error())
	a.Notify("STATUS=" + firstLine(err))
	if a.broken >= maxFailures {
		return err
	}
	return nil
}

// stop takes the tunnel down.
func (a *Agent) stop(ctx context.Context, how Command) error {
	a.Notify("STOPPING=1", "STATUS=taking "+a.Name+" down")
	err := a.Tunnel.Down(ctx, how == Restart)
	if errors.Is(err, tunnel.ErrNotUp) { // it didn't get that far, or somebody was faster
		return nil
	}
	return err
}

// status says how the tunnel is, for systemctl status.
func (a *Agent) status() string {
	if a.missing != nil {
		return "STATUS=up, but an endpoint could not be found: " + firstLine(a.missing)
	}
	return "STATUS=up"
}

func stepsOf(drift []tunnel.Drift) string {
	const most = 3
	var out []string
	for i, d := range drift {
		if i == most {
			out = append(out, fmt.Sprintf("and %d more", len(drift)-most))
			break
		}
		out = append(out, d.Step)
	}
	return strings.Join(out, "; ")
}

func lines(err error) int { return strings.Count(err.Error(), "\n") }

// firstLine is what of an error fits a line.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
