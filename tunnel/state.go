// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
	"github.com/wgctl/wgctl/tunnel/hook"
	"golang.org/x/sys/unix"
)

// A State is what the host looks like as far as one tunnel is concerned, and
// what was last applied there.
type State struct {
	Name      string
	Link      *Link  // nil: there is no link of that name
	Renamed   string // the name that a hook gave the link, without which there is none
	Device    netlinkx.Device
	Stale     bool           // the socket of a dead embedded device is there
	Addresses []netip.Prefix // those that people or programs added
	Routes    []netlinkx.InstalledRoute
	DeadEnds  []netlinkx.InstalledRoute // ours, of the whole host
	Rules     []netlinkx.InstalledRule  // of the whole host
	Firewall  firewall.Installed
	Passage   []firewall.Standing // at the other packet filters
	DNS       dns.Settings
	Sysctls   []Setting // of the keys that were last applied, and those asked for
	Record    *Record   // nil: none, or not readable
	Others    []*Record // of the other tunnels of the namespace, without their bulk

	// halfTold says that of a killed run a resolvconf may still be at work, or
	// have been ended: what its files say may not be all. It has to be run
	// again, which also waits for the other.
	halfTold bool

	cut *Record // the one on disk, of a reload that was cut short: see Resumed

	generation string // of the device, from before it was read: see netlinkx.Devices

	sealed *Seal // not nil: of the bulk only this is known, and that it holds
}

// A Setting is the value that a kernel parameter has.
type Setting struct{ Key, Value string }

// A Link is the tunnel's interface.
type Link struct {
	Ours    bool // carries our alias, or is the one of the record
	Marked  bool // carries our alias
	Note    string
	Index   int
	Kind    string
	Backend netlinkx.Backend // "" if it is no WireGuard device
	Hung    bool             // the process of its device doesn't answer
	MTU     int
	Up      bool
}

// ForgetKeys clears the keys that were seen, of what isn't looked at any more.
func (s *State) ForgetKeys() {
	clear(s.Device.PrivateKey[:])
	for i := range s.Device.Peers {
		clear(s.Device.Peers[i].PresharedKey[:])
	}
}

// Up reports whether a whole tunnel of ours stands there.
func (s *State) Up() bool {
	return s.Link != nil && s.Link.Ours && s.Link.Backend != "" && s.Record != nil && s.Record.Phase == PhaseUp
}

// Foreign reports whether the link exists and was not made by wgctl.
func (s *State) Foreign() bool { return s.Link != nil && !s.Link.Ours }

// Leftover reports whether something of ours stands there that is no whole
// tunnel: a run that was killed, a link that somebody deleted, a userspace
// device that died.
func (s *State) Leftover() bool {
	if s.Up() {
		return false
	}
	if s.Foreign() {
		return s.Record != nil
	}
	return !s.bare()
}

// bare reports whether nothing of that name stands there.
func (s *State) bare() bool {
	return s.Link == nil && s.Record == nil && s.Firewall.Digest == "" && s.DNS.Empty() && !s.leftOpen()
}

// Broken reports whether something of ours stands there that nobody means to
// stand: it is left over, and is more than a kill switch that was kept.
func (s *State) Broken() bool {
	return s.Leftover() && (s.Record == nil || s.Record.Phase != PhaseKept)
}

// Cleared returns the state as it will be when what is left was taken away.
func (s *State) Cleared() *State {
	ours := map[routes.Rule]bool{}
	if last := s.Last(); last != nil {
		for _, r := range last.Rules {
			ours[r] = true
		}
	}
	c := &State{Name: s.Name, Others: s.Others, Sysctls: slices.Clone(s.Sysctls), Passage: closed(s.Passage)}
	c.Firewall, c.Record = s.clearedFirewall()
	for _, step := range s.Clearing() {
		if gone, ok := step.(sysctlSet); ok {
			i := slices.IndexFunc(c.Sysctls, func(now Setting) bool { return now.Key == gone.key })
			c.Sysctls[i].Value = gone.value
		}
	}
	for _, r := range s.Rules {
		if r.Protocol != netlinkx.Protocol || !ours[r.Rule] {
			c.Rules = append(c.Rules, r)
		}
	}
	return c
}

// Last is the Spec that was last applied, or what our marks in the kernel tell
// of it where the record is lost; nil if there is nothing.
func (s *State) Last() *Spec {
	if s.Record != nil && s.Record.Spec != nil {
		return s.Record.Spec.with(s.Record.Before)
	}
	if s.Foreign() || s.Link == nil && s.Firewall.Digest == "" && s.DNS.Empty() && !s.leftOpen() {
		return nil
	}
	return s.inferred()
}

