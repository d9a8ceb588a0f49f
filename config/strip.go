// SPDX-License-Identifier: MIT

package config

import (
	"bufio"
	"bytes"
	"io"
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

// Strip writes the lines of a config file that are wg's, as wg-quick's strip
// prints them: without the keys of wg-quick and wgctl, without the space at
// both ends of a line, and with all comments. Nothing is checked.
func Strip(to io.Writer, text []byte) error {
	var (
		out      = bufio.NewWriterSize(to, 64<<10)
		section  string
		forQuick bool
	)
	for line := range bytes.Lines(text) {
		kept := bytes.Trim(line, " \t\n")
		if word := firstWord(kept); word != "" {
			if strings.HasPrefix(word, "[") {
				section, forQuick = squash(word), word == "[interface]"
			}
			if forQuick && slices.Contains(quickKeys, word) || slices.Contains(ownKeys[section], squash(word)) {
				continue
			}
		}
		_, _ = out.Write(kept)
		_ = out.WriteByte('\n')
	}
	return out.Flush()
}

// firstWord is what stands before the "=" of a line, or the whole of one that
// has none, in small letters; "" for what is longer than any key or header, be
// it with spaces.
func firstWord(line []byte) string {
	const longest = 4096
	body, _, _ := bytes.Cut(line, []byte("#"))
	word, _, _ := bytes.Cut(body, []byte("="))
	if word = bytes.Trim(word, space); len(word) > longest {
		return ""
	}
	return strings.ToLower(string(word))
}
