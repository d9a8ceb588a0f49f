// SPDX-License-Identifier: MIT

package lab

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// An Error is what is wrong with one line of a topology.
type Error struct {
	File    string
	Line    int    // from 1
	Section string // as "Host relay", "" outside of any
	Key     string // "" if it is about the section
	Msg     string
}

// Error returns "FILE:LINE: [SECTION] KEY: MESSAGE".
func (e *Error) Error() string {
	where := fmt.Sprintf("%s:%d: ", e.File, e.Line)
	if e.Section != "" {
		where += "[" + e.Section + "] "
	}
	if e.Key != "" {
		where += e.Key + ": "
	}
	return where + e.Msg
}

// A section is the head of a section and its lines.
type section struct {
	kind, name string
	line       int
	keys       []line
}

// A line is "Key = value".
type line struct {
	number     int
	key, value string
}

var (
	namePattern   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$`) })
	ifnamePattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_=+.-]{1,15}$`) })
)

// kinds are the sections and their keys; true for those that come more than
// once.
var kinds = map[string]map[string]bool{
	"Lab":     {"Name": false},
	"Network": {"Subnet": false},
	"Host":    {"Link": true, "Gateway": false, "Route": true, "Forward": false, "Masquerade": false},
	"Tunnel":  {"Subnet": false, "Member": true, "Hub": false, "ListenPort": false, "PersistentKeepalive": false},
}

// split reads the sections of a text.
func split(file, text string) ([]*section, error) {
	var all []*section
	for i, raw := range strings.Split(text, "\n") {
		raw, _, _ = strings.Cut(raw, "#")
		raw = strings.TrimSpace(raw)
		switch {
		case raw == "":
			continue
		case strings.HasPrefix(raw, "["):
			s, err := head(file, i+1, raw)
			if err != nil {
				return nil, err
			}
			all = append(all, s)
			continue
		case len(all) == 0:
			return nil, &Error{File: file, Line: i + 1, Msg: "this stands before the first section"}
		}
		s := all[len(all)-1]
		key, value, ok := strings.Cut(raw, "=")
		if !ok {
			return nil, s.errorf(file, line{number: i + 1}, "a line is \"Key = value\"")
		}
		l := line{i + 1, strings.TrimSpace(key), strings.TrimSpace(value)}
		if err := s.add(file, l); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// head reads "[Kind name]".
func head(file string, number int, raw string) (*section, error) {
	wrong := func(format string, args ...any) error {
		return &Error{File: file, Line: number, Msg: fmt.Sprintf(format, args...)}
	}
	inner, ok := strings.CutSuffix(raw[1:], "]")
	words := strings.Fields(inner)
	if !ok || len(words) == 0 {
		return nil, wrong("a section is \"[Kind name]\"")
	}
	s := &section{kind: words[0], name: strings.Join(words[1:], " "), line: number}
	switch {
	case kinds[s.kind] == nil:
		return nil, wrong("there is no section [%s]: there are Lab, Network, Host and Tunnel", s.kind)
	case s.kind == "Lab" && s.name != "":
		return nil, wrong("[Lab] has no name of its own: Name is a key")
	case s.kind == "Tunnel" && !ifnamePattern().MatchString(s.name):
		return nil, wrong("%q can't be the name of a tunnel's interface", s.name)
	case s.kind != "Lab" && !namePattern().MatchString(s.name):
		return nil, wrong("%q can't be a name here: letters, digits, - and _, 31 at the most", s.name)
	}
	return s, nil
}

func (s *section) add(file string, l line) error {
	many, known := kinds[s.kind][l.key]
	switch {
	case !known:
		return s.errorf(file, l, "there is no such key")
	case len(fields(l.value)) == 0:
		return s.errorf(file, l, "the value is empty")
	case !many && s.has(l.key):
		return s.errorf(file, l, "this is there twice")
	}
	s.keys = append(s.keys, l)
	return nil
}

func (s *section) has(key string) bool {
	for _, l := range s.keys {
		if l.key == key {
			return true
		}
	}
	return false
}

func (s *section) title() string { return strings.TrimSpace(s.kind + " " + s.name) }

func (s *section) errorf(file string, l line, format string, args ...any) error {
	number := l.number
	if number == 0 {
		number = s.line
	}
	return &Error{File: file, Line: number, Section: s.title(), Key: l.key, Msg: fmt.Sprintf(format, args...)}
}
