// SPDX-License-Identifier: MIT

package main

import (
	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/tunnel/shell"
)

// hookShellVerb is how wgctl starts itself as the shell of a hook.
const hookShellVerb = "hook-shell"

// embeddedShell are the words for that. By this path the binary that runs is
// found even if it was moved or replaced.
var embeddedShell = []string{"/proc/self/exe", hookShellVerb, "--"}

func newHookShell() *cobra.Command {
	return &cobra.Command{
		Use:    hookShellVerb + " IF FILE",
		Short:  "Run a hook that comes over an inherited descriptor",
		Hidden: true,
		Args:   exactly(2, "the name of an interface and a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			leaveSignals() // they end it at once, as they would bash
			if code := shell.Main(cmd.Context(), args[0], args[1]); code != 0 {
				return exitError(code)
			}
			return nil
		},
	}
}
