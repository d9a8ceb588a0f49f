// SPDX-License-Identifier: MIT

package config

import "slices"

// places are the lines in which the values of keys stand. Of the many keys of
// a large file most have one value, and there are few of them in a section, so
// that one takes little room and no search.
type places struct {
	iface [maxKeys]int32       // of keys of [Interface] with one value, by number; 0: none
	peers [][maxPeerKeys]int32 // of keys of each peer with one value, from firstPeerKey
	many  map[place][]int32    // of keys with more
}

type place struct {
	peer int32 // index of Config.Peers, or InInterface
	key  uint8 // index of keys, from 1; 0: the section's header
}

const maxKeys, maxPeerKeys = 64, 8 // with the header

// keyNumbers are the indexes of the canonical spellings, and firstPeerKey the
// least of a peer's. The keys' setters need them, so they can't be made of them
// before they are there.
var (
	keyNumbers   = map[string]uint8{"": 0}
	firstPeerKey uint8
)

func init() {
	for i := range keys {
		keys[i].number = uint8(i + 1)
		keyNumbers[keys[i].name] = keys[i].number
		if firstPeerKey == 0 && keys[i].section == peerSection {
			firstPeerKey = keys[i].number
		}
	}
	nameInComment.number = keyNumbers[nameInComment.name]
}

func placeOf(peer int, key string) place { return place{int32(peer), keyNumbers[key]} }

func newPlaces() places { return places{many: map[place][]int32{}} }

// one returns where the line of a single value stands; nil for a peer's of
// which there is nothing yet.
func (p *places) one(at place) *int32 {
	switch {
	case at.peer < 0:
		return &p.iface[at.key]
	case int(at.peer) >= len(p.peers):
		return nil
	case at.key < firstPeerKey:
		return &p.peers[at.peer][0]
	}
	return &p.peers[at.peer][at.key-firstPeerKey+1]
}

// line1 returns the line of a single value, or 0.
func (p *places) line1(at place) int32 {
	if one := p.one(at); one != nil {
		return *one
	}
	return 0
}

// put sets the line of a single value.
func (p *places) put(at place, line int) {
	for int(at.peer) >= len(p.peers) {
		p.peers = append(p.peers, [maxPeerKeys]int32{})
	}
	*p.one(at) = int32(line)
}

// lines returns the lines of all values.
func (p *places) lines(peer int, key string) []int32 {
	at := placeOf(peer, key)
	if line := p.line1(at); line != 0 {
		return []int32{line}
	}
	return p.many[at]
}

// count returns the number of values.
func (p *places) count(peer int, key string) int { return p.countAt(placeOf(peer, key)) }

func (p *places) countAt(at place) int {
	if p.line1(at) != 0 {
		return 1
	}
	return len(p.many[at])
}

// line returns the line of the nth value, or 0.
func (p *places) line(peer int, key string, n int) int { return p.lineAt(placeOf(peer, key), n) }

func (p *places) lineAt(at place, n int) int {
	if line := p.line1(at); line != 0 && n == 0 {
		return int(line)
	}
	if len(p.many) == 0 {
		return 0
	}
	if many := p.many[at]; n < len(many) {
		return int(many[n])
	}
	return 0
}

// set leaves one value, in that line.
func (p *places) set(at place, line int) {
	if len(p.many) > 0 {
		delete(p.many, at)
	}
	p.put(at, line)
}

// insert notes one more value, before the nth.
func (p *places) insert(at place, n, line int) {
	first, many := p.line1(at), p.many[at]
	if first == 0 && many == nil {
		p.put(at, line)
		return
	}
	if first != 0 {
		p.put(at, 0)
		many = []int32{first}
	}
	p.many[at] = slices.Insert(many, n, int32(line))
}

// add notes one more value.
func (p *places) add(at place, line int) { p.insert(at, p.countAt(at), line) }

// forget takes the values of a key away.
func (p *places) forget(at place) { p.set(at, 0) }
