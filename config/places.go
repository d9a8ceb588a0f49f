// SPDX-License-Identifier: MIT

package config

import "slices"

// places are the lines in which the values of keys stand. Of the many keys of
// a large file most have one value, so that one takes little room.
type places struct {
	one  map[place]int32   // of keys with one value
	many map[place][]int32 // of keys with more
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
	return places{one: map[place]int32{}, many: map[place][]int32{}}
}

// lines returns the lines of all values.
func (p *places) lines(peer int, key string) []int32 {
	at := placeOf(peer, key)
	if line, ok := p.one[at]; ok {
		return []int32{line}
	}
	return p.many[at]
}

// count returns the number of values.
func (p *places) count(peer int, key string) int {
	at := placeOf(peer, key)
	if _, ok := p.one[at]; ok {
		return 1
	}
	return len(p.many[at])
}

// line returns the line of the nth value, or 0.
func (p *places) line(peer int, key string, n int) int {
	at := placeOf(peer, key)
	if line, ok := p.one[at]; ok && n == 0 {
		return int(line)
	}
	if many := p.many[at]; n < len(many) {
		return int(many[n])
	}
	return 0
}

// set leaves one value, in that line.
func (p *places) set(peer int, key string, line int) {
	at := placeOf(peer, key)
	delete(p.many, at)
	p.one[at] = int32(line)
}

// insert notes one more value, before the nth.
func (p *places) insert(peer int, key string, n, line int) {
	at := placeOf(peer, key)
	first, single := p.one[at]
	many := p.many[at]
	switch {
	case !single && many == nil:
		p.one[at] = int32(line)
		return
	case single:
		delete(p.one, at)
		many = []int32{first}
	}
	p.many[at] = slices.Insert(many, n, int32(line))
}

// add notes one more value.
func (p *places) add(peer int, key string, line int) {
	p.insert(peer, key, p.count(peer, key), line)
}

// forget takes the values of a key away.
func (p *places) forget(peer int, key string) {
	at := placeOf(peer, key)
	delete(p.one, at)
	delete(p.many, at)
}
