// SPDX-License-Identifier: MIT

package netlinkx

import (
	"strings"
	"testing"
)

// A generation is this Kernel's own if it counts what that has sent the link's device,
// from the first request on, and nothing else.
func TestTally(t *testing.T) {
	var c tally
	check := func(path, generation string, link int, want bool) {
		t.Helper()
		if index, all := c.all(path, generation); all != want || all && index != link {
			t.Errorf("%s is all of link %d: %v", generation, index, all)
		}
	}
	check("a", "X-0", 0, false)
	c.add("a", 5)
	c.add("a", 5)
	c.add("b", 6)
	check("a", "X-2", 5, true)
	check("a", "X-3", 0, false) // somebody else's
	check("a", "X-1", 0, false)
	check("a", "", 0, false)
	check("a", "2", 0, false)
	check("b", "X-1", 6, true)
	c.add("a", 7) // the name's next device
	check("a", "Y-1", 7, true)
	check("a", "Y-3", 0, false)
}

// The fake knows its own changes from those by hand.
func TestFakeGeneration(t *testing.T) {
	f, ctx := NewFake(), t.Context()
	if err := f.StartUserspace(ctx, "wg0"); err != nil {
		t.Fatal(err)
	}
	mark := uint32(7)
	if err := f.Configure(ctx, "wg0", DeviceChange{FwMark: &mark}); err != nil {
		t.Fatal(err)
	}
	before, own, err := f.Generation(ctx, "wg0")
	if err != nil || !own || before == "" {
		t.Errorf("generation %q is its own: %v, %v", before, own, err)
	}
	f.EditDevice("wg0", func(d *Device) { d.FwMark = 8 })
	if now, own, err := f.Generation(ctx, "wg0"); err != nil || own || now == before {
		t.Errorf("after a change by hand generation %q is its own: %v, %v", now, own, err)
	}
}

// A sum that an earlier version wrote is read, and is that of nothing.
func TestSumOfEarlierVersion(t *testing.T) {
	var s Sum
	text := []byte("00000000000000010f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f")
	if err := s.UnmarshalText(text); err != nil || s == (Sum{}) || s == SumOfPeers(&Device{}) {
		t.Errorf("it is %+v: %v", s, err)
	}
	for _, text := range []string{"", "00", "x", strings.Repeat("0", 79) + "x"} {
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is a sum", text)
		}
	}
	one := Sum{digest: 1, members: 2}
	text, err := one.MarshalText()
	if err != nil || len(text) != 80 || s.UnmarshalText(text) != nil || s != one {
		t.Errorf("%+v becomes %s and then %+v: %v", one, text, s, err)
	}
}
