// SPDX-License-Identifier: MIT

package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The examples in the documents are files that can be used as they are.
func TestDocumentedFilesParse(t *testing.T) {
	for _, doc := range []string{"../README.md", "../docs/files.md", "../docs/forwarding.md", "../docs/check.md"} {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?s)```ini\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		if len(blocks) == 0 {
			t.Errorf("%s has no example", doc)
		}
		for _, b := range blocks {
			_, warnings, err := Parse(doc, strings.NewReader(b[1]))
			if err != nil || len(warnings) > 0 {
				t.Errorf("example in %s: %v, warnings %v:\n%s", doc, err, warnings, b[1])
			}
		}
	}
}

// Every key is in docs/files.md, in the table of its section, and nothing else
// is.
func TestDocumentedKeys(t *testing.T) {
	text, err := os.ReadFile("../docs/files.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("^\\| ((?:`[A-Za-z]+` ?)+)")
	documented := map[string]bool{}
	section := ""
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(strings.TrimSpace(line), "## "); ok {
			section = heading
		}
		if m := row.FindStringSubmatch(line); m != nil {
			for _, name := range strings.Fields(m[1]) {
				documented[section+strings.Trim(name, "`")] = true
			}
		}
	}
	for _, k := range keys {
		name := "[" + k.section.String() + "]" + k.name
		if !documented[name] {
			t.Errorf("docs/files.md has no row for %s", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/files.md has a row for %s, which is no key", name)
	}
}
