// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

// A Loss is what a new file would take away from a tunnel, and may not be
// meant to: a file that was cut short is still a file.
type Loss struct {
	Peers int // that go
	Of    int // peers that the tunnel has of its file
	Left  int // peers that it would have of it
	// Session is the peer that an address was reached by and would no longer
	// be, with its name if it has one; "" if there is none.
	Session string
}

// Grave reports whether somebody should be asked.
func (l Loss) Grave() bool {
	return l.Peers > 0 && (l.Left == 0 || 2*l.Peers > l.Of && 2*l.Left < l.Of) || l.Session != ""
}

// String says "remove 7 of its 10 peers".
func (l Loss) String() string {
	switch {
	case l.Session != "":
		return fmt.Sprintf("cut this session off, which comes through peer %s", l.Session)
	case l.Left == 0:
		return fmt.Sprintf("remove all of its peers (%d)", l.Of)
	}
	return fmt.Sprintf("remove %d of its %d peers", l.Peers, l.Of)
}

// LossOf compares a file with a tunnel that is up. session is the address that
// whoever gives the command is at, or an invalid one.
func LossOf(cfg *config.Config, have *State, session netip.Addr) Loss {
	last := have.Last()
	if last == nil {
		return Loss{}
	}
	want := peersOf(cfg.Peers, make([]netip.AddrPort, len(cfg.Peers)))
	stays := make(map[netlinkx.Key]bool, len(want))
	for _, p := range want {
		stays[p.PublicKey] = true
	}
	ours := make(map[netlinkx.Key]string, len(last.Device.Peers))
	for _, p := range last.Device.Peers {
		ours[p.PublicKey] = p.Name
	}
	l := Loss{Left: len(want)}
	now, then := newOwner(session), newOwner(session)
	for _, p := range have.Device.Peers {
		_, known := ours[p.PublicKey]
		if known {
			l.Of++
		}
		switch {
		case stays[p.PublicKey]:
		case known:
			l.Peers++
		default: // somebody else's, which is left alone
			then.look(p.PublicKey, p.AllowedIPs)
		}
		now.look(p.PublicKey, p.AllowedIPs)
	}
	for _, p := range want {
		then.look(p.PublicKey, p.AllowedIPs)
	}
	if now.found && (!then.found || then.key != now.key) {
		l.Session = now.key.String()
		if name := ours[now.key]; name != "" {
			l.Session = fmt.Sprintf("%s (%s)", name, l.Session)
		}
	}
	return l
}

// Session returns the address of a session if the host's own routing leads back to
// it through the tunnel, or where nobody can say; else an invalid one: whatever the
// peers' allowed IPs say then, no reload cuts it off.
func (h *Host) Session(ctx context.Context, link string, from netip.Addr) netip.Addr {
	if !from.IsValid() || from.Zone() != "" && from.Zone() != link {
		return netip.Addr{}
	}
	from = from.Unmap().WithZone("")
	path, ok, err := pathFrom(ctx, h.Routes, from, 0)
	if err == nil && ok && path.Link != link {
		return netip.Addr{}
	}
	return from
}

// An owner is the peer that cryptokey routing finds for an address.
type owner struct {
	of    netip.Addr
	key   netlinkx.Key
	bits  int
	found bool
}

func newOwner(of netip.Addr) owner { return owner{of: of.Unmap().WithZone("")} }

func (o *owner) look(key netlinkx.Key, allowed []netip.Prefix) {
	if !o.of.IsValid() {
		return
	}
	for _, a := range allowed {
		if a.Contains(o.of) && (!o.found || a.Bits() > o.bits) {
			o.key, o.bits, o.found = key, a.Bits(), true
		}
	}
}
