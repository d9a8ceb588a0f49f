// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"context"
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
	var b bringing
	cmd := &cobra.Command{
		Use:   "up NAME|FILE...",
		Short: "Bring tunnels up, each whole or not at all",
		Long: `Bring tunnels up from /etc/wireguard/NAME.conf, or from FILE, whose name must be
that of the interface and end in .conf. If any step fails, all of that tunnel's
are undone. Several tunnels come up at once; --all means those of /etc/wireguard
that aren't up.`,
		Example: `  wgctl up wg0
  wgctl up ./office.conf
  wgctl up wg0 wg1
  wgctl up --all
  wgctl up --backend userspace wg0`,
		ValidArgsFunction: completeConfigs,
	}
	words := allFlag(cmd, "all files of "+config.Dir, allFiles)
	backendFlag(cmd, &b.opts)
	dnsBackendFlag(cmd, &b.opts)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needRoot("up"); err != nil {
			return err
		}
		b.all = len(args) == 0
		args, err := words(cmd.Context(), args)
		if err != nil {
			return err
		}
		return each(cmd.Context(), ui, args, b.up)
	}
	return cmd
}

// bringing is how tunnels are brought up.
type bringing struct {
	opts tunnel.Options
	all  bool // it is no fault that one is up
}

func (b bringing) up(ctx context.Context, ui *ui, arg string) error {
	err := up(ctx, ui, arg, b.opts)
	if b.all && errors.Is(err, tunnel.ErrUp) {
		return nil
	}
	return err
}

func up(ctx context.Context, ui *ui, arg string, opts tunnel.Options) error {
	if err := needRoot("up"); err != nil {
		return err
	}
	in, err := load(ctx, ui, arg)
	if err != nil {
		return err
	}
	session, err := beginUp(ctx, ui, in, opts)
	if err != nil {
		return err
	}
	defer session.End()
	sayHung(ui, session.Have)
	if err := session.Clear(ctx); err != nil {
		return clearHint(err, session.Have)
	}
	want, err := session.Resolve(ctx, in.cfg, in.endpoints, opts)
	if err != nil {
		return err
	}
	sayBackend(ui, want, in.cfg, opts)
	sayNotes(ui, want)
	return in.apply(ctx, ui, session, want, tunnel.Plan(want, session.Have))
}

// sayHung says why the command took its time, and why a tunnel is cleared away
// of which the link is there.
func sayHung(ui *ui, have *tunnel.State) {
	if have.Link != nil && have.Link.Hung {
		ui.note("%s: the process of its device does not answer", have.Name)
	}
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
	case want.Backend != netlinkx.BackendUserspace, ui.quiet:
	case ui.quick:
		ui.note("Missing WireGuard kernel module. Falling back to slow userspace implementation.")
	case forced:
		ui.note("%s runs on the embedded userspace device: as asked for", want.Name)
	default:
		ui.note("%s runs on the embedded userspace device: this kernel has no WireGuard", want.Name)
	}
}

// sayNotes tells what the host keeps the tunnel from doing.
func sayNotes(ui *ui, want *tunnel.Spec) {
	for _, note := range want.Notes {
		ui.note("%s: %s", want.Name, note)
	}
}

// An input is a file that was read and understood, and the host it is for.
type input struct {
	name      string // of the interface
	path      string // absolute, once it was parsed
	cfg       *config.Config
	host      *tunnel.Host
	endpoints []netip.AddrPort // of cfg.Peers
}

// load parses the file that a word of the command line means, and looks its
// endpoints up.
func load(ctx context.Context, ui *ui, arg string) (*input, error) {
	tunnel.LearnRecord()
	in, err := read(ctx, ui, arg)
	if err != nil {
		return nil, err
	}
	if err := in.forgetDead(ctx, ui); err != nil {
		return nil, err
	}
	have, err := in.leftover(ctx)
	if err != nil {
		return nil, err
	}
	return in, in.lookup(ctx, ui, have)
}

