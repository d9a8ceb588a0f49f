// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/netlinkx"
)

// A Session is one command's work on one tunnel: under the tunnel's lock, from
// the first look at the host to the last.
type Session struct {
	Have *State // what was observed last

	host   *Host
	name   string
	report Report
	unlock []func()
	drift  map[string]bool // steps that were to be taken before this run, as text
	was    *State          // what was observed before the first step of a change
	passed []*StepError    // steps that failed, and may: what they were to change is as it was
	cut    *Record         // of a reload that was cut short and goes on: see Resume

	// KeepKillSwitch makes Down leave the kill switch standing, if the tunnel
	// has one: it is to come back.
	KeepKillSwitch bool
}

// Errors that say why a command has nothing to do.
var (
	ErrUp      = errors.New("is up already")
	ErrNotUp   = errors.New("is not up")
	ErrForeign = errors.New("exists and was not brought up by wgctl")
)

// Begin takes the lock of a tunnel and observes it; what it shares with others
// only if there is something of it, as Resolve looks at that under the host's lock.
// waiting is told, once, who holds the lock if that takes long. The caller must
// call End.
func Begin(ctx context.Context, h *Host, name string, report Report, waiting func(pid string)) (*Session, error) {
	return begin(ctx, h, name, func() {}, report, waiting)
}

// BeginUp is Begin for who will bring the tunnel up if it isn't: what that surely takes
// may be begun while it is observed.
func BeginUp(ctx context.Context, h *Host, name string, cfg *config.Config, o Options, report Report, waiting func(pid string)) (*Session, error) {
	return begin(ctx, h, name, func() { prepare(ctx, h, name, cfg, o) }, report, waiting)
}

func begin(ctx context.Context, h *Host, name string, locked func(), report Report, waiting func(pid string)) (*Session, error) {
	unlock, err := h.Records.Lock(ctx, name, waiting)
	if err != nil {
		return nil, err
	}
	locked()
	LearnRecord()
	s := &Session{host: h, name: name, report: report, unlock: []func(){unlock}}
	if err = s.observeBut(ctx, idle{last: &State{}, shared: true}, wholeBulk{}); err == nil && !s.Have.bare() {
		err = s.Have.observeShared(ctx, h, SharedSysctls...)
	}
	if err != nil {
		s.End()
		return nil, err
	}
	return s, nil
}

// End lets go of the locks.
func (s *Session) End() {
	s.host.Userspace.Forget()
	for _, unlock := range slices.Backward(s.unlock) {
		unlock()
	}
	s.unlock = nil
}

// observe looks again, in a run that is this session's.
func (s *Session) observe(ctx context.Context) (err error) {
	if err = s.observeBut(ctx, idle{}, wholeBulk{}); err == nil {
		s.Have.halfTold = false
	}
	return err
}

