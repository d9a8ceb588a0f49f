// SPDX-License-Identifier: MIT

package check

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/routes"
	"github.com/wgctl/wgctl/tunnel"
	"github.com/wgctl/wgctl/tunnel/hook"
)

var hookRules = []Rule{
	{
		Name: "hook-has-key", Severity: Info, file: hookHasKey,
		Finds: "hooks that a key of wgctl's says as well",
		Why:   "a key is checked, undone and reloaded with the tunnel, and holds for nftables and iptables alike",
		Mend:  "wgctl convert shows the file with keys, and --write writes it",
	}, {
		Name: "hook-not-undone", Severity: Warning, file: hookNotUndone,
		Finds: "a hook of up that no hook of down takes back",
		Why:   "called as wg-quick, or with Hooks = shell, each up leaves it once more",
		Mend:  "add the PostDown that removes it, or say it by a key",
	}, {
		Name: "hook-undoes-nothing", Severity: Warning, file: hookUndoesNothing,
		Finds: "a hook of down that takes away what no hook of up adds",
		Why:   "it fails, and what was meant to go stays: often the two lines name different interfaces",
		Mend:  "make the two lines say the same but for -A and -D",
	}, {
		Name: "hook-one-family", Severity: Warning, file: hookOneFamily,
		Finds: "hooks that forward or masquerade IPv4 alone, for a tunnel with IPv6",
		Why:   "the peers' IPv6 goes nowhere, and they wait for it",
		Mend:  "the same with ip6tables, or Forward and Masquerade, which do both",
	}, {
		Name: "hook-kill-switch", Severity: Warning, file: hookKillSwitch,
		Finds: "a kill switch made of hooks",
		Why:   "it stands only from PostUp to PreDown: whatever is sent before, after, or after a crash goes out in the clear",
		Mend:  "KillSwitch = on stands before the link and until after it, for both families",
	}, {
		Name: "unknown-link", Severity: Warning, file: unknownLink,
		Finds: "a hook or key that names an interface which this host doesn't have",
		Why:   "what it does is about no packet: guides have eth0 where the host has another name",
		Mend:  `"ip route show default" tells the name; Masquerade = auto finds it by itself`,
	},
}

// A hookLine is one hook with %i replaced, and what it is read as.
type hookLine struct {
	phase   hook.Phase
	n       int // which one of its key it is, from 0
	text    string
	up      bool
	changes []hook.Change // nil if it isn't understood
}

// hooks are those of the file, in order.
func (l *look) hooks() (out []hookLine) {
	all := tunnel.HooksOf(l.cfg, l.file.Name)
	for _, of := range []struct {
		phase hook.Phase
		lines []string
		up    bool
	}{{hook.PreUp, all.PreUp, true}, {hook.PostUp, all.PostUp, true}, {hook.PreDown, all.PreDown, false}, {hook.PostDown, all.PostDown, false}} {
		for n, text := range of.lines {
			changes, _ := hook.Read(of.phase, text, l.file.Name)
			out = append(out, hookLine{of.phase, n, text, of.up, changes})
		}
	}
	return out
}

// forwards reports whether a hook is about what the host forwards.
func (h hookLine) forwards() bool {
	if h.changes == nil {
		return strings.Contains(h.text, "MASQUERADE") || strings.Contains(h.text, "-A FORWARD") || strings.Contains(h.text, "-I FORWARD")
	}
	return slices.ContainsFunc(h.changes, func(c hook.Change) bool {
		_, ok := c.Thing.(hook.Filter)
		return ok && !c.Remove
	})
}

// ofFamily reports whether a hook is about packets of a family, or may be.
func (h hookLine) ofFamily(six bool) bool {
	if h.changes == nil {
		return strings.Contains(h.text, "ip6tables") == six
	}
	return slices.ContainsFunc(h.changes, func(c hook.Change) bool {
		f, ok := c.Thing.(hook.Filter)
		return ok && !c.Remove && (f.Family == 0 || (f.Family == routes.V6) == six)
	})
}

func hookHasKey(l *look) {
	if l.cfg.Interface.Hooks.Empty() || l.cfg.Interface.HookMode == config.HooksOff {
		return
	}
	keys := tunnel.ToKeys(l.cfg, l.file.Name).Lines
	var said, lines []string
	var first *hookLine
	for _, h := range l.hooks() {
		num := l.cfg.Line(config.InInterface, string(h.phase), h.n)
		if _, ok := keys[num]; !ok || !h.up {
			continue
		}
		if first == nil {
			first = &h
		}
		said, lines = append(said, keys[num]...), append(lines, fmt.Sprint(num))
	}
	if len(said) == 0 {
		return
	}
	where := "line " + lines[0]
	if len(lines) > 1 {
		where = "lines " + strings.Join(lines, ", ")
	}
	l.at(config.InInterface, string(first.phase), first.n, "of %s can be said by %s", where, strings.Join(said, "; "))
}

// lasting reports whether a thing is still there when the link is gone.
func lasting(t hook.Thing) bool {
	switch t.(type) {
	case hook.Filter, hook.Rule, hook.Container:
		return true
	}
	return false
}

func hookNotUndone(l *look) {
	all := l.hooks()
	for _, h := range all {
		if !h.up {
			continue
		}
		if thing := h.left(all); thing != "" {
			l.at(config.InInterface, string(h.phase), h.n, "%s, and no hook of down takes it back", thing)
		}
	}
}

