// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
)

func newDown(ui *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "down NAME|FILE...",
		Short: "Take tunnels down, or what is left of them",
		Long: `Take down what up brought up. It goes by what was done, not by what the file says
now, and also clears what a killed run or a dead device left behind. Hooks are
those of the file, or the ones that were there on up if the file is gone.`,
		Example: `  wgctl down wg0
  wgctl down ./office.conf
  wgctl down --all
  wgctl down --everywhere                             # those in other namespaces and of labs, too
  wgctl down --keep-killswitch wg0 && wgctl up wg0    # nothing leaks in between`,
		ValidArgsFunction: completeTunnels,
	}
	var t taking
	cmd.Flags().BoolVar(&t.keep, "keep-killswitch", false, "leave a kill switch standing, for a tunnel that comes back")
	words := allFlag(cmd, "all tunnels that are up, or of which something is left", allTunnels)
	everywhere := cmd.Flags().Bool("everywhere", false, "--all, in every network namespace, and labs")
	named := cmd.Args
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if *everywhere && (len(args) > 0 || cmd.Flag("netns").Changed || cmd.Flag("netns-all").Changed) {
			return usageError{withHint(errors.New("down --everywhere takes no names and no namespace"), "wgctl help down shows how")}
		}
		if *everywhere {
			return nil
		}
		return named(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needRoot("down"); err != nil {
			return err
		}
		var beside error
		if *everywhere {
			beside = t.everywhere(cmd.Context(), ui)
			if err := cmd.Flags().Set("all", "true"); err != nil {
				return err
			}
		}
		args, err := words(cmd.Context(), args)
		if err != nil {
			return errors.Join(beside, err)
		}
		err = each(cmd.Context(), ui, args, t.down)
		if beside == nil {
			return err
		}
		return errors.Join(beside, err)
	}
	return cmd
}

// taking is how tunnels are taken down.
type taking struct {
	keep bool // their kill switches stand on
}

func down(ctx context.Context, ui *ui, arg string) error { return taking{}.down(ctx, ui, arg) }

func (t taking) down(ctx context.Context, ui *ui, arg string) error {
	if err := needRoot("down"); err != nil {
		return err
	}
	name, host, err := named(ctx, ui, arg)
	if err != nil {
		return err
	}
	session, err := begin(ctx, ui, host, name)
	if err != nil {
		return err
	}
	defer host.Records.Tidy() // without the lock
	defer session.End()
	sayHung(ui, session.Have)
	session.KeepKillSwitch = t.keep
	hooks, save := fromFile(ctx, ui, session.Have)
	err = session.Down(ctx, hooks, save)
	switch {
	case errors.Is(err, tunnel.ErrForeign):
		return clearHint(err, session.Have)
	case errors.Is(err, tunnel.ErrNotUp):
		return withHint(err, `"wgctl status" shows what is up`)
	}
	return err
}

// named returns the interface that a word of the command line means, whether
// its file is there or not.
func named(ctx context.Context, ui *ui, arg string) (name string, h *tunnel.Host, err error) {
	if _, name, err = config.Locate(arg); err != nil {
		return "", nil, err
	}
	h, err = newHost(ctx, ui)
	return name, h, err
}

// fromFile reads the hooks of the file that the tunnel came from, and whether
// it wants to be saved. A file that is gone or broken changes nothing: the
// record has the hooks.
func fromFile(ctx context.Context, ui *ui, have *tunnel.State) (*tunnel.Hooks, func(*tunnel.State) error) {
	if have.Record == nil || have.Record.Config == "" {
		return nil, nil
	}
	path := have.Record.Config
	cfg, _, err := config.Load(ctx, path)
	if err == nil {
		err = trusted(ui, cfg, path)
	}
	if err != nil {
		ui.note("%v", err)
		ui.note("hooks are those of the last up")
		return nil, nil
	}
	hooks := tunnel.HooksOf(cfg, have.Name)
	if cfg.Interface.HookMode == config.HooksOff {
		hooks = tunnel.Hooks{}
	}
	if !cfg.Interface.SaveConfig {
		return &hooks, nil
	}
	ctx = context.WithoutCancel(ctx) // down goes on when it is interrupted
	return &hooks, func(s *tunnel.State) error { return saveState(ctx, ui, path, s) }
}

// completeTunnels offers the tunnels that have a record.
func completeTunnels(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, _ := (&tunnel.Records{Dir: tunnel.RunDir()}).Names()
	return names, cobra.ShellCompDirectiveDefault
}
