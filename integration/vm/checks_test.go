// SPDX-License-Identifier: MIT

package vm

import (
	_ "embed"
	"strings"
	"testing"
)

//go:embed testdata/checks.sh
var checksScript string

// runChecks boots a guest and runs a script that says "ok NAME" or
// "FAIL NAME: why" for each of its lines with check.
func runChecks(t *testing.T, m Machine, script string) {
	t.Helper()
	out := Run(guestContext(t), t, m, "sh", "-c", checksScript+script+"\nexit 7")
	checks := 0
	for line := range strings.Lines(out.Console) {
		verdict, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch verdict {
		case "ok":
			checks++
		case "FAIL":
			name, said, _ := strings.Cut(what, ": ")
			t.Errorf("%s:\n%s", name, strings.ReplaceAll(said, "|", "\n"))
		}
	}
	if want := strings.Count(script, "\tcheck \""); checks != want && !t.Failed() {
		t.Errorf("%d of %d checks were made", checks, want)
	}
	if out.Code != 7 {
		t.Errorf("exit status %d, want 7, with which the script ends", out.Code)
	}
}
