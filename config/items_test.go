// SPDX-License-Identifier: MIT

package config

import (
	"slices"
	"strings"
	"testing"
)

const itemsFile = "[Interface]\r\n" +
	"\r\n" +
	"[Peer] # one\r\n" +
	"PublicKey = zxqrwqCnss0vUwVXRujaEV7kftzb/nYMBHPtRGJhaWk=\r\n" +
	"AllowedIPs = 10.0.0.1/ 24,10.1.0.0/16 , fd00::1 # a, b\r\n" +
	"\tallowedips=10.0.0.9/24\r\n"

// Items are found where they stand, and edits of them leave every other byte.
func TestEditAllowedIPs(t *testing.T) {
	c, _, err := Parse("wg0.conf", strings.NewReader(itemsFile))
	if err != nil {
		t.Fatal(err)
	}
	var at []Item
	var spelled []string
	c.AllowedIPItems([]byte(itemsFile), func(_ int, i Item, s string) { at, spelled = append(at, i), append(spelled, s) })
	if want := []Item{{5, 0}, {5, 1}, {5, 2}, {6, 0}}; !slices.Equal(at, want) {
		t.Errorf("items at %v, want %v", at, want)
	}
	if want := []string{"10.0.0.1/24", "10.1.0.0/16", "fd00::1", "10.0.0.9/24"}; !slices.Equal(spelled, want) {
		t.Errorf("items are %q, want %q", spelled, want)
	}
	for _, c := range []struct {
		edits    map[Item]string
		from, to string
		what     string
	}{
		{nil, "", "", "nothing"},
		{map[Item]string{{5, 0}: "10.0.0.0/24"}, "10.0.0.1/ 24", "10.0.0.0/24", "a spelling"},
		{map[Item]string{{5, 1}: ""}, "10.0.0.1/ 24,10.1.0.0/16 , fd00::1", "10.0.0.1/ 24, fd00::1", "one gone"},
		{map[Item]string{{5, 0}: "", {5, 2}: "fd00::1/128"}, "10.0.0.1/ 24,10.1.0.0/16 , fd00::1", "10.1.0.0/16 , fd00::1/128", "both"},
		{map[Item]string{{6, 0}: ""}, "\tallowedips=10.0.0.9/24\r\n", "", "a line gone"},
	} {
		want := strings.Replace(itemsFile, c.from, c.to, 1)
		if got := string(EditAllowedIPs([]byte(itemsFile), c.edits)); got != want {
			t.Errorf("%s: got\n%q\nwant\n%q", c.what, got, want)
		}
	}
}
