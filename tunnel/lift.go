// SPDX-License-Identifier: MIT

package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/routes"
	"github.com/wgctl/wgctl/tunnel/hook"
)

// lift takes what is understood of the file's hooks into the Spec, and leaves
// the rest to be run. It comes after the tunnel's own rules and before whatever
// goes by all of them, as what other packet filters have to let through. How a tunnel's hooks were run on up is how they are
// undone, so that for a tunnel that is up the mode stays what it was.
func (r *resolver) lift(ctx context.Context) error {
	s := r.spec
	switch s.HookMode = r.cfg.Interface.HookMode; {
	case r.have.Up():
		s.HookMode = cmp.Or(r.last.HookMode, config.HooksShell)
	case s.HookMode == "" && r.options.Quick:
		s.HookMode = config.HooksShell
	case s.HookMode == "":
		s.HookMode = config.HooksNative
	}
	all := s.Hooks.lines()
	switch s.HookMode {
	case config.HooksOff:
		for _, l := range all {
			s.Verdicts = append(s.Verdicts, hook.Verdict{Line: l, Fate: hook.Off, Why: "Hooks = off"})
		}
		s.Hooks = Hooks{Config: s.Hooks.Config}
		return nil
	case config.HooksShell:
		for _, l := range all {
			s.Verdicts = append(s.Verdicts, hook.Verdict{Line: l, Fate: hook.Run, Why: "hooks are run as by wg-quick"})
		}
		return nil
	}
	s.Verdicts, s.Lifted = hook.Understand(all, s.Name, r.hooksBefore())
	s.Hooks = s.Hooks.only(s.Verdicts)
	for _, err := range []error{r.liftRules(), r.liftFirewall(ctx), r.liftSysctls(ctx)} {
		if err != nil {
			return err
		}
	}
	for _, route := range s.Lifted.Routes {
		if !slices.Contains(s.Routes, route.Route) {
			s.Routes = append(s.Routes, route.Route)
		}
	}
	return nil
}

// hooksBefore are those of a tunnel that is up: what was lifted, and what ran.
func (r *resolver) hooksBefore() *hook.Before {
	if !r.have.Up() {
		return nil
	}
	return &hook.Before{Lifted: r.last.Lifted, Ran: r.last.Hooks.lines()}
}

// liftRules gives rules that have no priority the one that ip(8) would: right
// before all others. One that stands keeps its own.
func (r *resolver) liftRules() error {
	s := r.spec
	for _, want := range s.Lifted.Rules {
		rule := want.Rule
		if rule.Priority == 0 && r.last != nil {
			for _, had := range r.last.Rules {
				if r.last.lifted(had) && want.Same(had) {
					rule.Priority = had.Priority
				}
			}
		}
		if rule.Priority == 0 {
			rule.Priority = r.lowestPriority(rule.Family) - 1
		}
		if rule.Priority == 0 {
			return fmt.Errorf("lifting the hook that adds rule %s: %w", want, routes.ErrNoPriority)
		}
		if !slices.Contains(s.Rules, rule) {
			s.Rules = append(s.Rules, rule)
		}
	}
	return nil
}

// lowestPriority is that of all rules but the first, which is the kernel's.
func (r *resolver) lowestPriority(family routes.Family) uint32 {
	all := slices.Clone(r.spec.Rules)
	for _, rule := range r.have.Rules {
		all = append(all, rule.Rule)
	}
	for _, o := range r.have.Others {
		all = append(all, o.rules()...)
	}
	lowest := uint32(32766) // that of the main table
	for _, rule := range all {
		if rule.Family == family && rule.Priority != 0 {
			lowest = min(lowest, rule.Priority)
		}
	}
	return lowest
}

// lifted reports whether a hook asked for the rule.
func (s *Spec) lifted(rule routes.Rule) bool {
	return slices.ContainsFunc(s.Lifted.Rules, func(l hook.Rule) bool { return l.Same(rule) })
}

// ownRules are those that no hook asked for.
func (s *Spec) ownRules() []routes.Rule {
	return slices.DeleteFunc(slices.Clone(s.Rules), s.lifted)
}

func (r *resolver) liftSysctls(ctx context.Context) error {
	for _, want := range r.spec.Lifted.Sysctls {
		if err := r.needSysctl(ctx, want.Key, want.Value); err != nil {
			return err
		}
	}
	return nil
}

