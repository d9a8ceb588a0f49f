// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// raceLimit bounds each of the commands that race.
const raceLimit = 30 * time.Second

// raceRounds is how often each of the two classic races is run: a thousand
// times in a whole sweep.
func raceRounds(t *testing.T) int {
	return repeated(t, rounds(40, 5), 1000)
}

// atOnce runs two wgctl at the same time.
func atOnce(h *Host, a, b []string) (Output, Output) {
	h.t.Helper()
	p, q := h.Start(append([]string{Bin(h.t)}, a...)...), h.Start(append([]string{Bin(h.t)}, b...)...)
	return p.Wait(raceLimit), q.Wait(raceLimit)
}

// Of two ups of one interface at once, one wins and the other says that it is
// up already; what stands is a whole tunnel.
func TestTwoUpsAtOnce(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	before := h.Snapshot()
	for n := range raceRounds(t) {
		a, b := atOnce(h, []string{"up", "wg0"}, []string{"up", "wg0"})
		won, lost := a, b
		if a.Code != 0 {
			won, lost = b, a
		}
		if won.Code != 0 || lost.Code != 1 || !strings.Contains(lost.Stderr, "wgctl: wg0 is up already") {
			t.Fatalf("round %d: want one winner: %v\n%v", n, a, b)
		}
		whole(h, "wg0")
		wgctlOK(h, "down", "wg0")
	}
	h.Unchanged(before)
}

// Of two downs of one tunnel at once, one takes it down and the other says
// that it isn't up; an up and a down at once leave a whole tunnel or none.
func TestUpAndDownAtOnce(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	before := h.Snapshot()
	for n := range raceRounds(t) {
		wgctlOK(h, "up", "wg0")
		a, b := atOnce(h, []string{"down", "wg0"}, []string{"down", "wg0"})
		if a.Code+b.Code != 1 || !strings.Contains(a.Stderr+b.Stderr, "wgctl: wg0 is not up") {
			t.Fatalf("round %d: want one winner: %v\n%v", n, a, b)
		}
		wgctlOK(h, "up", "wg0")
		up, down := atOnce(h, []string{"up", "wg0"}, []string{"down", "wg0"})
		switch {
		case down.Code != 0:
			t.Fatalf("round %d: %v\n%v", n, down, up)
		case up.Code == 0:
			whole(h, "wg0")
			wgctlOK(h, "down", "wg0")
		case up.Code != 1 || len(statuses(h)) != 0:
			t.Fatalf("round %d: neither up nor down: %v\n%v", n, up, down)
		}
	}
	h.Unchanged(before)
}

// Two full tunnels that come up at once both work, each with a table, a mark
// and rules of its own for IPv4 and IPv6, and go down in any order, or at
// once, without a trace.
func TestTwoFullTunnelsAtOnce(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	h.WriteFile(configOf("wg1"), fullTunnel(t, 1))
	before := h.Snapshot()
	names, rnd := []string{"wg0", "wg1"}, seeded(t)
	for n := range raceRounds(t) {
		a, b := atOnce(h, []string{"up", "wg0"}, []string{"up", "wg1"})
		if a.Code != 0 || b.Code != 0 {
			t.Fatalf("round %d: %v\n%v", n, a, b)
		}
		ownRoutes(h, names)
		if rnd.IntN(3) == 0 {
			a, b = atOnce(h, []string{"down", "wg0"}, []string{"down", "wg1"})
			if a.Code != 0 || b.Code != 0 {
				t.Fatalf("round %d: %v\n%v", n, a, b)
			}
			continue
		}
		first := rnd.IntN(2)
		wgctlOK(h, "down", names[first])
		ownRoutes(h, names[1-first:2-first])
		wgctlOK(h, "down", names[1-first])
	}
	h.Unchanged(before)
}

// ownRoutes fails the test unless each tunnel is whole and has, in each
// family, a pair of rules and a default route that no other has, and no other
// rule of wgctl's is there.
func ownRoutes(h *Host, names []string) {
	h.t.Helper()
	all := statuses(h)
	marks := map[int]bool{}
	for _, name := range names {
		s := all[name]
		if s.State != "up" || len(s.Drift)+len(s.Foreign) > 0 || s.FwMark == 0 || marks[s.FwMark] {
			h.t.Fatalf("%s is no whole tunnel with a mark of its own: %+v", name, all)
		}
		marks[s.FwMark] = true
	}
	for _, family := range []string{"-4", "-6"} {
		rules := h.Must("ip", family, "rule").Stdout
		if n := strings.Count(rules, "proto 87"); n != 2*len(names) || len(priorities(rules)) != strings.Count(rules, "\n") {
			h.t.Fatalf("want a pair of rules for each of %v, each with its priority:\n%s", names, rules)
		}
		if n := strings.Count(rules, "lookup main suppress_prefixlength 0"); n != len(names) {
			h.t.Fatalf("%d rules that spare the local network:\n%s", n, rules)
		}
		for _, name := range names {
			mark := all[name].FwMark
			said(h.t, rules, fmt.Sprintf("not from all fwmark %#x lookup %d ", mark, mark))
			route := h.Must("ip", family, "route", "show", "table", fmt.Sprint(mark)).Stdout
			if !strings.HasPrefix(route, "default dev "+name+" ") || strings.Count(route, "\n") != 1 {
				h.t.Fatalf("table %d of %s: %s", mark, name, route)
			}
		}
	}
}

// priorities are those of the rules in "ip rule", each once.
func priorities(rules string) []string {
	var list []string
	for line := range strings.Lines(rules) {
		p, _, _ := strings.Cut(line, ":")
		list = append(list, p)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// A tunnel that comes up while another goes down, or fails to come up, gets
// and keeps the kernel parameter that all full tunnels share, and the last one
// puts it back.
func TestSharedSysctl(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	h.WriteFile(configOf("wg1"), fullTunnel(t, 1))
	h.WriteFile(configOf("wg2"), fullTunnel(t, 2, "PostUp = false"))
	before := h.Snapshot()
	needed := func(n int, outs ...Output) {
		t.Helper()
		if h.Run("sysctl", "-n", "net.ipv4.conf.all.src_valid_mark").Stdout != "1\n" {
			t.Fatalf("round %d: src_valid_mark is off with a full tunnel up: %v", n, outs)
		}
	}
	names := []string{"wg0", "wg1"}
	wgctlOK(h, "up", "wg0")
	for n := range raceRounds(t) {
		from, to := names[n%2], names[1-n%2]
		down, up := atOnce(h, []string{"down", from}, []string{"up", to})
		if down.Code != 0 || up.Code != 0 {
			t.Fatalf("round %d: %v\n%v", n, down, up)
		}
		needed(n, down, up)
		whole(h, to)
		down, failed := atOnce(h, []string{"down", to}, []string{"up", "wg2"})
		if down.Code != 0 || failed.Code != 1 {
			t.Fatalf("round %d: %v\n%v", n, down, failed)
		}
		h.Unchanged(before)
		up, failed = atOnce(h, []string{"up", to}, []string{"up", "wg2"})
		if up.Code != 0 || failed.Code != 1 {
			t.Fatalf("round %d: %v\n%v", n, up, failed)
		}
		needed(n, up, failed)
		whole(h, to)
	}
	wgctlOK(h, "down", names[raceRounds(t)%2])
	h.Unchanged(before)
}
