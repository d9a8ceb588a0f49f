// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/tunnel"
)

// planning is how a plan is made and shown.
type planning struct {
	opts    tunnel.Options
	json    bool
	check   bool
	verbose bool
}

func newPlan(ui *ui) *cobra.Command {
	p := &planning{}
	cmd := &cobra.Command{
		Use:   "plan [up|down|reload] NAME|FILE",
		Short: "Show what up, down or reload would do, and do nothing",
		Long: `Show the steps that up, down or reload would take, in order, and take none.
Without one of these words it is up for a tunnel that isn't up and reload for
one that is, as for apply.`,
		Example: `  wgctl plan wg0
  wgctl plan wg0 --check          # exit code 4: there is something to do
  wgctl plan up ./office.conf -v  # with the choices made, and why
  wgctl plan reload wg0 --json
  wgctl plan down wg0`,
		Args:              exactly(1, "the name of a tunnel or a file, after up, down or reload if it must be that"),
		RunE:              p.run(ui, planApply),
		ValidArgsFunction: completeConfigs,
	}
	p.flags(cmd)
	backendFlag(cmd, &p.opts)
	dnsBackendFlag(cmd, &p.opts)
	cmd.AddCommand(newPlanOf(ui, "up", planUp), newPlanOf(ui, "reload", planReload), newPlanOf(ui, "down", planDown))
	return cmd
}

// newPlanOf is the plan of one verb.
func newPlanOf(ui *ui, verb string, make planner) *cobra.Command {
	p := &planning{}
	cmd := &cobra.Command{
		Use:   verb + " NAME|FILE",
		Short: "Show what " + verb + " would do",
		Example: fmt.Sprintf(`  wgctl plan %[1]s wg0
  wgctl plan %[1]s ./office.conf -v    # with the choices made, and why
  wgctl plan %[1]s wg0 --json`, verb),
		Args:              exactly(1, "the name of a tunnel or a file"),
		RunE:              p.run(ui, make),
		ValidArgsFunction: completeConfigs,
	}
	p.flags(cmd)
	if verb == "up" {
		backendFlag(cmd, &p.opts)
		dnsBackendFlag(cmd, &p.opts)
	}
	return cmd
}

func (p *planning) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.json, "json", false, "print JSON")
	cmd.Flags().BoolVar(&p.check, "check", false, "exit with code 4 if there is something to do")
	cmd.Flags().BoolVarP(&p.verbose, "verbose", "v", false, "show how choices are made, and the firewall's rules")
}

func (p *planning) run(ui *ui, make planner) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		out, err := make(cmd.Context(), ui, args[0], p.opts)
		if err != nil {
			return err
		}
		if err := out.print(ui, p); err != nil {
			return err
		}
		if p.check && len(out.Steps) > 0 {
			return exitError(exitChanges)
		}
		return nil
	}
}

// A plan is what is printed of one.
type plan struct {
	Name string `json:"name"`
	Verb string `json:"verb"` // up, down or reload
	tunnel.Summary
	Steps []planStep `json:"steps"`
	Hooks []planHook `json:"hooks,omitempty"` // those of the file
	Trace []string   `json:"trace,omitempty"`
	Notes []string   `json:"notes,omitempty"` // what the host keeps the tunnel from doing
	// Firewall is the table that would stand, in nft's syntax.
	Firewall string `json:"firewall,omitempty"`
}

// A planStep is one step.
type planStep struct {
	Text    string          `json:"text"` // as an administrator would type it
	Changes []tunnel.Change `json:"changes"`
	// Rules is what it does to the firewall's rules, as a diff in nft's syntax.
	Rules string `json:"rules,omitempty"`
}

// A planner makes the plan of one verb.
type planner func(ctx context.Context, ui *ui, arg string, opts tunnel.Options) (*plan, error)

func planUp(ctx context.Context, ui *ui, arg string, opts tunnel.Options) (*plan, error) {
	in, have, err := observed(ctx, ui, arg)
	if err != nil {
		return nil, err
	}
	return in.planUp(ctx, ui, have, opts)
}

func planReload(ctx context.Context, ui *ui, arg string, opts tunnel.Options) (*plan, error) {
	in, have, err := observed(ctx, ui, arg)
	if err != nil {
		return nil, err
	}
	switch {
	case have.Up():
		return in.planReload(ctx, ui, have, opts)
	case have.Broken() && !have.Foreign():
		return in.planApply(ctx, ui, have, opts)
	}
	return nil, notUpHint(have)
}

func planApply(ctx context.Context, ui *ui, arg string, opts tunnel.Options) (*plan, error) {
	in, have, err := observed(ctx, ui, arg)
	if err != nil {
		return nil, err
	}
	return in.planApply(ctx, ui, have, opts)
}

func (in *input) planApply(ctx context.Context, ui *ui, have *tunnel.State, opts tunnel.Options) (*plan, error) {
	if up, ok := have.Resumed(); ok {
		have = up
	}
	if have.Up() {
		return in.planReload(ctx, ui, have, opts)
	}
	return in.planUp(ctx, ui, have, opts)
}

