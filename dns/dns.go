// SPDX-License-Identifier: MIT

// Package dns is what a tunnel wants of the host's resolver: Settings as data,
// the backends that apply them, and the choice of one with its trace.
//
// It is not a resolver: it looks up no name.
package dns

import "net/netip"

// Settings are the nameservers and search domains of one tunnel. The zero
// value of both lists means that the tunnel wants nothing.
type Settings struct {
	Interface string       `json:"interface"`
	Servers   []netip.Addr `json:"servers,omitempty"`
	Search    []string     `json:"search,omitempty"`
}

// Empty reports whether nothing is wanted.
func (s Settings) Empty() bool { return len(s.Servers) == 0 && len(s.Search) == 0 }

// Equal reports whether two settings ask for the same, in the same order.
func (s Settings) Equal(t Settings) bool {
	if s.Interface != t.Interface || len(s.Servers) != len(t.Servers) || len(s.Search) != len(t.Search) {
		return false
	}
	for i := range s.Servers {
		if s.Servers[i] != t.Servers[i] {
			return false
		}
	}
	for i := range s.Search {
		if s.Search[i] != t.Search[i] {
			return false
		}
	}
	return true
}
