// SPDX-License-Identifier: MIT

package main

import (
	"testing"
	"time"
)

// A handshake may lie in the future, when the clock was set back since.
func TestAgo(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{now.Add(-70 * time.Second), "1m10s ago"},
		{now.Add(time.Hour), "in the future: the clock was set back"},
	} {
		if got := ago(&c.at, now); got != c.want {
			t.Errorf("%v: %q, want %q", c.at, got, c.want)
		}
	}
}
