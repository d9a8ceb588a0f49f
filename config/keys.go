// SPDX-License-Identifier: MIT

package config

import (
	"slices"
	"strings"
)

// A section is what a line stands in.
type section uint8

const (
	beforeSections section = iota
	unknownSection         // under a header that means nothing
	interfaceSection
	peerSection
)

// String returns the header's word, as in Error.Section.
func (s section) String() string {
	switch s {
	case interfaceSection:
		return "Interface"
	case peerSection:
		return "Peer"
	}
	return ""
}

// A grammar is a way to read a line. One file has two readers, and they don't
// agree: wg-quick takes its lines out of [Interface] and hands the rest to wg.
type grammar uint8

const (
	wgGrammar    grammar = iota // "#" cuts, all white space goes, an empty value is refused
	quickGrammar                // "#" cuts, white space at both ends goes
	hookGrammar                 // as quickGrammar, but the value keeps its "#"
)

// A key is one that a file may have.
type key struct {
	name    string // canonical spelling; case doesn't matter in a file
	section section
	grammar grammar
	set     func(b *builder, value string)
}

// headerKey and commentKey carry, through the ini reader, what isn't a key in
// the file: the line of a section's header, and a name in a comment.
const (
	headerKey  = "header"
	commentKey = "comment"
)

// keys are all the keys, in the order in which Format writes them.
var keys = []key{
	{"PrivateKey", interfaceSection, wgGrammar, (*builder).privateKey},
	{"ListenPort", interfaceSection, wgGrammar, (*builder).listenPort},
	{"FwMark", interfaceSection, wgGrammar, (*builder).fwMark},
	{"Address", interfaceSection, quickGrammar, (*builder).addresses},
	{"DNS", interfaceSection, quickGrammar, (*builder).dns},
	{"MTU", interfaceSection, quickGrammar, (*builder).mtu},
	{"Table", interfaceSection, quickGrammar, (*builder).table},
	{"PreUp", interfaceSection, hookGrammar, (*builder).hook},
	{"PostUp", interfaceSection, hookGrammar, (*builder).hook},
	{"PreDown", interfaceSection, hookGrammar, (*builder).hook},
	{"PostDown", interfaceSection, hookGrammar, (*builder).hook},
	{"SaveConfig", interfaceSection, quickGrammar, (*builder).saveConfig},
	{"PrivateKeyFile", interfaceSection, quickGrammar, (*builder).privateKeyFile},
	{"Backend", interfaceSection, quickGrammar, (*builder).backend},
	{"RouteMetric", interfaceSection, quickGrammar, (*builder).routeMetric},
	{"RouteAggregation", interfaceSection, quickGrammar, (*builder).routeAggregation},
	{"Hooks", interfaceSection, quickGrammar, (*builder).hooks},
	{"HookTimeout", interfaceSection, quickGrammar, (*builder).hookTimeout},
	{"ExcludedIPs", interfaceSection, quickGrammar, (*builder).excludedIPs},
	{"Forward", interfaceSection, quickGrammar, (*builder).forward},
	{"Masquerade", interfaceSection, quickGrammar, (*builder).masquerade},
	{"PortForward", interfaceSection, quickGrammar, (*builder).portForward},
	{"ClampMSS", interfaceSection, quickGrammar, (*builder).clampMSS},
	{"KillSwitch", interfaceSection, quickGrammar, (*builder).killSwitch},
	{"DNSBackend", interfaceSection, quickGrammar, (*builder).dnsBackend},
	{"DNSFailure", interfaceSection, quickGrammar, (*builder).dnsFailure},

	{"Name", peerSection, quickGrammar, (*builder).name},
	{"PublicKey", peerSection, wgGrammar, (*builder).publicKey},
	{"PresharedKey", peerSection, wgGrammar, (*builder).presharedKey},
	{"PresharedKeyFile", peerSection, quickGrammar, (*builder).presharedKeyFile},
	{"Endpoint", peerSection, wgGrammar, (*builder).endpoint},
	{"AllowedIPs", peerSection, wgGrammar, (*builder).allowedIPs},
	{"PersistentKeepalive", peerSection, wgGrammar, (*builder).persistentKeepalive},
}

// own reports whether a key is wgctl's, so that neither wg nor wg-quick
// knows it.
func (k *key) own() bool {
	return slices.Contains(ownKeys["["+strings.ToLower(k.section.String())+"]"], strings.ToLower(k.name))
}

// saysAll reports whether a key of a peer holds its value, and doesn't tell
// where to find it. A key that isn't known to do so doesn't.
func saysAll(name string) bool {
	switch name {
	case headerKey, commentKey, "Name", "PublicKey", "PresharedKey", "Endpoint", "AllowedIPs", "PersistentKeepalive":
		return true
	}
	return false
}

var keyByFold = func() map[string]*key {
	m := make(map[string]*key, len(keys)+2)
	for i := range keys {
		m[strings.ToLower(keys[i].name)] = &keys[i]
	}
	m[headerKey] = &key{name: "", set: func(*builder, string) {}}
	m[commentKey] = &key{name: "Name", set: (*builder).commentName}
	return m
}()

// keyByName has the canonical spellings, which are those of most files.
var keyByName = func() map[string]*key {
	m := make(map[string]*key, len(keys))
	for i := range keys {
		m[keys[i].name] = &keys[i]
	}
	return m
}()

// findKey returns the key of that name in any case, or nil.
func findKey(name string) *key {
	if k := keyByName[name]; k != nil {
		return k
	}
	if k := keyByFold[strings.ToLower(name)]; k != nil && k.section != beforeSections {
		return k
	}
	return nil
}

// nearestKey returns the key that a word was probably meant for, or nil.
func nearestKey(word string) *key {
	if !isWord(word) {
		return nil
	}
	word = strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "", "\t", "").Replace(word))
	var best *key
	bound := min(2, len(word)/3) + 1
	for i := range keys {
		if d := editDistance(word, strings.ToLower(keys[i].name)); d < bound {
			best, bound = &keys[i], d
		}
	}
	return best
}

// editDistance counts the letters to insert, delete, change or swap with their
// neighbour to make b of a.
func editDistance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}
