// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/config"
)

// A Session is one command's work on one tunnel: under the tunnel's lock, from
// the first look at the host to the last.
type Session struct {
	Have *State // what was observed last

	host   *Host
	name   string
	report Report
	unlock []func()
}

// Errors that say why a command has nothing to do.
var (
	ErrUp      = errors.New("is up already")
	ErrNotUp   = errors.New("is not up")
	ErrForeign = errors.New("exists and was not brought up by wgctl")
)

// Begin takes the lock of a tunnel and observes it. waiting is told, once,
// who holds the lock if that takes long. The caller must call End.
func Begin(ctx context.Context, h *Host, name string, report Report, waiting func(pid string)) (*Session, error) {
	unlock, err := h.Records.Lock(ctx, name, waiting)
	if err != nil {
		return nil, err
	}
	s := &Session{host: h, name: name, report: report, unlock: []func(){unlock}}
	if err := s.observe(ctx); err != nil {
		s.End()
		return nil, err
	}
	return s, nil
}

// End lets go of the locks.
func (s *Session) End() {
	for _, unlock := range slices.Backward(s.unlock) {
		unlock()
	}
	s.unlock = nil
}

func (s *Session) observe(ctx context.Context) (err error) {
	s.Have, err = Observe(ctx, s.host, s.name, SrcValidMark)
	return err
}

// Clear makes way for a new tunnel: what a killed run, a dead device or a
// deleted link left behind is taken away. A tunnel that is up, or a link that
// isn't ours, is an error and stays.
func (s *Session) Clear(ctx context.Context) error {
	switch {
	case s.Have.Up():
		return fmt.Errorf("%s %w", s.name, ErrUp)
	case s.Have.Foreign():
		return fmt.Errorf("%s %w", s.name, ErrForeign)
	case !s.Have.Leftover():
		return nil
	}
	// The hooks of a run that was cut short are not this run's to call.
	noHooks := func(have *State) []Step { return WithoutHooks(Plan(nil, have)) }
	if err := s.takeDown(ctx, noHooks, nil); err != nil {
		return fmt.Errorf("clearing what an earlier run left of %s: %w", s.name, err)
	}
	return nil
}

// Resolve is the package's Resolve under the lock of the host's choices, which
// is held until the record tells others of them: see Apply.
func (s *Session) Resolve(ctx context.Context, cfg *config.Config, endpoints []netip.AddrPort, o Options) (*Spec, error) {
	if err := s.lockHost(ctx); err != nil {
		return nil, err
	}
	return Resolve(ctx, s.host, cfg, endpoints, s.Have, o)
}

// lockHost takes the host's lock and looks again: others may have chosen since.
func (s *Session) lockHost(ctx context.Context) error {
	unlock, err := s.host.Records.LockHost(ctx)
	if err != nil {
		return err
	}
	s.unlock = append(s.unlock, unlock)
	return s.observe(ctx)
}

func (s *Session) unlockHost() {
	if n := len(s.unlock); n > 1 {
		s.unlock[n-1]()
		s.unlock = s.unlock[:n-1]
	}
}

// Apply records what is wanted, takes the steps, and returns when the host was
// seen to be as wanted, or after everything was undone.
func (s *Session) Apply(ctx context.Context, r Record, steps []Step) error {
	before := s.Have.Record
	r.Phase = PhaseChanging
	if before != nil {
		r.Before = before.Spec
	}
	if err := s.host.Records.Save(&r); err != nil {
		return err
	}
	s.unlockHost()
	if err := s.apply(ctx, &r, steps); err != nil {
		if failed := (*StepError)(nil); errors.As(err, &failed) && len(failed.Left) > 0 {
			return err // the record stays: it knows what to take away
		}
		return errors.Join(err, s.forget(before))
	}
	r.Phase, r.Before = PhaseUp, nil
	return s.host.Records.Save(&r)
}

// forget puts back the record that was there before.
func (s *Session) forget(before *Record) error {
	if before == nil {
		return s.host.Records.Remove(s.name)
	}
	return s.host.Records.Save(before)
}

