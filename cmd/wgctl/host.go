// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/netlinkx/userspace"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// newHost puts together the host that this process runs on.
func newHost(ctx context.Context, ui *ui) (*tunnel.Host, error) {
	kernel, err := netlinkx.NewKernel()
	if err != nil {
		return nil, fmt.Errorf("connecting to the kernel: %w", err)
	}
	filter, _, err := firewall.Open(ctx)
	if err != nil {
		return nil, errors.Join(err, kernel.Close())
	}
	resolver, err := dns.Open(ctx)
	if err != nil {
		return nil, errors.Join(err, kernel.Close())
	}
	if ui.place != nil {
		resolver = dns.At(ui.place.resolvConf())
	}
	kernel.SocketsIn(records(ui).SocketDir())
	stdin := os.Stdin
	if ui.board != nil { // hooks that run at once can't share it
		if stdin, err = os.Open(os.DevNull); err != nil {
			return nil, fmt.Errorf("opening a hook's input: %w", err)
		}
	}
	host := &tunnel.Host{
		Progress: ui.progress,
		Links:    kernel, Addresses: kernel, Routes: kernel, Tables: kernel, DeadEnds: kernel, Rules: kernel, Devices: kernel, Sysctls: kernel,
		Firewall:  filter,
		Foreign:   filter.Foreign(),
		DNS:       resolver,
		Userspace: starterFor(ui, kernel),
		Hooks: &tunnel.Shell{
			Stdin: stdin, Stdout: ui.out, Stderr: ui.err,
			Embedded: embeddedShell,
		},
		Names:   tunnel.SystemNames{},
		Records: records(ui),
	}
	if ui.place == nil {
		return host, nil
	}
	return host, ui.place.furnish(ctx, ui, host, kernel)
}

// furnish makes a host one of a namespace that --netns names.
func (p *place) furnish(ctx context.Context, ui *ui, h *tunnel.Host, kernel *netlinkx.Kernel) error {
	if err := p.sweep(ctx, ui, h.Records); err != nil {
		return err
	}
	if p.outer == nil {
		return nil
	}
	outer, err := p.openOuter()
	if err != nil {
		return err
	}
	kernel.CreateFrom(outer)
	h.Underlay, h.Names = outer, tunnel.NamesFrom(p.outer)
	return nil
}

// newStarter returns what starts embedded devices. Their sockets are where wg
// looks for them, but for those of a namespace that was named: all namespaces
// share that folder.
func newStarter(ui *ui) *userspace.Starter {
	s := &userspace.Starter{Args: []string{serveVerb}, Alias: netlinkx.Alias, LogLevel: os.Getenv("LOG_LEVEL")}
	if ui.place == nil && tunnel.SharedSocketDir() {
		s.OwnSocketDir = records(ui).SocketDir()
		return s
	}
	if ui.place == nil || !ui.place.private || !tunnel.SharedSocketDir() {
		s.SocketDir = records(ui).SocketDir()
	}
	if ui.place != nil && ui.place.outer == nil {
		s.Home = ui.place.Path
	} else if ui.place != nil {
		s.Sockets = ui.place.outer
	}
	return s
}

// begin takes a tunnel's lock and looks at it.
func begin(ctx context.Context, ui *ui, h *tunnel.Host, name string) (*tunnel.Session, error) {
	if err := outsideHook(name); err != nil {
		return nil, err
	}
	return tunnel.Begin(ctx, h, name, ui.step, ui.waiting(name))
}

// beginUp is begin for who is to bring it up.
func beginUp(ctx context.Context, ui *ui, in *input, opts tunnel.Options) (*tunnel.Session, error) {
	if err := outsideHook(in.name); err != nil {
		return nil, err
	}
	return tunnel.BeginUp(ctx, in.host, in.name, in.cfg, opts, ui.step, ui.waiting(in.name))
}

func outsideHook(name string) error {
	if os.Getenv(tunnel.HookVariable) != name {
		return nil
	}
	return withHint(fmt.Errorf("%s is locked: this is called from a hook of %s itself", name, name),
		"wgctl status works in hooks, and so do wg and ip")
}

// lookup is how endpoint names are looked up, with the variable that wg obeys.
func lookup(ui *ui) (tunnel.Lookup, error) {
	const name = "WG_ENDPOINT_RESOLUTION_RETRIES"
	l := tunnel.Lookup{Retries: tunnel.DefaultRetries, Waiting: ui.lookupFailed}
	switch v := os.Getenv(name); v {
	case "":
	case "infinity":
		l.Retries = -1
	default:
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			return l, usageError{fmt.Errorf("%s is neither a number nor infinity: %q", name, v)}
		}
		l.Retries = int(n)
	}
	return l, nil
}

// rootHint says what is missing where a look at the host is refused.
func rootHint(err error, verb string) error {
	if os.Geteuid() != 0 && (errors.Is(err, unix.EPERM) || errors.Is(err, os.ErrPermission)) {
		return withHint(err, "sudo wgctl "+verb+" …")
	}
	return err
}

// needRoot says early, in one line, what would otherwise fail in the middle.
// Most of what is done takes CAP_NET_ADMIN only.
func needRoot(verb string) error {
	switch {
	case hasNetAdmin():
		return nil
	case os.Geteuid() == 0: // as in a container
		return fmt.Errorf("%s takes CAP_NET_ADMIN: %w (give the container --cap-add NET_ADMIN)", verb, unix.EPERM)
	}
	return withHint(errors.New(verb+" needs root, or CAP_NET_ADMIN at least"), "sudo wgctl "+verb+" …")
}

// hasNetAdmin reports whether this process may administer its network. Where
// the kernel doesn't tell, trying will.
func hasNetAdmin() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return true
	}
	return data[0].Effective&(1<<unix.CAP_NET_ADMIN) != 0
}
