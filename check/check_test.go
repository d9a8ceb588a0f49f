// SPDX-License-Identifier: MIT

package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wgctl/wgctl/config"
)

var update = flag.Bool("update", false, "rewrite what the examples are told")

const examples = "../testdata/check"

// An extra is what an example has beside its file: facts over those of
// host.json, and what was found out about the file.
type extra struct {
	Host  *Facts            `json:"host"`
	File  Access            `json:"file"`
	Names map[string]Answer `json:"names"`
	Keys  map[string]string `json:"key_files"`
}

// example reads one side of a rule, "bad" or "good".
func example(t *testing.T, dir, side string) Input {
	t.Helper()
	e := extra{Host: new(Facts)}
	decode(t, filepath.Join(examples, "host.json"), e.Host)
	sysctls := e.Host.Sysctls
	decode(t, filepath.Join(dir, side+".json"), &e)
	for key, value := range sysctls {
		if _, ok := e.Host.Sysctls[key]; !ok {
			e.Host.Sysctls[key] = value
		}
	}
	in := Input{Host: e.Host}
	if f, ok := read(t, filepath.Join(dir, side+".conf"), "wg0.conf"); ok {
		f.Access, f.Names, f.KeyFiles = e.File, e.Names, e.Keys
		in.Files = append(in.Files, f)
	}
	if f, ok := read(t, filepath.Join(dir, "other.conf"), "wg1.conf"); ok {
		in.Beside = append(in.Beside, f)
	}
	return in
}

func decode(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := errors.Join(err, d.Decode(into)); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

func read(t *testing.T, path, as string) (File, bool) {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return parsed(t, as, text), true
}

func parsed(t testing.TB, path string, text []byte) File {
	t.Helper()
	f := File{Path: path, Name: strings.TrimSuffix(filepath.Base(path), ".conf"), Text: text}
	var err error
	f.Config, f.Warnings, err = config.Parse(path, bytes.NewReader(text))
	if err != nil && !errors.As(err, &f.Errors) {
		t.Fatal(err)
	}
	return f
}

func names(found []Finding) []string {
	set := map[string]bool{}
	for _, f := range found {
		set[f.Rule] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// text is what a user sees of findings.
func text(found []Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%s\n    %s\n    mend: %s\n", f, f.Why, f.Mend)
	}
	return b.String()
}

// Files are compared within their folder, and each pair once.
func TestComparedFiles(t *testing.T) {
	file := func(path string) File {
		return parsed(t, path, []byte("[Interface]\nPrivateKey = "+key(path)+"\nListenPort = 51820\nAddress = 10.8.0.1/24\n"))
	}
	a, b, elsewhere := file("a/wg0.conf"), file("a/wg1.conf"), file("b/wg0.conf")
	for _, c := range []struct {
		in   Input
		want []string
	}{
		{Input{Files: []File{a, b, elsewhere}}, []string{"a/wg1.conf"}},
		{Input{Files: []File{a}, Beside: []File{b, elsewhere}}, []string{"a/wg0.conf"}},
		{Input{Files: []File{a, elsewhere}}, nil},
	} {
		found, _ := Run(c.in)
		var got []string
		for _, f := range found {
			if f.Rule == "port-in-two-files" {
				got = append(got, f.File)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("got %v, want %v", got, c.want)
		}
	}
}

// key makes a key of a word.
func key(word string) string {
	sum := sha256.Sum256([]byte(word))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Each rule has a bad example, in which it and no other rule finds something,
// and a good one, in which none does.
func TestExamples(t *testing.T) {
	entries, err := os.ReadDir(examples)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && find(e.Name()) == nil {
			t.Errorf("%s has examples of %s, which is no rule", examples, e.Name())
		}
	}
	for _, r := range Rules {
		t.Run(r.Name, func(t *testing.T) {
			dir := filepath.Join(examples, r.Name)
			bad := example(t, dir, "bad")
			if len(bad.Files) == 0 && bad.Host.Machine == nil {
				t.Fatalf("%s has no bad example", dir)
			}
			found, _ := Run(bad)
			if got := names(found); !slices.Equal(got, []string{r.Name}) {
				t.Errorf("the bad example yields %v:\n%s", got, text(found))
			}
			golden := filepath.Join(dir, "bad.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(text(found)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil || string(want) != text(found) {
				t.Errorf("run with -update and read the diff: %v\n%s", err, cmp.Diff(string(want), text(found)))
			}
			good := example(t, dir, "good")
			if len(good.Files) == 0 && good.Host.Machine == nil {
				t.Fatalf("%s has no good example", dir)
			}
			if found, _ := Run(good); len(found) > 0 {
				t.Errorf("the good example yields\n%s", text(found))
			}
		})
	}
}
