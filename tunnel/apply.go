// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
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
// those that were taken and returns a StepError.
func Apply(ctx context.Context, h *Host, steps []Step, report Report) error {
	for i, s := range steps {
		err := context.Cause(ctx)
		if err == nil {
			report(s)
			err = s.Do(ctx, h)
		}
		if err == nil {
			continue
		}
		failed := &StepError{Step: s, Err: err}
		taken := steps[:i]
		if s.Partial() {
			taken = steps[:i+1]
		}
		failed.Left, failed.Ran = undo(ctx, h, taken, report)
		return failed
	}
	return nil
}

// undo goes back through the steps, however the context ended.
func undo(ctx context.Context, h *Host, taken []Step, report Report) (left []error, ran []string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	made := slices.ContainsFunc(taken, makesLink)
	for i := len(taken) - 1; i >= 0; i-- {
		if hook, ok := taken[i].(hookRun); ok {
			ran = append([]string{hook.hook.Phase + " = " + hook.text}, ran...)
		}
		u := taken[i].Undo()
		if u == nil || made && goesWithLink(taken[i]) {
			continue
		}
		report(u)
		if err := u.Do(ctx, h); err != nil {
			left = append(left, fmt.Errorf("%s: %w", u, err))
		}
	}
	return left, ran
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
	switch s.(type) {
	case deviceSet, linkSet, addressAdd, routeAdd:
		return true
	}
	return false
}

// ApplyAll takes every step, whatever becomes of the others, and joins the
// errors: what down does.
func ApplyAll(ctx context.Context, h *Host, steps []Step, report Report) error {
	var failed []error
	for _, s := range steps {
		report(s)
		if err := s.Do(ctx, h); err != nil {
			failed = append(failed, &StepError{Step: s, Err: err})
		}
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
