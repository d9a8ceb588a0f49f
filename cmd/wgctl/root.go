// SPDX-License-Identifier: MIT

package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newRoot(ui *ui) *cobra.Command {
	root := &cobra.Command{
		Use:   "wgctl",
		Short: "The WireGuard control plane of this host",
		Long: `wgctl brings WireGuard tunnels up and down from the files in /etc/wireguard,
as wg-quick does, but over netlink in one process, whole or not at all.`,
		Example: `  wgctl up wg0              # /etc/wireguard/wg0.conf
  wgctl up ./office.conf    # a file of your own; the interface is "office"
  wgctl plan up wg0         # what up would do
  wgctl status              # tunnels, peers, drift
  wgctl down wg0`,
		Args:          noVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(newUp(ui), newDown(ui), newPlan(ui), newStatus(ui), newVersion(ui), newServe(ui))
	return root
}

// noVerb refuses words that are no verb.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("there is no verb %q", args[0])
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		return usageError{withHint(err, fmt.Sprintf("did you mean %q?", s[0]))}
	}
	return usageError{withHint(err, "wgctl help lists the verbs")}
}

// exactly asks for n words and calls them what they are.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError{withHint(fmt.Errorf("%s takes %s", cmd.CommandPath(), what), "wgctl help "+cmd.Name()+" shows how")}
		}
		return nil
	}
}

func newVersion(ui *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(0, "no words"),
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return ui.json(map[string]string{"version": version})
			}
			_, err := fmt.Fprintln(ui.out, "wgctl "+version)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
