// SPDX-License-Identifier: MIT

package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestStrip has what wg-quick's strip does with the odd lines.
func TestStrip(t *testing.T) {
	in := "# top\n  [Interface]  # c\r\nAddress = 1.2.3.4\n\tPrivateKey = k # mine\npostUP = echo # x\nBackend = kernel\n\n[ Peer ]\nName = x\nAddress = kept\n[Interface]\n MTU=5\nTable\n[ Interface ]\nDNS = kept"
	want := "# top\n[Interface]  # c\r\nPrivateKey = k # mine\n\n[ Peer ]\nAddress = kept\n[Interface]\n[ Interface ]\nDNS = kept\n"
	if got := stripped([]byte(in)); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// TestStripIsWgQuicks compares with the real one over the corpus.
func TestStripIsWgQuicks(t *testing.T) {
	if _, err := exec.LookPath("wg-quick"); err != nil || os.Geteuid() != 0 {
		if os.Getenv("WGCTL_TEST_STRICT") == "1" {
			t.Fatal("no wg-quick to compare with, or not root")
		}
		t.Skip("no wg-quick to compare with, or not root")
	}
	files, err := filepath.Glob("../testdata/conf/*.conf")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		abs, err := filepath.Abs(f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := exec.Command("wg-quick", "strip", abs).Output()
		if err != nil {
			t.Errorf("%s: wg-quick: %v", f, err)
			continue
		}
		text, err := ReadText(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if got := stripped(text) + "\n"; got != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", f, got, strings.TrimSpace(string(want)))
		}
	}
}

func stripped(text []byte) string {
	var b strings.Builder
	_ = Strip(&b, text) // a Builder takes everything
	return b.String()
}
