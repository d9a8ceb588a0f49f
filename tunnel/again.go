// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
)

// An idle says of which parts of the host an earlier look holds good: those of
// which the tunnel has nothing, is to have nothing, and that no step of the run
// was about. The zero value is none of them.
type idle struct {
	last    *State
	shared  bool // policy rules, kernel parameters, and what other tunnels have
	passage bool
	dns     bool
}

// idleAfter is what is idle after steps on the way to what is wanted. What hooks
// do only their authors know.
func (s *State) idleAfter(want *Spec, steps []Step) idle {
	is := idle{
		last:    s,
		shared:  len(want.Rules)+len(want.Sysctls) == 0,
		passage: want.Passage.Empty() && !s.leftOpen(),
		dns:     want.DNS.Empty() && s.DNS.Empty(),
	}
	for _, step := range steps {
		switch step.(type) {
		case hookRun:
			return idle{}
		case ruleAdd, ruleDel, sysctlSet:
			is.shared = false
		case passageSet:
			is.passage = false
		case dnsSet:
			is.dns = false
		}
	}
	if last := s.Last(); last != nil && len(last.Rules)+len(last.Sysctls) > 0 {
		is.shared = false
	}
	if !is.shared && !is.passage && !is.dns {
		return idle{}
	}
	return is
}

func (i idle) observeShared(ctx context.Context, h *Host, s *State, sysctls []string) error {
	if i.shared {
		s.Others, s.Rules, s.Sysctls = i.last.Others, i.last.Rules, i.last.Sysctls
		return nil
	}
	return s.observeShared(ctx, h, sysctls...)
}

func (i idle) observePassage(ctx context.Context, h *Host, name string) ([]firewall.Standing, error) {
	if i.passage {
		return i.last.Passage, nil
	}
	return h.Foreign.Installed(ctx, name)
}

// observeDNS looks, beside what else is looked at, and returns what waits for
// that: resolvers are read in a dozen places, and some are asked.
func (i idle) observeDNS(ctx context.Context, h *Host, name string) (wait func() (dns.Settings, error)) {
	if i.dns {
		return func() (dns.Settings, error) { return i.last.DNS, nil }
	}
	var found dns.Settings
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		found, err = h.DNS.Installed(ctx, name)
	}()
	return func() (dns.Settings, error) {
		<-done
		return found, err
	}
}
