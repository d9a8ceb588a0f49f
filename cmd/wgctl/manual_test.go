// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// pages are the manual pages, each made of what says the same elsewhere: the
// help of the verbs, and the documents.
var pages = map[string]func(t *testing.T) string{
	"wgctl.8":        pageOfVerbs,
	"wgctl.conf.5":   pageOfFiles,
	"wgctl-compat.7": pageOfNames,
}

// The manual pages say what the help and the documents say, and mandoc has
// nothing to say about them.
func TestManualPages(t *testing.T) {
	for name, page := range pages {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("..", "..", "man", name)
			want := roff(page(t))
			if *update {
				if err := os.WriteFile(path, want, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("man/%s is not what help and documents say (%v): make golden rewrites it", name, err)
			}
			lintPage(t, path)
		})
	}
}

func lintPage(t *testing.T, path string) {
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		if os.Getenv("WGCTL_TEST_STRICT") == "1" {
			t.Fatal("cannot run here: ", err)
		}
		t.Skip("cannot run here: ", err)
	}
	if out, err := exec.Command(mandoc, "-Tlint", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("mandoc -Tlint: %v\n%s", err, out)
	}
}

func pageOfVerbs(t *testing.T) string {
	root := newRoot(newUI(io.Discard, io.Discard))
	var b strings.Builder
	head(&b, "WGCTL", 8, "wgctl - WireGuard tunnels, up and down, whole or not at all")
	fmt.Fprint(&b, "# SYNOPSIS\n\n**wgctl** _VERB_ [_FLAG_...] [_WORD_...]\n\n")
	fmt.Fprintf(&b, "# DESCRIPTION\n\n%s\n\n%s\n", root.Long, prose(section(t, "README.md", "## Use")))
	fmt.Fprint(&b, "# VERBS\n\n")
	walk(root, func(cmd *cobra.Command) {
		if cmd != root && !cmd.Hidden && cmd.Runnable() {
			describe(&b, cmd)
		}
	})
	for _, h := range []string{"Backends", "Hooks", "Exit codes", "What is where"} {
		fmt.Fprintf(&b, "# %s\n\n%s\n", strings.ToUpper(h), section(t, "README.md", "### "+h))
	}
	fmt.Fprintf(&b, "# EXAMPLES\n\n%s\n\n", block(root.Example))
	fmt.Fprint(&b, "# SEE ALSO\n\n**wgctl.conf**(5), **wgctl-compat**(7), **wg**(8), **wg-quick**(8), **ip**(8), **nft**(8)\n")
	return b.String()
}

// describe writes of a verb what its help says.
func describe(b *strings.Builder, cmd *cobra.Command) {
	fmt.Fprintf(b, "## %s\n\n%s\n\n", strings.TrimPrefix(cmd.CommandPath(), "wgctl "), block(cmd.UseLine()))
	text := cmd.Long
	if text == "" {
		text = cmd.Short + "."
	}
	fmt.Fprintf(b, "%s\n\n", escape(text))
	if cmd.Example != "" {
		fmt.Fprintf(b, "%s\n\n", block(cmd.Example))
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		what, usage := pflag.UnquoteUsage(f)
		name := "**--" + f.Name + "**"
		if f.Shorthand != "" {
			name = "**-" + f.Shorthand + "**, " + name
		}
		if what != "" {
			name += " _" + what + "_"
		}
		fmt.Fprintf(b, "%s\n: %s\n\n", name, escape(usage))
	})
}

func pageOfFiles(t *testing.T) string {
	var b strings.Builder
	head(&b, "WGCTL.CONF", 5, "wgctl.conf - files of WireGuard tunnels")
	fmt.Fprintf(&b, "# SYNOPSIS\n\n/etc/wireguard/_NAME_.conf\n\n# DESCRIPTION\n\n%s\n", body(t, "docs/files.md"))
	fmt.Fprint(&b, "# SEE ALSO\n\n**wgctl**(8), **wgctl-compat**(7), **wg**(8), **wg-quick**(8)\n")
	return b.String()
}

func pageOfNames(t *testing.T) string {
	var b strings.Builder
	head(&b, "WGCTL-COMPAT", 7, "wgctl-compat - wgctl as wg, wg-quick and wireguard-go")
	fmt.Fprintf(&b, "# DESCRIPTION\n\n%s\n", body(t, "docs/compat.md"))
	fmt.Fprintf(&b, "# DIFFERENCES FROM WG-QUICK\n\n%s\n", section(t, "README.md", "## Differences from wg-quick"))
	fmt.Fprint(&b, "# SEE ALSO\n\n**wgctl**(8), **wgctl.conf**(5), **wg**(8), **wg-quick**(8)\n")
	return b.String()
}

func head(b *strings.Builder, name string, section int, line string) {
	fmt.Fprintf(b, "%% %q \"%d\" \"2026-11-23\" \"wgctl\"\n\n# NAME\n\n%s\n\n", name, section, line)
}