// Observe reads the host. It changes nothing.
func Observe(ctx context.Context, h *Host, name string, sysctls ...string) (*State, error) {
	return observeBulk(ctx, h, wholeBulk{h: h}, idle{}, name, sysctls...)
}

func observeBulk(ctx context.Context, h *Host, b bulkReader, but idle, name string, sysctls ...string) (*State, error) {
	s := &State{Name: name}
	device, err := s.observe(ctx, h, b, but, sysctls...)
	if err == nil {
		err = device()
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// observe reads all but the device, and returns what waits for that: a device
// with many peers takes its time to tell of them. Where there is no link nobody is
// asked for one.
func (s *State) observe(ctx context.Context, h *Host, b bulkReader, but idle, sysctls ...string) (device func() error, err error) {
	ctx, cancel := context.WithCancel(ctx)
	told := make(chan error, 1)
	var d netlinkx.Device
	link, err := h.Links.Link(ctx, s.Name)
	if errors.Is(err, os.ErrNotExist) {
		told <- err
	} else {
		go func() {
			var err error
			d, s.generation, err = b.device(ctx, s.Name)
			told <- err
		}()
	}
	device = func() error {
		defer cancel()
		defer func() { clear(d.PrivateKey[:]) }() // s has it
		err := <-told
		if errors.Is(err, os.ErrNotExist) && s.Link != nil && s.Link.Ours && s.Record != nil {
			// A link of ours that nobody serves is about to go with its process,
			// or the answer was wrong: nothing is torn down on one word.
			d, s.generation, err = b.device(ctx, s.Name)
		}
		return s.setDevice(ctx, d, err)
	}
	if err := s.observeRest(ctx, h, b, but, sysctls, seenLink{link, err}); err != nil {
		cancel()
		<-told
		return nil, err
	}
	return device, nil
}

// A seenLink is what was read of a link, or why it wasn't.
type seenLink struct {
	link netlinkx.Link
	err  error
}

func (s *State) observeRest(ctx context.Context, h *Host, b bulkReader, but idle, sysctls []string, seen seenLink) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	resolver := but.observeDNS(ctx, h, s.Name)
	defer func() {
		cancel()
		_, _ = resolver()
	}()
	if s.Record, err = b.record(s.Name); err != nil {
		return err
	}
	s.halfTold = s.Record.maySpeak()
	if s.Record != nil { // the record comes first: it is written last
		seen.link, seen.err = h.Links.Link(ctx, s.Name)
	}
	if err := s.observeLink(ctx, h, b, seen); err != nil {
		return err
	}
	if err := but.observeShared(ctx, h, s, sysctls); err != nil {
		return err
	}
	if err := s.observeDeadEnds(ctx, h); err != nil {
		return err
	}
	if s.Firewall, err = h.Firewall.Installed(ctx, s.Name); err != nil {
		return fmt.Errorf("reading firewall rules of %s: %w", s.Name, err)
	}
	if s.Passage, err = but.observePassage(ctx, h, s.Name); err != nil {
		return fmt.Errorf("reading the passage of %s: %w", s.Name, err)
	}
	if s.DNS, err = resolver(); err != nil {
		return fmt.Errorf("reading nameservers of %s: %w", s.Name, err)
	}
	return nil
}

// setDevice takes what was read of the device, or why it wasn't: there may be
// no link, or one that is no device.
func (s *State) setDevice(ctx context.Context, d netlinkx.Device, err error) error {
	switch {
	case s.Link == nil:
	case err == nil:
		s.Device, s.Link.Backend = d, d.Backend
	case ctx.Err() == nil && (errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, unix.EAGAIN)):
		s.Link.Hung = true
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("reading device %s: %w", s.Name, err)
	}
	return nil
}

// observeShared reads what the tunnel shares with others.
func (s *State) observeShared(ctx context.Context, h *Host, sysctls ...string) (err error) {
	if s.Others, err = h.others(ctx, s.Name); err != nil {
		return err
	}
	if s.Rules, err = h.Rules.Rules(ctx); err != nil {
		return fmt.Errorf("reading policy rules: %w", err)
	}
	return s.observeSysctls(ctx, h, sysctls)
}

