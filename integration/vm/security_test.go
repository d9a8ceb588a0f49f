// SPDX-License-Identifier: MIT

package vm

import (
	"os"
	"os/exec"
	"regexp"
	"testing"
)

// The figure that the documents give of the units is theirs, to the tenth, and
// not more than the 2.8 of systemd-networkd.
func TestSecurityFigure(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		needed(t, "systemd-analyze is not installed")
	}
	page, err := os.ReadFile("../../docs/systemd.md")
	if err != nil {
		t.Fatal(err)
	}
	said := regexp.MustCompile("`systemd-analyze security` gives ([0-9.]+) for the file").FindSubmatch(page)
	if said == nil {
		t.Fatal("docs/systemd.md gives no figure")
	}
	for _, unit := range []string{"wgctl@.service", "wg-quick@.service"} {
		out, err := exec.Command("systemd-analyze", "security", "--offline=true", "--no-pager", "../../packaging/systemd/"+unit).CombinedOutput()
		got := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+) `).FindSubmatch(out)
		if err != nil || got == nil {
			t.Fatalf("systemd-analyze security %s: %v\n%s", unit, err, out)
		}
		if string(got[1]) != string(said[1]) || string(got[1]) > "2.8" {
			t.Errorf("%s: %s, and docs/systemd.md says %s", unit, got[1], said[1])
		}
	}
}
