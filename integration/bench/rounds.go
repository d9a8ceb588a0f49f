// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A result is what one tool took for one operation, over all rounds.
type result struct {
	Operation string
	Peers     int
	Tool      string
	Rounds    int
	Wall, Min time.Duration // median, and the least
	CPU       time.Duration // median
	Memory    int64         // KiB, the most
	Stall     time.Duration // median of what another's changes waited at most; 0: nobody looked
	Counts    *counts       // nil: not counted
}

// results are in the order in which they were first measured.
type results struct {
	order []result
	costs map[string][]cost
}

func (r *results) key(operation string, peers int, tool string) string {
	return fmt.Sprintf("%s|%d|%s", operation, peers, tool)
}

// add takes a cost. A name may say, after a "|", that it is another tool's.
func (r *results) add(c cost, peers int, tool string) {
	operation, other, ok := strings.Cut(c.Name, "|")
	if ok {
		tool = other
	}
	k := r.key(operation, peers, tool)
	if r.costs == nil {
		r.costs = map[string][]cost{}
	}
	if r.costs[k] == nil {
		r.order = append(r.order, result{Operation: operation, Peers: peers, Tool: tool})
	}
	r.costs[k] = append(r.costs[k], c)
}

func (r *results) counted(operation string, peers int, tool string, c counts) {
	for i, h := range r.order {
		if h.Operation == operation && h.Peers == peers && h.Tool == tool {
			r.order[i].Counts = &c
		}
	}
}

// all sums the rounds up, an operation's tools next to each other.
func (r *results) all() []result {
	var names []string
	out := slices.Clone(r.order)
	for i := range out {
		h := &out[i]
		if !slices.Contains(names, h.Operation) {
			names = append(names, h.Operation)
		}
		list := r.costs[r.key(h.Operation, h.Peers, h.Tool)]
		h.Rounds = len(list)
		h.Wall, h.Min = median(list, func(c cost) time.Duration { return c.Wall })
		h.CPU, _ = median(list, func(c cost) time.Duration { return c.CPU })
		h.Stall, _ = median(list, func(c cost) time.Duration { return c.Stall })
		for _, c := range list {
			h.Memory = max(h.Memory, c.Memory)
		}
	}
	sortResults(out, names)
	return out
}

// sortResults puts the operations in this order, each from few peers to many.
func sortResults(list []result, operations []string) {
	slices.SortStableFunc(list, func(a, b result) int {
		if d := slices.Index(operations, a.Operation) - slices.Index(operations, b.Operation); d != 0 {
			return d
		}
		return a.Peers - b.Peers
	})
}

// add takes what an earlier report has of operations at sizes that this one
// doesn't have: the tools of one stay those of one run. The earlier is of the
// same programs and machine.
func (r *report) add(earlier report) error {
	if r.Title != earlier.Title {
		return fmt.Errorf("the earlier results are of another device: %s", earlier.Title)
	}
	for i, f := range r.Facts {
		if i >= len(earlier.Facts) || f.Name != earlier.Facts[i].Name {
			return errors.New("the earlier results are of another version")
		}
		old := earlier.Facts[i].Value
		switch {
		case f.Name == "date" || f.Name == "took", f.Name == "rounds" && f.Value != old:
			r.Facts[i].Value = old + ", " + f.Value
		case f.Name != "rounds" && f.Value != old:
			return fmt.Errorf("%s of the earlier results is %s, not %s", f.Name, old, f.Value)
		}
	}
	var operations []string
	own := slices.Clone(r.Results)
	for _, h := range earlier.Results {
		if !slices.ContainsFunc(own, func(o result) bool { return o.Operation == h.Operation && o.Peers == h.Peers }) {
			r.Results = append(r.Results, h)
		}
	}
	for _, h := range slices.Concat(earlier.Results, own) {
		if !slices.Contains(operations, h.Operation) {
			operations = append(operations, h.Operation)
		}
	}
	sortResults(r.Results, operations)
	return nil
}

func median(list []cost, of func(cost) time.Duration) (middle, least time.Duration) {
	var all []time.Duration
	for _, c := range list {
		all = append(all, of(c))
	}
	slices.Sort(all)
	return all[len(all)/2], all[0]
}

// A rateOfOne is what a round of a tool took the last time.
type rateOfOne struct {
	peers int
	took  time.Duration
}

func (b *bench) took(tool string, peers int, d time.Duration) {
	if b.rate == nil {
		b.rate = map[string]rateOfOne{}
	}
	b.rate[tool] = rateOfOne{peers, d}
}

// takes estimates a round by the last one. Of a tunnel of few peers, which cost
// little beside the rest, it knows no more than that.
func (b *bench) takes(tool string, peers int) time.Duration {
	last := b.rate[tool]
	switch {
	case peers < last.peers:
		return 0
	case last.peers < 1000:
		return last.took
	}
	return time.Duration(float64(last.took) * float64(peers) / float64(last.peers))
}

// alternate runs rounds of tools by turns, in the one order and then in the
// other, until there are enough or a tool has spent its time. Then, where it
// is cheap enough, it runs one more that counts.
func (b *bench) alternate(ctx context.Context, peers int, tools []string, steps func(tool, trace string) []step) error {
	spent := map[string]time.Duration{}
	for i := range b.rounds {
		order := slices.Clone(tools)
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, tool := range order {
			// Another round takes what a round has taken so far.
			if i > 0 && (spent[tool] == 0 || spent[tool]+spent[tool]/time.Duration(i) > b.budget) {
				continue
			}
			if takes := b.takes(tool, peers); !b.deadline.IsZero() && time.Until(b.deadline) < takes {
				b.say("%d peers, %s, round %d: left out, as it would take %v", peers, tool, i+1, takes.Round(time.Second))
				continue
			}
			start := time.Now()
			costs, err := inRound(ctx, b.path(tool), steps(tool, ""))
			spent[tool] += time.Since(start)
			b.took(tool, peers, time.Since(start))
			if err != nil {
				return fmt.Errorf("%s with %d peers: %w", tool, peers, err)
			}
			for _, c := range costs {
				b.results.add(c, peers, tool)
			}
			b.say("%d peers, %s, round %d: %v", peers, tool, i+1, time.Since(start).Round(time.Millisecond))
		}
	}
	for _, tool := range tools {
		if b.trace && tool != networkdTool && spent[tool] > 0 && spent[tool] < b.budget && (tool != wgQuickTool || peers <= 100) {
			if err := b.count(ctx, peers, tool, steps); err != nil {
				return err
			}
		}
	}
	return nil
}

// count runs a round under strace, each operation once.
func (b *bench) count(ctx context.Context, peers int, tool string, steps func(tool, trace string) []step) error {
	dir, err := os.MkdirTemp("", "wgctl-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	traced := map[string]string{}
	list := steps(tool, dir)
	for i := range list {
		s := &list[i]
		if s.Name != "" && traced[s.Name] == "" {
			s.Trace = filepath.Join(dir, fmt.Sprint("step", i))
			traced[s.Name] = s.Trace
		}
	}
	if _, err := inRound(ctx, b.path(tool), list); err != nil {
		return fmt.Errorf("counting what %s does with %d peers: %w", tool, peers, err)
	}
	for name, trace := range traced {
		c, err := count(trace)
		if err != nil {
			return err
		}
		operation, other, ok := strings.Cut(name, "|")
		if ok {
			b.results.counted(operation, peers, other, c)
		} else {
			b.results.counted(operation, peers, tool, c)
		}
	}
	return nil
}
