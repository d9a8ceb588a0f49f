// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

// A Lookup is how names of endpoints are looked up: with wg's retries
// (parse_endpoint in its config.c).
type Lookup struct {
	Retries int // after the first attempt; negative: for ever
	// Known returns the endpoint of a peer that needs no look-up, else an
	// invalid one; nil if none does.
	Known func(config.Peer) netip.AddrPort
	// Waiting is told of every attempt that failed for the moment.
	Waiting func(host, port string, err error, delay time.Duration)
}

// DefaultRetries is how often wg tries again.
const DefaultRetries = 15

// maxLookups bounds the look-ups under way at once.
const maxLookups = 64

// NeedsLookup reports whether an endpoint of the file is given by a name.
func NeedsLookup(cfg *config.Config) bool {
	return slices.ContainsFunc(cfg.Peers, func(p config.Peer) bool {
		_, err := netip.ParseAddr(p.Endpoint.Host)
		return !p.Endpoint.IsZero() && (err != nil || p.Endpoint.Port.Service != "")
	})
}

// Endpoints resolves the endpoints of all peers, all at once; the result has
// the order of cfg.Peers, and a peer without an endpoint has an invalid one.
// The error joins an error per peer, each with its place in the file.
func (l Lookup) Endpoints(ctx context.Context, names Names, cfg *config.Config) ([]netip.AddrPort, error) {
	out := make([]netip.AddrPort, len(cfg.Peers))
	byEndpoint := map[config.Endpoint][]int{}
	var order []config.Endpoint
	for i, p := range cfg.Peers {
		switch a, err := netip.ParseAddr(p.Endpoint.Host); {
		case p.Endpoint.IsZero():
		case err == nil && p.Endpoint.Port.Service == "":
			out[i] = netip.AddrPortFrom(a, p.Endpoint.Port.Number)
		default:
			if l.Known != nil {
				if out[i] = l.Known(p); out[i].IsValid() {
					continue
				}
			}
			if byEndpoint[p.Endpoint] == nil {
				order = append(order, p.Endpoint)
			}
			byEndpoint[p.Endpoint] = append(byEndpoint[p.Endpoint], i)
		}
	}
	var (
		wg   sync.WaitGroup
		sem  = make(chan struct{}, maxLookups)
		got  = make([]netip.AddrPort, len(order))
		errs = make([]error, len(order))
	)
	for n, e := range order {
		wg.Go(func() {
			sem <- struct{}{}
			defer func() { <-sem }()
			got[n], errs[n] = l.endpoint(ctx, names, e)
		})
	}
	wg.Wait()
	var failed []error
	for n, e := range order {
		for _, i := range byEndpoint[e] {
			out[i] = got[n]
			if errs[n] != nil {
				failed = append(failed, cfg.Errorf(i, "Endpoint", 0, "%v", errs[n]))
			}
		}
	}
	return out, errors.Join(failed...)
}

// Settled returns a Lookup.Known for a tunnel that is up, or comes back: a peer of which the
// file says the same as when it was last applied stays where it is, and needs
// no look-up.
func (s *State) Settled() func(config.Peer) netip.AddrPort {
	last := s.Last()
	if last == nil {
		return nil
	}
	applied := make(map[netlinkx.Key]Peer, len(last.Device.Peers))
	for _, p := range last.Device.Peers {
		applied[p.PublicKey] = p
	}
	// Behind a kill switch that stands without its tunnel nothing can be looked
	// up: what was found the last time counts.
	blind := s.Link == nil && s.Firewall.KillSwitch
	there := make(map[netlinkx.Key]bool, len(s.Device.Peers))
	for _, p := range s.Device.Peers {
		there[p.PublicKey] = p.Endpoint.IsValid()
	}
	return func(p config.Peer) netip.AddrPort {
		key := netlinkx.Key(p.PublicKey)
		if q := applied[key]; (there[key] || blind) && q.Configured == endpointText(p.Endpoint) {
			return q.Endpoint
		}
		return netip.AddrPort{}
	}
}

// Unsettle has the next plan set the endpoints of these peers, though the file
// says the same of them as when it was last applied.
func (s *State) Unsettle(keys []netlinkx.Key) {
	if s.Record == nil || len(keys) == 0 {
		return
	}
	record, spec := *s.Record, *s.Record.Spec
	spec.Device.Peers = slices.Clone(spec.Device.Peers)
	for i := range spec.Device.Peers {
		if slices.Contains(keys, spec.Device.Peers[i].PublicKey) {
			spec.Device.Peers[i].Configured = ""
		}
	}
	record.Spec, s.Record = &spec, &record
}

func (l Lookup) endpoint(ctx context.Context, names Names, e config.Endpoint) (netip.AddrPort, error) {
	port, err := lookupPort(ctx, names, e.Port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if a, err := netip.ParseAddr(e.Host); err == nil {
		return netip.AddrPortFrom(a, port), nil
	}
	delay := time.Second
	for try := 0; ; try++ {
		addrs, err := names.LookupHost(ctx, e.Host)
		if err == nil && len(addrs) > 0 {
			return netip.AddrPortFrom(addrs[0].Unmap(), port), nil
		}
		if err == nil {
			return netip.AddrPort{}, fmt.Errorf("%s has no address", e.Host)
		}
		if ctx.Err() != nil {
			return netip.AddrPort{}, fmt.Errorf("looking up %s: %w", e.Host, context.Cause(ctx))
		}
		if d := (*net.DNSError)(nil); errors.As(err, &d) && d.IsNotFound {
			return netip.AddrPort{}, fmt.Errorf("no such host: %s", e.Host)
		}
		if l.Retries >= 0 && try >= l.Retries {
			return netip.AddrPort{}, fmt.Errorf("looking up %s: %w", e.Host, err)
		}
		if l.Waiting != nil {
			l.Waiting(e.Host, e.Port.String(), err, delay)
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(delay*6/5, 20*time.Second)
	}
}

func lookupPort(ctx context.Context, names Names, p config.Port) (uint16, error) {
	if p.Service == "" {
		return p.Number, nil
	}
	n, err := names.LookupPort(ctx, p.Service)
	if err != nil {
		return 0, fmt.Errorf("no such service: %s", p.Service)
	}
	return n, nil
}
