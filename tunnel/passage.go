// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"fmt"
	"slices"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/firewall"
)

// Our own table can't overrule another filter of the host that drops what is
// forwarded. So a tunnel that the host forwards for has a passage: accepts in
// every such place, one step a place, each undone by itself. The places are
// observed, not recorded: a filter that comes later, as Docker does at boot, is
// drift that the next reload puts right.

// A Foreign lets passages through the packet filters that are not ours.
type Foreign interface {
	// Installed returns the places that a passage may need, and those where
	// accepts for that interface stand.
	Installed(ctx context.Context, ifname string) ([]firewall.Standing, error)
	// Apply makes the accepts of p.Interface at one place be those of p. An
	// empty passage removes them.
	Apply(ctx context.Context, at firewall.Place, p firewall.Passage) error
	// Choose says which places p will go to; an error if it can't be written
	// there.
	Choose(ctx context.Context, p firewall.Passage) (firewall.PlaceChoice, error)
}

// passage works out what is to be let through: all that the tunnel's own table
// forwards.
func (r *resolver) passage(ctx context.Context) error {
	r.spec.Passage = passageOf(r.cfg.Interface, r.spec.Firewall)
	choice, err := r.h.Foreign.Choose(ctx, r.spec.Passage)
	if err != nil {
		return fmt.Errorf("letting what is forwarded for %s through other packet filters: %w", r.spec.Name, err)
	}
	r.trace(choice.Trace)
	r.spec.Notes = choice.Notes
	return nil
}

// passageOf returns all that the tunnel's own table forwards, but nothing if the
// file says that the host forwards nothing.
func passageOf(in config.Interface, own firewall.Ruleset) firewall.Passage {
	p := firewall.Passage{Interface: own.Interface}
	explicit := in.Forward != nil
	switch {
	case explicit && !*in.Forward:
		return firewall.Passage{}
	case explicit, !in.Masquerade.IsZero():
		p.Accepts = firewall.ForwardAll(own.Interface)
	case len(in.PortForwards) > 0:
		p.Accepts = firewall.ForwardPorts(own.Interface)
	}
	for _, r := range own.Extra {
		if r.Chain == firewall.ForwardFilter && r.Verdict == firewall.VerdictAccept {
			r.Comment = ""
			p.Accepts = append(p.Accepts, r)
		}
	}
	if p.Empty() {
		return firewall.Passage{}
	}
	return p
}

// passages makes every place have what next needs there. Those that are wanted
// come first.
func (p *planner) passages(next firewall.Passage) {
	next.Interface = p.name
	for _, s := range p.have.Passage {
		want := next
		if !s.Wanted {
			want = firewall.Passage{Interface: p.name}
		}
		theirs := !s.Tagged && p.last.Passage.Digest(s.Place) == ""
		if digest := want.Digest(s.Place); digest == s.Digest || digest == "" && theirs {
			continue
		}
		prev := firewall.Passage{Interface: p.name}
		if s.Digest != "" {
			prev.Accepts = p.last.Passage.Accepts
		}
		p.add(passageSet{at: s.Place, next: want, prev: prev})
	}
}

// passed returns the places where accepts of ours stand.
func (s *State) passed(last *Spec) []string {
	var out []string
	for _, st := range s.Passage {
		ours := st.Tagged || last != nil && last.Passage.Digest(st.Place) != ""
		if st.Digest != "" && ours {
			out = append(out, st.Place.String())
		}
	}
	return out
}

// leftOpen reports whether accepts stand that carry our mark.
func (s *State) leftOpen() bool {
	return slices.ContainsFunc(s.Passage, func(st firewall.Standing) bool { return st.Digest != "" && st.Tagged })
}

// closed returns the places as they will be when all accepts are gone.
func closed(places []firewall.Standing) []firewall.Standing {
	out := slices.Clone(places)
	for i := range out {
		out[i].Digest = ""
	}
	return out
}

// A passageSet replaces the accepts of the tunnel at one place.
type passageSet struct {
	whole
	at         firewall.Place
	next, prev firewall.Passage
}

func (s passageSet) Do(ctx context.Context, h *Host) error {
	return h.Foreign.Apply(ctx, s.at, s.next)
}
func (s passageSet) Undo() Step     { return passageSet{at: s.at, next: s.prev, prev: s.next} }
func (s passageSet) String() string { return s.next.Command(s.at) }

// Changes counts a place with all its accepts as one.
func (s passageSet) Changes() []Change {
	return one(replaced(s.prev.Digest(s.at) == "", s.next.Digest(s.at) == ""), "passage")
}
