// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/netlinkx"
)

func newCompletion(ui *ui, root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish [NAME]",
		Short: "Print a completion script for a shell",
		Long: `Print a script that makes a shell complete the words of wgctl, or of NAME, which
is wg, wg-quick or wireguard-go where those are links to wgctl.`,
		Example: `  source <(wgctl completion bash)
  wgctl completion zsh > "${fpath[1]}/_wgctl"
  wgctl completion bash wg > /usr/share/bash-completion/completions/wg`,
		ValidArgs: []string{"bash", "zsh", "fish"},
		Args:      words(cobra.RangeArgs(1, 2), "the name of a shell, and that of a tool if it is not wgctl"),
		RunE: func(_ *cobra.Command, args []string) error {
			tree := root
			if len(args) == 2 {
				if tree = wordsOf(args[1]); tree == nil {
					return usageError{fmt.Errorf("there is no completion for %q: there is for wg, wg-quick and wireguard-go", args[1])}
				}
			}
			switch args[0] {
			case "bash":
				return tree.GenBashCompletionV2(ui.out, true)
			case "zsh":
				return tree.GenZshCompletion(ui.out)
			case "fish":
				return tree.GenFishCompletion(ui.out, true)
			}
			return usageError{fmt.Errorf("there is no completion for %q: there is for bash, zsh and fish", args[0])}
		},
	}
}

// isCompletion reports whether a completion script asks for words.
func isCompletion(argv []string) bool {
	return len(argv) > 1 && (argv[1] == cobra.ShellCompRequestCmd || argv[1] == cobra.ShellCompNoDescRequestCmd)
}

// complete answers a completion script that asks under another name.
func complete(ctx context.Context, argv []string, ui *ui) int {
	tree := wordsOf(filepath.Base(argv[0]))
	tree.SetArgs(argv[1:])
	tree.SetOut(ui.out)
	tree.SetErr(ui.err)
	return ui.finish(tree.ExecuteContext(ctx))
}

// wordsOf returns the words of one of the other tools as a tree that is only
// for completion: the tools have parsers of their own.
func wordsOf(name string) *cobra.Command {
	root := &cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}, SilenceErrors: true, SilenceUsage: true}
	root.CompletionOptions.DisableDefaultCmd = true
	switch name {
	case "wireguard-go":
		root.ValidArgsFunction = nothing
		root.Flags().BoolP("foreground", "f", false, "stay in the foreground")
		return root
	case "wg-quick":
		root.AddCommand(
			verbOf("up", "Bring an interface up", completeConfigs), verbOf("down", "Take an interface down", completeConfigs),
			verbOf("save", "Write the state of an interface into its file", completeConfigs),
			verbOf("strip", "Print the part of a file that wg understands", completeConfigs))
		return root
	case "wg":
		root.AddCommand(
			verbOf("show", "Show interfaces and peers", completeShow), verbOf("showconf", "Print the state as a file", firstInterface),
			verbOf("set", "Change an interface", completeSet), verbOf("setconf", "Set the state from a file", interfaceAndFile),
			verbOf("addconf", "Add a file to the state", interfaceAndFile), verbOf("syncconf", "Change the state to that of a file", interfaceAndFile),
			verbOf("genkey", "Make a private key", nothing), verbOf("genpsk", "Make a preshared key", nothing),
			verbOf("pubkey", "Make a public key from a private one", nothing))
		return root
	}
	return nil
}

type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

func verbOf(use, short string, words completer) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Run: func(*cobra.Command, []string) {}, ValidArgsFunction: words, DisableFlagParsing: true}
}

func nothing(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func interfaces(ctx context.Context) []string {
	kernel, err := netlinkx.NewKernel()
	if err != nil {
		return nil
	}
	defer func() { _ = kernel.Close() }()
	names, _ := kernel.DeviceNames(ctx)
	return names
}

// showParameters are what "wg show IF" can be narrowed to.
var showParameters = []string{
	"public-key", "private-key", "listen-port", "fwmark", "peers", "preshared-keys", "endpoints", "allowed-ips",
	"latest-handshakes", "transfer", "persistent-keepalive", "dump",
}

func completeShow(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch {
	case len(args) == 0:
		return append(interfaces(cmd.Context()), "all", "interfaces"), cobra.ShellCompDirectiveNoFileComp
	case len(args) == 1 && args[0] != "interfaces":
		return showParameters, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func firstInterface(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return interfaces(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

func interfaceAndFile(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return interfaces(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	case 1:
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completeSet goes by the word before: most words of set take a value.
func completeSet(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return interfaces(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
	peer := false
	for _, a := range args {
		peer = peer || a == "peer"
	}
	switch args[len(args)-1] {
	case "private-key", "preshared-key":
		return nil, cobra.ShellCompDirectiveDefault
	case "peer":
		return peersOfDevice(cmd.Context(), args[0]), cobra.ShellCompDirectiveNoFileComp
	case "fwmark", "persistent-keepalive":
		return []string{"off"}, cobra.ShellCompDirectiveNoFileComp
	case "listen-port", "endpoint", "allowed-ips":
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if peer {
		return []string{"peer", "remove", "preshared-key", "endpoint", "persistent-keepalive", "allowed-ips"}, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"listen-port", "fwmark", "private-key", "peer"}, cobra.ShellCompDirectiveNoFileComp
}

func peersOfDevice(ctx context.Context, ifname string) []string {
	kernel, err := netlinkx.NewKernel()
	if err != nil {
		return nil
	}
	defer func() { _ = kernel.Close() }()
	d, err := kernel.Device(ctx, ifname)
	if err != nil {
		return nil
	}
	var keys []string
	for _, p := range d.Peers {
		keys = append(keys, p.PublicKey.String())
	}
	return keys
}
