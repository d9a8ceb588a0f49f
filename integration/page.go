// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A page is a document whose blocks can be played on hosts, by the word after
// the language:
//
//	```ini relay:/etc/wireguard/wg0.conf   a file of the host called relay
//	```console relay                       what is typed there, and what it prints
//
// In the second a line that starts with "# " or "$ " is a command, with lines
// that start with "> " as its continuation, and what follows is its output: "…" is any text, and
// alone on a line any lines. A command without output may print what it likes.
// All must succeed. Private keys that a page shows, and the public ones of these,
// are replaced by the player's own, as a reader has to; so is a key that a
// command makes, from where the page shows it on.
type page struct {
	path   string
	blocks []pageBlock
}

type pageBlock struct {
	line     int
	language string
	host     string
	file     string // of an ini block
	text     string
}

var fenceLine = regexp.MustCompile("^```([a-z]+)(?: ([a-z0-9-]+)(?::(/\\S+))?)?$")

// readPage reads a document and its blocks.
func readPage(t testing.TB, path string) page {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := page{path: path}
	num, inside := 0, false
	var text strings.Builder
	for line := range strings.Lines(string(content)) {
		num++
		switch m := fenceLine.FindStringSubmatch(strings.TrimRight(line, "\n")); {
		case inside && strings.TrimSpace(line) == "```":
			p.blocks[len(p.blocks)-1].text, inside = text.String(), false
		case inside:
			text.WriteString(line)
		case m != nil:
			p.blocks = append(p.blocks, pageBlock{line: num, language: m[1], host: m[2], file: m[3]})
			inside = true
			text.Reset()
		case strings.HasPrefix(line, "```"):
			t.Fatalf("%s:%d: %q begins no block that is known here", path, num, line)
		}
	}
	return p
}

// A typedLine is a command and what it prints.
type typedLine struct {
	line    int
	command string
	output  string
	printed bool // whether the page says what
}

// typedLines are the commands of a console block.
func (b pageBlock) typedLines(t testing.TB) (out []typedLine) {
	t.Helper()
	num := b.line
	for line := range strings.Lines(b.text) {
		num++
		rest, prompt := strings.CutPrefix(line, "# ")
		if !prompt {
			rest, prompt = strings.CutPrefix(line, "$ ")
		}
		more, goesOn := strings.CutPrefix(line, "> ")
		switch last := len(out) - 1; {
		case prompt:
			out = append(out, typedLine{line: num, command: rest})
		case last < 0:
			t.Fatalf("line %d: output without a command", num)
		case goesOn && !out[last].printed:
			out[last].command += more
		default:
			out[last].output += line
			out[last].printed = true
		}
	}
	return out
}

// fits reports whether something that was printed is what a page shows.
func fits(shown, printed string) bool {
	var b strings.Builder
	b.WriteString(`^`)
	for line := range strings.Lines(shown) {
		if strings.TrimSpace(line) == "…" {
			b.WriteString(`(?:.*\n)*?`)
			continue
		}
		b.WriteString(strings.ReplaceAll(regexp.QuoteMeta(strings.TrimRight(line, " \n")), "…", ".*") + ` *\n`)
	}
	return regexp.MustCompile(b.String() + `$`).MatchString(printed)
}

// play plays a page: files are written and commands are run in their order, and
// print what the page shows.
func (p page) play(t testing.TB, hosts map[string]*Host) {
	t.Helper()
	for _, h := range hosts {
		h.Setenv("PATH", filepath.Dir(Bin(t))+":"+os.Getenv("PATH"))
		h.Setenv("HOME", "/run")
		h.Setenv("SSH_CONNECTION", "127.0.0.1 1 127.0.0.1 22") // whoever runs the tests doesn't matter
	}
	var all strings.Builder
	for _, b := range p.blocks {
		all.WriteString(b.text)
	}
	own := keysFor(t, all.String())
	for _, b := range p.blocks {
		where := fmt.Sprintf("%s:%d", p.path, b.line)
		h := hosts[b.host]
		switch {
		case b.language != "console" && b.file == "":
			continue // to be read
		case h == nil:
			t.Fatalf("%s: there is no host %q here to play that on", where, b.host)
		case b.language != "console":
			// All else is the machine's own.
			if dir := strings.SplitN(b.file, "/", 3)[1]; h.Run("mountpoint", "-q", "/"+dir).Code != 0 {
				t.Fatalf("%s: /%s is not the host's alone: mount something there", where, dir)
			}
			h.WriteFileMode(b.file, own.in(b.text), 0o600)
			continue
		}
		for _, c := range b.typedLines(t) {
			out := h.Run("sh", "-c", "exec 2>&1\n"+own.in(c.command))
			if out.Code != 0 {
				t.Fatalf("%s:%d: %v", p.path, c.line, out)
			}
			own.learn(c, out.Stdout)
			if c.printed && !fits(own.in(c.output), out.Stdout) {
				t.Errorf("%s:%d: %s prints\n%sand not\n%s", p.path, c.line, strings.TrimSpace(c.command), out.Stdout, own.in(c.output))
			}
		}
	}
}
