// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"strings"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
)

// original is a tunnel.Original of this host.
type original struct {
	*netlinkx.Kernel
	*firewall.Firewall
}

// downOriginal takes down what the original wg-quick brought up from that
// file. A file that is broken has no hooks to run, and is not saved to; nor has
// one whose hooks were run already.
func downOriginal(ctx context.Context, ui *ui, path, name string, ran bool) error {
	kernel, err := netlinkx.NewKernel()
	if err != nil {
		return err
	}
	defer func() { _ = kernel.Close() }()
	filter, _, err := firewall.Open(ctx)
	if err != nil {
		return err
	}
	host, err := newHost(ctx, ui)
	if err != nil {
		return err
	}
	session, err := begin(ctx, ui, host, name)
	if err != nil {
		return err
	}
	defer session.End()
	hooks, rules, save := tunnel.Hooks{}, true, (func(*tunnel.State) error)(nil)
	switch {
	case !ran:
		hooks, rules, save = originalFile(ui, path, name)
	case session.Have.Link != nil:
		return nil // somebody's who came after
	}
	return session.DownOriginal(ctx, original{kernel, filter}, hooks, rules, save)
}

// originalFile reads what wg-quick's down takes from the file: the hooks,
// whether there may be policy rules, and whether the state is to be saved.
func originalFile(ui *ui, path, name string) (hooks tunnel.Hooks, rules bool, save func(*tunnel.State) error) {
	cfg, _, err := config.Load(path)
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			ui.note("%s", strings.TrimSpace(line))
		}
		ui.note("no hooks are run")
		return hooks, true, nil
	}
	if cfg.Interface.SaveConfig {
		save = func(s *tunnel.State) error {
			dropChosenMark(cfg, s)
			return saveState(ui, path, s)
		}
	}
	return tunnel.HooksOf(cfg, name), cfg.Interface.Table.Mode == config.TableAuto, save
}

// dropChosenMark leaves the mark out of what is to be saved that the original
// wg-quick chose for this once: the file has none.
func dropChosenMark(cfg *config.Config, s *tunnel.State) {
	if s.Foreign() && cfg.Interface.FwMark == nil && cfg.Interface.Table.Mode == config.TableAuto {
		s.Device.FwMark = 0
	}
}
