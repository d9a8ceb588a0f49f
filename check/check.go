// SPDX-License-Identifier: MIT

// Package check finds what is wrong, or surely not meant, in the files of
// tunnels and on the host that they are for: what is understood without fault
// and still doesn't do what its author hopes.
//
// It is rules, each a pure function over files and facts, and a name by which a
// comment in the file silences it. It reads no host and changes nothing: cmd
// gathers the facts, and writes what a Fix says.
package check

import (
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"

	"github.com/wgctl/wgctl/config"
)

// A Severity is how much a finding matters.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // it can't work, or not as the file says
	Warning Severity = "warning" // it works, and likely not as meant
	Info    Severity = "info"    // good to know
)

// A File is one file of a tunnel, as far as it could be read.
type File struct {
	Path   string         // as it is to be named in findings
	Name   string         // of the interface
	Text   []byte         // what was parsed
	Config *config.Config // nil if there are Errors
	Errors config.Errors
	// Warnings are those of config.Parse.
	Warnings []config.Warning
	Access   Access
	// Names are the names of endpoints that were looked up; nil if none were.
	Names map[string]Answer
	// KeyFiles says of each value of PrivateKeyFile and PresharedKeyFile why
	// it can't be used, "" if it can; nil if nobody looked.
	KeyFiles map[string]string
}

// An Access is who may do what with a file.
type Access struct {
	Mode   fs.FileMode `json:"mode"`   // permission bits of the file; 0: not known
	Folder fs.FileMode `json:"folder"` // and of the folder it is in
	// Untrusted says who can write it or put another in its place, "" if only
	// those can that may.
	Untrusted string `json:"untrusted,omitempty"`
}

// An Answer is what came of looking a name up.
type Answer struct {
	Addresses []netip.Addr
	Error     string // why there are none
}

// An Input is what is checked.
type Input struct {
	Files  []File
	Beside []File // others of the same folder: they are only compared with
	Host   *Facts // nil: the files are for another host
}

// A Finding is one thing that a rule found.
type Finding struct {
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"` // from 1; 0: the file as a whole, or the host
	Section  string   `json:"section,omitempty"`
	Key      string   `json:"key,omitempty"`
	Rule     string   `json:"rule"`
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`
	Why      string   `json:"reason"`
	Mend     string   `json:"mend"`
	Fix      *Fix     `json:"fix,omitempty"` // nil if nothing can be done by itself
}

// String returns the finding as one line, "wg0.conf:12: warning: AllowedIPs:
// message [rule]"; what is about the host begins with "host".
func (f Finding) String() string {
	var b strings.Builder
	switch {
	case f.File == "":
		b.WriteString("host")
	case f.Line > 0:
		fmt.Fprintf(&b, "%s:%d", f.File, f.Line)
	default:
		b.WriteString(f.File)
	}
	fmt.Fprintf(&b, ": %s: ", f.Severity)
	if f.Key != "" {
		b.WriteString(f.Key + ": ")
	}
	fmt.Fprintf(&b, "%s [%s]", f.Message, f.Rule)
	return b.String()
}

// Run returns what the rules find, by file and line, and how many findings are
// silenced by comments. Findings about the host come first.
func Run(in Input) (found []Finding, silenced int) {
	for i := range Rules {
		r := &Rules[i]
		if r.host != nil && in.Host != nil && in.Host.Machine != nil {
			r.host(&look{rule: r, in: &in, host: in.Host, machine: in.Host.Machine, out: &found})
		}
	}
	for i := range in.Files {
		f := &in.Files[i]
		var of []Finding
		ways := waysOf(in.Host, f.Name)
		for j := range Rules {
			r := &Rules[j]
			if r.file == nil || f.Config == nil && !r.unread {
				continue
			}
			r.file(&look{rule: r, in: &in, host: in.Host, ways: ways, file: f, nth: i, cfg: f.Config, out: &of})
		}
		ignored := ignores(f.Text)
		all := len(of)
		of = slices.DeleteFunc(of, ignored.silences)
		silenced += all - len(of)
		slices.SortStableFunc(of, func(a, b Finding) int { return a.Line - b.Line })
		found = append(found, of...)
	}
	return found, silenced
}

// Count returns how many findings have a severity.
func Count(found []Finding, s Severity) (n int) {
	for _, f := range found {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// A look is one rule at work on one file, or on the host.
type look struct {
	rule    *Rule
	in      *Input
	host    *Facts // nil: not known
	ways    *ways  // of the host
	machine *Machine
	file    *File
	nth     int // which of the files it is
	cfg     *config.Config
	out     *[]Finding
}

// at reports a finding at the nth value of a key; see config.Config.Line. The
// key "" is the section's header.
func (l *look) at(peer int, key string, n int, format string, args ...any) *Finding {
	e := l.cfg.Errorf(peer, key, n, format, args...)
	return l.add(Finding{Line: e.Line, Section: e.Section, Key: key, Message: e.Msg})
}

// whole reports a finding about the file as a whole, or the host.
func (l *look) whole(format string, args ...any) *Finding {
	return l.add(Finding{Message: fmt.Sprintf(format, args...)})
}

func (l *look) add(f Finding) *Finding {
	f.Rule, f.Severity, f.Why, f.Mend = l.rule.Name, l.rule.Severity, l.rule.Why, l.rule.Mend
	if l.file != nil {
		f.File = l.file.Path
	}
	*l.out = append(*l.out, f)
	return &(*l.out)[len(*l.out)-1]
}

// peer is what a message calls a peer: its name, or how its key begins, and the
// line of its section.
func (l *look) peer(i int) string {
	p := l.cfg.Peers[i]
	name := p.Name
	if name == "" {
		name = p.PublicKey.String()[:8] + "…"
	}
	return fmt.Sprintf("peer %s (line %d)", name, l.cfg.Line(i, "", 0))
}