// observeBut looks at all but what is idle, and what is known of the bulk.
func (s *Session) observeBut(ctx context.Context, is idle, known wholeBulk) (err error) {
	known.h, known.toSeal = s.host, true
	s.Have, err = observeBulk(ctx, s.host, known, is, s.name, SharedSysctls...)
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
	s.host.Userspace.Forget() // a process that waits is none that serves what is left
	// The hooks of a run that was cut short are not this run's to call.
	if err := s.takeDown(ctx, kept(s.Have.Last()), (*State).Clearing, nil); err != nil {
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
	if s.Have.Link == nil {
		o.starts = s.host.Userspace
	}
	return Resolve(ctx, s.host, cfg, endpoints, s.Have, o)
}

// lockHost takes the host's lock and looks again at what tunnels share: others
// may have chosen since. What is the tunnel's own has its lock.
func (s *Session) lockHost(ctx context.Context) error {
	unlock, err := s.host.Records.LockHost(ctx)
	if err != nil {
		return err
	}
	s.unlock = append(s.unlock, unlock)
	return s.Have.observeShared(ctx, s.host, SharedSysctls...)
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
	r.Counts = s.counts(before, r.Spec)
	if len(steps) == 0 && before != nil && before.Phase == PhaseUp && s.cut == nil {
		return s.note(before, r)
	}
	r.Phase, r.Promotes = PhaseChanging, promotes(steps, s.name)
	if before != nil {
		r.Before, r.Link = before.Spec, before.Link
		s.was = s.Have
		s.drift = map[string]bool{}
		for _, step := range WithoutHooks(Plan(before.Spec, s.Have)) {
			s.drift[step.String()] = true
		}
	}
	if err := s.host.Records.Save(&r); err != nil {
		return err
	}
	s.unlockHost()
	err := s.apply(ctx, &r, steps)
	if err == nil {
		done := r
		done.Phase, done.Before, done.Promotes, done.Seal = PhaseUp, nil, false, s.Have.seal(&r)
		if err = s.host.Records.Save(&done); err == nil {
			return nil
		}
		failed := &StepError{Err: err}
		failed.Left, failed.Ran = undo(ctx, s.host, steps, s.report)
		err = failed
	}
	return s.settle(ctx, r, before, err)
}

// counts reports whether the device, or the one that is to be started, tells its
// generation. That is known only of one that was started so: others take the
// question for nonsense.
func (s *Session) counts(before *Record, want *Spec) bool {
	if s.Have.Link != nil && before != nil {
		return before.Counts
	}
	return s.Have.Link == nil && want.Backend == netlinkx.BackendUserspace && s.host.Userspace.Counts()
}

// note records a file that asks for nothing else than what stands, and seals
// that.
func (s *Session) note(before *Record, r Record) error {
	r.Seal = s.Have.seal(&r)
	if before.Config == r.Config && before.Digest == r.Digest && r.Seal.same(before.Seal) {
		return nil
	}
	r.Phase, r.Link = PhaseUp, before.Link
	return s.host.Records.Save(&r)
}

// forget puts back the record that was there before.
func (s *Session) forget(before *Record) error {
	switch {
	case s.cut != nil:
		return s.host.Records.Save(s.cut)
	case before == nil:
		return s.host.Records.Remove(s.name)
	}
	return s.host.Records.Save(before)
}

// apply takes the steps up to the last hooks, looks whether the host is as
// wanted, and then runs the hooks: what they change is their affair.
func (s *Session) apply(ctx context.Context, r *Record, steps []Step) error {
	work, hooks := beforePostUp(steps)
	if err := s.take(ctx, work); err != nil {
		return err
	}
	more, err := s.converge(ctx, r, work)
	work = append(work, more...)
	if len(s.passed) > 0 {
		work = slices.DeleteFunc(slices.Clone(work), mayFail) // nothing of these is to be undone
	}
	if err == nil {
		r.Link = s.Have.Link.Index
		s.passOver(r)
		if err = s.take(ctx, hooks); err == nil {
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

// take is Apply, and notes what was passed over.
func (s *Session) take(ctx context.Context, steps []Step) error {
	passed, err := Apply(ctx, s.host, steps, s.report)
	s.passed = append(s.passed, passed...)
	return err
}

// converge observes what steps were about, and then, if that is not as wanted,
// all: it takes once more what is still missing. It returns what it took.
func (s *Session) converge(ctx context.Context, r *Record, steps []Step) (taken []Step, err error) {
	want := r.Spec
	known := wholeBulk{made: want.ifMade(s.Have), saved: r}
	for is := s.Have.idleAfter(want, steps); ; is, known = (idle{}), (wholeBulk{}) {
		if err := s.observeBut(ctx, is, known); err != nil {
			return taken, err
		}
		s.Have.halfTold = false
		missing := WithoutHooks(Plan(want, s.Have))
		if len(s.passed) > 0 {
			missing = slices.DeleteFunc(missing, mayFail)
		}
		switch {
		case len(missing) == 0:
			return taken, nil
		case known != (wholeBulk{}):
			continue
		case taken != nil:
			return taken, fmt.Errorf("%s did not converge, as something else changes it: still to do: %s", s.name, texts(missing))
		}
		if err := s.take(ctx, missing); err != nil {
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
	want := (*Spec)(nil)
	if s.KeepKillSwitch {
		want = kept(s.Have.Last())
	}
	plan := func(have *State) []Step {
		if hooks != nil && have.Record != nil {
			have.Record.Spec.Hooks = *hooks
		}
		return Plan(want, have)
	}
	return s.takeDown(ctx, want, plan, save)
}

// takeDown takes the steps of a plan that ends a tunnel, but for what is kept
// of it. The record is first marked, so that others no longer count on what this
// tunnel shares, and goes when nothing is left to undo.
func (s *Session) takeDown(ctx context.Context, want *Spec, plan func(*State) []Step, save func(*State) error) error {
	if err := s.lockHost(ctx); err != nil {
		return err
	}
	steps := plan(s.Have)
	r := Record{Spec: s.Have.Last()}
	if s.Have.Record != nil {
		r = *s.Have.Record
	}
	r.Phase, r.Releasing = PhaseDown, true
	// A full disk does not keep a tunnel up: if this run is killed then, what
	// it left is found against the record of the tunnel that was up.
	if err := s.host.Records.Save(&r); err != nil && !noRoom(err) {
		return err
	}
	s.unlockHost()
	n := 0
	for n < len(steps) && isHook(steps[n]) {
		n++
	}
	errs := []error{ApplyAll(ctx, s.host, steps[:n], s.report)}
	if save != nil {
		err := s.observe(ctx) // the hooks may have changed the device
		if err == nil {
			err = save(s.Have)
		}
		errs = append(errs, err)
	}
	err := s.finish(ctx, want, ApplyAll(ctx, s.host, steps[n:], s.report))
	return errors.Join(append(errs, err)...)
}

// finish looks at the host after all steps of a plan that ends a tunnel, takes
// once more what is left, however the context ended, and forgets the tunnel
// when that is nothing. Of what failed it returns what still holds.
func (s *Session) finish(ctx context.Context, want *Spec, failed error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := s.observe(ctx); err != nil {
		return errors.Join(failed, &LeftError{Name: s.name, Err: err})
	}
	left := s.remaining(want)
	failed = unrefuted(failed, left)
	if len(left) > 0 {
		again := ApplyAll(ctx, s.host, left, s.report)
		if err := s.observe(ctx); err != nil {
			return errors.Join(failed, again, &LeftError{Name: s.name, Err: err})
		}
		if left = s.remaining(want); len(left) > 0 {
			return errors.Join(failed, again, &LeftError{Name: s.name, Steps: left})
		}
		failed = errors.Join(failed, unrefuted(again, nil))
	}
	if err := s.close(want); err != nil {
		return errors.Join(failed, &LeftError{Name: s.name, Err: err})
	}
	return failed
}

// close forgets the tunnel, or notes what is kept of it.
func (s *Session) close(want *Spec) error {
	if want == nil {
		s.Have.Record = nil
		return s.host.Records.Remove(s.name)
	}
	r := Record{Phase: PhaseKept, Spec: want}
	if s.Have.Record != nil {
		r.Config = s.Have.Record.Config
	}
	s.Have.Record = &r
	return s.host.Records.Save(&r)
}

// unrefuted returns those of the errors of steps that a look at the host can't
// refute: of hooks, and of the resolver, which may have forgotten the tunnel
// and not told those who follow it. Steps that are left to do are to be tried
// again, and speak for themselves.
func unrefuted(err error, left []Step) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return err
	}
	var kept []error
	for _, e := range joined.Unwrap() {
		failed := (*StepError)(nil)
		if errors.As(e, &failed) && (isHook(failed.Step) || outlivesLink(failed.Step) && !slices.ContainsFunc(left, isDNS)) {
			kept = append(kept, e)
		}
	}
	return errors.Join(kept...)
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
	Err   error  // with no steps: why that isn't known, or the record stays
}

// Error names what is left to do.
func (e *LeftError) Error() string {
	if e.Err != nil {
		return e.Err.Error()
	}
	return fmt.Sprintf("%s is not wholly down: still to do: %s", e.Name, texts(e.Steps))
}

// Unwrap returns Err.
func (e *LeftError) Unwrap() error { return e.Err }

func isHook(s Step) bool {
	_, ok := s.(hookRun)
	return ok
}

func isDNS(s Step) bool {
	_, ok := s.(dnsSet)
	return ok
}

// outlivesLink reports whether a step is for a resolver that doesn't forget the
// tunnel when its link goes.
func outlivesLink(s Step) bool {
	set, ok := s.(dnsSet)
	return ok && (set.prev.Backend != dns.BackendResolved || len(set.next.GiveBack) > 0)
}

// WithoutHooks returns the steps that are no hooks.
func WithoutHooks(steps []Step) []Step {
	return slices.DeleteFunc(slices.Clone(steps), isHook)
}
