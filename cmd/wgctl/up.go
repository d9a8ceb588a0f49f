// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
)

func newUp(ui *ui) *cobra.Command {
	var opts tunnel.Options
	cmd := &cobra.Command{
		Use:   "up NAME|FILE",
		Short: "Bring a tunnel up, whole or not at all",
		Long: `Bring a tunnel up from /etc/wireguard/NAME.conf or from FILE, whose name must be
that of the interface and end in .conf. If any step fails, all are undone.`,
		Example: `  wgctl up wg0
  wgctl up ./office.conf
  wgctl up --backend userspace wg0`,
		Args: exactly(1, "the name of a tunnel or a file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return up(cmd.Context(), ui, args[0], opts)
		},
		ValidArgsFunction: completeConfigs,
	}
	backendFlag(cmd, &opts)
	return cmd
}

func up(ctx context.Context, ui *ui, arg string, opts tunnel.Options) error {
	if err := needRoot("up"); err != nil {
		return err
	}
	in, err := load(ctx, ui, arg)
	if err != nil {
		return err
	}
	session, err := begin(ctx, ui, in.host, in.name)
	if err != nil {
		return err
	}
	defer session.End()
	if err := session.Clear(ctx); err != nil {
		return clearHint(err, session.Have)
	}
	want, err := session.Resolve(ctx, in.cfg, in.endpoints, opts)
	if err != nil {
		return err
	}
	sayBackend(ui, want, in.cfg, opts)
	return session.Apply(ctx, in.record(want), tunnel.Plan(want, session.Have))
}

// clearHint says what to do about what is in the way.
func clearHint(err error, have *tunnel.State) error {
	name := have.Name
	switch {
	case errors.Is(err, tunnel.ErrUp):
		return withHint(err, fmt.Sprintf(`"wgctl status %s" shows it; "wgctl down %s" takes it down`, name, name))
	case errors.Is(err, tunnel.ErrForeign) && have.Link.Backend != "":
		return withHint(err, fmt.Sprintf(`what made it takes it away, as "wg-quick down %s" or "ip link delete %s"`, name, name))
	case errors.Is(err, tunnel.ErrForeign):
		return withHint(err, fmt.Sprintf("%s is no WireGuard interface: give the file another name", name))
	}
	return err
}

// sayBackend tells which backend is in use and why.
func sayBackend(ui *ui, want *tunnel.Spec, cfg *config.Config, opts tunnel.Options) {
	forced := cmp.Or(opts.Backend, cfg.Interface.Backend, config.BackendAuto) != config.BackendAuto
	switch {
	case want.Backend != netlinkx.BackendUserspace:
	case ui.quick:
		ui.note("Missing WireGuard kernel module. Falling back to slow userspace implementation.")
	case forced:
		ui.note("%s runs on the embedded userspace device: as asked for", want.Name)
	default:
		ui.note("%s runs on the embedded userspace device: this kernel has no WireGuard", want.Name)
	}
}

// An input is a file that was read and understood, and the host it is for.
type input struct {
	name      string // of the interface
	path      string // absolute
	cfg       *config.Config
	host      *tunnel.Host
	endpoints []netip.AddrPort // of cfg.Peers
}

// load parses the file that a word of the command line means, and looks its
// endpoints up.
func load(ctx context.Context, ui *ui, arg string) (*input, error) {
	path, name, err := config.Locate(arg)
	if err != nil {
		return nil, err
	}
	cfg, warnings, err := config.Load(path)
	if errors.Is(err, os.ErrNotExist) && path != arg {
		return nil, withHint(err, "a file elsewhere is named by a path with a slash, as ./wg0.conf")
	}
	if err != nil {
		return nil, err
	}
	ui.warnings(warnings)
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("finding %s: %w", arg, err)
	}
	host, err := newHost(ctx, ui)
	if err != nil {
		return nil, err
	}
	l, err := lookup(ui)
	if err != nil {
		return nil, err
	}
	endpoints, err := l.Endpoints(ctx, host.Names, cfg)
	if err != nil {
		return nil, err
	}
	return &input{name: name, path: path, cfg: cfg, host: host, endpoints: endpoints}, nil
}

func (in *input) record(want *tunnel.Spec) tunnel.Record {
	digest := sha256.New()
	_ = in.cfg.Format(digest) // a hash takes everything
	return tunnel.Record{Config: in.path, Digest: hex.EncodeToString(digest.Sum(nil)), Spec: want}
}

// backendFlag adds --backend.
func backendFlag(cmd *cobra.Command, opts *tunnel.Options) {
	cmd.Flags().Var((*backendValue)(&opts.Backend), "backend", "what implements the device: auto, kernel or userspace")
	_ = cmd.RegisterFlagCompletionFunc("backend", cobra.FixedCompletions([]string{"auto", "kernel", "userspace"}, cobra.ShellCompDirectiveNoFileComp))
}

type backendValue config.Backend

func (b *backendValue) String() string { return string(*b) }
func (b *backendValue) Type() string   { return "auto|kernel|userspace" }
func (b *backendValue) Set(s string) error {
	switch config.Backend(s) {
	case config.BackendAuto, config.BackendKernel, config.BackendUserspace:
		*b = backendValue(s)
		return nil
	}
	return errors.New("must be auto, kernel or userspace")
}

// completeConfigs offers the names in /etc/wireguard, and files.
func completeConfigs(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	files, _ := filepath.Glob("/etc/wireguard/*.conf")
	for i, f := range files {
		files[i] = filepath.Base(f[:len(f)-len(".conf")])
	}
	return files, cobra.ShellCompDirectiveDefault
}