func planDown(ctx context.Context, ui *ui, arg string, _ tunnel.Options) (*plan, error) {
	name, host, err := named(ctx, ui, arg)
	if err != nil {
		return nil, err
	}
	have, err := tunnel.Observe(ctx, host, name)
	if err != nil {
		return nil, rootHint(err, "plan down")
	}
	switch {
	case !have.Up() && !have.Leftover() && have.Foreign():
		return nil, fmt.Errorf("%s %w", name, tunnel.ErrForeign)
	case !have.Up() && !have.Leftover():
		return nil, fmt.Errorf("%s %w", name, tunnel.ErrNotUp)
	}
	if hooks, _ := fromFile(ui, have); hooks != nil {
		have.Record.Spec.Hooks = *hooks
	}
	p := planOf(name, "down", tunnel.Plan(nil, have))
	if last := have.Last(); last != nil {
		p.Hooks = planHooks(last.OnDown(), true, last)
	}
	return p, nil
}

// observed reads the file that a word means, and the host.
func observed(ctx context.Context, ui *ui, arg string) (*input, *tunnel.State, error) {
	in, err := read(ctx, ui, arg)
	if err != nil {
		return nil, nil, err
	}
	if resolver, ok := in.host.DNS.(*dns.Resolver); ok {
		resolver.OnlyLooks()
	}
	have, err := tunnel.Observe(ctx, in.host, in.name, tunnel.SharedSysctls...)
	if errors.Is(err, os.ErrPermission) && os.Geteuid() != 0 {
		// A tunnel that isn't up has no record, and that is all that an
		// ordinary user can ask for.
		ui.note("without root nothing is known of other tunnels: tables, marks and priorities may be taken")
		in.host.Records = &tunnel.Records{}
		have, err = tunnel.Observe(ctx, in.host, in.name, tunnel.SharedSysctls...)
	}
	return in, have, rootHint(err, "plan")
}

func (in *input) planUp(ctx context.Context, ui *ui, have *tunnel.State, opts tunnel.Options) (*plan, error) {
	var clear []tunnel.Step
	switch {
	case have.Up():
		return nil, clearHint(fmt.Errorf("%s %w", in.name, tunnel.ErrUp), have)
	case have.Foreign():
		return nil, clearHint(fmt.Errorf("%s %w", in.name, tunnel.ErrForeign), have)
	case have.Leftover():
		clear = have.Clearing()
		have = have.Cleared()
	}
	if err := in.lookup(ctx, ui, have); err != nil {
		return nil, err
	}
	return in.plan(ctx, "up", clear, have, opts)
}

func (in *input) planReload(ctx context.Context, ui *ui, have *tunnel.State, opts tunnel.Options) (*plan, error) {
	if err := in.lookup(ctx, ui, have); err != nil {
		return nil, err
	}
	if loss := tunnel.LossOf(in.cfg, have, sessionAddress()); loss.Grave() {
		ui.note("reloading %s would %s", in.name, loss)
	}
	return in.plan(ctx, "reload", nil, have, opts)
}

func (in *input) plan(ctx context.Context, verb string, clear []tunnel.Step, have *tunnel.State, opts tunnel.Options) (*plan, error) {
	want, err := tunnel.Resolve(ctx, in.host, in.cfg, in.endpoints, have, opts)
	if err != nil {
		return nil, rootHint(err, "plan "+verb)
	}
	p := planOf(in.name, verb, append(clear, tunnel.Plan(want, have)...))
	p.Trace, p.Notes, p.Hooks = want.Trace, want.Notes, planHooks(want.Verdicts, false, want)
	if !want.Firewall.Empty() {
		p.Firewall = want.Firewall.Text()
	}
	return p, nil
}

func planOf(name, verb string, steps []tunnel.Step) *plan {
	p := &plan{Name: name, Verb: verb, Summary: tunnel.Summarise(steps), Steps: make([]planStep, 0, len(steps))}
	for _, s := range steps {
		p.Steps = append(p.Steps, planStep{s.String(), s.Changes(), tunnel.RulesDiff(s)})
	}
	return p
}

func (p *plan) print(ui *ui, how *planning) error {
	if how.json {
		return ui.json(p)
	}
	var b strings.Builder
	for _, s := range p.Steps {
		b.WriteString("[#] " + s.Text + "\n")
		for line := range strings.Lines(s.Rules) {
			b.WriteString("    " + line)
		}
	}
	if how.verbose {
		if p.Firewall != "" {
			b.WriteString("\n" + p.Firewall)
		}
		for _, h := range p.Hooks {
			h.text(&b)
		}
		for _, t := range p.Trace {
			b.WriteString(t + "\n")
		}
	}
	for _, n := range p.Notes {
		b.WriteString("[!] " + n + "\n")
	}
	b.WriteString(p.summary() + "\n")
	_, err := fmt.Fprint(ui.out, b.String())
	return err
}

// summary says "reload wg0: 2 to add, 1 to change, 0 to remove".
func (p *plan) summary() string {
	s := fmt.Sprintf("%s %s: ", p.Verb, p.Name)
	if len(p.Steps) == 0 {
		return s + "nothing to change"
	}
	s += fmt.Sprintf("%d to add, %d to change, %d to remove", p.Add, p.Change, p.Remove)
	switch p.Run {
	case 0:
		return s
	case 1:
		return s + ", 1 hook to run"
	}
	return fmt.Sprintf("%s, %d hooks to run", s, p.Run)
}
