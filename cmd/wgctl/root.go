// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"strings"

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
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetVersionTemplate("wgctl {{.Version}}\n")
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelp())
	tunnels := []*cobra.Command{newUp(ui), newReload(ui), newApply(ui), newDown(ui), newPlan(ui), newDiff(ui), newStatus(ui), newSave(ui)}
	placeFlags(tunnels...)
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error { return goPlace(cmd, ui, args) }
	root.AddCommand(tunnels...)
	root.AddCommand(newExec(ui), newExecInside(ui), newLab(ui), newRun(ui), newCheck(ui), newDNS(ui), newStrip(ui), newConvert(ui), newInstallLinks(ui), newVersion(ui), newServe(ui), newHookShell())
	root.AddCommand(newWgVerbs(ui)...)
	root.AddCommand(newCompletion(ui, root))
	return root
}

// noVerb refuses words that are no verb.
func noVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("there is no verb %q", args[0])
	cmd.SuggestionsMinimumDistance = 2
	if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
		return usageError{withHint(err, fmt.Sprintf("did you mean %q?", s[0]))}
	}
	return usageError{withHint(err, "wgctl help lists the verbs")}
}

// exactly asks for n words and calls them what they are.
func exactly(n int, what string) cobra.PositionalArgs { return words(cobra.ExactArgs(n), what) }

// words calls the words that a verb takes what they are when they are too few
// or too many.
func words(check cobra.PositionalArgs, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) != nil {
			verb := strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
			return usageError{withHint(fmt.Errorf("%s takes %s", verb, what), "wgctl help "+verb+" shows how")}
		}
		return nil
	}
}

// newHelp is cobra's help command, but for what it says of a verb that there
// is not.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB]",
		Short: "Show how a verb is used",
		Example: `  wgctl help up
  wgctl help plan down`,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return noVerb(found, rest)
			}
			found.InitDefaultHelpFlag() // else they aren't in the list of flags
			found.InitDefaultVersionFlag()
			return found.Help()
		},
	}
}

func newVersion(ui *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  wgctl version
  wgctl version --json`,
		Args: exactly(0, "no words"),
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
