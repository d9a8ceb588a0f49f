// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
)

func newReload(ui *ui) *cobra.Command {
	var r reloading
	cmd := &cobra.Command{
		Use:   "reload NAME|FILE...",
		Short: "Make tunnels that are up what their files say now",
		Long: `Make tunnels that are up what their files say now, by the smallest change: peers
that don't change keep their sessions, a peer that has roamed stays where it is,
and the port and mark that were chosen are kept. If any step fails, all are
undone. A reload that was killed goes on where it was, and a tunnel of which a
killed run or a dead device left but a part comes up anew. A reload that would
remove most peers, or the one that this session comes through, asks first.`,
		Example: `  wgctl reload wg0
  wgctl reload --all
  wgctl reload --yes wg0    # though it removes most peers`,
		ValidArgsFunction: completeTunnels,
	}
	words := allFlag(cmd, "all tunnels that are up", runningTunnels)
	yesFlag(cmd, &r.yes)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return r.each(cmd, ui, args, words)
	}
	return cmd
}

func newApply(ui *ui) *cobra.Command {
	r := reloading{orUp: true}
	cmd := &cobra.Command{
		Use:   "apply NAME|FILE...",
		Short: "Bring tunnels up or reload them, whichever it takes",
		Long: `Make tunnels what their files say, whether they are up or not, as often as you
like: it is up for a tunnel that isn't up, and reload for one that is.`,
		Example: `  wgctl apply wg0
  wgctl apply --all`,
		ValidArgsFunction: completeConfigs,
	}
	words := allFlag(cmd, "all files of /etc/wireguard", allFiles)
	yesFlag(cmd, &r.yes)
	backendFlag(cmd, &r.opts)
	dnsBackendFlag(cmd, &r.opts)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return r.each(cmd, ui, args, words)
	}
	return cmd
}

func yesFlag(cmd *cobra.Command, yes *bool) {
	cmd.Flags().BoolVarP(yes, "yes", "y", false, "remove peers without asking, even most of them")
}

// reloading is how tunnels are made what their files say.
type reloading struct {
	opts tunnel.Options
	yes  bool
	orUp bool // bring up what isn't up
}

func (r reloading) each(cmd *cobra.Command, ui *ui, args []string, words func(context.Context, []string) ([]string, error)) error {
	if err := needRoot(cmd.Name()); err != nil {
		return err
	}
	args, err := words(cmd.Context(), args)
	if err != nil {
		return err
	}
	return each(cmd.Context(), ui, args, r.reload)
}

func (r reloading) reload(ctx context.Context, ui *ui, arg string) error {
	tunnel.LearnRecord()
	var file *glance
	in, err := locate(ctx, ui, arg, func(in *input) { file = glanceAt(ctx, in.path) })
	if err != nil {
		file.end()
		return err
	}
	if done, err := r.unchanged(ctx, ui, in, file); done || err != nil {
		return err
	}
	if err := in.parse(ctx, ui, arg); err != nil {
		return err
	}
	if err := in.forgetDead(ctx, ui); err != nil {
		return err
	}
	// Names are looked up before the tunnel is locked: it may take long.
	var have *tunnel.State
	if tunnel.NeedsLookup(in.cfg) {
		if have, err = tunnel.Observe(ctx, in.host, in.name); err != nil {
			return err
		}
	}
	if err := in.lookup(ctx, ui, have); err != nil {
		return err
	}
	session, err := begin(ctx, ui, in.host, in.name)
	if err != nil {
		return err
	}
	defer session.End()
	if err := r.ready(ctx, ui, in, session); err != nil {
		return err
	}
	want, err := session.Resolve(ctx, in.cfg, in.endpoints, r.opts)
	if err != nil {
		return err
	}
	if !session.Have.Up() {
		sayBackend(ui, want, in.cfg, r.opts)
	}
	sayNotes(ui, want)
	steps := tunnel.Plan(want, session.Have)
	if len(steps) == 0 {
		sayUnchanged(ui, in)
	}
	return in.apply(ctx, ui, session, want, steps)
}

