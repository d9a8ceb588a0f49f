// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
)

func newConvert(ui *ui) *cobra.Command {
	var to string
	var write bool
	cmd := &cobra.Command{
		Use:   "convert NAME|FILE",
		Short: "Print a file with hooks as keys, or with keys as hooks",
		Long: `Print a file with those hooks turned into keys that say the same, as PostUp lines
of iptables into Masquerade, Forward, PortForward and ClampMSS. With --to wg-quick
it is the other way round: keys that only wgctl knows become hooks. Every other
byte of the file stays; what can't be turned is said, line by line.`,
		Example: `  wgctl convert wg0
  wgctl convert ./office.conf --write
  wgctl convert wg0 --to wg-quick`,
		Args: exactly(1, "the name of a tunnel or a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if to != "wgctl" && to != "wg-quick" {
				return usageError{fmt.Errorf("--to is wgctl or wg-quick, not %q", to)}
			}
			return convert(cmd.Context(), ui, args[0], to == "wg-quick", write)
		},
		ValidArgsFunction: completeConfigs,
	}
	cmd.Flags().StringVar(&to, "to", "wgctl", "whose file it becomes: wgctl or wg-quick")
	cmd.Flags().BoolVarP(&write, "write", "w", false, "write the file instead of printing it")
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"wgctl", "wg-quick"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func convert(ctx context.Context, ui *ui, arg string, toQuick, write bool) error {
	path, name, err := config.Locate(arg)
	if err != nil {
		return err
	}
	original, err := config.ReadPage(ctx, path)
	if err != nil {
		return err
	}
	cfg, warnings, err := config.Parse(path, bytes.NewReader(original))
	if err != nil {
		return err
	}
	ui.warnings(warnings)
	ui.collectLess(len(cfg.Peers))
	c := tunnel.Conversion{}
	if toQuick {
		c, err = tunnel.ToHooks(cfg)
	} else {
		c = tunnel.ToKeys(cfg, name)
	}
	if err != nil {
		return err
	}
	for _, n := range c.Notes {
		ui.note("%s", n)
	}
	content := config.ReplaceLines(original, c.Lines)
	if _, _, err := config.Parse(path, bytes.NewReader(content)); err != nil {
		return errors.Join(fmt.Errorf("%s can't be converted as a whole", path), err)
	}
	if write {
		return config.Save(path, original, content)
	}
	_, err = ui.out.Write(content)
	return err
}
