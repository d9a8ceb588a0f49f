// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/tunnel"
)

func newPlan(ui *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan up|down NAME|FILE",
		Short: "Show what up or down would do, and do nothing",
		Example: `  wgctl plan up wg0
  wgctl plan up ./office.conf --json
  wgctl plan down wg0`,
		Args: noVerb,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError{withHint(fmt.Errorf("plan takes up or down, and a tunnel"), "wgctl help plan shows how")}
		},
	}
	cmd.AddCommand(newPlanUp(ui), newPlanDown(ui))
	return cmd
}

// A plan is what is printed of one.
type plan struct {
	Name  string   `json:"name"`
	Steps []string `json:"steps"`
	Trace []string `json:"trace,omitempty"`
	// Firewall is the table that would stand, in nft's syntax.
	Firewall string `json:"firewall,omitempty"`
}

func newPlanUp(ui *ui) *cobra.Command {
	var opts tunnel.Options
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "up NAME|FILE",
		Short: "Show what up would do",
		Example: `  wgctl plan up wg0
  wgctl plan up ./office.conf -v    # with the choices made, and why
  wgctl plan up wg0 --json`,
		Args: exactly(1, "the name of a tunnel or a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return planUp(cmd.Context(), ui, args[0], opts, asJSON, verbose)
		},
		ValidArgsFunction: completeConfigs,
	}
	backendFlag(cmd, &opts)
	planFlags(cmd, &asJSON, &verbose)
	return cmd
}

func planFlags(cmd *cobra.Command, asJSON, verbose *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(verbose, "verbose", "v", false, "show how choices are made, and the firewall's rules")
}

func planUp(ctx context.Context, ui *ui, arg string, opts tunnel.Options, asJSON, verbose bool) error {
	in, err := load(ctx, ui, arg)
	if err != nil {
		return err
	}
	have, err := tunnel.Observe(ctx, in.host, in.name, tunnel.SrcValidMark)
	if err != nil {
		return err
	}
	var clear []tunnel.Step
	switch {
	case have.Up():
		return clearHint(fmt.Errorf("%s %w", in.name, tunnel.ErrUp), have)
	case have.Foreign():
		return clearHint(fmt.Errorf("%s %w", in.name, tunnel.ErrForeign), have)
	case have.Leftover():
		clear = tunnel.WithoutHooks(tunnel.Plan(nil, have))
		have = have.Cleared()
	}
	want, err := tunnel.Resolve(ctx, in.host, in.cfg, in.endpoints, have, opts)
	if err != nil {
		return err
	}
	p := planOf(in.name, append(clear, tunnel.Plan(want, have)...))
	p.Trace = want.Trace
	if !want.Firewall.Empty() {
		p.Firewall = want.Firewall.Text()
	}
	return printPlan(ui, p, asJSON, verbose)
}

func newPlanDown(ui *ui) *cobra.Command {
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "down NAME|FILE",
		Short: "Show what down would do",
		Example: `  wgctl plan down wg0
  wgctl plan down wg0 --json`,
		Args: exactly(1, "the name of a tunnel or a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return planDown(cmd.Context(), ui, args[0], asJSON, verbose)
		},
		ValidArgsFunction: completeTunnels,
	}
	planFlags(cmd, &asJSON, &verbose)
	return cmd
}

func planDown(ctx context.Context, ui *ui, arg string, asJSON, verbose bool) error {
	name, host, err := named(ctx, ui, arg)
	if err != nil {
		return err
	}
	have, err := tunnel.Observe(ctx, host, name)
	if err != nil {
		return err
	}
	switch {
	case !have.Up() && !have.Leftover() && have.Foreign():
		return fmt.Errorf("%s %w", name, tunnel.ErrForeign)
	case !have.Up() && !have.Leftover():
		return fmt.Errorf("%s %w", name, tunnel.ErrNotUp)
	}
	if hooks, _ := fromFile(ui, have); hooks != nil {
		have.Record.Spec.Hooks = *hooks
	}
	return printPlan(ui, planOf(name, tunnel.Plan(nil, have)), asJSON, verbose)
}

func planOf(name string, steps []tunnel.Step) plan {
	p := plan{Name: name, Steps: []string{}}
	for _, s := range steps {
		p.Steps = append(p.Steps, s.String())
	}
	return p
}

func printPlan(ui *ui, p plan, asJSON, verbose bool) error {
	if asJSON {
		return ui.json(p)
	}
	for _, s := range p.Steps {
		_, _ = fmt.Fprintln(ui.out, "[#] "+s)
	}
	if verbose {
		if p.Firewall != "" {
			_, _ = fmt.Fprintf(ui.out, "\n%s", p.Firewall)
		}
		for _, t := range p.Trace {
			_, _ = fmt.Fprintln(ui.out, t)
		}
	}
	return nil
}
