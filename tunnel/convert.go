// SPDX-License-Identifier: MIT

package tunnel

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/routes"
	"github.com/wgctl/wgctl/tunnel/hook"
)

// A Conversion is a file said otherwise: lines by their number with what comes
// in their place, and what there is to say of them.
type Conversion struct {
	Lines map[int][]string
	Notes []string // of lines that stay, or mean more or less than before
}

// ToKeys turns the hooks of a file that are understood into keys that say the
// same. A line that no key says as a whole stays, and so does one whose undoing
// on the way down undoes more.
func ToKeys(cfg *config.Config, name string) Conversion {
	c := &keyConversion{cfg: cfg, name: name, out: Conversion{Lines: map[int][]string{}}}
	h := HooksOf(cfg, name)
	verdicts, _ := hook.Understand(h.lines(), name, nil)
	c.number(verdicts)
	c.choose()
	for i, l := range c.lines {
		switch {
		case l.keys != nil:
			c.out.Lines[l.num] = c.fresh(l.keys)
			for _, n := range l.notes {
				c.note(l, "%s", n)
			}
		case l.gone:
			c.out.Lines[l.num] = nil
		case l.Fate == hook.Run:
			c.note(l, "stays: %s", l.Why)
		default:
			c.note(l, "stays: %s", c.lines[i].stays)
		}
	}
	return c.out
}

type keyConversion struct {
	cfg   *config.Config
	name  string
	lines []keyLine
	said  []string // keys that are written already
	out   Conversion
}

// A keyLine is a hook, and what it becomes.
type keyLine struct {
	hook.Verdict
	num   int
	keys  []string // what it becomes; nil if it stays or goes
	gone  bool
	stays string // why it stays
	notes []string
}

func (c *keyConversion) note(l keyLine, format string, args ...any) {
	c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s:%d: [Interface] %s: ", c.cfg.File(), l.num, l.Phase)+fmt.Sprintf(format, args...))
}

func (c *keyConversion) number(verdicts []hook.Verdict) {
	n := map[hook.Phase]int{}
	for _, v := range verdicts {
		c.lines = append(c.lines, keyLine{Verdict: v, num: c.cfg.Line(config.InInterface, string(v.Phase), n[v.Phase])})
		n[v.Phase]++
	}
}

// choose finds the keys of each line, and then takes back those whose mirror
// undoes something that stays, until all agree.
func (c *keyConversion) choose() {
	for i := range c.lines {
		if l := &c.lines[i]; l.Fate == hook.Lift {
			l.keys, l.notes, l.stays = c.keysOf(*l)
		}
	}
	for again := true; again; {
		again = false
		for i := range c.lines {
			l := &c.lines[i]
			l.gone = l.Fate == hook.Undone && !slices.ContainsFunc(l.Changes, func(ch hook.Change) bool { return c.remains(ch) })
			if l.Fate != hook.Undone || l.gone {
				continue
			}
			l.stays = "it undoes a hook that stays"
			for j := range c.lines {
				if up := &c.lines[j]; up.keys != nil && slices.ContainsFunc(l.Changes, up.adds) {
					up.keys, up.stays, again = nil, "the hook that undoes it undoes another too, that stays", true
				}
			}
		}
	}
}

// adds reports whether the line adds what a change takes away.
func (l keyLine) adds(removed hook.Change) bool {
	return slices.ContainsFunc(l.Changes, func(c hook.Change) bool { return !c.Remove && hook.Undo(removed, c.Thing) })
}

// remains reports whether a line that stays adds what a change takes away.
func (c *keyConversion) remains(removed hook.Change) bool {
	return slices.ContainsFunc(c.lines, func(l keyLine) bool { return l.Fate == hook.Lift && l.keys == nil && l.adds(removed) })
}

// fresh leaves out what another line, or the file, says already.
func (c *keyConversion) fresh(keys []string) (out []string) {
	in := c.cfg.Interface
	for _, k := range keys {
		if slices.Contains(c.said, k) || k == forwardOn && in.Forward != nil {
			continue
		}
		c.said = append(c.said, k)
		out = append(out, k)
	}
	return out
}

const forwardOn = "Forward = on"

