// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// undoTimeout bounds the way back after an error, which takes no notice of a
// context that has ended.
const undoTimeout = 2 * commandTimeout

// A backend tells one kind of resolver what a tunnel wants.
type backend interface {
	// ready returns nil if s could be applied, else why not.
	ready(s Settings) error
	// installed returns what stands for the interface, Backend included.
	installed(ctx context.Context, ifname string) (Settings, error)
	// add replaces what stands for s.Interface.
	add(ctx context.Context, s Settings) error
	// remove takes away what stands for s.Interface; Previous may be of use.
	remove(ctx context.Context, s Settings) error
}

// A Resolver tells the host's resolver what tunnels want.
type Resolver struct {
	known func() Facts  // all facts, gathered when they are first asked for; nil: none
	tool  func() Choice // the program resolvconf, likewise
	path  string        // of resolv.conf, "" if there is none that could be written
	alone bool          // it is that of a network namespace, and nobody else is asked
	bus   string        // socket of the system bus
	looks bool          // nothing is to be changed by it, so nobody is started
}

// Paths of a host.
const (
	resolvConfPath = "/etc/resolv.conf"
	busPath        = "/run/dbus/system_bus_socket"
)

// Open returns the resolver of this host. Of its files it reads those that
// matter for what is asked of it, once and then, and it asks nobody. The error is
// the context's.
func Open(ctx context.Context) (*Resolver, error) {
	tool := sync.OnceValue(detectTool)
	return &Resolver{
		known: sync.OnceValue(func() Facts { return detectRest(tool()) }),
		tool:  sync.OnceValue(func() Choice { return tool().resolvconf() }),
		path:  resolvConfPath, bus: busPath,
	}, ctx.Err()
}

// OnlyLooks says that the resolver is asked for what would be done, and nothing
// will be: a daemon that isn't running is not started for that.
func (r *Resolver) OnlyLooks() { r.looks = true }

// New returns the resolver of a host of these facts.
func New(f Facts) *Resolver {
	return &Resolver{known: func() Facts { return f }, tool: sync.OnceValue(f.resolvconf), path: resolvConfPath, bus: busPath}
}

// facts are none in a namespace: see At.
func (r *Resolver) facts() Facts {
	if r.known == nil {
		return Facts{}
	}
	return r.known()
}

// program is resolvconf, without a path if there is none.
func (r *Resolver) program() Choice {
	if r.tool == nil {
		return Facts{}.resolvconf()
	}
	return r.tool()
}

// backends are those that something may stand at, the one that is cheapest to
// look at first.
func (r *Resolver) backends() []backend {
	switch {
	case r.alone && r.path == "":
		return nil
	case r.alone:
		return []backend{r.file()}
	}
	all := []backend{r.file(), r.networkManager(), &resolved{bus: r.bus}}
	if c := r.program(); c.Path != "" && c.Flavour != Systemd {
		all = append(all, &resolvconf{choice: c})
	}
	return all
}

func (r *Resolver) file() *file { return &file{path: r.path, alone: r.alone} }

func (r *Resolver) backend(name string) backend {
	switch name {
	case BackendFile:
		return r.file()
	case BackendResolved:
		return &resolved{bus: r.bus}
	case BackendNetworkManager:
		return r.networkManager()
	}
	return &resolvconf{choice: r.program()}
}

func (r *Resolver) networkManager() *networkManager {
	return newNetworkManager(r.bus, r.path, networkManagerDir, "/etc/NetworkManager")
}

// Explain returns the choice for these settings, and its trace. Where files
// leave it open it asks systemd-resolved and NetworkManager, within some seconds.
func (r *Resolver) Explain(ctx context.Context, s Settings) (Choice, string, error) {
	if r.alone {
		return r.chooseAlone(s)
	}
	f := r.facts()
	f.Forced, f.Last, f.Split = s.Backend, s.Last, len(s.Routing) > 0 && !s.Lax
	f.SearchAlone = len(s.Servers) == 0 && len(s.Search) > 0
	if f.asksResolved() {
		f.Resolved = askResolved(ctx, r.bus, !r.looks)
	}
	if f.asksNetworkManager() {
		f.NetworkManager = askNetworkManager(ctx, r.bus)
	}
	return Choose(f)
}

