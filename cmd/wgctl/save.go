// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
)

func newSave(ui *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "save NAME|FILE",
		Short: "Write the state of an interface into its file",
		Long: `Write what an interface has now (keys, peers, addresses, nameservers) into its
file, and change nothing else there: comments, order, host names of endpoints,
search domains and names of peers stay. The file is replaced whole or not at
all, and not if somebody else has changed it meanwhile.`,
		Example: `  wgctl save wg0`,
		Args:    exactly(1, "the name of a tunnel or a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := needRoot("save"); err != nil {
				return err
			}
			path, name, err := config.Locate(args[0])
			if err != nil {
				return err
			}
			return save(cmd.Context(), ui, path, name)
		},
		ValidArgsFunction: completeConfigs,
	}
}

func newStrip(ui *ui) *cobra.Command {
	return &cobra.Command{
		Use:   "strip NAME|FILE",
		Short: "Print the part of a file that wg understands",
		Example: `  wgctl strip wg0
  wg syncconf wg0 <(wgctl strip wg0)`,
		Args: exactly(1, "the name of a tunnel or a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _, err := config.Locate(args[0])
			if err != nil {
				return err
			}
			return strip(cmd.Context(), ui, path)
		},
		ValidArgsFunction: completeConfigs,
	}
}

// strip prints one line break more than the text has, as wg-quick does.
func strip(ctx context.Context, ui *ui, path string) error {
	debug.SetGCPercent(25) // the text is nearly all there is: no room for as much again
	text, err := config.ReadText(ctx, path)
	if err != nil {
		return err
	}
	if text, err = config.InlineKeys(path, text); err != nil {
		return err
	}
	if err := config.Strip(ui.out, text); err != nil {
		return err
	}
	_, err = fmt.Fprintln(ui.out)
	return err
}

// save writes an interface's state into a file, whoever made the interface.
func save(ctx context.Context, ui *ui, path, name string) error {
	host, err := newHost(ctx, ui)
	if err != nil {
		return err
	}
	have, err := tunnel.Observe(ctx, host, name)
	if err != nil {
		return err
	}
	if have.Link == nil || have.Link.Backend == "" {
		return fmt.Errorf("%s %w", name, tunnel.ErrNotUp)
	}
	if cfg, _, err := config.Load(ctx, path); err == nil {
		dropChosenMark(cfg, have)
	}
	return saveState(ctx, ui, path, have)
}

// saveState is save for what was observed already.
func saveState(ctx context.Context, ui *ui, path string, s *tunnel.State) error {
	original, err := config.ReadText(ctx, path)
	if err != nil {
		return fmt.Errorf("saving %s: %w", s.Name, err)
	}
	content, err := config.Update(original, saved(s))
	if err != nil {
		return fmt.Errorf("saving %s: %w", path, err)
	}
	if bytes.Equal(content, original) {
		return nil
	}
	_, _ = fmt.Fprintln(ui.err, "[#] wg showconf "+s.Name)
	return config.Save(path, original, content)
}

func saved(s *tunnel.State) config.Saved {
	d := s.Device
	out := config.Saved{
		ListenPort: d.ListenPort, FwMark: d.FwMark, MTU: s.Link.MTU,
		Addresses: append([]netip.Prefix{}, s.Addresses...), // not nil: none is known to be there
	}
	if last := s.Last(); last != nil && last.MarkChosen {
		out.FwMark = 0 // chosen for this once
	}
	if !s.DNS.Empty() {
		out.DNS = s.DNS.Servers
	}
	out.PrivateKey = secret(config.Secret(d.PrivateKey))
	for _, p := range d.Peers {
		out.Peers = append(out.Peers, config.SavedPeer{
			PublicKey: config.Key(p.PublicKey), PresharedKey: secret(config.Secret(p.PresharedKey)), Endpoint: p.Endpoint,
			AllowedIPs: p.AllowedIPs, PersistentKeepalive: p.PersistentKeepalive,
		})
	}
	return out
}

// secret returns nil for no key.
func secret(k config.Secret) *config.Secret {
	if k == (config.Secret{}) {
		return nil
	}
	return &k
}
