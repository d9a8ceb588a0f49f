// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected messages of testdata/conf/bad")

const corpus = "../testdata/conf"

// corpusFiles returns the files of folders of the corpus; "" is the one of
// what every wg-quick takes.
func corpusFiles(t testing.TB, folders ...string) (paths []string) {
	t.Helper()
	for _, f := range folders {
		p, err := filepath.Glob(filepath.Join(corpus, f, "*.conf"))
		if err != nil || len(p) == 0 {
			t.Fatalf("no corpus in %q: %v", f, err)
		}
		paths = append(paths, p...)
	}
	return paths
}

func parseString(text string) (*Config, []Warning, error) {
	return Parse("t.conf", strings.NewReader(text))
}

func TestCorpusIsAccepted(t *testing.T) {
	files := corpusFiles(t, "", "modern")
	if len(files) < 48 {
		t.Errorf("corpus has %d files", len(files))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			arg, ifname, err := Locate(path)
			if err != nil || arg != path || ifname+".conf" != filepath.Base(path) {
				t.Errorf("Locate = %q, %q, %v", arg, ifname, err)
			}
			c, _, err := Load(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			again := reformat(t, c)
			if !Equal(c, again) {
				t.Errorf("formatted and read again:\n%s", cmp.Diff(lines(t, c), lines(t, again)))
			}
		})
	}
}

// reformat writes a config and reads it again.
func reformat(t *testing.T, c *Config) *Config {
	t.Helper()
	var text bytes.Buffer
	if err := c.Format(&text); err != nil {
		t.Fatal(err)
	}
	again, _, err := Parse("formatted", bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func lines(t *testing.T, c *Config) []string {
	t.Helper()
	var text bytes.Buffer
	if err := c.Format(&text); err != nil {
		t.Fatal(err)
	}
	return strings.Split(text.String(), "\n")
}

// TestCorpusWarnings holds the warnings of the whole good corpus: files that
// aren't here have none.
func TestCorpusWarnings(t *testing.T) {
	want := map[string]string{
		"claimed.conf": "claimed.conf:12: [Peer] AllowedIPs: 10.36.2.0/24 is also given to the peer in line 8: the last one gets it",
		"emptykeys.conf": `emptykeys.conf:5: [Interface] DNS: has no value and does nothing
emptykeys.conf:6: [Interface] MTU: has no value and does nothing
emptykeys.conf:7: [Interface] Table: has no value and does nothing
emptykeys.conf:8: [Interface] PostUp: has no value and does nothing`,
		"hostbits.conf": `hostbits.conf:7: [Peer] AllowedIPs: "10.29.0.1/24" has bits set beyond its prefix length: it means 10.29.0.0/24
hostbits.conf:7: [Peer] AllowedIPs: "fd00:29::1/64" has bits set beyond its prefix length: it means fd00:29::/64
hostbits.conf:7: [Peer] AllowedIPs: "192.168.1.77/16" has bits set beyond its prefix length: it means 192.168.0.0/16`,
		"merged.conf": "merged.conf:13: [Interface] MTU: is given twice: this value overrules that of line 5",
		"twice.conf":  "twice.conf:15: [Peer] PublicKey: is that of the peer in line 7, too: of its allowed IPs only those of the last section count",
	}
	for _, path := range corpusFiles(t, "", "modern") {
		name := filepath.Base(path)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, warnings, err := Parse(name, bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range warnings {
			got = append(got, w.String())
		}
		if diff := cmp.Diff(want[name], strings.Join(got, "\n")); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", name, diff)
		}
	}
}

func TestBadCorpus(t *testing.T) {
	files := corpusFiles(t, "bad")
	if len(files) < 30 {
		t.Errorf("corpus has %d bad files", len(files))
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, _, err := Parse(filepath.Base(path), bytes.NewReader(text))
			var errs Errors
			if c != nil || !errors.As(err, &errs) {
				t.Fatalf("config %v, error %v", c, err)
			}
			golden := strings.TrimSuffix(path, ".conf") + ".txt"
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			leaks(t, string(text), "", got)
		})
	}
}

var (
	keyLike  = regexp.MustCompile(`[A-Za-z0-9+/]{15,}`)
	hasDigit = regexp.MustCompile(`[0-9+/]`)
)

// leaks fails the test if a message has a piece of what looks like a key in
// the secret lines of a file, and that the public ones don't have.
func leaks(t *testing.T, secret, public, messages string) {
	t.Helper()
	for _, run := range keyLike.FindAllString(secret, -1) {
		for i := 0; i+12 <= len(run); i++ {
			piece := run[i : i+12]
			if hasDigit.MatchString(piece) && strings.Contains(messages, piece) && !strings.Contains(public, piece) {
				t.Errorf("messages repeat %q", piece)
			}
		}
	}
}
