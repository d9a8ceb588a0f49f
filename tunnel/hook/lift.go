// SPDX-License-Identifier: MIT

package hook

import (
	"cmp"
	"fmt"
	"slices"
)

// A Line is one hook of a file, with %i replaced.
type Line struct {
	Phase Phase
	Text  string
}

// A Fate is what becomes of a line.
type Fate string

// The fates. A line that is undone has nothing to do: what it would take away is
// lifted, and goes with the tunnel.
const (
	Run    Fate = "shell"
	Lift   Fate = "lifted"
	Undone Fate = "undone"
	Off    Fate = "off"
)

// A Verdict is what becomes of one line, and for one that is run, why.
type Verdict struct {
	Line
	Fate    Fate
	Why     string
	Changes []Change // of a line that is lifted or undone
}

// Lifted is what the lifted lines of a file add to the host, each thing once.
type Lifted struct {
	Filters    []Filter    `json:"filters,omitempty"` // of each chain in order
	Routes     []Route     `json:"routes,omitempty"`
	Rules      []Rule      `json:"rules,omitempty"` // in order: each goes before the last
	Sysctls    []Sysctl    `json:"sysctls,omitempty"`
	Containers []Container `json:"containers,omitempty"`
}

// Understand decides for each line of a file what becomes of it, and returns
// what those that are lifted add together.
//
// A line is lifted when all of it is understood, and when nothing that is run
// comes into its way: another line that changes the same chain (of the two, the
// order matters), a line on the way down that undoes it among other things, or
// in ways that aren't understood.
//
// Before is nil unless the tunnel is up.
func Understand(lines []Line, ifname string, before *Before) ([]Verdict, Lifted) {
	u := make([]understood, len(lines))
	for i, l := range lines {
		u[i] = understand(l, ifname)
		u[i].after(before)
	}
	for again := true; again; {
		again = false
		for i := range u {
			if u[i].fate != Lift || u[i].held {
				continue
			}
			if why := obstacle(u, i); why != "" {
				u[i].fate, u[i].why, u[i].idle = Run, why, before != nil
				again = true
			}
		}
	}
	lifted := collect(u)
	verdicts := make([]Verdict, len(u))
	for i, x := range u {
		if !x.Phase.up() && lifted.undoes(x.reading) {
			x.fate, x.why = Undone, ""
		}
		verdicts[i] = Verdict{Line: x.Line, Fate: x.fate, Why: x.why}
		if x.fate != Run {
			verdicts[i].Changes = x.changes
		}
	}
	return verdicts, lifted
}

// Before is what became of the hooks of a tunnel when it came up, or was last
// reloaded. Hooks run on up and on down and never in between, so that a line
// that ran then can't be lifted now, and one that was lifted stays so.
type Before struct {
	Lifted Lifted
	Ran    []Line
}

// An understood line is one with what it was read as, and its fate so far.
type understood struct {
	Line
	reading
	fate Fate
	held bool // the fate is that of before
	idle bool // it is run with the next up, and not now
}

// after settles the fate of a line on the way up by what it was before.
func (u *understood) after(b *Before) {
	if b == nil || !u.Phase.up() {
		return
	}
	had := b.Lifted.things()
	switch {
	case slices.Contains(b.Ran, u.Line):
		u.fate, u.why = Run, cmp.Or(u.why, "it ran when the tunnel came up")
	case u.fate == Run:
		u.idle = true
	case !slices.ContainsFunc(u.added(), func(t Thing) bool { return !slices.Contains(had, t) }):
		u.held = true
	}
}

func understand(l Line, ifname string) understood {
	u := understood{Line: l, reading: read(l.Phase, l.Text, ifname), fate: Run}
	switch {
	case u.why != "":
	case !l.Phase.up():
		u.why = "it undoes what isn't lifted"
	case len(u.added()) == 0:
		u.why = "it adds nothing"
	case !u.replaces():
		u.why = "it takes away what it doesn't add"
	default:
		u.fate = Lift
	}
	return u
}

func (r reading) added() (out []Thing) {
	for _, c := range r.changes {
		if !c.Remove {
			out = append(out, c.Thing)
		}
	}
	return out
}

// replaces reports whether whatever the line takes away it adds again: a way to
// have something once.
func (r reading) replaces() bool {
	added := r.added()
	return !slices.ContainsFunc(r.changes, func(c Change) bool { return c.Remove && !slices.Contains(added, c.Thing) })
}