// keysOf returns the keys that say what a line does, or why there are none.
func (c *keyConversion) keysOf(l keyLine) (keys, notes []string, stays string) {
	for _, change := range l.Changes {
		if change.Remove {
			continue
		}
		key, note, why := c.keyOf(change.Thing)
		if why != "" {
			return nil, nil, why
		}
		if key != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
		if note != "" && !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	return keys, notes, ""
}

func (c *keyConversion) keyOf(t hook.Thing) (key, note, stays string) {
	switch t := t.(type) {
	case hook.Container:
		return "", "", ""
	case hook.Sysctl:
		if off := c.cfg.Interface.Forward; off != nil && !*off {
			return "", "", "the file says Forward = off"
		}
		return forwardOn, "", ""
	case hook.Filter:
		return c.filterKey(t)
	}
	return "", "", "no key says it"
}

func (c *keyConversion) filterKey(f hook.Filter) (key, note, stays string) {
	in, out := f.In == hook.Link{Name: c.name}, f.Out == hook.Link{Name: c.name}
	switch {
	case f.Action == hook.Accept && (in || out):
		if off := c.cfg.Interface.Forward; off != nil && !*off {
			return "", "", "the file says Forward = off"
		}
		if f.In.Name != "" && f.Out.Name != "" || f.Src.Prefix.IsValid() || f.Dst.Prefix.IsValid() || f.Established {
			note = "Forward = on lets through all that is forwarded from and to the tunnel, the hook only some of it"
		}
		return forwardOn, note, ""
	case f.Action == hook.Masquerade && f.Out.Name != "" && !f.Out.Not && !f.Out.Pattern && !out:
		return c.masqueradeKey(f)
	case f.Action == hook.DNAT:
		return c.portForwardKey(f)
	case f.Action == hook.Masquerade && out, f.Action == hook.SNAT && out:
		return c.returnPath(f)
	case f.Action == hook.Clamp && (in || out || f.In.Name == "" && f.Out.Name == ""):
		if f.In.Name == "" && f.Out.Name == "" {
			note = "ClampMSS is about what goes through the tunnel, the hook about all that the host forwards"
		}
		if f.MSS != 0 {
			return fmt.Sprintf("ClampMSS = %d", f.MSS), note, ""
		}
		return "ClampMSS = auto", note, ""
	}
	return "", "", "no key says it"
}

func (c *keyConversion) masqueradeKey(f hook.Filter) (key, note, stays string) {
	src := f.Src.Prefix
	switch {
	case f.Proto != "" || f.Dst.Prefix.IsValid() || f.Src.Not || f.Family == routes.V6 && !c.has(routes.V6):
		return "", "", "no key says it"
	case src.IsValid() && !slices.ContainsFunc(c.cfg.Interface.Addresses, func(a netip.Prefix) bool { return a.Masked() == src }):
		return "", "", fmt.Sprintf("%s isn't the tunnel's network", src)
	case !src.IsValid():
		note = "Masquerade is about what comes out of the tunnel, the hook about all that leaves by " + f.Out.Name
	}
	return "Masquerade = " + f.Out.Name, note, ""
}

// has reports whether the tunnel has an address of the family.
func (c *keyConversion) has(family routes.Family) bool {
	return slices.ContainsFunc(c.cfg.Interface.Addresses, func(a netip.Prefix) bool { return routes.FamilyOf(a) == family })
}

func (c *keyConversion) portForwardKey(f hook.Filter) (key, note, stays string) {
	behind := slices.ContainsFunc(c.cfg.Peers, func(p config.Peer) bool {
		return slices.ContainsFunc(p.AllowedIPs, func(a config.AllowedIP) bool { return a.Prefix.Contains(f.To) })
	})
	first, last := f.DPort.First, f.DPort.Last
	switch {
	case !behind:
		return "", "", fmt.Sprintf("%s is behind no peer", f.To)
	case first == 0 || f.SPort != (hook.Ports{}) || f.Src.Prefix.IsValid() || f.Dst.Prefix.IsValid() || f.In.Not || f.In.Pattern || f.In.Name == c.name:
		return "", "", "no key says it"
	case first != last && f.ToPort != 0:
		return "", "", "PortForward keeps a range in order"
	case !f.Local:
		note = "PortForward takes what is for the host itself, the hook also what passes through"
	}
	p := config.PortForward{Protocol: config.Protocol(f.Proto), First: first, Count: int(last-first) + 1, To: f.To, ToFirst: first, On: f.In.Name}
	if f.ToPort != 0 {
		p.ToFirst = f.ToPort
	}
	p.KeepSource = !c.hidesSource(f)
	return "PortForward = " + p.String(), note, ""
}

// hidesSource reports whether another hook gives what a forward sends into the
// tunnel an address of the host's own.
func (c *keyConversion) hidesSource(f hook.Filter) bool {
	for _, l := range c.lines {
		for _, ch := range l.Changes {
			r, ok := ch.Thing.(hook.Filter)
			if ok && !ch.Remove && l.Fate == hook.Lift && c.hides(r) && (!r.Dst.Prefix.IsValid() || r.Dst.Prefix.Contains(f.To)) &&
				(r.Proto == "" || r.Proto == f.Proto) {
				return true
			}
		}
	}
	return false
}

// hides reports whether a rule changes the source of what goes into the tunnel
// to the host's own.
func (c *keyConversion) hides(r hook.Filter) bool {
	own := r.Action == hook.Masquerade || r.Action == hook.SNAT &&
		slices.ContainsFunc(c.cfg.Interface.Addresses, func(a netip.Prefix) bool { return a.Addr() == r.To })
	return own && r.Chain == hook.Postrouting && r.Out == hook.Link{Name: c.name} && !r.Src.Prefix.IsValid() && !r.Dst.Not
}

// returnPath is part of PortForward, where there is one.
func (c *keyConversion) returnPath(f hook.Filter) (key, note, stays string) {
	if !c.hides(f) {
		return "", "", "no key says it"
	}
	for _, l := range c.lines {
		for _, ch := range l.Changes {
			d, ok := ch.Thing.(hook.Filter)
			if !ok || d.Action != hook.DNAT || ch.Remove || l.Fate != hook.Lift || f.Dst.Prefix.IsValid() && !f.Dst.Prefix.Contains(d.To) {
				continue
			}
			if key, _, stays := c.portForwardKey(d); stays == "" {
				if !f.Dst.Prefix.IsValid() {
					note = "PortForward hides the source of what it forwards, the hook of all that goes into the tunnel"
				}
				return key, note, ""
			}
		}
	}
	return "", "", "no key says it without a PortForward"
}
