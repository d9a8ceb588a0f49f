// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"slices"
	"strings"
)

// A layout is where the entries of a file stand, also those whose value is
// overruled by a later one.
type layout struct {
	lines   places
	last    map[int]int // the last line of a section with something in it
	headers []int
}

func (l *layout) add(peer int, key string, line int) {
	if key == headerKey {
		l.headers = append(l.headers, line)
	} else {
		l.lines.add(placeOf(peer, key), line)
	}
	l.last[peer] = line
}

// nextHeader returns the line of the first header after a line, or 0.
func (l *layout) nextHeader(line int) int {
	if i, _ := slices.BinarySearch(l.headers, line+1); i < len(l.headers) {
		return l.headers[i]
	}
	return 0
}

// An editor changes single lines of a config file. Lines are numbered as in
// the original until bytes puts them together.
type editor struct {
	cfg    *Config
	layout *layout

	eol     string           // how the file ends its lines
	lines   []string         // lines[i] is line i+1, with its end; "" once removed
	inserts map[int][]string // new lines, by the line before them
	tail    []string         // new lines at the end
}

func newEditor(original []byte, c *Config, l *layout) *editor {
	e := &editor{cfg: c, layout: l, eol: "\n", inserts: map[int][]string{}}
	e.lines = slices.Collect(strings.Lines(string(original)))
	if len(e.lines) > 0 && strings.HasSuffix(e.lines[0], "\r\n") {
		e.eol = "\r\n"
	}
	return e
}

// bytes returns the edited file.
func (e *editor) bytes() []byte {
	var out []byte
	add := func(line string) {
		if line == "" {
			return
		}
		if len(out) > 0 && out[len(out)-1] != '\n' {
			out = append(out, e.eol...) // the original had no final newline
		}
		out = append(out, line...)
	}
	for i, line := range e.lines {
		add(line)
		for _, l := range e.inserts[i+1] {
			add(l)
		}
	}
	for _, l := range e.tail {
		if l != e.eol || !bytes.HasSuffix(out, []byte("\n"+e.eol)) { // one blank line is enough
			add(l)
		}
	}
	return out
}

// where returns the lines of a key.
func (e *editor) where(peer int, key string) (lines []int) {
	for _, line := range e.layout.lines.lines(placeOf(peer, key)) {
		lines = append(lines, int(line))
	}
	return lines
}

// set gives a key one value, in its last line if there is one.
func (e *editor) set(peer int, key, value string) {
	lines := e.where(peer, key)
	if len(lines) == 0 {
		e.insert(peer, key, value)
		return
	}
	e.setLine(lines[len(lines)-1], value)
}

func (e *editor) setLine(num int, value string) {
	line := e.lines[num-1]
	start, end, _ := valueSpan(line)
	e.lines[num-1] = line[:start] + value + line[end:]
}

// drop removes all the lines of a key.
func (e *editor) drop(peer int, key string) {
	for _, num := range e.where(peer, key) {
		e.lines[num-1] = ""
	}
}

// insert puts a new entry after the last one of its section, with the same
// indentation.
func (e *editor) insert(peer int, key, value string) {
	last := e.layout.last[peer]
	line := e.lines[last-1]
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	e.inserts[last] = append(e.inserts[last], indent+key+" = "+value+e.eol)
}

// valueSpan returns where in a line its value starts and ends, without the
// space around it and the comment; ok is false if there is no "=".
func valueSpan(line string) (start, end int, ok bool) {
	body, _, _ := strings.Cut(line, "#")
	eq := strings.IndexByte(body, '=')
	if eq < 0 {
		return len(body), len(body), false
	}
	value := strings.TrimLeft(body[eq+1:], space)
	start = len(body) - len(value)
	return start, start + len(strings.TrimRight(value, space)), true
}

// editList makes a list have the members want, in canonical spelling, and
// keeps the lines and the spelling of those it has. canonical spells an item
// so, and says if it is none of the list's business and stays. New members go
// to the end of the list's last line.
func (e *editor) editList(peer int, key string, want []string, canonical func(string) (name string, keep bool)) {
	missing := make(map[string]bool, len(want))
	for _, w := range want {
		missing[w] = true
	}
	wanted := func(item string) bool {
		name, keep := canonical(item)
		if keep {
			return true
		}
		_, ok := missing[name]
		if ok {
			missing[name] = false
		}
		return ok
	}
	lines := e.where(peer, key)
	kept := make(map[int][]string, len(lines))
	changed := map[int]bool{}
	for _, num := range lines {
		start, end, ok := valueSpan(e.lines[num-1])
		if !ok {
			continue
		}
		all := listItems(key, e.lines[num-1][start:end])
		for _, item := range all {
			if wanted(item) {
				kept[num] = append(kept[num], item)
			}
		}
		changed[num] = len(kept[num]) < len(all)
	}
	var added []string
	for _, w := range want {
		if missing[w] {
			missing[w] = false
			added = append(added, w)
		}
	}
	e.writeList(peer, key, lines, kept, changed, added)
}

// listItems splits a list as its own reader does: wg allows white space
// anywhere in AllowedIPs.
func listItems(key, value string) []string {
	if key != "AllowedIPs" {
		return items(value)
	}
	list := strings.Split(value, ",")
	for i := range list {
		list[i] = strings.Trim(list[i], space)
	}
	return list
}

// writeList rewrites the lines that changed. The last line that stays takes
// what is added.
func (e *editor) writeList(peer int, key string, lines []int, kept map[int][]string, changed map[int]bool, added []string) {
	for _, num := range slices.Backward(lines) {
		if _, edited := changed[num]; !edited {
			continue // a key without "="
		}
		if len(added) > 0 {
			kept[num], changed[num] = append(kept[num], added...), true
			added = nil
		}
		switch {
		case len(kept[num]) == 0 && changed[num]:
			e.lines[num-1] = ""
		case changed[num]:
			e.setLine(num, strings.Join(kept[num], ", "))
		}
	}
	if len(added) > 0 {
		e.insert(peer, key, strings.Join(added, ", "))
	}
}

// removeSection removes a [Peer] section with the comments inside it and those
// right above its header.
func (e *editor) removeSection(peer int) {
	header := e.cfg.Line(peer, "", 0)
	next := e.layout.nextHeader(header)
	if next > 0 {
		next = e.commentsAbove(next)
	} else {
		next = len(e.lines) + 1
	}
	first := e.commentsAbove(header)
	if next > len(e.lines) { // no blank lines are left at the end
		for first > 1 && strings.Trim(e.lines[first-2], space) == "" {
			first--
		}
	}
	for num := first; num < next; num++ {
		e.lines[num-1] = ""
	}
}

// commentsAbove returns the first of the comment lines right above a header,
// or the header's own line. A section that was commented out isn't about the
// one below it.
func (e *editor) commentsAbove(header int) int {
	first := header
	for first > 1 && strings.HasPrefix(strings.TrimLeft(e.lines[first-2], space), "#") {
		first--
		if strings.HasPrefix(strings.TrimLeft(e.lines[first-1], "#"+space), "[") {
			return header
		}
	}
	return first
}