// leftover returns what an earlier run left of the tunnel, or nil: behind a kill
// switch that stands still nothing can be looked up.
func (in *input) leftover(ctx context.Context) (*tunnel.State, error) {
	r, err := in.host.Records.Head(in.name)
	if err != nil || r == nil {
		return nil, err
	}
	return tunnel.Observe(ctx, in.host, in.name)
}

// read parses the file that a word of the command line means, while the host is
// opened.
func read(ctx context.Context, ui *ui, arg string) (*input, error) {
	if ui.place != nil {
		in, err := locate(ctx, ui, arg, nil)
		if err != nil {
			return nil, err
		}
		if err := in.parse(ctx, ui, arg); err != nil {
			closeHost(in.host)
			return nil, err
		}
		return in, nil
	}
	in, err := find(records(ui), arg)
	if err != nil {
		return nil, err
	}
	var failed error
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		in.host, failed = newHost(ctx, ui)
	}()
	err = in.parse(ctx, ui, arg)
	if <-opened; failed != nil {
		return nil, failed
	}
	if err != nil {
		closeHost(in.host)
		return nil, err
	}
	return in, nil
}

// locate finds the file that a word of the command line means, and opens the host.
// Between the two found is called, if it isn't nil.
func locate(ctx context.Context, ui *ui, arg string, found func(*input)) (*input, error) {
	if _, _, err := config.Locate(arg); err != nil {
		return nil, err
	}
	if ui.place == nil {
		in, err := find(records(ui), arg)
		if err != nil {
			return nil, err
		}
		if found != nil {
			found(in)
		}
		in.host, err = newHost(ctx, ui)
		return in, err
	}
	// What namespaces left that are gone is swept away first.
	host, err := newHost(ctx, ui)
	if err != nil {
		return nil, err
	}
	in, err := find(host.Records, arg)
	if err != nil {
		return nil, err
	}
	in.host = host
	return in, nil
}

// find finds the file that a word of the command line means. That of a tunnel that
// was brought up from a file elsewhere is that file.
func find(rs *tunnel.Records, arg string) (*input, error) {
	path, name, err := config.Locate(arg)
	if err != nil {
		return nil, err
	}
	if path != arg {
		if path, err = recorded(rs, name, path); err != nil {
			return nil, err
		}
	}
	return &input{name: name, path: path}, nil
}

func (in *input) parse(ctx context.Context, ui *ui, arg string) error {
	ui.collectLate(in.path)
	cfg, warnings, err := config.Load(ctx, in.path)
	if errors.Is(err, os.ErrNotExist) && in.path != arg {
		return withHint(err, "a file elsewhere is named by a path with a slash, as ./wg0.conf")
	}
	if err != nil {
		return err
	}
	ui.warnings(warnings)
	ui.collectLess(len(cfg.Peers))
	in.cfg = cfg
	if in.path, err = filepath.Abs(in.path); err != nil {
		return fmt.Errorf("finding %s: %w", arg, err)
	}
	return errors.Join(trusted(ui, cfg, in.path), cfg.ReadKeys())
}

// recorded returns the path that a tunnel came from, or path if it has no
// record.
func recorded(rs *tunnel.Records, name, path string) (string, error) {
	r, err := rs.Head(name)
	if errors.Is(err, os.ErrPermission) {
		return path, nil // nobody but root knows
	}
	if err != nil || r == nil || r.Config == "" {
		return path, err
	}
	return r.Config, nil
}

// lookup finds the addresses of the endpoints. Those of peers that stay where
// they are need none.
func (in *input) lookup(ctx context.Context, ui *ui, have *tunnel.State) error {
	l, err := lookup(ui)
	if err != nil {
		return err
	}
	if have != nil {
		l.Known = have.Settled()
	}
	in.endpoints, err = ui.endpoints(ctx, l, in.host.Names, in.cfg)
	return err
}

func (in *input) record(want *tunnel.Spec) tunnel.Record {
	return tunnel.Record{Config: in.path, Digest: in.cfg.Digest(), Spec: want, Sealable: tunnel.Sealable(in.cfg)}
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
