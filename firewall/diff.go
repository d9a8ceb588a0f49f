// SPDX-License-Identifier: MIT

package firewall

import (
	"slices"
	"strings"
)

// Diff returns what becomes of the tunnel's rules, in nft's own syntax and as a
// unified diff without context: each line that goes or comes after the chain or
// set that it is in. It is "" if nothing does. Digests, which only say that
// something changed, are left out.
func Diff(from, to Ruleset) string {
	before, after := from.blocks(), to.blocks()
	var b strings.Builder
	for _, head := range heads(before, after) {
		lines := diffLines(before.lines(head), after.lines(head))
		if len(lines) == 0 {
			continue
		}
		mark := "  "
		switch {
		case before.lines(head) == nil:
			mark = "+ "
		case after.lines(head) == nil:
			mark = "- "
		}
		b.WriteString(mark + head + "\n" + strings.Join(lines, "\n") + "\n")
	}
	return b.String()
}

// A block is a chain or a set with its lines.
type block struct {
	head string // "chain srcnat"
	body []string
}

type blocks []block

func (r Ruleset) blocks() (out blocks) {
	for line := range strings.Lines(r.Text()) {
		line = strings.TrimRight(line, "\n")
		if t, ok := findTag(line, r.Interface); ok {
			line = strings.ReplaceAll(line, t.String(), "wgctl: "+r.Interface)
		}
		name, opens := strings.CutSuffix(line, " {")
		switch {
		case opens && strings.HasPrefix(line, "\t"):
			out = append(out, block{head: strings.TrimSpace(name), body: []string{}})
		case strings.HasPrefix(line, "\t\t"):
			last := &out[len(out)-1]
			last.body = append(last.body, strings.TrimSpace(line))
		}
	}
	return out
}

func (b blocks) lines(head string) []string {
	if i := slices.IndexFunc(b, func(o block) bool { return o.head == head }); i >= 0 {
		return b[i].body
	}
	return nil
}

// heads returns those of both, in the order of the second.
func heads(before, after blocks) (out []string) {
	for _, b := range slices.Concat(after, before) {
		if !slices.Contains(out, b.head) {
			out = append(out, b.head)
		}
	}
	return out
}

// diffLines returns what separates a from b, from the longest lines that both
// have in order. Elements of a set differ by a comma at most.
func diffLines(a, b []string) (out []string) {
	same := func(i, j int) bool { return element(a[i]) == element(b[j]) }
	first := 0
	for first < len(a) && first < len(b) && same(first, first) {
		first++
	}
	endA, endB := len(a), len(b)
	for endA > first && endB > first && same(endA-1, endB-1) {
		endA, endB = endA-1, endB-1
	}
	common := commonLines(a[first:endA], b[first:endB])
	i, j := first, first
	for i < endA || j < endB {
		switch {
		case i < endA && j < endB && common[i-first][j-first] == common[i-first+1][j-first+1]+1 && same(i, j):
			i, j = i+1, j+1
		case i < endA && (j == endB || common[i-first+1][j-first] >= common[i-first][j-first+1]):
			out = append(out, "-     "+element(a[i]))
			i++
		default:
			out = append(out, "+     "+element(b[j]))
			j++
		}
	}
	return out
}

// element returns a line without what a set puts around it.
func element(line string) string {
	line = strings.TrimPrefix(line, "elements = { ")
	return strings.TrimSuffix(strings.TrimSuffix(line, " }"), ",")
}

// commonLines returns for each pair of suffixes how many lines they have in
// common. Where both are long it takes them for different, rather than a table
// of their product.
func commonLines(a, b []string) [][]int {
	const most = 4 << 20
	table := make([][]int, len(a)+1)
	if len(a)*len(b) > most {
		row := make([]int, len(b)+1)
		for i := range table {
			table[i] = row
		}
		return table
	}
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if element(a[i]) == element(b[j]) {
				table[i][j] = table[i+1][j+1] + 1
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}