// body is a document without its title.
func body(t *testing.T, path string) string {
	_, text, _ := strings.Cut(document(t, path), "\n")
	return local(headings.ReplaceAllStringFunc(text, func(h string) string { return strings.ToUpper(h[1:]) }))
}

// section is what stands in a document under a heading, down to the next of
// the same kind or a higher one, or for the parts of a section of the first
// kind, to the first of them.
func section(t *testing.T, path, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(document(t, path), "\n"+heading+"\n")
	if !found {
		t.Fatalf("%s has no heading %q", path, heading)
	}
	return local(nextHeading.Split(text, 2)[0])
}

var (
	headings    = regexp.MustCompile(`(?m)^## .*$`)
	nextHeading = regexp.MustCompile(`(?m)^##`)
	links       = regexp.MustCompile(`\[([^\]]+)\]\(([^)]+)\)`)
	fenced      = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$")
	tables      = regexp.MustCompile(`(?m)^\|.*\|\n\|[-|]+\|\n(?:\|.*\|\n)+`)
)

func document(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// local makes of the links of a document names of what is on the machine, and
// of the table of keys a list, which terminals can break into lines.
func local(text string) string {
	text = links.ReplaceAllStringFunc(text, func(link string) string {
		part := links.FindStringSubmatch(link)
		if strings.Contains(part[2], "://") {
			return part[1] + " (" + part[2] + ")"
		}
		file, _, _ := strings.Cut(filepath.Base(part[2]), "#")
		return "_/usr/share/doc/wgctl/" + file + "_"
	})
	return tables.ReplaceAllStringFunc(text, list)
}

// list makes of a table a list of its first column, with what the second says
// of it and, under its name, what a third does.
func list(table string) string {
	lines := strings.Split(strings.TrimSpace(table), "\n")
	names := cells(lines[0])
	var b strings.Builder
	for _, line := range lines[2:] {
		row := cells(line)
		fmt.Fprintf(&b, "%s\n: %s.", row[0], row[1])
		for i := 2; i < len(row); i++ {
			if row[i] != "" {
				fmt.Fprintf(&b, " %s: %s.", strings.ToUpper(names[i][:1])+names[i][1:], row[i])
			}
		}
		b.WriteString("\n\n")
	}
	return b.String()
}

func cells(line string) []string {
	row := strings.Split(strings.Trim(line, "|"), "|")
	for i := range row {
		row[i] = strings.TrimSpace(row[i])
	}
	return row
}

// prose is a text without its blocks, which stand elsewhere in the page.
func prose(text string) string { return fenced.ReplaceAllString(text, "") }

func block(text string) string {
	return "```\n" + strings.TrimRight(text, "\n") + "\n```"
}

// escape keeps what is Markdown in a text that is not.
func escape(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", `\<`, "`", "\\`").Replace(text)
}

// roff is a page as man reads it. Lines of documents may be longer than those of
// its source should be.
func roff(markdown string) []byte {
	var b bytes.Buffer
	filled, tag := true, false // the line after .TP is one of its own
	for line := range strings.Lines(string(md2man.Render([]byte(markdown)))) {
		switch {
		case strings.HasPrefix(line, ".EX") || strings.HasPrefix(line, ".nf"):
			filled = false
		case strings.HasPrefix(line, ".EE") || strings.HasPrefix(line, ".fi"):
			filled = true
		}
		if filled && !tag && !strings.HasPrefix(line, ".") {
			line = wrapped(line)
		}
		tag = strings.HasPrefix(line, ".TP")
		b.WriteString(line)
	}
	return b.Bytes()
}

// wrapped breaks a line of text at spaces, but not where the next line would begin
// like a request, or the former end like a sentence, which makes a wider space.
func wrapped(line string) string {
	const most = 80
	var b strings.Builder
	for width(line) > most {
		at := -1
		for i := 1; i < len(line)-1 && (at < 0 || width(line[:i]) <= most); i++ {
			if line[i] == ' ' && line[i-1] != ' ' && !strings.ContainsRune(" .'\n", rune(line[i+1])) && !endsSentence(line[:i]) {
				at = i
			}
		}
		if at < 0 {
			break
		}
		b.WriteString(line[:at] + "\n")
		line = line[at+1:]
	}
	return b.String() + line
}

// width is the length of a line as mandoc sees it, without its end: other
// characters than those of ASCII are \[u2026] and so on.
func width(line string) (n int) {
	for _, r := range strings.TrimRight(line, "\n") {
		if n++; r >= 0x80 {
			n += len(`\[u2026]`) - 1
		}
	}
	return n
}

func endsSentence(s string) bool {
	s = strings.TrimRight(s, "\"')]*")
	return strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") || strings.HasSuffix(s, "!")
}
