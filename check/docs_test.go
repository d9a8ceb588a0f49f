// SPDX-License-Identifier: MIT

package check

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/check.md has all rules as they are.
func TestDocumentedRules(t *testing.T) {
	const doc = "../docs/check.md"
	content, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	const head = "| rule | severity | finds | what goes wrong | mend |\n|---|---|---|---|---|\n"
	before, _, ok := strings.Cut(string(content), head)
	if !ok {
		t.Fatalf("%s has no table of the rules", doc)
	}
	var b strings.Builder
	for _, r := range Rules {
		fixes := ""
		if r.Fixes {
			fixes = " (`--fix`)"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s%s |\n", r.Name, r.Severity, r.Finds, r.Why, r.Mend, fixes)
	}
	want := before + head + b.String()
	if *update {
		if err := os.WriteFile(doc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(content) != want {
		t.Errorf("the table of %s is not that of the rules: run with -update", doc)
	}
}

// Rules have names of one kind, once each, and texts that are phrases.
func TestRules(t *testing.T) {
	if len(Rules) < 30 {
		t.Errorf("only %d rules", len(Rules))
	}
	name := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for i, r := range Rules {
		if !name.MatchString(r.Name) || find(r.Name) != &Rules[i] {
			t.Errorf("%q is no name of a rule, or is one twice", r.Name)
		}
		if r.Severity != Error && r.Severity != Warning && r.Severity != Info {
			t.Errorf("%s has severity %q", r.Name, r.Severity)
		}
		if (r.file == nil) == (r.host == nil) || r.OfHost != (r.host != nil) || r.OfHost != strings.HasPrefix(r.Name, "host-") {
			t.Errorf("%s is about a file or about the host, and named so", r.Name)
		}
		for _, s := range []string{r.Finds, r.Why, r.Mend} {
			if s == "" || strings.HasSuffix(s, ".") || strings.Contains(s, "|") {
				t.Errorf("%s: %q is no phrase for a line", r.Name, s)
			}
		}
	}
}

// The example of the documentation is silent because of its comments.
func TestDocumentedSilence(t *testing.T) {
	content, err := os.ReadFile("../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```ini\n(.*?)```").FindSubmatch(content)
	if m == nil {
		t.Fatal("docs/check.md has no example")
	}
	// With a key of the reader's own: that of the page everybody has.
	own := regexp.MustCompile("PrivateKey = .*").ReplaceAll(m[1], []byte("PrivateKey = "+key("own")))
	host := new(Facts)
	decode(t, examples+"/host.json", host)
	found, silenced := Run(Input{Files: []File{parsed(t, "wg0.conf", own)}, Host: host})
	if len(found) > 0 || silenced != 2 {
		t.Errorf("%d silenced, and there is\n%s", silenced, text(found))
	}
	found, _ = Run(Input{Files: []File{parsed(t, "wg0.conf", regexp.MustCompile("#.*").ReplaceAll(own, nil))}, Host: host})
	if len(found) != 2 {
		t.Errorf("without its comments the example yields\n%s", text(found))
	}
}
