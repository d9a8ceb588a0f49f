// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/wgctl/wgctl/routes"
)

// A Report is told of every step before it is taken.
type Report func(s Step)

// undoTimeout bounds a rollback, which no cancellation stops.
const undoTimeout = 60 * time.Second

// A StepError says which step failed and what that left.
type StepError struct {
	Step Step // nil: the look at the host after all steps
	Err  error
	// Left are the errors of undoing: with any, the host isn't as it was.
	Left []error
	// Ran are the hooks that had run; what they did is not undone.
	Ran []string
}

// Error returns "ip route add 10.0.0.0/8 dev wg0: file exists".
func (e *StepError) Error() string {
	switch s := e.Step.(type) {
	case nil:
		return e.Err.Error()
	case hookRun:
		return fmt.Sprintf("running %s hook: %v", s.hook.Phase, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Step, e.Err)
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Apply takes the steps in order. If one fails, or the context ends, it undoes
// those that were taken and returns a StepError. Steps that may fail, and did,
// are passed over.
func Apply(ctx context.Context, h *Host, steps []Step, report Report) (passed []*StepError, err error) {
	var taken []Step
	for _, s := range together(steps) {
		done, failed := take(ctx, h, s, report)
		taken = append(taken, done...)
		if failed == nil {
			continue
		}
		if mayFail(s) && ctx.Err() == nil {
			passed = append(passed, failed)
			continue
		}
		failed.Left, failed.Ran = undo(ctx, h, taken, report)
		return passed, failed
	}
	return passed, nil
}

// mayFail reports whether the rest of a plan is to be taken though this step
// fails.
func mayFail(s Step) bool {
	set, ok := s.(dnsSet)
	return ok && set.mayFail
}

// take takes one step or batch. What it returns as taken is to be undone, even
// if it failed.
func take(ctx context.Context, h *Host, s Step, report Report) (taken []Step, failed *StepError) {
	if err := context.Cause(ctx); err != nil {
		return nil, &StepError{Step: s, Err: err}
	}
	report(s)
	if b, ok := s.(Batch); ok {
		taken, all := b.take(ctx, h, false)
		if len(all) > 0 {
			failed = all[0]
		}
		return taken, failed
	}
	err := s.Do(ctx, h)
	switch {
	case err == nil:
		return []Step{s}, nil
	case s.Partial():
		taken = []Step{s}
	}
	return taken, &StepError{Step: s, Err: err}
}

// undo goes back through the steps, however the context ended.
func undo(ctx context.Context, h *Host, taken []Step, report Report) (left []error, ran []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	made := slices.ContainsFunc(taken, makesLink)
	var back []Step
	for _, s := range slices.Backward(taken) {
		if hook, ok := s.(hookRun); ok {
			ran = append([]string{hook.hook.Phase + " = " + hook.text}, ran...)
		}
		if u := s.Undo(); u != nil && (!made || !goesWithLink(s)) {
			back = append(back, u)
		}
	}
	for _, f := range takeEach(ctx, h, back, report) {
		left = append(left, fmt.Errorf("%s: %w", f.Step, f.Err))
	}
	return left, ran
}

// takeEach takes every step, whatever becomes of the others.
func takeEach(ctx context.Context, h *Host, steps []Step, report Report) (failed []*StepError) {
	for _, s := range together(steps) {
		report(s)
		if b, ok := s.(Batch); ok {
			_, some := b.take(ctx, h, true)
			failed = append(failed, some...)
		} else if err := s.Do(ctx, h); err != nil {
			failed = append(failed, &StepError{Step: s, Err: err})
		}
	}
	return failed
}

func makesLink(s Step) bool {
	switch s.(type) {
	case linkAdd, deviceStart:
		return true
	}
	return false
}

// goesWithLink reports whether what the step did ends when its link does.
func goesWithLink(s Step) bool {
	switch s := s.(type) {
	case deviceSet, linkSet, addressAdd:
		return true
	case routeAdd:
		return s.route.Kind == routes.Unicast // a dead end leads through no link
	}
	return false
}

// ApplyAll takes every step, whatever becomes of the others, and joins the
// errors: what down does.
func ApplyAll(ctx context.Context, h *Host, steps []Step, report Report) error {
	var failed []error
	for _, err := range takeEach(ctx, h, steps, report) {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// beforePostUp cuts the plan of a new tunnel where everything but its last
// hooks is done.
func beforePostUp(steps []Step) (work, hooks []Step) {
	n := len(steps)
	for n > 0 {
		h, ok := steps[n-1].(hookRun)
		if !ok || h.hook.Phase != "PostUp" {
			break
		}
		n--
	}
	return steps[:n], steps[n:]
}

// texts prints steps, for errors.
func texts(steps []Step) string {
	var out []string
	for _, s := range steps {
		out = append(out, s.String())
	}
	return strings.Join(out, "; ")
}