func sayUnchanged(ui *ui, in *input) {
	if ui.board == nil {
		_, _ = fmt.Fprintf(ui.err, "%s: nothing to change\n", in.name)
	}
}

// unchanged reports whether there is nothing to do, which is cheap to say
// where the tunnel is under seal. It ends the glance at the file, if one was begun.
func (r reloading) unchanged(ctx context.Context, ui *ui, in *input, file *glance) (bool, error) {
	if file == nil {
		file = glanceAt(ctx, in.path)
	}
	defer file.end()
	path, err := filepath.Abs(in.path)
	if err != nil || os.Getenv(tunnel.HookVariable) == in.name {
		return false, nil
	}
	want := tunnel.Unchanged(ctx, in.host, in.name, path, r.opts, file.wait)
	if want == nil {
		return false, nil
	}
	ui.warnings(file.warnings)
	if err := trusted(ui, file.cfg, path); err != nil {
		return false, err
	}
	sayNotes(ui, want)
	sayUnchanged(ui, in)
	return true, nil
}

// A glance is at a file but for its peers, while the host is opened: it may be
// large.
type glance struct {
	stop     context.CancelFunc
	done     chan struct{} // closed when the rest is known
	cfg      *config.Config
	warnings []config.Warning
	err      error
}

func glanceAt(ctx context.Context, path string) *glance {
	ctx, stop := context.WithCancel(ctx)
	g := &glance{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(g.done)
		if g.cfg, g.warnings, g.err = config.LoadInterface(ctx, path); g.err == nil {
			g.err = g.cfg.ReadKeys()
		}
	}()
	return g
}

func (g *glance) wait() (*config.Config, error) {
	<-g.done
	return g.cfg, g.err
}

// end ends it, if it goes on.
func (g *glance) end() {
	if g == nil {
		return
	}
	g.stop()
	if <-g.done; g.cfg != nil {
		g.cfg.ForgetKeys()
	}
}

// ready returns nil if the tunnel can be made what the file says. A reload that
// was cut short goes on; what else an accident left is cleared away, to come up
// anew.
func (r reloading) ready(ctx context.Context, ui *ui, in *input, s *tunnel.Session) error {
	sayHung(ui, s.Have)
	resumed := s.Resume()
	switch {
	case resumed:
		ui.note("%s: a reload was cut short, and goes on", in.name)
		fallthrough
	case s.Have.Up():
		return r.allowed(ui, tunnel.LossOf(in.cfg, s.Have, in.session(ctx)), in.name)
	case s.Have.Broken() && !s.Have.Foreign():
		ui.note("%s is not whole: what is left is cleared away, and it comes up anew", in.name)
		fallthrough
	case r.orUp:
		return clearHint(s.Clear(ctx), s.Have)
	}
	return notUpHint(s.Have)
}

// allowed asks before many peers go.
func (r reloading) allowed(ui *ui, loss tunnel.Loss, name string) error {
	if r.yes || !loss.Grave() {
		return nil
	}
	what := fmt.Sprintf("reloading %s would %s", name, loss)
	switch yes, asked := ui.confirm(what); {
	case yes:
		return nil
	case asked:
		return fmt.Errorf("%s: not done", what)
	}
	return withHint(errors.New(what), "--yes says that this is meant")
}

// notUpHint says why a tunnel can't be reloaded.
func notUpHint(have *tunnel.State) error {
	if have.Foreign() {
		return clearHint(fmt.Errorf("%s %w", have.Name, tunnel.ErrForeign), have)
	}
	return withHint(fmt.Errorf("%s %w", have.Name, tunnel.ErrNotUp), fmt.Sprintf(`"wgctl up %s" brings it up; "wgctl apply" does either`, have.Name))
}