// obstacle says why a line that is understood can't be lifted, or "".
func obstacle(u []understood, i int) string {
	for j, other := range u {
		if other.fate == Lift || other.idle {
			continue
		}
		for _, t := range u[i].added() {
			switch {
			case !other.Phase.up():
				if why := obstructs(u, other, t); why != "" {
					return why
				}
			case meets(other.places(), t.touches()):
				return fmt.Sprintf("a %s line that runs in the shell may change the same, and the order of the two matters", other.Phase)
			}
		}
		if u[i].Phase == PreUp && other.Phase == PreUp && j > i {
			return "a later PreUp line runs in the shell, and may need it"
		}
	}
	return ""
}

// places is what a line touches when it is run. A line that only takes away
// what others don't have touches nothing.
func (r reading) places() []string {
	if r.changes == nil {
		return r.touches
	}
	var out []string
	for _, t := range r.added() {
		out = append(out, t.touches())
	}
	return out
}

// obstructs says how a line on the way down comes into the way of lifting a
// thing: it runs, and expects the thing to be where the shell would have put it.
func obstructs(u []understood, down understood, t Thing) string {
	if down.changes == nil {
		if meets(down.touches, t.touches()) {
			return fmt.Sprintf("a %s line may take it away in a way that isn't understood", down.Phase)
		}
		return ""
	}
	if !slices.ContainsFunc(down.changes, func(c Change) bool { return c.Remove && same(c.Thing, t) }) {
		return ""
	}
	if lifted := collect(u); !lifted.undoes(down.reading) {
		return fmt.Sprintf("the %s line that undoes it undoes more, that isn't lifted", down.Phase)
	}
	return ""
}

// Undo reports whether a change takes a thing away.
func Undo(c Change, t Thing) bool { return c.Remove && same(c.Thing, t) }

// same reports whether what a line takes away is a thing.
func same(removed, t Thing) bool {
	if s, ok := removed.(Sysctl); ok {
		u, ok := t.(Sysctl)
		return ok && s.Key == u.Key
	}
	if r, ok := removed.(Rule); ok {
		u, ok := t.(Rule)
		return ok && r.Same(u.Rule)
	}
	return removed == t
}

// collect puts together what the lifted lines add.
func collect(u []understood) (l Lifted) {
	for _, x := range u {
		if x.fate != Lift {
			continue
		}
		for _, c := range x.changes {
			if !c.Remove {
				l.add(c)
			}
		}
	}
	return l
}

func (l *Lifted) add(c Change) {
	if slices.ContainsFunc(l.things(), func(t Thing) bool { return t == c.Thing }) {
		return
	}
	switch t := c.Thing.(type) {
	case Filter:
		if c.First {
			l.Filters = slices.Insert(l.Filters, 0, t)
		} else {
			l.Filters = append(l.Filters, t)
		}
	case Route:
		l.Routes = append(l.Routes, t)
	case Rule:
		l.Rules = append(l.Rules, t)
	case Sysctl:
		l.Sysctls = append(l.Sysctls, t)
	case Container:
		l.Containers = append(l.Containers, t)
	}
}

// IsZero reports whether nothing is lifted, also to encoding/json.
func (l Lifted) IsZero() bool { return len(l.things()) == 0 }

func (l Lifted) things() (out []Thing) {
	for _, f := range l.Filters {
		out = append(out, f)
	}
	for _, r := range l.Routes {
		out = append(out, r)
	}
	for _, r := range l.Rules {
		out = append(out, r)
	}
	for _, s := range l.Sysctls {
		out = append(out, s)
	}
	for _, c := range l.Containers {
		out = append(out, c)
	}
	return out
}

// Undoes reports whether all that a line of a way down does is to take away
// what is lifted, so that there is nothing left for it to do.
func (l Lifted) Undoes(line Line, ifname string) bool {
	return l.undoes(read(line.Phase, line.Text, ifname))
}

func (l Lifted) undoes(r reading) bool {
	things := l.things()
	return len(r.changes) > 0 && !slices.ContainsFunc(r.changes, func(c Change) bool {
		return !c.Remove || !slices.ContainsFunc(things, func(t Thing) bool { return same(c.Thing, t) })
	})
}
