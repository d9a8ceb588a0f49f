// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"slices"
	"strings"
)

// The comments that silence rules:
//
//	# wgctl: ignore RULE, RULE
//	# wgctl: ignore-file RULE
//
// The first is about its own line if something stands there, else about the
// next that isn't a comment; at a section's header it is about the whole
// section. What follows " -- " is for people.
const (
	ignoreMark = "wgctl: ignore"
	fileWord   = "-file"
)

// maxUnknown is how many rules that there are not one file is told of.
const maxUnknown = 100

// An ignored is what the comments of a file silence.
type ignored struct {
	file    []string
	lines   map[int][]string // of one line, or of a section by its header
	headers []int            // the lines of sections' headers
	unknown []unknownRule    // so many of them as people read
}

// An unknownRule is a word in such a comment that names no rule.
type unknownRule struct {
	line int
	name string
}

func ignores(text []byte) *ignored {
	g := &ignored{lines: map[int][]string{}}
	num := 0
	var pending []string
	for line := range bytes.Lines(text) {
		num++
		body, comment, _ := bytes.Cut(line, []byte("#"))
		body = bytes.TrimSpace(body)
		if bytes.HasPrefix(body, []byte("[")) {
			g.headers = append(g.headers, num)
		}
		rules, file := g.read(num, comment)
		switch {
		case file:
			g.file = added(g.file, rules)
		case len(body) == 0:
			pending = added(pending, rules)
		default:
			if pending = added(pending, rules); pending != nil {
				g.lines[num] = pending
			}
			pending = nil
		}
	}
	return g
}

// added is a list with more, each of them once.
func added(list, more []string) []string {
	for _, m := range more {
		if !slices.Contains(list, m) {
			list = append(list, m)
		}
	}
	return list
}

// read returns the rules that a comment names, and whether for all of the file.
func (g *ignored) read(num int, text []byte) (rules []string, file bool) {
	at := bytes.Index(text, []byte(ignoreMark))
	if at < 0 {
		return nil, false
	}
	comment := string(text)
	list, _, _ := strings.Cut(comment[at+len(ignoreMark):], " -- ")
	list, file = strings.CutPrefix(list, fileWord)
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		if find(word) == nil {
			if len(g.unknown) < maxUnknown {
				g.unknown = append(g.unknown, unknownRule{num, word})
			}
			continue
		}
		rules = append(rules, word)
	}
	return rules, file
}

// silences reports whether a finding is not to be told.
func (g *ignored) silences(f Finding) bool {
	if slices.Contains(g.file, f.Rule) || slices.Contains(g.lines[f.Line], f.Rule) {
		return true
	}
	// The header of the section that the line stands in.
	after, _ := slices.BinarySearch(g.headers, f.Line+1)
	return f.Line > 0 && after > 0 && slices.Contains(g.lines[g.headers[after-1]], f.Rule)
}

// find returns the rule of a name, or nil.
func find(name string) *Rule {
	for i := range Rules {
		if Rules[i].Name == name {
			return &Rules[i]
		}
	}
	return nil
}

func unknownIgnores(l *look) {
	for _, u := range ignores(l.file.Text).unknown {
		name := u.name
		if len(name) > 40 {
			name = name[:40] + "…"
		}
		l.add(Finding{Line: u.line, Message: "there is no rule called " + quoted(name)})
	}
}
