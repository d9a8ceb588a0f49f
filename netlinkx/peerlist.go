// SPDX-License-Identifier: MIT

package netlinkx

import "slices"

// A peerList is peers as they are read: nobody says before how many. It grows
// by blocks, so that none is copied more than once.
type peerList struct {
	full [][]Peer
	last []Peer
}

const smallestBlock, largestBlock = 16, 4096

// add appends a peer and returns it.
func (l *peerList) add() *Peer {
	if len(l.last) == cap(l.last) {
		size := smallestBlock
		if l.last != nil {
			l.full = append(l.full, l.last)
			size = min(2*cap(l.last), largestBlock)
		}
		l.last = make([]Peer, 0, size)
	}
	l.last = append(l.last, Peer{})
	return l.newest()
}

// newest returns the last peer; nil if there is none.
func (l *peerList) newest() *Peer {
	if len(l.last) == 0 {
		return nil
	}
	return &l.last[len(l.last)-1]
}

// all returns the peers, after which l is done with.
func (l *peerList) all() []Peer {
	if len(l.full) == 0 {
		return l.last
	}
	return slices.Concat(append(l.full, l.last)...)
}