// script finds a program that could be anything.
var script = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\.sh\b|(^|[\s;&|(])(sh|bash|source|\.)\s`) })

// left says what a hook of up adds and no hook of down takes away, or "". One of
// down that isn't understood is taken to undo what its program did, and a script
// to undo all.
func (h hookLine) left(all []hookLine) string {
	if slices.ContainsFunc(all, func(d hookLine) bool { return !d.up && d.changes == nil && script().MatchString(d.text) }) {
		return ""
	}
	for _, program := range []string{"ip6tables", "iptables", "nft", "ufw", "ip rule", "ip -4 rule", "ip -6 rule"} {
		adds := programWord(program).MatchString(h.text)
		downs := func(opaque bool) bool {
			return slices.ContainsFunc(all, func(d hookLine) bool {
				return !d.up && programWord(program).MatchString(d.text) && (!opaque || d.changes == nil)
			})
		}
		switch {
		case !adds:
		case downs(true):
			return ""
		case h.changes == nil && !downs(false):
			return "runs " + program
		}
	}
	if strings.Contains(h.text, "nft") && slices.ContainsFunc(all, func(d hookLine) bool { return !d.up && d.removesContainer() }) {
		return "" // and with it all that is in there
	}
	for _, c := range h.changes {
		if c.Remove || !lasting(c.Thing) {
			continue
		}
		if !slices.ContainsFunc(all, func(d hookLine) bool { return !d.up && d.undoes(c.Thing) }) {
			return "adds " + c.Thing.String()
		}
	}
	return ""
}

// programWord finds a program that is run, whatever its path.
func programWord(program string) *regexp.Regexp {
	return regexp.MustCompile(`(^|[\s;&|/(])` + regexp.QuoteMeta(program) + `\s`)
}

func (h hookLine) removesContainer() bool {
	return slices.ContainsFunc(h.changes, func(c hook.Change) bool {
		_, ok := c.Thing.(hook.Container)
		return ok && c.Remove
	})
}

func (h hookLine) undoes(t hook.Thing) bool {
	return slices.ContainsFunc(h.changes, func(c hook.Change) bool { return hook.Undo(c, t) })
}

func hookUndoesNothing(l *look) {
	all := l.hooks()
	if slices.ContainsFunc(all, func(h hookLine) bool { return h.up && h.changes == nil }) {
		return // it may have added that
	}
	for _, h := range all {
		for _, c := range h.changes {
			if h.up || !c.Remove || !lasting(c.Thing) {
				continue
			}
			added := slices.ContainsFunc(all, func(u hookLine) bool {
				return u.up && slices.ContainsFunc(u.changes, func(a hook.Change) bool { return !a.Remove && hook.Undo(c, a.Thing) })
			})
			if !added {
				l.at(config.InInterface, string(h.phase), h.n, "removes %s, and no hook of up adds it", c.Thing)
				break
			}
		}
	}
}

func hookOneFamily(l *look) {
	if !slices.ContainsFunc(l.claims(), func(c claim) bool { return c.prefix.Addr().Is6() }) || l.mentions("ip6tables", "nft ", "ip -6") {
		return
	}
	for _, h := range l.hooks() {
		for _, c := range h.changes {
			if f, ok := c.Thing.(hook.Filter); ok && h.up && !c.Remove && f.Family == routes.V4 {
				l.at(config.InInterface, string(h.phase), h.n, "is about IPv4 alone, and peers have IPv6")
				return
			}
		}
	}
}

func hookKillSwitch(l *look) {
	for _, h := range l.hooks() {
		drops := strings.Contains(h.text, "REJECT") || strings.Contains(h.text, "DROP")
		if h.up && strings.Contains(h.text, "OUTPUT") && strings.Contains(h.text, "mark") && drops {
			l.at(config.InInterface, string(h.phase), h.n, "rejects what doesn't go through the tunnel")
		}
	}
}

// separators end a command of a line.
var separators = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[;&|(){}]+`) })

// links are the interfaces that a hook names in the words of iptables, ufw, ip
// and tc, but for the loopback.
func (h hookLine) links() (out []string) {
	for _, command := range separators().Split(h.text, -1) {
		words := strings.Fields(command)
		filter := slices.ContainsFunc(words, func(w string) bool { return strings.HasSuffix(w, "tables") || w == "ufw" })
		for i := range max(0, len(words)-1) {
			name := words[i+1]
			known := slices.Contains([]string{"dev", "--in-interface", "--out-interface"}, words[i]) ||
				filter && slices.Contains([]string{"-i", "-o", "on"}, words[i])
			if known && name != "lo" && config.CheckName(name) == nil && !strings.HasSuffix(name, "+") && !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	}
	return out
}

func unknownLink(l *look) {
	if l.host == nil {
		return
	}
	told := map[string]bool{}
	missing := func(name string) bool {
		_, there := l.host.link(name)
		if there || name == l.file.Name || told[name] || name == "" {
			return false
		}
		for _, f := range l.others() {
			if f.Name == name {
				return false // another tunnel, that isn't up
			}
		}
		told[name] = true
		return true
	}
	for _, h := range l.hooks() {
		for _, name := range h.links() {
			if missing(name) {
				l.at(config.InInterface, string(h.phase), h.n, "names %s, and this host has no link of that name", name)
			}
		}
	}
	in := l.cfg.Interface
	for _, name := range in.Masquerade.Links {
		if missing(name) {
			l.at(config.InInterface, "Masquerade", 0, "names %s, and this host has no link of that name", name)
		}
	}
	for i, p := range in.PortForwards {
		if missing(p.On) {
			l.at(config.InInterface, "PortForward", i, "names %s, and this host has no link of that name", p.On)
		}
	}
}
