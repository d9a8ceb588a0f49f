// SPDX-License-Identifier: MIT

package hook

import (
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Read understands one line, with %i replaced, of the tunnel whose interface
// that is. It returns what the line changes, or in words why it has to be run.
func Read(phase Phase, line, ifname string) (changes []Change, why string) {
	r := read(phase, line, ifname)
	return r.changes, r.why
}

// A reading is what a line means. A line with a why has no changes, but what it
// touches if it is run.
type reading struct {
	changes []Change
	why     string
	touches []string
}

// A reader reads the commands of one line.
type reader struct {
	ifname string
	up     bool
	// containers made in the line, and the chains among them by what their
	// hook is.
	chains map[string]Chain
}

func read(phase Phase, line, ifname string) reading {
	stmts, why := parse(line)
	if why != "" {
		return reading{why: why, touches: []string{touchAny}}
	}
	r := &reader{ifname: ifname, up: phase.up(), chains: map[string]Chain{}}
	var out reading
	for _, s := range stmts {
		changes, why := r.statement(s)
		if why != "" {
			return reading{why: why, touches: touched(stmts)}
		}
		out.changes = append(out.changes, changes...)
	}
	return out
}

// statement reads a simple command, or a list of them joined by "&&"; and two
// spellings that ask for the same as one: "-C … || -A …", and "… || true".
func (r *reader) statement(s *syntax.Stmt) ([]Change, string) {
	if list, ok := s.Cmd.(*syntax.BinaryCmd); ok && !s.Negated && !s.Background && len(s.Redirs) == 0 {
		switch list.Op {
		case syntax.AndStmt:
			left, why := r.statement(list.X)
			if why != "" {
				return nil, why
			}
			right, why := r.statement(list.Y)
			return append(left, right...), why
		case syntax.OrStmt:
			return r.alternative(list)
		}
	}
	if why := plain(s); why != "" {
		return nil, why
	}
	call := s.Cmd.(*syntax.CallExpr)
	if file, ok := writesTo(s.Redirs); ok {
		return r.write(commandOf(call), file)
	}
	if !silent(s.Redirs) {
		return nil, "it writes or reads a file"
	}
	if len(call.Args) == 0 {
		return nil, "it is no command"
	}
	return r.command(commandOf(call))
}

// alternative reads X || Y.
func (r *reader) alternative(list *syntax.BinaryCmd) ([]Change, string) {
	const why = `it has "||"`
	if plain(list.Y) != "" || !silent(list.Y.Redirs) {
		return nil, why
	}
	fallback := commandOf(list.Y.Cmd.(*syntax.CallExpr))
	if name := fallback.name(); len(fallback.words) == 1 && (name == "true" || name == ":") {
		return r.statement(list.X)
	}
	if plain(list.X) != "" || !silent(list.X.Redirs) {
		return nil, why
	}
	add, fault := r.command(fallback)
	if fault != "" {
		return nil, fault
	}
	check := commandOf(list.X.Cmd.(*syntax.CallExpr))
	i := slices.IndexFunc(check.words, func(w word) bool { return w.text == "-C" || w.text == "--check" })
	if i < 0 || len(add) != 1 || add[0].Remove {
		return nil, why
	}
	check.words = slices.Clone(check.words)
	check.words[i].text = "-A"
	same, fault := r.command(check)
	if fault != "" || len(same) != 1 || same[0].Thing != add[0].Thing {
		return nil, why
	}
	return add, ""
}

// writesTo returns the file of "echo VALUE > FILE".
func writesTo(redirs []*syntax.Redirect) (string, bool) {
	if len(redirs) != 1 || redirs[0].Op != syntax.RdrOut || redirs[0].N != nil {
		return "", false
	}
	w := wordOf(redirs[0].Word)
	return w.text, !w.opaque && strings.HasPrefix(w.text, "/proc/sys/")
}

// A tool reads the words of one program.
type tool struct {
	read func(r *reader, c command, args []string) ([]Change, string)
	// touches says what the program changes when it is run, by words of which
	// some may be opaque.
	touches func(words []string) []string
}

var tools map[string]tool

func init() {
	ip4, ip6 := tool{(*reader).iptables, iptablesTouches}, tool{(*reader).ip6tables, iptablesTouches}
	tools = map[string]tool{
		"iptables": ip4, "iptables-nft": ip4, "ip6tables": ip6, "ip6tables-nft": ip6,
		"ip":           {(*reader).ip, ipTouches},
		"sysctl":       {(*reader).sysctl, sysctlTouches},
		"nft":          {(*reader).nft, nftTouches},
		"ufw":          {(*reader).ufw, ufwTouches},
		"firewall-cmd": {(*reader).firewallCmd, firewallCmdTouches},
		"true":         {(*reader).nothing, nothingTouched},
		":":            {(*reader).nothing, nothingTouched},
	}
}

func (r *reader) nothing(command, []string) ([]Change, string) { return nil, "" }

func nothingTouched([]string) []string { return nil }

func (r *reader) command(c command) ([]Change, string) {
	if c.name() == "" {
		return nil, "the name of its program isn't known before it runs"
	}
	t, ok := tools[c.name()]
	if !ok {
		return nil, c.name() + " is a program of the host's"
	}
	args, ok := c.literal()
	if !ok {
		return nil, "a word of it isn't known before it runs"
	}
	changes, why := t.read(r, c, args)
	if why != "" {
		why = c.name() + ": " + why
	}
	return changes, why
}

// harmless are programs that change nothing of what can be lifted.
var harmless = map[string]bool{
	"echo": true, "printf": true, "logger": true, "wg": true, "ping": true, "ping6": true, "sleep": true, "touch": true,
	"cat": true, "grep": true, "awk": true, "cut": true, "head": true, "tail": true, "sed": true, "tr": true, "tee": true, "date": true,
	"resolvectl": true, "resolvconf": true, "systemd-resolve": true, "curl": true, "wget": true, "tc": true, "ethtool": true,
	"mkdir": true, "rm": true, "test": true, "[": true, "modprobe": true, "false": true, "exit": true, "cd": true, "host": true, "dig": true,
	"getent": true, "which": true, "command": true, "mail": true, "notify-send": true, "chmod": true, "chown": true,
}

// touched is what a run of statements that aren't understood may change.
func touched(stmts []*syntax.Stmt) (out []string) {
	for _, c := range commands(stmts) {
		switch t, ok := tools[c.name()]; {
		case ok:
			out = append(out, t.touches(c.text()[1:])...)
		case !harmless[c.name()]:
			out = append(out, touchAny)
		}
	}
	for _, s := range stmts {
		syntax.Walk(s, func(n syntax.Node) bool {
			if redir, ok := n.(*syntax.Redirect); ok && redir.Op != syntax.Hdoc {
				switch w := wordOf(redir.Word); {
				case w.opaque:
					out = append(out, touchSysctl)
				case strings.HasPrefix(w.text, "/proc/sys/"):
					out = append(out, touchSysctl+" "+dotted(strings.TrimPrefix(w.text, "/proc/sys/")))
				}
			}
			return true
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// meets reports whether what a run of a line touches and the place of a thing
// overlap.
func meets(touches []string, place string) bool {
	return slices.ContainsFunc(touches, func(t string) bool {
		return t == place || t == touchAny || strings.HasPrefix(place, t+" ")
	})
}

// filterTouches is for whatever may be in any chain.
func filterTouches([]string) []string {
	return []string{touchForward, string(Postrouting), string(Prerouting)}
}
