// SPDX-License-Identifier: MIT

package agent

import (
	"context"
	"net"
	"net/netip"
	"slices"
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
	var again []netlinkx.Key
	for _, p := range s.Status().Peers {
		if p.LatestHandshake != nil && time.Since(*p.LatestHandshake) < staleAfter {
			delete(a.stale, p.PublicKey)
			continue
		}
		if a.elsewhere(ctx, p) {
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

// elsewhere reports whether the name of a peer's endpoint has addresses, and
// none of them is where the peer is said to be. Each such answer counts once:
// what it led to may not be where the peer is, either.
func (a *Agent) elsewhere(ctx context.Context, p tunnel.PeerStatus) bool {
	host, _, err := net.SplitHostPort(p.Configured)
	if err != nil || p.Endpoint == "" {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	now, err := netip.ParseAddrPort(p.Endpoint)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := a.Names.LookupHost(ctx, host)
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
