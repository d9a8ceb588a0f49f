// SPDX-License-Identifier: MIT

package check

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var shownKey = regexp.MustCompile(`(?m)^\W*(?:PrivateKey\s*=\s*|[a-z]+\s+)([A-Za-z0-9+/]{43}=)(?:$|\s+public:)`)

// Every private key that a document or an example of this project shows is
// known: somebody will copy it.
func TestPublishedKeys(t *testing.T) {
	shown := published[:2:2] // of wg(8) and wg-quick(8)
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/*/*.md", "../man/*", "../packaging/examples/*", "../testdata/demo/*.conf"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%d files of %s: %v", len(files), pattern, err)
		}
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range shownKey.FindAllStringSubmatch(string(text), -1) {
				f := parsed(t, path, []byte("[Interface]\nPrivateKey = "+m[1]+"\n"))
				public, ok := publicKey(f.Config)
				if !ok {
					t.Fatalf("%s: %s is no key", path, m[1])
				}
				shown = append(shown, public.String())
			}
		}
	}
	slices.Sort(shown[2:])
	shown = slices.Compact(shown)
	if len(shown) < 6 {
		t.Errorf("only %d keys are shown", len(shown))
	}
	if *update {
		source, err := os.ReadFile("published.go")
		if err != nil {
			t.Fatal(err)
		}
		before, _, _ := strings.Cut(string(source), "{\n")
		text := before + "{\n\t\"" + strings.Join(shown, "\",\n\t\"") + "\",\n}\n"
		if err := os.WriteFile("published.go", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !slices.Equal(published, shown) {
		t.Errorf("published has\n%s\nand documents show\n%s\nrun with -update", strings.Join(published, "\n"), strings.Join(shown, "\n"))
	}
}
