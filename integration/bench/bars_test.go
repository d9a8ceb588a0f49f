// SPDX-License-Identifier: MIT

package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// A bar is held or missed by enough rounds of both sides; what is counted is so
// by one.
func TestBars(t *testing.T) {
	verdicts := func(own, other int) map[string]string {
		row := func(operation string, peers int, tool string, rounds int, wall time.Duration) result {
			return result{Operation: operation, Peers: peers, Tool: tool, Rounds: rounds, Wall: wall, Memory: 1, Counts: &counts{Peers: 1}}
		}
		r := report{Title: "Userspace", Results: []result{
			row(bringUp, 1, wgctlTool, own, time.Second), row(bringUp, 1, wgQuickTool, other, 5*time.Second),
			row(bringUp, 1000, wgctlTool, own, time.Second), row(bringUp, 1000, wgQuickTool, other, 5*time.Second),
			row(bringUp, 10_000, wgctlTool, other, time.Second), row(bringUp, 10_000, floorTool, own, time.Second),
			row(noOp, 10_000, wgctlTool, own, time.Second),
			row(oneChanged, 10_000, wgctlTool, own, time.Second),
			row(bringUp, 65_000, wgctlTool, own, time.Second),
		}}
		out := map[string]string{}
		for _, b := range r.bars() {
			words := b.row()
			out[words[0]] = words[3] + " " + words[4]
		}
		return out
	}
	for what, want := range map[string][2]string{ // of five and five rounds, and of five and four
		"up, 1 peer, against wg-quick":                                               {"held 5, 5", "too few rounds 5, 4"},
		"up, 1,000 peers, against wg-quick":                                          {"missed 5, 5", "too few rounds 5, 4"},
		"up, 10,000 peers, against floor":                                            {"held 5, 5", "too few rounds 4, 5"},
		"reload, nothing changed, 10,000 peers, against wg syncconf":                 {"not measured ", "not measured "},
		"reload, nothing changed, 10,000 peers: writes to the kernel and the device": {"held 1", "held 1"},
		"reload, one peer changed, 10,000 peers: peers that the device is told of":   {"held 1", "held 1"},
		"up, 65,000 peers: cost a peer":                                              {"held 5, 5", "too few rounds 5, 4"},
		"up, 65,000 peers: peak memory of wgctl's own process":                       {"held 5", "held 5"},
	} {
		if got := [2]string{verdicts(5, 5)[what], verdicts(5, 4)[what]}; got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	kernel := report{Title: "Kernel device", Results: []result{
		{Operation: removal, Peers: 10_000, Tool: wgctlTool, Rounds: 5, Wall: 4 * time.Second, Stall: time.Second},
		{Operation: removal, Peers: 10_000, Tool: wgQuickTool, Rounds: 5, Wall: 40 * time.Second, Stall: 39 * time.Second},
	}}
	if got := strings.Join(kernel.stall(10_000).row(), " "); !strings.HasSuffix(got, "1000 ms of 4000 ms; wg-quick: 39000 ms of 40000 ms held 5, 5") {
		t.Errorf("others at work: %s", got)
	}
	kernel.Results[0].Stall = 3 * time.Second
	if kernel.stall(10_000).Held {
		t.Error("others may wait for three quarters")
	}
	if got := verdicts(4, 5)["up, 65,000 peers: peak memory of wgctl's own process"]; !strings.HasPrefix(got, "too few") {
		t.Errorf("memory of four rounds: %q", got)
	}
}

// What a run adds to stays, but for what it measured again, and only if it is of
// the same programs.
func TestAdd(t *testing.T) {
	facts := func(wgctl, took string) []fact { return []fact{{"wgctl", wgctl}, {"took", took}} }
	row := func(operation string, peers int, tool string, rounds int) result {
		return result{Operation: operation, Peers: peers, Tool: tool, Rounds: rounds}
	}
	earlier := report{Title: "Kernel device", Facts: facts("1", "5m"), Results: []result{
		row(bringUp, 1, wgctlTool, 1), row(bringUp, 10, wgctlTool, 1), row(bringUp, 10, floorTool, 1), row("down", 1, wgctlTool, 1),
	}}
	r := report{Title: "Kernel device", Facts: facts("1", "2m"), Results: []result{row(removal, 10, wgctlTool, 2), row(bringUp, 10, wgctlTool, 2)}}
	if err := r.add(earlier); err != nil {
		t.Fatal(err)
	}
	want := []result{row(bringUp, 1, wgctlTool, 1), row(bringUp, 10, wgctlTool, 2), row("down", 1, wgctlTool, 1), row(removal, 10, wgctlTool, 2)}
	if !slices.Equal(r.Results, want) || r.Facts[1].Value != "5m, 2m" {
		t.Errorf("%v, %v; want %v", r.Results, r.Facts, want)
	}
	other := report{Title: "Kernel device", Facts: facts("2", "2m")}
	if err := other.add(earlier); err == nil || err.Error() != "wgctl of the earlier results is 1, not 2" {
		t.Errorf("of another version: %v", err)
	}
}
