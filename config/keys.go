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
	number  uint8 // from 1, in the order of keys
}

// headerKey stands for a section's header, which is no key.
const headerKey = "header"

// nameInComment is no key in the file, either.
var nameInComment = key{name: "Name", section: peerSection, set: (*builder).commentName}

// keys are all the keys, in the order in which Format writes them.
var keys = []key{
	{"PrivateKey", interfaceSection, wgGrammar, (*builder).privateKey, 0},
	{"ListenPort", interfaceSection, wgGrammar, (*builder).listenPort, 0},
	{"FwMark", interfaceSection, wgGrammar, (*builder).fwMark, 0},
	{"Address", interfaceSection, quickGrammar, (*builder).addresses, 0},
	{"DNS", interfaceSection, quickGrammar, (*builder).dns, 0},
	{"MTU", interfaceSection, quickGrammar, (*builder).mtu, 0},
	{"Table", interfaceSection, quickGrammar, (*builder).table, 0},
	{"PreUp", interfaceSection, hookGrammar, (*builder).hook, 0},
	{"PostUp", interfaceSection, hookGrammar, (*builder).hook, 0},
	{"PreDown", interfaceSection, hookGrammar, (*builder).hook, 0},
	{"PostDown", interfaceSection, hookGrammar, (*builder).hook, 0},
	{"SaveConfig", interfaceSection, quickGrammar, (*builder).saveConfig, 0},
	{"PrivateKeyFile", interfaceSection, quickGrammar, (*builder).privateKeyFile, 0},
	{"Backend", interfaceSection, quickGrammar, (*builder).backend, 0},
	{"RouteMetric", interfaceSection, quickGrammar, (*builder).routeMetric, 0},
	{"RouteAggregation", interfaceSection, quickGrammar, (*builder).routeAggregation, 0},
	{"Hooks", interfaceSection, quickGrammar, (*builder).hooks, 0},
	{"HookTimeout", interfaceSection, quickGrammar, (*builder).hookTimeout, 0},
	{"ExcludedIPs", interfaceSection, quickGrammar, (*builder).excludedIPs, 0},
	{"Forward", interfaceSection, quickGrammar, (*builder).forward, 0},
	{"Masquerade", interfaceSection, quickGrammar, (*builder).masquerade, 0},
	{"PortForward", interfaceSection, quickGrammar, (*builder).portForward, 0},
	{"ClampMSS", interfaceSection, quickGrammar, (*builder).clampMSS, 0},
	{"KillSwitch", interfaceSection, quickGrammar, (*builder).killSwitch, 0},
	{"DNSBackend", interfaceSection, quickGrammar, (*builder).dnsBackend, 0},
	{"DNSFailure", interfaceSection, quickGrammar, (*builder).dnsFailure, 0},

	{"Name", peerSection, quickGrammar, (*builder).name, 0},
	{"PublicKey", peerSection, wgGrammar, (*builder).publicKey, 0},
	{"PresharedKey", peerSection, wgGrammar, (*builder).presharedKey, 0},
	{"PresharedKeyFile", peerSection, quickGrammar, (*builder).presharedKeyFile, 0},
	{"Endpoint", peerSection, wgGrammar, (*builder).endpoint, 0},
	{"AllowedIPs", peerSection, wgGrammar, (*builder).allowedIPs, 0},
	{"PersistentKeepalive", peerSection, wgGrammar, (*builder).persistentKeepalive, 0},
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
	case "Name", "PublicKey", "PresharedKey", "Endpoint", "AllowedIPs", "PersistentKeepalive":
		return true
	}
	return false
}

var keyByFold = func() map[string]*key {
	m := make(map[string]*key, len(keys))
	for i := range keys {
		m[strings.ToLower(keys[i].name)] = &keys[i]
	}
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
	return keyByFold[strings.ToLower(name)]
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
