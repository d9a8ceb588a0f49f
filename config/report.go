// SPDX-License-Identifier: MIT

package config

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxReports is how many errors, and how many warnings, one file is told.
const maxReports = 100

// A report collects what is wrong with one file.
type report struct {
	file     string
	errors   Errors
	warnings []*Error
	secrets  []*Secret // that were read: see secretMark
	crowded  bool      // there is more of something than any tunnel takes: the rest isn't read
}

// full reports whether reading on would tell nothing new.
func (r *report) full() bool { return len(r.errors) > maxReports }

func (r *report) errorf(line int, s section, key, format string, args ...any) {
	if !r.full() {
		r.errors = append(r.errors, r.entry(line, s, key, format, args))
	}
}

// crowd is errorf for what ends the reading.
func (r *report) crowd(line int, s section, key, format string, args ...any) {
	r.errorf(line, s, key, format, args...)
	r.crowded = true
}

func (r *report) warnf(rule string, line int, s section, key, format string, args ...any) {
	if len(r.warnings) <= maxReports {
		w := r.entry(line, s, key, format, args)
		w.Rule = rule
		r.warnings = append(r.warnings, w)
	}
}

// take moves what another report of the file has to r.
func (r *report) take(part *report) {
	r.errors = firstOf(append(r.errors, part.errors...))
	r.warnings = firstOf(append(r.warnings, part.warnings...))
	r.crowded = r.crowded || part.crowded
	part.errors, part.warnings = nil, nil
}

// firstOf returns those that stand first in the file, if there are too many.
func firstOf(list []*Error) []*Error {
	if len(list) > maxReports+1 {
		sort.SliceStable(list, func(i, j int) bool { return list[i].Line < list[j].Line })
		list = list[:maxReports+1]
	}
	return list
}

func (r *report) entry(line int, s section, key, format string, args []any) *Error {
	return &Error{File: r.file, Line: line, Section: s.String(), Key: key, Msg: fmt.Sprintf(format, args...)}
}

// err returns the errors by line, or nil.
func (r *report) err() error {
	if len(r.errors) == 0 {
		return nil
	}
	return Errors(r.sorted(r.errors))
}

// warns returns the warnings by line.
func (r *report) warns() []Warning {
	var out []Warning
	for _, w := range r.sorted(r.warnings) {
		out = append(out, Warning(*w))
	}
	return out
}

func (r *report) sorted(list []*Error) []*Error {
	more := len(list) > maxReports
	list = list[:min(len(list), maxReports)]
	sort.SliceStable(list, func(i, j int) bool { return list[i].Line < list[j].Line })
	if more {
		list = append(list, &Error{File: r.file, Msg: "and more"})
	}
	return list
}

// shown quotes a value for a message, cut to a readable length. What could be
// a key that ended up in the wrong place isn't shown.
func shown(value string) string {
	if maybeKey(value) {
		return "the value"
	}
	const most = 60
	if len(value) <= most {
		return strconv.Quote(value)
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(value[cut]) {
		cut--
	}
	return strconv.Quote(value[:cut]) + "..."
}

// maybeKey reports whether a value may be a key, or a good part of one.
func maybeKey(value string) bool {
	run := 0
	for i := 0; i < len(value); i++ {
		if !isBase64(value[i]) {
			run = 0
			continue
		}
		if run++; run == 20 {
			return true
		}
	}
	return false
}

func isBase64(c byte) bool {
	return isLetter(c) || isDigit(c) || c == '+' || c == '/' || c == '='
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// isWord reports whether what stands where a key or a header should is a word
// that a message may repeat, and not part of a secret: a piece of a key has
// more digits than a name.
func isWord(s string) bool {
	if s == "" || len(s) > 32 || !isLetter(s[0]) {
		return false
	}
	digits := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isDigit(c):
			digits++
		case !isLetter(c) && !strings.ContainsRune(" _-", rune(c)):
			return false
		}
	}
	return digits <= 2
}
