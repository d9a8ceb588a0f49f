// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/agent"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

func newRun(ui *ui) *cobra.Command {
	r := &running{ui: ui}
	repair := false
	cmd := &cobra.Command{
		Use:   "run NAME|FILE",
		Short: "Bring a tunnel up and look after it until told to end",
		Long: `Bring a tunnel up, or adopt one that is up, and stay: endpoints whose names can't
be found yet are looked up again until they are, and those of peers without a
session when their names lead elsewhere. It is what the unit wgctl@NAME.service
runs; systemd is told when the tunnel is up, how it is, and, if it asks for
that, that it is still well.

SIGTERM and SIGINT take the tunnel down; so does SIGUSR1, but for its kill switch,
as for a tunnel that comes back. SIGHUP reloads it. A tunnel that another command
takes down ends run as well. A file that can't be used makes exit code 78.`,
		Example: `  wgctl run wg0
  wgctl run --repair wg0     # and put back what something else takes away
  wgctl run ./office.conf`,
		Args:              exactly(1, "the name of a tunnel or a file"),
		ValidArgsFunction: completeConfigs,
	}
	cmd.Flags().BoolVar(&repair, "repair", false, "put back what isn't as it was brought up")
	backendFlag(cmd, &r.opts)
	dnsBackendFlag(cmd, &r.opts)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := needRoot("run"); err != nil {
			return err
		}
		r.arg, ui.stays = args[0], true
		return r.run(cmd.Context(), repair)
	}
	return cmd
}

// running is the tunnel of run, as the agent sees it.
type running struct {
	ui    *ui
	arg   string
	opts  tunnel.Options
	in    *input // what was read last
	names *agent.Names
	found int // endpoints of in that are known
}

// run looks after the tunnel until a signal ends it.
func (r *running) run(ctx context.Context, repair bool) error {
	_, name, err := config.Locate(r.arg)
	if err != nil {
		return err
	}
	commands := commandsBySignal()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // signals are commands here
	defer cancel()
	changes, err := r.watch(ctx)
	if err != nil {
		return err
	}
	r.names = &agent.Names{System: tunnel.SystemNames{}}
	notify, watchdog := agent.Supervisor()
	a := agent.Agent{
		Name: name, Tunnel: r, Commands: commands, Changes: changes, Names: r.names, Repair: repair,
		Notify: notify, Watchdog: watchdog, Say: func(text string) { r.ui.note("%s", text) },
	}
	return a.Run(ctx)
}

// watch tells of changes of the host: of the kernel's, and of the resolver's. Who
// can't be told of the latter looks from time to time.
func (r *running) watch(ctx context.Context) (<-chan struct{}, error) {
	kernel, err := netlinkx.Watch(ctx)
	if err != nil {
		return nil, err
	}
	var resolver *dns.Resolver
	if r.ui.place != nil {
		resolver = dns.At(r.ui.place.resolvConf())
	} else if resolver, err = dns.Open(ctx); err != nil {
		return nil, err
	}
	files, err := resolver.Watch(ctx)
	if err != nil {
		r.ui.note("%v", err)
		return kernel, nil
	}
	both := make(chan struct{}, 1)
	go func() {
		defer close(both)
		for kernel != nil || files != nil {
			var ok bool
			select {
			case _, ok = <-kernel:
				if !ok {
					kernel = nil
				}
			case _, ok = <-files:
				if !ok {
					files = nil
				}
			}
			if ok {
				select {
				case both <- struct{}{}:
				default:
				}
			}
		}
	}()
	return both, nil
}

// commandsBySignal takes the signals from whoever had them.
func commandsBySignal() <-chan agent.Command {
	meaning := map[os.Signal]agent.Command{
		unix.SIGTERM: agent.Stop, os.Interrupt: agent.Stop, unix.SIGUSR1: agent.Restart, unix.SIGHUP: agent.Reload,
	}
	signals, commands := make(chan os.Signal, 8), make(chan agent.Command)
	for s := range meaning {
		signal.Reset(s)
		signal.Notify(signals, s)
	}
	go func() {
		for s := range signals {
			commands <- meaning[s]
		}
	}()
	return commands
}

// Read reads the file.
func (r *running) Read(ctx context.Context) error {
	in, err := read(ctx, r.ui, r.arg)
	if err != nil {
		return fileError{err}
	}
	r.use(in)
	return nil
}

func (r *running) use(in *input) {
	old := r.in
	r.in, r.found = in, -1
	r.on(in.host)
	if old != nil {
		closeHost(old.host)
		old.cfg.ForgetKeys()
	}
}

// on has the tunnel be on a host that was looked at now: who owns its resolver
// and its packet filters changes while a process stays.
func (r *running) on(host *tunnel.Host) {
	host.Names = r.names
	r.in.host = host
}

// closeHost lets go of a host's sockets.
func closeHost(h *tunnel.Host) {
	if kernel, ok := h.Links.(*netlinkx.Kernel); ok {
		_ = kernel.Close()
	}
	if filter, ok := h.Firewall.(*firewall.Firewall); ok {
		_ = filter.Close()
	}
}

