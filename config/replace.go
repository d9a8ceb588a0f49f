// SPDX-License-Identifier: MIT

package config

import "strings"

// ReplaceLines returns a text with lines replaced by others, by their number
// from 1, and every other byte kept; no others remove a line. New lines have the
// indentation and the end of the one they replace.
func ReplaceLines(original []byte, with map[int][]string) []byte {
	var out []byte
	num := 0
	for line := range strings.Lines(string(original)) {
		num++
		news, ok := with[num]
		if !ok {
			out = append(out, line...)
			continue
		}
		body := strings.TrimRight(line, "\r\n")
		indent := body[:len(body)-len(strings.TrimLeft(body, " \t"))]
		end := line[len(body):]
		if end == "" {
			end = "\n"
		}
		for _, l := range news {
			out = append(out, indent+l+end...)
		}
	}
	return out
}
