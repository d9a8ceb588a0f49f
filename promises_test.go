// SPDX-License-Identifier: MIT

package wgctl_test

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

// promised is a test named in docs/promises.md: a folder, a function, and maybe
// the name of a case in its package.
var promised = regexp.MustCompile("`([a-z/]+)\\.(Test[A-Za-z0-9]+)(?:/([^`]+))?`")

// TestPromises looks whether each promise has a test, and whether that exists.
func TestPromises(t *testing.T) {
	text, err := os.ReadFile("docs/promises.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{} // texts of test files, by folder
	for _, s := range sources(t) {
		if s.test() {
			tests[path.Dir(s.path)] += s.text
		}
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if !strings.HasPrefix(line, "| ") || len(cells) != 3 || strings.TrimSpace(cells[0]) == "what happens" {
			continue
		}
		rows++
		named := promised.FindAllStringSubmatch(cells[2], -1)
		if len(named) == 0 || strings.Count(cells[2], "`") != 2*len(named) {
			t.Errorf("%q names no tests, or none by folder and function: %s", cells[0], cells[2])
		}
		for _, m := range named {
			in := tests[m[1]]
			if !strings.Contains(in, "func "+m[2]+"(t *testing.T)") {
				t.Errorf("%q: there is no test %s in %s", cells[0], m[2], m[1])
			}
			if m[3] != "" && !strings.Contains(in, `"`+m[3]+`"`) {
				t.Errorf("%q: %s has no case %q", cells[0], m[2], m[3])
			}
		}
	}
	if want := strings.Count(string(text), "\n| ") - strings.Count(string(text), "\n| what happens"); rows != want || rows == 0 {
		t.Errorf("%d of %d rows were understood", rows, want)
	}
}
