// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"slices"
	"strings"
)

// quickKeys are the keys that wg-quick keeps to itself, and ownKeys those that
// only wgctl knows, by section.
var (
	quickKeys = []string{"address", "mtu", "dns", "table", "preup", "predown", "postup", "postdown", "saveconfig"}
	ownKeys   = map[string][]string{
		"[interface]": {"privatekeyfile", "backend", "hooks", "hooktimeout", "routemetric", "routeaggregation", "excludedips", "forward", "masquerade", "portforward", "clampmss", "killswitch", "dnsbackend", "dnsfailure"},
		"[peer]":      {"name", "presharedkeyfile"},
	}
)

// Strip returns the lines of a config file that are wg's, as wg-quick's strip
// prints them: without the keys of wg-quick and wgctl, without the space at
// both ends of a line, and with all comments. Nothing is checked.
func Strip(text []byte) []byte {
	var (
		out      = make([]byte, 0, len(text)+1)
		section  string
		forQuick bool
	)
	for line := range bytes.Lines(text) {
		kept := strings.Trim(string(line), " \t\n")
		body, _, _ := strings.Cut(kept, "#")
		key, _, _ := strings.Cut(body, "=")
		key = strings.ToLower(strings.Trim(key, space))
		if strings.HasPrefix(key, "[") {
			section, forQuick = squash(key), key == "[interface]"
		}
		if forQuick && slices.Contains(quickKeys, key) || slices.Contains(ownKeys[section], squash(key)) {
			continue
		}
		out = append(append(out, kept...), '\n')
	}
	return out
}
