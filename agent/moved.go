// SPDX-License-Identifier: MIT

package agent

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
)

// staleAfter is when a session is over for want of a handshake: its keys are
// not used for longer (REJECT_AFTER_TIME, section 6.1 of the paper).
const staleAfter = 180 * time.Second

// moved looks up the endpoints of peers without a session whose files name a
// host, and sets those that are somewhere else now: a peer with a dynamic
// address that nobody tells of is lost otherwise. A peer that has a session is
// where it is, whatever its name says.
func (a *Agent) moved(ctx context.Context) {
	if a.Names == nil {
		return
	}
	s, err := a.Tunnel.Look(ctx)
	if err != nil || !s.Up() {
		return // the next look tells
	}
	var lost []tunnel.PeerStatus
	for _, p := range s.Status().Peers {
		if p.LatestHandshake != nil && time.Since(*p.LatestHandshake) < staleAfter {
			delete(a.stale, p.PublicKey)
		} else if hostOf(p) != "" {
			lost = append(lost, p)
		}
	}
	found := a.lookup(ctx, lost)
	var again []netlinkx.Key
	for _, p := range lost {
		if a.elsewhere(p, found[hostOf(p)]) {
			again = append(again, p.PublicKey)
		}
	}
	if len(again) == 0 {
		return
	}
	if err := a.make(ctx, false, again); err != nil {
		a.Say(err.Error())
	}
	a.Notify(a.status())
}

// hostOf is the name of the host that a peer's endpoint was looked up by, if it
// was.
func hostOf(p tunnel.PeerStatus) string {
	host, _, err := net.SplitHostPort(p.Configured)
	if err != nil || p.Endpoint == "" {
		return ""
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return host
}

// How long one round of look-ups may take, and how many are under way at once.
const (
	lookupLimit = 10 * time.Second
	maxLookups  = 64
)

// lookup looks up the names that peers are behind, each once and all at once:
// while it does, nothing else is looked at, and the watchdog hears nothing.
func (a *Agent) lookup(ctx context.Context, peers []tunnel.PeerStatus) map[string][]netip.Addr {
	limit := lookupLimit
	if a.Watchdog > 0 {
		limit = min(limit, a.Watchdog/4)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		sem   = make(chan struct{}, maxLookups)
		asked = map[string]bool{}
		found = map[string][]netip.Addr{}
	)
	for _, p := range peers {
		host := hostOf(p)
		if asked[host] {
			continue
		}
		asked[host] = true
		wg.Go(func() {
			select {
			case sem <- struct{}{}:
				defer func() { <-sem }()
			case <-ctx.Done():
				return
			}
			addrs, err := a.Names.LookupHost(ctx, host)
			if err != nil {
				return // the next round tells
			}
			mu.Lock()
			defer mu.Unlock()
			found[host] = addrs
		})
	}
	wg.Wait()
	return found
}

// elsewhere reports whether the name of a peer's endpoint has addresses, and
// none of them is where the peer is said to be. Each such answer counts once:
// what it led to may not be where the peer is, either.
func (a *Agent) elsewhere(p tunnel.PeerStatus, found []netip.Addr) bool {
	now, err := netip.ParseAddrPort(p.Endpoint)
	if err != nil || len(found) == 0 {
		return false
	}
	if slices.ContainsFunc(found, func(f netip.Addr) bool { return f.Unmap() == now.Addr().Unmap() }) {
		return false
	}
	if a.stale == nil {
		a.stale = map[netlinkx.Key]string{}
	}
	first := found[0].Unmap().String()
	if a.stale[p.PublicKey] == first {
		return false
	}
	a.stale[p.PublicKey] = first
	return true
}
