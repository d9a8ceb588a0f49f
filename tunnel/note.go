// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel/hook"
)

// What a kernel parameter was before the first tunnel that needs it, no mark
// on rules, routes or tables can tell. So the alias of the tunnel's link says it
// too, as "net.ipv4.ip_forward=0": it is there from before the parameter
// changes, goes with the link, and has no part in what packets do. Where the
// record is lost, claims are those of the note.

// noteOf returns what the alias is to say of the parameters, as far as there is
// room: what they were, whatever they are now.
func noteOf(claims []Sysctl) string {
	var note string
	for _, c := range claims {
		word := c.Key + "=" + c.Previous
		if _, ok := claimOf(word); !ok {
			continue
		}
		if longer := strings.TrimPrefix(note+" "+word, " "); len(longer) <= netlinkx.MaxNote {
			note = longer
		}
	}
	return note
}

// claimsOf reads a note.
func claimsOf(note string) (claims []Sysctl) {
	for word := range strings.SplitSeq(note, " ") {
		if c, ok := claimOf(word); ok {
			claims = append(claims, c)
		}
	}
	return claims
}

// claimOf reads a word of a note. Who may administer the links of a namespace
// can write them, and so they count for nothing but the parameters that tunnels
// set, and what these can be.
func claimOf(word string) (Sysctl, bool) {
	i := strings.LastIndex(word, "=") // a link's name may have one
	digits := strings.TrimPrefix(word[i+1:], "-")
	if i < 0 || digits == "" || len(digits) > 10 || strings.Trim(digits, "0123456789") != "" {
		return Sysctl{}, false
	}
	c := Sysctl{Key: word[:i], Value: "1", Previous: word[i+1:]}
	if link, ok := strings.CutPrefix(c.Key, acceptRA[0]); ok {
		link, ok = strings.CutSuffix(link, acceptRA[1])
		c.Value = "2"
		return c, ok && link != "" && link != "." && link != ".." && !strings.Contains(link, "/")
	}
	return c, slices.Contains(SharedSysctls, c.Key) || hook.Forwards(c.Key)
}

// note makes the alias of a link that is there say what the tunnel claims. An
// alias that somebody put in the place of ours is left to him.
func (p *planner) note() {
	if l := p.have.Link; l != nil && l.Marked {
		if next := noteOf(p.want.Sysctls); next != l.Note {
			p.add(linkNote{name: p.name, next: next, prev: l.Note})
		}
	}
}

func (s linkNote) Do(ctx context.Context, h *Host) error {
	return h.Links.LinkNote(ctx, s.name, s.next)
}
func (s linkNote) Undo() Step { return linkNote{name: s.name, next: s.prev, prev: s.next} }
func (s linkNote) String() string {
	if s.next == "" {
		return fmt.Sprintf("ip link set dev %s alias %s", s.name, netlinkx.Alias)
	}
	return fmt.Sprintf("ip link set dev %s alias '%s %s'", s.name, netlinkx.Alias, s.next)
}

// noted makes the alias of a link that was just made say what the tunnel claims.
// The link goes again where that fails.
func (h *Host) noted(ctx context.Context, note string, made linkDel) error {
	if note == "" {
		return nil
	}
	err := h.Links.LinkNote(ctx, made.name, note)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("noting kernel parameters in the alias of %s: %w", made.name, err)
	if back := made.Do(context.WithoutCancel(ctx), h); back != nil {
		err = fmt.Errorf("%w; %w", err, back)
	}
	return err
}

// others returns the records of all tunnels of the namespace but one, without
// their bulk. Of one whose record is lost there is what its link tells.
func (h *Host) others(ctx context.Context, than string) ([]*Record, error) {
	list, err := h.Records.others(than)
	if err != nil {
		return nil, err
	}
	own, err := h.Records.Head(than)
	if err != nil {
		return nil, err
	}
	// After the records: one that goes meanwhile has lost its link before.
	links, err := h.Links.OwnLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading links: %w", err)
	}
	for _, l := range links {
		known := func(r *Record) bool { return r.Spec.Name == l.Name || r.Link == l.Index } // a hook may have renamed it
		claims := claimsOf(l.Note)
		if len(claims) == 0 || l.Name == than || own != nil && known(own) || slices.ContainsFunc(list, known) {
			continue
		}
		list = append(list, &Record{Phase: PhaseUp, Spec: &Spec{Name: l.Name, Sysctls: claims}})
	}
	return list, nil
}

// release ends, under the host's lock, a tunnel's claims on what tunnels share,
// and reports whether others still need the parameter. The caller puts it back
// if not, and then unlocks: a tunnel that comes up meanwhile must see both or
// neither.
func (h *Host) release(ctx context.Context, name, key string) (unlock func(), needed bool, err error) {
	unlock, err = h.Records.release(ctx, name)
	if err != nil {
		return nil, false, err
	}
	others, err := h.others(ctx, name)
	if err != nil {
		unlock()
		return nil, false, err
	}
	return unlock, held(others, key), nil
}
