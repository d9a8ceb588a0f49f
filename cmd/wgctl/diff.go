// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
)

func newDiff(ui *ui) *cobra.Command {
	var asJSON, check bool
	cmd := &cobra.Command{
		Use:   "diff FILE FILE",
		Short: "Show what two files mean differently",
		Long: `Show what the second file says otherwise than the first, key by key. The order
of peers, spelling and comments make no difference; private and preshared keys
are not shown. Lists of addresses and allowed IPs show what goes and comes.`,
		Example: `  wgctl diff wg0 ./wg0.conf.new/wg0.conf
  wgctl diff ./old/wg0.conf ./new/wg0.conf --check   # exit code 4: they differ`,
		Args: exactly(2, "two files"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return diff(cmd.Context(), ui, args[0], args[1], asJSON, check)
		},
		ValidArgsFunction: completeConfigs,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&check, "check", false, "exit with code 4 if the files differ")
	return cmd
}

// A difference is what JSON has of one.
type difference struct {
	Section   string   `json:"section"` // "Interface" or "Peer"
	PublicKey string   `json:"public_key,omitempty"`
	Name      string   `json:"name,omitempty"`
	Key       string   `json:"key"`
	Old       []string `json:"old"`
	New       []string `json:"new"`
}

func diff(ctx context.Context, ui *ui, from, to string, asJSON, check bool) error {
	a, err := meant(ctx, ui, from)
	if err != nil {
		return err
	}
	b, err := meant(ctx, ui, to)
	if err != nil {
		return err
	}
	list := []difference{}
	for _, d := range config.Diff(a, b) {
		list = append(list, differenceOf(d))
	}
	if asJSON {
		err = ui.json(list)
	} else {
		_, err = fmt.Fprint(ui.out, diffText(a.File(), b.File(), list))
	}
	if err == nil && check && len(list) > 0 {
		return exitError(exitChanges)
	}
	return err
}

// meant reads the file that a word means, whatever it is called.
func meant(ctx context.Context, ui *ui, arg string) (*config.Config, error) {
	path := arg
	if !strings.Contains(arg, "/") {
		var err error
		if path, _, err = config.Locate(arg); err != nil {
			return nil, err
		}
	}
	ui.collectLate(path)
	cfg, warnings, err := config.Load(ctx, path)
	ui.warnings(warnings)
	if err == nil {
		ui.collectLess(len(cfg.Peers))
	}
	return cfg, err
}

func differenceOf(d config.Difference) difference {
	out := difference{Section: "Interface", Name: d.Name, Key: d.Key, Old: []string{}, New: []string{}}
	if d.Peer != nil {
		out.Section, out.PublicKey = "Peer", d.Peer.String()
	}
	public := map[string]bool{}
	if d.Key == "PublicKey" {
		public[out.PublicKey] = true
	}
	for _, v := range d.Old {
		out.Old = append(out.Old, tunnel.HideKeys(v, public))
	}
	for _, v := range d.New {
		out.New = append(out.New, tunnel.HideKeys(v, public))
	}
	return out
}

func diffText(from, to string, list []difference) string {
	if len(list) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", from, to)
	section := ""
	for _, d := range list {
		header := " [Interface]"
		if d.Section == "Peer" {
			header = strings.TrimRight(" [Peer] "+d.PublicKey+" "+d.Name, " ")
		}
		if header != section {
			section = header
			b.WriteString(header + "\n")
		}
		d.lines(&b, "-", d.Old)
		d.lines(&b, "+", d.New)
	}
	return b.String()
}

// lines prints hooks a line each, as in a file, and other lists on one.
func (d difference) lines(b *strings.Builder, sign string, values []string) {
	switch {
	case len(values) == 0:
	case strings.HasPrefix(d.Key, "Pre") && d.Key != "PresharedKey" || strings.HasPrefix(d.Key, "Post"):
		for _, v := range values {
			fmt.Fprintf(b, "%s%s = %s\n", sign, d.Key, v)
		}
	default:
		fmt.Fprintf(b, "%s%s = %s\n", sign, d.Key, strings.Join(values, ", "))
	}
}
