// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"slices"
	"strings"
)

// A Difference is one key of which two configs say something else. A section
// that only one of them has comes as its keys, without any on the other side.
type Difference struct {
	Peer *Key   // nil: [Interface]
	Name string // of the peer, where either config has one
	Key  string // as in a file; "PublicKey" where a peer comes or goes
	// Old and New are the values on either side: of AllowedIPs and Address
	// those that only that side has, of other keys all. A private or preshared
	// key is "(hidden)".
	Old, New []string
}

// Diff returns what separates the meaning of two configs, [Interface] first,
// then peers in the order of a, then those that only b has. The order of
// peers, and of items where that doesn't matter, is no difference.
func Diff(a, b *Config) []Difference {
	out := diffSection(nil, "", entriesOf(a.Interface.format, a.Interface.PrivateKey), entriesOf(b.Interface.format, b.Interface.PrivateKey))
	old, next := byKey(a.Peers), byKey(b.Peers)
	for _, p := range append(slices.Clone(old.order), next.order...) {
		inOld, inNew := old.peers[p], next.peers[p]
		if inOld != nil && inNew != nil && inNew.done {
			continue
		}
		if inNew != nil {
			inNew.done = true
		}
		out = append(out, diffSection(&p, nameOf(inNew, inOld), inOld.list(), inNew.list())...)
	}
	return out
}

// An entry is a key with its values; secret is what hides behind "(hidden)".
type entryList struct {
	key    string
	values []string
	secret string
}

// entriesOf reads the keys of a section as Format writes it.
func entriesOf(format func(*bytes.Buffer), secret *Secret) (out []entryList) {
	var text bytes.Buffer
	format(&text)
	for line := range strings.Lines(text.String()) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " = ")
		if !ok {
			continue
		}
		name = strings.Replace(name, "# friendly_name", "Name", 1)
		e := entryList{key: name, values: []string{value}}
		switch name {
		case "PrivateKey", "PresharedKey":
			e.values = []string{hidden}
			if secret != nil {
				e.secret = string(secret[:])
			}
		case "AllowedIPs", "Address", "DNS":
			e.values = strings.Split(value, ", ")
		}
		if i := slices.IndexFunc(out, func(o entryList) bool { return o.key == name }); i >= 0 {
			out[i].values = append(out[i].values, e.values...)
		} else {
			out = append(out, e)
		}
	}
	return out
}

// A peerEntries is what all sections of one peer say.
type peerEntries struct {
	name    string
	entries []entryList
	done    bool
}

func (p *peerEntries) list() []entryList {
	if p == nil {
		return nil
	}
	return p.entries
}

func nameOf(peers ...*peerEntries) string {
	for _, p := range peers {
		if p != nil && p.name != "" {
			return p.name
		}
	}
	return ""
}

type peersByKey struct {
	order []Key
	peers map[Key]*peerEntries
}

func byKey(peers []Peer) peersByKey {
	out := peersByKey{peers: make(map[Key]*peerEntries, len(peers))}
	for i := range peers {
		p := &peers[i]
		e := out.peers[p.PublicKey]
		if e == nil {
			e = &peerEntries{}
			out.peers[p.PublicKey] = e
			out.order = append(out.order, p.PublicKey)
		}
		if p.Name != "" {
			e.name = p.Name
		}
		for _, entry := range entriesOf(p.format, p.PresharedKey) {
			if i := slices.IndexFunc(e.entries, func(o entryList) bool { return o.key == entry.key }); i < 0 {
				e.entries = append(e.entries, entry)
			} else if entry.key == "AllowedIPs" {
				e.entries[i].values = append(e.entries[i].values, entry.values...)
			} else {
				e.entries[i] = entry
			}
		}
	}
	return out
}

func diffSection(peer *Key, name string, a, b []entryList) (out []Difference) {
	find := func(list []entryList, key string) entryList {
		if i := slices.IndexFunc(list, func(e entryList) bool { return e.key == key }); i >= 0 {
			return list[i]
		}
		return entryList{}
	}
	for _, e := range a {
		if d, differ := diffEntry(e, find(b, e.key)); differ {
			out = append(out, Difference{Peer: peer, Name: name, Key: e.key, Old: d.Old, New: d.New})
		}
	}
	for _, e := range b {
		if find(a, e.key).key == "" {
			out = append(out, Difference{Peer: peer, Name: name, Key: e.key, New: e.values})
		}
	}
	return out
}

func diffEntry(a, b entryList) (d Difference, differ bool) {
	d.Old, d.New = a.values, b.values
	if a.key == "AllowedIPs" || a.key == "Address" {
		d.Old, d.New = without(a.values, b.values), without(b.values, a.values)
		return d, len(d.Old)+len(d.New) > 0
	}
	return d, a.secret != b.secret || !slices.Equal(a.values, b.values)
}

// without returns the members of a that b doesn't have.
func without(a, b []string) (out []string) {
	in := make(map[string]bool, len(b))
	for _, s := range b {
		in[s] = true
	}
	for _, s := range a {
		if !in[s] {
			out = append(out, s)
		}
	}
	return out
}
