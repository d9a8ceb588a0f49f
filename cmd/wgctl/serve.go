// SPDX-License-Identifier: MIT

package main

import (
	"os"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/netlinkx/userspace"
)

// serveVerb is how wgctl starts itself as the process of an embedded device.
const serveVerb = "device-serve"

func newServe(ui *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:    serveVerb + " IF",
		Short:  "Serve an embedded device over inherited descriptors",
		Hidden: true,
		Args:   exactly(1, "the name of an interface"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return userspace.Serve(cmd.Context(), userspace.ServeOptions{
				Interface: args[0], Detached: true, Alias: netlinkx.Alias, LogLevel: os.Getenv("LOG_LEVEL"), Log: ui.err,
			})
		},
	}
	// For who looks for the process; it sees itself where its link is.
	cmd.Flags().String(userspace.AtFlag, "", "the number of the link's network namespace, if that is another one")
	return cmd
}
