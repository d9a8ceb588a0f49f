// SPDX-License-Identifier: MIT

package check

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/wgctl/wgctl/config"
)

// Whatever a file that can be parsed says, the rules end, and what is mended
// means the same.
func FuzzRun(f *testing.F) {
	for _, pattern := range []string{"../testdata/conf/*.conf", examples + "/*/bad.conf"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) < 20 {
			f.Fatalf("%d files of %s: %v", len(files), pattern, err)
		}
		for _, path := range files {
			content, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	host := &Facts{Links: []Link{{Name: "eth0", MTU: 1500}}}
	f.Fuzz(func(t *testing.T, content []byte) {
		was := parsed(t, "wg0.conf", content)
		found, _ := Run(Input{Files: []File{was}, Host: host})
		if was.Config == nil {
			return
		}
		mended := Mended(content, found)
		is := parsed(t, "wg0.conf", mended)
		if is.Config == nil {
			t.Fatalf("mended, it can't be parsed: %v\n%q", is.Errors, mended)
		}
		if d := config.Diff(was.Config, is.Config); len(d) > 0 {
			t.Fatalf("mended, it means something else: %+v\n%q", d, mended)
		}
		Changes("wg0.conf", content, mended)
	})
}
