// SPDX-License-Identifier: MIT

package check

import (
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

// An ignored is what the comments of a file silence.
type ignored struct {
	file  []string
	lines map[int][]string // of one line, or of a section by its header
	// headers[i] is the header's line of the section that line i+1 stands in.
	headers []int
	unknown []unknownRule
}

// An unknownRule is a word in such a comment that names no rule.
type unknownRule struct {
	line int
	name string
}

func ignores(text []byte) *ignored {
	g := &ignored{lines: map[int][]string{}}
	header, num := 0, 0
	var pending []string
	for line := range strings.Lines(string(text)) {
		num++
		body, comment, _ := strings.Cut(line, "#")
		body = strings.TrimSpace(body)
		if strings.HasPrefix(body, "[") {
			header = num
		}
		g.headers = append(g.headers, header)
		rules, file := g.read(num, comment)
		switch {
		case file:
			g.file = append(g.file, rules...)
		case body == "":
			pending = append(pending, rules...)
		default:
			g.lines[num] = append(pending, rules...)
			pending = nil
		}
	}
	return g
}

// read returns the rules that a comment names, and whether for all of the file.
func (g *ignored) read(num int, comment string) (rules []string, file bool) {
	at := strings.Index(comment, ignoreMark)
	if at < 0 {
		return nil, false
	}
	list, _, _ := strings.Cut(comment[at+len(ignoreMark):], " -- ")
	list, file = strings.CutPrefix(list, fileWord)
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		if find(word) == nil {
			g.unknown = append(g.unknown, unknownRule{num, word})
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
	if f.Line < 1 || f.Line > len(g.headers) {
		return false
	}
	return slices.Contains(g.lines[g.headers[f.Line-1]], f.Rule)
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
