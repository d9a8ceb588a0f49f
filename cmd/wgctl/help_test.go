// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every verb says in one line what it is for and shows how it is used, by its
// own name, in lines that fit a terminal.
func TestHelpOfEveryVerb(t *testing.T) {
	verbs := 0
	walk(newRoot(newUI(io.Discard, io.Discard)), func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		verbs++
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") || strings.ToUpper(cmd.Short[:1]) != cmd.Short[:1] {
			t.Errorf("%s: %q is not a short line that starts with a capital and has no full stop", cmd.CommandPath(), cmd.Short)
		}
		if !strings.Contains(cmd.Example, cmd.CommandPath()) {
			t.Errorf("%s: its help has no example of %q", cmd.CommandPath(), cmd.CommandPath())
		}
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.InitDefaultHelpFlag()
		if err := cmd.Help(); err != nil {
			t.Errorf("%s: %v", cmd.CommandPath(), err)
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > 101 {
				t.Errorf("%s: line of %d characters: %s", cmd.CommandPath(), len(line), line)
			}
		}
		for _, word := range []string{"TODO", "FIXME", "XXX", "not implemented", "\t"} {
			if strings.Contains(out.String(), word) {
				t.Errorf("%s: its help has %q in it:\n%s", cmd.CommandPath(), word, out.String())
			}
		}
	})
	if verbs < 8 {
		t.Errorf("only %d verbs", verbs)
	}
}

// typed is wgctl and its words within a line of shell.
var typed = regexp.MustCompile(`\bwgctl [^#>|)]*`)

// What an example shows can be typed: its verb and flags exist.
func TestExamplesParse(t *testing.T) {
	walk(newRoot(newUI(io.Discard, io.Discard)), func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			words := strings.Fields(typed.FindString(line))
			if len(words) == 0 {
				t.Errorf("%s: example %q has no wgctl in it", cmd.CommandPath(), line)
				continue
			}
			root := newRoot(newUI(io.Discard, io.Discard))
			found, rest, err := root.Find(words[1:])
			if err != nil {
				t.Errorf("%q: %v", line, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%q: %v", line, err)
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%q: %v", line, err)
			}
		}
	})
}

func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, c := range cmd.Commands() {
		walk(c, visit)
	}
}
