// SPDX-License-Identifier: MIT

package routes

import (
	"net/netip"
	"testing"
)

// Where a device's packets leave by another namespace, a default route goes to
// the main table, unless that is taken or must not fail open; the mark of its
// rules is then none of those that tunnels out there choose.
func TestPlanOutside(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	facts := func(change func(*Facts)) Facts {
		f := Facts{AllowedIPs: []netip.Prefix{v4, v6}, Outside: true}
		change(&f)
		return f
	}
	for _, c := range []struct {
		name  string
		facts Facts
		rules int
		mark  uint32
		main  int // routes in the main table
	}{
		{"free", facts(func(*Facts) {}), 0, 0, 2},
		{"one taken", facts(func(f *Facts) { f.DefaultTaken = []Family{V4} }), 2, firstMarkOutside, 1},
		{"both taken", facts(func(f *Facts) { f.DefaultTaken = []Family{V4, V6} }), 4, firstMarkOutside, 0},
		{"taken, and so is the mark", facts(func(f *Facts) {
			f.DefaultTaken, f.InUse = []Family{V4, V6}, map[uint32]bool{firstMarkOutside: true}
		}), 4, firstMarkOutside + 1, 0},
		{"fails closed", facts(func(f *Facts) { f.FailClosed, f.NeedMark = true, true }), 4, firstMarkOutside, 0},
		{"rules that are there stay", facts(func(f *Facts) {
			f.LastMark = 151830
			f.Last = []Rule{{Family: V4, Priority: 32764, Suppress: true, Table: TableMain}, {Family: V4, Priority: 32765, Invert: true, Mark: 151830, Table: 151830}}
		}), 2, 151830, 1},
		{"the file's mark", facts(func(f *Facts) { f.FwMark, f.DefaultTaken = 7, []Family{V4, V6} }), 4, 7, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := Plan(c.facts)
			if err != nil {
				t.Fatal(err)
			}
			main := 0
			for _, r := range d.Routes {
				if r.Table == TableMain {
					main++
				}
			}
			if len(d.Rules) != c.rules || d.FwMark != c.mark || main != c.main {
				t.Errorf("%d rules, mark %d, %d routes in main: want %d, %d, %d", len(d.Rules), d.FwMark, main, c.rules, c.mark, c.main)
			}
		})
	}
}
