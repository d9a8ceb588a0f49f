// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

// Steps that add routes, or delete them, are taken together: thousands of them
// go to the kernel in a few sends. Each still succeeds or fails by itself.

// atOnce is how many go together, between two looks at the context and two
// reports of progress.
const atOnce = 1000

// A Batch is a run of steps that are taken together.
type Batch struct {
	whole
	Steps []Step // at least one, all of one kind
}

// String names the first step and counts the others.
func (b Batch) String() string {
	if n := len(b.Steps) - 1; n > 0 {
		return fmt.Sprintf("%s (and %d more)", b.Steps[0], n)
	}
	return b.Steps[0].String()
}

// Do takes all steps that can be taken.
func (b Batch) Do(ctx context.Context, h *Host) error {
	_, failed := b.take(ctx, h, true)
	if len(failed) == 0 {
		return nil
	}
	return failed[0]
}

// Undo is the batch that takes them back.
func (b Batch) Undo() Step {
	back := Batch{Steps: make([]Step, 0, len(b.Steps))}
	for _, s := range slices.Backward(b.Steps) {
		back.Steps = append(back.Steps, s.Undo())
	}
	return back
}

// Changes are those of all steps.
func (b Batch) Changes() []Change {
	c := b.Steps[0].Changes()[0]
	c.Count = len(b.Steps)
	return []Change{c}
}

// together returns the steps, in order, in batches where that is possible.
func together(steps []Step) []Step {
	out := make([]Step, 0, min(len(steps), 64))
	for i := 0; i < len(steps); {
		n := 1
		for i+n < len(steps) && joins(steps[i], steps[i+n]) {
			n++
		}
		if n == 1 {
			out = append(out, steps[i])
		} else {
			out = append(out, Batch{Steps: steps[i : i+n : i+n]})
		}
		i += n
	}
	return out
}

// joins reports whether b can be taken together with a.
func joins(a, b Step) bool {
	switch a := a.(type) {
	case routeAdd:
		b, ok := b.(routeAdd)
		return ok && a.link == b.link
	case routeDel:
		b, ok := b.(routeDel)
		return ok && a.link == b.link
	}
	return false
}

// take takes the steps, and returns those that were taken, and those that
// failed. Unless it is to keep going, it takes no more than those that went
// together with the first that failed.
func (b Batch) take(ctx context.Context, h *Host, keepGoing bool) (taken []Step, failed []*StepError) {
	var o owners
	for part := range slices.Chunk(b.Steps, atOnce) {
		if err := context.Cause(ctx); err != nil && !keepGoing {
			return taken, []*StepError{{Step: part[0], Err: err}}
		}
		errs, err := b.part(ctx, h, part)
		for i, s := range part {
			e := errs[i]
			if err != nil {
				e = err // nobody knows of single ones
			}
			if e != nil && (keepGoing || len(failed) == 0) {
				e = o.explained(ctx, h, s, e)
			}
			if e == nil {
				taken = append(taken, s)
			} else {
				failed = append(failed, &StepError{Step: s, Err: e})
			}
		}
		if len(failed) > 0 && !keepGoing {
			return taken, failed
		}
		h.progress(len(taken)+len(failed), len(b.Steps), "routes")
	}
	return taken, failed
}

// part takes at most atOnce steps, and returns what each failed with.
func (b Batch) part(ctx context.Context, h *Host, steps []Step) (map[int]error, error) {
	list := make([]routes.Route, 0, len(steps))
	var err error
	switch s := steps[0].(type) {
	case routeAdd:
		for _, s := range steps {
			list = append(list, s.(routeAdd).route)
		}
		err = h.Routes.RoutesAdd(ctx, s.link, list)
	case routeDel:
		for _, s := range steps {
			list = append(list, s.(routeDel).route)
		}
		err = h.Routes.RoutesDel(ctx, s.link, list)
	}
	each := (*netlinkx.RoutesError)(nil)
	if !errors.As(err, &each) {
		return nil, err
	}
	failed := make(map[int]error, len(each.Failed))
	for _, f := range each.Failed {
		failed[f.Index] = f.Err
	}
	return failed, nil
}

// owners tell whose the routes are that are in the way of a batch's. A look at a
// routing table is dear: there are two for all of them.
type owners struct {
	own   map[routes.Route]bool // nil: not looked yet
	asked bool                  // of a route that is somebody else's
}

// explained is the error of a step of a batch as the step alone would tell it;
// nil if it did no harm. Of the routes of others only the first is told whose it is.
func (o *owners) explained(ctx context.Context, h *Host, s Step, err error) error {
	add, ok := s.(routeAdd)
	if !ok || !errors.Is(err, unix.EEXIST) {
		return err
	}
	if o.own == nil {
		o.own = map[routes.Route]bool{}
		installed, _ := h.Routes.Routes(ctx, add.link)
		for _, r := range installed {
			o.own[r.Route] = true
		}
	}
	switch {
	case o.own[add.route]: // a hook was quicker
		return nil
	case o.asked:
		return err
	}
	o.asked = true
	return add.taken(ctx, h, err)
}

// progress tells how far a long step got.
func (h *Host) progress(done, total int, what string) {
	if h.Progress != nil && total > atOnce {
		h.Progress(done, total, what)
	}
}
