// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"strings"
)

// An Item is one of the allowed IPs of a line, by the line's number from 1 and
// its place in the line from 0.
type Item struct{ Line, N int }

// AllowedIPItems calls f with each allowed IP of all peers, in their order: which
// peer has it, its place, and how the text spells it. The text is that of which
// c was parsed.
func (c *Config) AllowedIPItems(text []byte, f func(peer int, at Item, spelled string)) {
	at, line := 0, "" // peers and their lines come in the order of the text
	for peer := range c.Peers {
		done := 0 // all of a line are taken at once
		for n := 0; ; n++ {
			num := c.Line(peer, "AllowedIPs", n)
			if num == 0 {
				break
			}
			if num == done {
				continue
			}
			for ; at < num; at++ {
				next, rest, _ := bytes.Cut(text, []byte("\n"))
				if text = rest; at == num-1 {
					line = string(next)
				}
			}
			done = num
			start, end, _ := valueSpan(line)
			for i, item := range listItems("AllowedIPs", line[start:end]) {
				f(peer, Item{num, i}, squash(item))
			}
		}
	}
}

// EditAllowedIPs returns a text with some allowed IPs spelled another way, or gone
// where the new spelling is "", and every other byte kept. A line of which
// nothing remains goes.
func EditAllowedIPs(original []byte, edits map[Item]string) []byte {
	var out []byte
	num := 0
	for line := range strings.Lines(string(original)) {
		num++
		start, end, ok := valueSpan(line)
		if !ok {
			out = append(out, line...)
			continue
		}
		value := editItems(num, strings.Split(line[start:end], ","), edits)
		if value == "" && end > start {
			continue
		}
		out = append(append(append(out, line[:start]...), value...), line[end:]...)
	}
	return out
}

func editItems(num int, items []string, edits map[Item]string) string {
	var kept []string
	for i, item := range items {
		to, edited := edits[Item{num, i}]
		switch {
		case !edited:
			kept = append(kept, item)
		case to != "":
			kept = append(kept, strings.Replace(item, strings.Trim(item, space), to, 1))
		}
	}
	return strings.Trim(strings.Join(kept, ","), space)
}