func (s *State) observeLink(ctx context.Context, h *Host, b bulkReader, seen seenLink) error {
	link, err := seen.link, seen.err
	if errors.Is(err, os.ErrNotExist) {
		if s.Record != nil {
			if s.Renamed, err = h.renamed(ctx, s.Name); err != nil {
				return err
			}
		}
		if s.Stale, err = h.Userspace.Stale(ctx, s.Name); err != nil {
			return fmt.Errorf("reading the UAPI socket of %s: %w", s.Name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading link %s: %w", s.Name, err)
	}
	recorded := s.Record != nil && s.Record.Link == link.Index
	marked := link.Alias == netlinkx.Alias
	s.Link = &Link{Ours: marked || recorded, Marked: marked, Note: link.Note, Index: link.Index, Kind: link.Kind, MTU: link.MTU, Up: link.Up}
	addresses, err := h.Addresses.Addresses(ctx, s.Name)
	if err != nil {
		return fmt.Errorf("reading addresses of %s: %w", s.Name, err)
	}
	for _, a := range addresses {
		if !a.KernelMade {
			s.Addresses = append(s.Addresses, a.Prefix)
		}
	}
	if s.Routes, err = b.routes(ctx, s.Name); err != nil {
		return fmt.Errorf("reading routes of %s: %w", s.Name, err)
	}
	return nil
}

// observeDeadEnds reads all routes of the host, and so only where there may be
// some.
func (s *State) observeDeadEnds(ctx context.Context, h *Host) (err error) {
	if s.Record != nil && !slices.ContainsFunc(s.Last().Routes, func(r routes.Route) bool { return r.Kind != routes.Unicast }) {
		return nil
	}
	if s.DeadEnds, err = h.DeadEnds.DeadEnds(ctx); err != nil {
		return fmt.Errorf("reading routes without a link: %w", err)
	}
	return nil
}

func (s *State) observeSysctls(ctx context.Context, h *Host, keys []string) error {
	if s.Link != nil {
		keys = append(keys, promoteSecondaries(s.Name))
	}
	if s.Record != nil && s.Record.Spec != nil {
		for _, c := range s.Last().Sysctls {
			keys = append(keys, c.Key)
		}
	} else if s.Link != nil {
		for _, c := range claimsOf(s.Link.Note) {
			keys = append(keys, c.Key)
		}
	}
	seen := map[string]bool{}
	s.Sysctls = nil
	for _, key := range keys {
		if seen[key] {
			continue
		}
		seen[key] = true
		v, err := h.Sysctls.Sysctl(ctx, key)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading sysctl %s: %w", key, err)
		}
		s.Sysctls = append(s.Sysctls, Setting{key, v})
	}
	return nil
}

// sysctl returns the value that was observed for key.
func (s *State) sysctl(key string) (string, bool) {
	for _, c := range s.Sysctls {
		if c.Key == key {
			return c.Value, true
		}
	}
	return "", false
}

// held reports whether another tunnel needs the parameter too.
func (s *State) held(key string) bool { return held(s.Others, key) }

// inferred puts a Spec together from the marks that we leave in the kernel:
// enough for down to find what to undo.
func (s *State) inferred() *Spec {
	spec := &Spec{Name: s.Name, Backend: s.Device.Backend, Addresses: s.Addresses, DNS: s.DNS}
	if s.Link != nil {
		spec.MTU, spec.Sysctls = s.Link.MTU, claimsOf(s.Link.Note)
	}
	spec.Firewall = firewall.Ruleset{Interface: s.Name}
	for _, r := range s.Routes {
		if r.Protocol == netlinkx.Protocol {
			spec.Routes = append(spec.Routes, r.Route)
		}
	}
	claimed := map[uint32]bool{}
	for _, o := range s.Others {
		for _, r := range o.rules() {
			claimed[r.Priority] = true
		}
	}
	for _, r := range s.Rules { // of hooks: no other tunnel knows them
		if r.Protocol == netlinkx.Protocol && !claimed[r.Priority] && (r.From.IsValid() || r.To.IsValid()) {
			spec.Rules = append(spec.Rules, r.Rule)
			spec.Lifted.Rules = append(spec.Lifted.Rules, hook.Rule{Rule: r.Rule})
		}
	}
	mark := s.Device.FwMark
	if mark == 0 {
		mark = s.Firewall.Mark
	}
	if mark == 0 {
		return spec
	}
	if s.Firewall.KillSwitch {
		spec.Firewall.KillSwitch.Mark = mark
	}
	for _, r := range s.DeadEnds {
		if r.Table == mark {
			spec.Routes = append(spec.Routes, r.Route)
		}
	}
	spec.Device.FwMark, spec.MarkChosen = &mark, true
	for _, r := range s.Rules {
		if r.Protocol != netlinkx.Protocol || !r.Invert || r.Mark != mark || r.From.IsValid() || r.To.IsValid() || claimed[r.Priority] {
			continue
		}
		// The rule that suppresses defaults stands right above its companion.
		for _, c := range s.Rules {
			if c.Protocol == netlinkx.Protocol && c.Family == r.Family && c.Suppress && c.Priority+1 == r.Priority {
				spec.Rules = append(spec.Rules, c.Rule)
			}
		}
		spec.Rules = append(spec.Rules, r.Rule)
	}
	return spec
}