func (r *resolver) liftFirewall(ctx context.Context) error {
	filters := r.spec.Lifted.Filters
	if len(filters) == 0 {
		return nil
	}
	chosen := !r.spec.Firewall.Empty()
	for _, f := range filters {
		r.spec.Firewall.Extra = append(r.spec.Firewall.Extra, ruleOf(f))
	}
	trace, err := r.h.Firewall.Choose(ctx, r.spec.Firewall)
	if err != nil {
		err = fmt.Errorf("the hooks need firewall rules: %w", err)
		if errors.Is(err, firewall.ErrNoBackend) {
			err = r.cfg.Errorf(config.InInterface, "PostUp", 0, "%v", err)
		}
		return err
	}
	if !chosen {
		r.trace(trace)
	}
	return nil
}

// ruleOf returns a lifted rule as one of our own table. What iptables has in
// its table filter to clamp a segment size stands in mangle, right before it.
func ruleOf(f hook.Filter) firewall.Rule {
	r := firewall.Rule{
		Chain: map[hook.Chain]firewall.Chain{
			hook.Forward: firewall.ForwardFilter, hook.MangleFwd: firewall.ForwardMangle,
			hook.Postrouting: firewall.PostroutingNAT, hook.Prerouting: firewall.PreroutingNAT,
		}[f.Chain],
		Family:      firewall.Family(f.Family),
		In:          firewall.Link(f.In),
		Out:         firewall.Link(f.Out),
		Source:      firewall.Network(f.Src),
		Destination: firewall.Network(f.Dst),
		Protocol:    map[string]firewall.Protocol{"tcp": firewall.TCP, "udp": firewall.UDP}[f.Proto],
		Verdict: map[hook.Action]firewall.Verdict{
			hook.Accept: firewall.VerdictAccept, hook.Masquerade: firewall.VerdictMasquerade, hook.SNAT: firewall.VerdictSNAT,
			hook.DNAT: firewall.VerdictDNAT, hook.Clamp: firewall.VerdictClamp,
		}[f.Action],
		To:      firewall.Target{Addr: f.To, First: f.ToPort, Last: f.ToPort},
		MSS:     f.MSS,
		Counter: true,
		Comment: "hook",
	}
	r.SourcePort = firewall.Ports{First: f.SPort.First, Last: f.SPort.Last}
	r.DestinationPort = firewall.Ports{First: f.DPort.First, Last: f.DPort.Last}
	if f.Local {
		r.DestinationType = firewall.Local
	}
	if f.Established {
		r.State = firewall.StateEstablished | firewall.StateRelated
	}
	if f.Action == hook.Clamp {
		r.Chain, r.SYN = firewall.ForwardMangle, true
	}
	return r
}

// lines are all the hooks, in the order of their phases.
func (h Hooks) lines() (out []hook.Line) {
	for _, p := range []struct {
		phase    hook.Phase
		commands []string
	}{{hook.PreUp, h.PreUp}, {hook.PostUp, h.PostUp}, {hook.PreDown, h.PreDown}, {hook.PostDown, h.PostDown}} {
		for _, c := range p.commands {
			out = append(out, hook.Line{Phase: p.phase, Text: c})
		}
	}
	return out
}

// only returns the hooks that are run.
func (h Hooks) only(verdicts []hook.Verdict) Hooks {
	out := Hooks{Config: h.Config, Timeout: h.Timeout}
	lists := map[hook.Phase]*[]string{
		hook.PreUp: &out.PreUp, hook.PostUp: &out.PostUp, hook.PreDown: &out.PreDown, hook.PostDown: &out.PostDown,
	}
	for _, v := range verdicts {
		if v.Fate == hook.Run {
			*lists[v.Phase] = append(*lists[v.Phase], v.Text)
		}
	}
	return out
}

// OnDown says what becomes of the hooks of the way down: what is lifted needs
// no undoing, whatever the file says now.
func (s *Spec) OnDown() []hook.Verdict {
	var out []hook.Verdict
	for _, l := range s.Hooks.lines() {
		v := hook.Verdict{Line: l, Fate: hook.Run}
		switch {
		case l.Phase == hook.PreUp || l.Phase == hook.PostUp:
			continue
		case s.HookMode == config.HooksOff:
			v.Fate, v.Why = hook.Off, "Hooks = off"
		case s.HookMode == config.HooksShell || s.HookMode == "":
			v.Why = "hooks are run as by wg-quick"
		case s.Lifted.Undoes(l, s.Name):
			v.Fate = hook.Undone
		default:
			v.Why = "it undoes what isn't lifted"
		}
		out = append(out, v)
	}
	return out
}