// apply takes the steps up to the last hooks, looks whether the host is as
// wanted, and then runs the hooks: what they change is their affair.
func (s *Session) apply(ctx context.Context, r *Record, steps []Step) error {
	work, hooks := beforePostUp(steps)
	if err := Apply(ctx, s.host, work, s.report); err != nil {
		return err
	}
	more, err := s.converge(ctx, r.Spec)
	work = append(work, more...)
	if err == nil {
		if err = Apply(ctx, s.host, hooks, s.report); err == nil {
			return nil
		}
	}
	failed := (*StepError)(nil)
	if !errors.As(err, &failed) {
		failed = &StepError{Err: err}
	}
	left, ran := undo(ctx, s.host, work, s.report)
	failed.Left, failed.Ran = append(failed.Left, left...), append(ran, failed.Ran...)
	return failed
}

// converge observes, and takes once more what is still missing. It returns
// what it took.
func (s *Session) converge(ctx context.Context, want *Spec) (taken []Step, err error) {
	for {
		if err := s.observe(ctx); err != nil {
			return taken, err
		}
		missing := WithoutHooks(Plan(want, s.Have))
		switch {
		case len(missing) == 0:
			return taken, nil
		case taken != nil:
			return taken, fmt.Errorf("%s did not converge, as something else changes it: still to do: %s", s.name, texts(missing))
		}
		if err := Apply(ctx, s.host, missing, s.report); err != nil {
			return nil, err
		}
		taken = missing
	}
}

// Down takes the tunnel down, or what is left of it. save is called after the
// PreDown hooks; its error, as any other, does not stop the rest.
func (s *Session) Down(ctx context.Context, hooks *Hooks, save func(*State) error) error {
	if !s.Have.Up() && !s.Have.Leftover() {
		if s.Have.Foreign() {
			return fmt.Errorf("%s %w", s.name, ErrForeign)
		}
		return fmt.Errorf("%s %w", s.name, ErrNotUp)
	}
	plan := func(have *State) []Step {
		if hooks != nil && have.Record != nil {
			have.Record.Spec.Hooks = *hooks
		}
		return Plan(nil, have)
	}
	return s.takeDown(ctx, plan, save)
}

// takeDown takes the steps of a plan that ends a tunnel. The record is first
// marked, so that others no longer count on what this tunnel shares, and goes
// when nothing is left to undo.
func (s *Session) takeDown(ctx context.Context, plan func(*State) []Step, save func(*State) error) error {
	if err := s.lockHost(ctx); err != nil {
		return err
	}
	steps := plan(s.Have)
	r := Record{Spec: s.Have.Last()}
	if s.Have.Record != nil {
		r = *s.Have.Record
	}
	r.Phase, r.Releasing = PhaseDown, true
	if err := s.host.Records.Save(&r); err != nil {
		return err
	}
	s.unlockHost()
	n := 0
	for n < len(steps) && isHook(steps[n]) {
		n++
	}
	errs := []error{ApplyAll(ctx, s.host, steps[:n], s.report)}
	if save != nil {
		errs = append(errs, save(s.Have))
	}
	errs = append(errs, ApplyAll(ctx, s.host, steps[n:], s.report))
	err := errors.Join(errs...)
	if obs := s.observe(context.WithoutCancel(ctx)); obs != nil {
		return errors.Join(err, obs)
	}
	if left := WithoutHooks(Plan(nil, s.Have)); len(left) > 0 {
		return errors.Join(err, &LeftError{Name: s.name, Steps: left})
	}
	return errors.Join(err, s.host.Records.Remove(s.name))
}

// Residue reports whether an error means that the host is neither as it was
// nor as it should be.
func Residue(err error) bool {
	if left := (*LeftError)(nil); errors.As(err, &left) {
		return true
	}
	failed := (*StepError)(nil)
	return errors.As(err, &failed) && len(failed.Left) > 0
}

// A LeftError says what could not be taken away.
type LeftError struct {
	Name  string
	Steps []Step // that are still to be taken
}

// Error names what is left to do.
func (e *LeftError) Error() string {
	return fmt.Sprintf("%s is not wholly down: still to do: %s", e.Name, texts(e.Steps))
}

func isHook(s Step) bool {
	_, ok := s.(hookRun)
	return ok
}

// WithoutHooks returns the steps that are no hooks.
func WithoutHooks(steps []Step) []Step {
	return slices.DeleteFunc(slices.Clone(steps), isHook)
}
