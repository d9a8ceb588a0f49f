// SPDX-License-Identifier: MIT

package config

import "slices"

// places are the lines in which the values of keys stand. Of the many keys of
// a large file most have one value, so that one takes little room and time.
type places struct {
	one  [][]oneLine // by peer, from InInterface on, of keys with one value
	many map[place][]int32
}

type oneLine struct {
	line int32
	key  uint8
}

type place struct {
	peer int32 // index of Config.Peers, or InInterface
	key  uint8 // index of keys, from 1; 0: the section's header
}

// keyNumbers are the indexes of the canonical spellings. The keys' setters
// need it, so it can't be made of them before they are there.
var keyNumbers = map[string]uint8{"": 0}

func init() {
	for i := range keys {
		keyNumbers[keys[i].name] = uint8(i + 1)
	}
}

func placeOf(peer int, key string) place { return place{int32(peer), keyNumbers[key]} }

func newPlaces() places {
	return places{many: map[place][]int32{}}
}

// single returns where the line of a key with one value is noted, or nil.
func (p *places) single(at place) *int32 {
	i := int(at.peer) - InInterface
	if i >= len(p.one) {
		return nil
	}
	for j := range p.one[i] {
		if p.one[i][j].key == at.key {
			return &p.one[i][j].line
		}
	}
	return nil
}

// put notes one value.
func (p *places) put(at place, line int32) {
	if was := p.single(at); was != nil {
		*was = line
		return
	}
	i := int(at.peer) - InInterface
	for i >= len(p.one) {
		p.one = append(p.one, nil)
	}
	if p.one[i] == nil {
		p.one[i] = make([]oneLine, 0, 6) // a peer has few more
	}
	p.one[i] = append(p.one[i], oneLine{line, at.key})
}

// drop takes the one value away.
func (p *places) drop(at place) {
	if i := int(at.peer) - InInterface; i < len(p.one) {
		p.one[i] = slices.DeleteFunc(p.one[i], func(l oneLine) bool { return l.key == at.key })
	}
}

// lines returns the lines of all values.
func (p *places) lines(at place) []int32 {
	if line := p.single(at); line != nil {
		return []int32{*line}
	}
	return p.many[at]
}

// count returns the number of values.
func (p *places) count(at place) int {
	if p.single(at) != nil {
		return 1
	}
	return len(p.many[at])
}

// line returns the line of the nth value, or 0.
func (p *places) line(at place, n int) int {
	if line := p.single(at); line != nil && n == 0 {
		return int(*line)
	}
	if many := p.many[at]; n < len(many) {
		return int(many[n])
	}
	return 0
}

// set leaves one value, in that line.
func (p *places) set(at place, line int) {
	delete(p.many, at)
	p.put(at, int32(line))
}

// insert notes one more value, before the nth.
func (p *places) insert(at place, n, line int) {
	first := p.single(at)
	many := p.many[at]
	switch {
	case first == nil && many == nil:
		p.put(at, int32(line))
		return
	case first != nil:
		many = []int32{*first}
		p.drop(at)
	}
	p.many[at] = slices.Insert(many, n, int32(line))
}

// add notes one more value.
func (p *places) add(at place, line int) {
	p.insert(at, p.count(at), line)
}

// forget takes the values of a key away.
func (p *places) forget(at place) {
	p.drop(at)
	delete(p.many, at)
}
