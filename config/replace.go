// SPDX-License-Identifier: MIT

package config

import "bytes"

// ReplaceLines returns a text with lines replaced by others, by their number
// from 1, and every other byte kept; no others remove a line. New lines have the
// indentation and the end of the one they replace.
func ReplaceLines(original []byte, with map[int][]string) []byte {
	if len(with) == 0 {
		return original
	}
	out := make([]byte, 0, len(original)+len(original)/16)
	num := 0
	for line := range bytes.Lines(original) {
		num++
		news, ok := with[num]
		if !ok {
			out = append(out, line...)
			continue
		}
		body := bytes.TrimRight(line, "\r\n")
		indent := body[:len(body)-len(bytes.TrimLeft(body, " \t"))]
		end := string(line[len(body):])
		if end == "" {
			end = "\n"
		}
		for _, l := range news {
			out = append(out, string(indent)+l+end...)
		}
	}
	return out
}