// lookupLimit bounds one round of look-ups: the tunnel comes up without the
// endpoints that take longer.
const lookupLimit = 10 * time.Second

// Make makes the tunnel what was read.
func (r *running) Make(ctx context.Context, reload bool, again []netlinkx.Key) (missing, err error) {
	in, old := r.in, r.in.host
	host, err := newHost(ctx, r.ui)
	if err != nil {
		return nil, err
	}
	r.on(host)
	closeHost(old)
	if err := in.forgetDead(ctx, r.ui); err != nil {
		return nil, err
	}
	have, err := tunnel.Observe(ctx, in.host, in.name)
	if err != nil {
		return nil, err
	}
	r.bypass(have)
	missing, err = in.lookupSome(ctx, r.ui, have, again)
	if err != nil {
		return nil, err
	}
	found := countValid(in.endpoints)
	if missing != nil && have.Up() && !reload && len(again) == 0 && found == r.found && len(have.Status().Drift) == 0 {
		return missing, nil // nothing new is known
	}
	session, err := begin(ctx, r.ui, in.host, in.name)
	if err != nil {
		return nil, err
	}
	defer session.End()
	by := reloading{opts: r.opts, orUp: true, yes: !reload}
	if err := by.ready(ctx, r.ui, in, session); err != nil {
		return nil, err
	}
	session.Have.Unsettle(again)
	want, err := session.Resolve(ctx, in.cfg, in.endpoints, r.opts)
	if err != nil {
		return nil, err
	}
	if !session.Have.Up() {
		sayBackend(r.ui, want, in.cfg, r.opts)
		sayNotes(r.ui, want)
	}
	if err := in.apply(ctx, r.ui, session, want, tunnel.Plan(want, session.Have)); err != nil {
		return nil, err
	}
	r.found = found
	r.names.Mark(past(want))
	want.ForgetKeys()
	session.Have.ForgetKeys()
	have.ForgetKeys()
	debug.FreeOSMemory() // this process stays: what was freed and has keys in it goes back to the kernel
	return missing, nil
}

// lookupSome looks endpoints up but once, and goes without those that it does
// not find.
func (in *input) lookupSome(ctx context.Context, ui *ui, have *tunnel.State, again []netlinkx.Key) (missing, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	l := tunnel.Lookup{Retries: 0}
	if have.Up() || have.Leftover() {
		have.Unsettle(again)
		l.Known = have.Settled()
	}
	in.endpoints, missing = ui.endpoints(ctx, l, in.host.Names, in.cfg)
	if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
		return nil, fmt.Errorf("looking up endpoints: %w", cause)
	}
	return missing, nil
}

func countValid(endpoints []netip.AddrPort) (n int) {
	for _, e := range endpoints {
		if e.IsValid() {
			n++
		}
	}
	return n
}

// bypass has names looked up past what stands of the tunnel.
func (r *running) bypass(have *tunnel.State) {
	mark := uint32(0)
	last, own := have.Last(), have.DNS.Servers
	if last != nil {
		own = append(slices.Clip(own), last.DNS.Servers...)
	}
	r.names.SetServers(r.in.outside(), own)
	if last != nil && (have.Link != nil || have.Firewall.KillSwitch) {
		mark = past(last)
	}
	r.names.Mark(mark)
}

// past is the mark that leads past a tunnel which everything else goes into.
func past(s *tunnel.Spec) uint32 {
	if s.Firewall.RestoreMark != 0 {
		return s.Firewall.RestoreMark
	}
	return s.Firewall.KillSwitch.Mark
}

// Look observes the tunnel under its lock, and reads the file again if another
// command has done so.
func (r *running) Look(ctx context.Context) (*tunnel.State, error) {
	patience := 5 * time.Second
	if end, ok := ctx.Deadline(); ok { // a short look has to be over, too
		patience = min(patience, time.Until(end)/2)
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	unlock, err := r.in.host.Records.Lock(limited, r.in.name, func(string) {})
	if err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			return nil, agent.ErrBusy
		}
		return nil, err
	}
	defer unlock()
	have, err := tunnel.Observe(ctx, r.in.host, r.in.name)
	if err != nil {
		return nil, err
	}
	if have.Up() && have.Record.Digest != r.in.cfg.Digest() {
		in, err := read(ctx, r.ui, r.arg)
		switch {
		case err == nil && in.cfg.Digest() == have.Record.Digest:
			r.use(in)
		case err == nil:
			closeHost(in.host)
			fallthrough
		default: // edited since: what was applied is nowhere to be read
			return nil, agent.ErrBusy
		}
	}
	r.bypass(have)
	return have, nil
}

// Down takes the tunnel down.
func (r *running) Down(ctx context.Context, keepKillSwitch bool) error {
	return taking{keep: keepKillSwitch}.down(ctx, r.ui, r.arg)
}