// Choose returns s with the backend that it goes to and the trace of that
// choice, or an error if it can't be applied there. It changes nothing. Empty
// settings need no choice: they have no trace.
func (r *Resolver) Choose(ctx context.Context, s Settings) (Settings, string, error) {
	if s.Empty() || s.Backend == BackendOff {
		// Nobody is told.
		return Settings{Interface: s.Interface}, "", ctx.Err()
	}
	if err := s.validate(); err != nil {
		return s, "", err
	}
	for _, a := range s.Servers {
		if (a.IsUnspecified() || a.IsMulticast()) && !s.Lax {
			return s, "", fmt.Errorf("%s is no address of a nameserver", a)
		}
	}
	c, trace, err := r.Explain(ctx, s)
	if err != nil {
		return s, trace, errors.Join(err, ctx.Err())
	}
	s.Backend = c.Name
	switch c.Name {
	case BackendResolved:
		s = s.normal()
		s.Unsearched = len(s.Servers) == 0 && slices.Contains(r.facts().Hosts, "resolve")
		s.Listed = r.facts().owner() == OwnerResolvedUplink
		if s.Exclusive() {
			if s.Whole {
				s.Aside = aside(r.others(ctx, s.Interface), s.Held, s.Listed)
			}
			s.Beside = r.beside(ctx, s)
		}
		if !s.Listed || !s.whole() {
			s.Past = r.facts().passedBy()
			for _, l := range s.Held { // they are about to be listed again
				if l.Listed {
					s.Past = append(s.Past, l.Servers...)
				}
			}
		}
	case BackendNetworkManager:
		if s, err = s.forNetworkManager(c.Splits); err != nil {
			return s, trace, err
		}
	}
	if len(s.Routing) > 0 && !c.Splits && !s.Lax {
		return s, trace, fmt.Errorf("%s can't send ~%s alone to the tunnel: that takes systemd-resolved%s", c.Name, s.Routing[0], orDnsmasq(c.Name))
	}
	s.Private = c.Name == BackendResolvconf && len(s.Routing) > 0 && !s.Lax
	if err := r.backend(c.Name).ready(s); err != nil {
		return s, trace, err
	}
	if r.alone {
		s.File = r.path
	}
	if c.Name == BackendFile {
		s.Previous, err = r.file().previous()
	}
	return s, trace, errors.Join(err, ctx.Err())
}

// Installed returns what stands for the tunnel of that interface, with the
// backend where it does: empty settings, with the interface's name, when
// nothing does.
func (r *Resolver) Installed(ctx context.Context, ifname string) (Settings, error) {
	none := Settings{Interface: ifname}
	if err := errors.Join(ctx.Err(), none.validate()); err != nil {
		return none, err
	}
	for _, b := range r.backends() {
		s, err := b.installed(ctx, ifname)
		if err != nil {
			return none, fmt.Errorf("reading the resolver's settings of %s: %w", ifname, err)
		}
		if !s.Empty() {
			if r.alone {
				s.File = r.path
			} else {
				s.Others = r.others(ctx, ifname)
			}
			return s, nil
		}
	}
	if !r.alone {
		none.Others = r.others(ctx, ifname)
	}
	return none, nil
}

// Apply replaces what stands for s.Interface by s, wherever it does; empty
// settings take it away. If that fails, what was there before stands again.
func (r *Resolver) Apply(ctx context.Context, s Settings) error {
	if err := s.validate(); err != nil {
		return err
	}
	have, err := r.Installed(ctx, s.Interface)
	if err != nil {
		return err
	}
	if s.Empty() {
		return errors.Join(r.remove(ctx, s, have), r.giveBack(ctx, s.GiveBack))
	}
	if s.Backend == "" || s.Backend == BackendAuto {
		if s, _, err = r.Choose(ctx, s); err != nil {
			return fmt.Errorf("applying the resolver's settings of %s: %w", s.Interface, err)
		}
	}
	b := r.backend(s.Backend)
	if err := b.ready(s); err != nil {
		return fmt.Errorf("applying the resolver's settings of %s: %w", s.Interface, err)
	}
	if !have.Empty() && have.Backend != s.Backend {
		if err := r.remove(ctx, s, have); err != nil {
			return err
		}
	}
	err = b.add(ctx, s)
	var done []LinkDomains
	if err == nil {
		if done, err = r.setAside(ctx, s.Aside); err == nil {
			err = r.giveBack(ctx, s.GiveBack)
		}
	}
	if err != nil {
		err = fmt.Errorf("applying the resolver's settings of %s: %w", s.Interface, err)
		return errors.Join(err, r.giveBack(context.WithoutCancel(ctx), done), r.putBack(ctx, s, have))
	}
	return nil
}

// remove takes away what stands, and where nothing seems to, what resolvconf
// may have half forgotten.
func (r *Resolver) remove(ctx context.Context, s, have Settings) error {
	name := have.Backend
	if have.Empty() && r.alone {
		return nil
	}
	if have.Empty() {
		if c := r.program(); c.Path == "" || c.Flavour == Systemd {
			return nil
		}
		name = BackendResolvconf
	}
	if err := r.backend(name).remove(ctx, s); err != nil {
		return fmt.Errorf("removing the resolver's settings of %s: %w", s.Interface, err)
	}
	return nil
}

// putBack makes the settings of have stand again after s failed.
func (r *Resolver) putBack(ctx context.Context, s, have Settings) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var err error
	have.Altered = false // what it was told is put back
	if have.Empty() || have.Stale {
		err = r.backend(s.Backend).remove(ctx, s)
	} else {
		err = r.backend(have.Backend).add(ctx, have)
	}
	// What broke the first call, such as a resolv.conf that can't be written,
	// breaks this one too; what counts is that the entry is as it was.
	if now, readErr := r.Installed(ctx, have.Interface); readErr == nil && now.Equal(have) {
		return nil
	}
	if err == nil {
		err = errors.New("the resolver did not take it")
	}
	return fmt.Errorf("putting the resolver's settings of %s back: %w", have.Interface, err)
}

// busTimeout bounds all that is asked of the bus at a time, and as who did not
// answer is not asked again, what a command waits for that. Whoever answers does so
// in milliseconds, and people wait.
const busTimeout = 4 * time.Second
