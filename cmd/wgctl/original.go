// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"fmt"
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
// file. A file that is broken has no hooks to run, and is not saved to.
func downOriginal(ctx context.Context, ui *ui, path, name string) error {
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
	hooks, rules, save := originalFile(ctx, ui, path, name)
	return session.DownOriginal(ctx, original{kernel, filter}, hooks, rules, save)
}

// clearOriginal takes away what the packet filter still has of wg-quick's own,
// after a down that had only its nameservers to go by.
func clearOriginal(ctx context.Context, ui *ui, name string) error {
	filter, _, err := firewall.Open(ctx)
	if err != nil {
		return err
	}
	stands, err := filter.Original(ctx, name)
	if err != nil || len(stands) == 0 {
		return err
	}
	_, _ = fmt.Fprintln(ui.err, "[#] nft -f /dev/fd/63")
	return filter.RemoveOriginal(ctx, name)
}

// originalFile reads what wg-quick's down takes from the file: the hooks,
// whether there may be policy rules, and whether the state is to be saved.
func originalFile(ctx context.Context, ui *ui, path, name string) (hooks tunnel.Hooks, rules bool, save func(*tunnel.State) error) {
	cfg, _, err := config.Load(ctx, path)
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
			return saveState(ctx, ui, path, s)
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
