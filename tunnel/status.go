// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/wgctl/wgctl/netlinkx"
)

// A Status is what people want to know of a tunnel that is or was up. It
// holds no secrets.
type Status struct {
	Name       string           `json:"name"`
	State      string           `json:"state"` // "up", or what is wrong in a few words
	Backend    netlinkx.Backend `json:"backend,omitempty"`
	Config     string           `json:"config,omitempty"`
	PublicKey  *netlinkx.Key    `json:"public_key,omitempty"`
	ListenPort uint16           `json:"listen_port,omitempty"`
	FwMark     uint32           `json:"fwmark,omitempty"`
	MTU        int              `json:"mtu,omitempty"`
	Addresses  []netip.Prefix   `json:"addresses"`
	DNS        []netip.Addr     `json:"dns,omitempty"`
	Search     []string         `json:"search,omitempty"`
	Passage    []string         `json:"passage,omitempty"` // where other packet filters let it pass
	Peers      []PeerStatus     `json:"peers"`
	Drift      []Drift          `json:"drift"`   // what isn't as it was applied
	Foreign    []string         `json:"foreign"` // what somebody else added
	Trace      []string         `json:"trace,omitempty"`
}

// A Drift is something that isn't as it was applied, and the step that would
// put it right.
type Drift struct {
	What    string   `json:"what"` // "missing", "changed" or "left over"
	Step    string   `json:"step"`
	Changes []Change `json:"changes"`
}

// A PeerStatus is one peer, the one with the latest handshake first.
type PeerStatus struct {
	Name                string         `json:"name,omitempty"`
	PublicKey           netlinkx.Key   `json:"public_key"`
	Configured          string         `json:"configured_endpoint,omitempty"` // as the file says
	Endpoint            string         `json:"endpoint,omitempty"`            // where it is now
	AllowedIPs          []netip.Prefix `json:"allowed_ips"`
	LatestHandshake     *time.Time     `json:"latest_handshake,omitempty"` // nil: never
	ReceiveBytes        int64          `json:"receive_bytes"`
	TransmitBytes       int64          `json:"transmit_bytes"`
	PersistentKeepalive uint16         `json:"persistent_keepalive,omitempty"` // seconds
	PresharedKey        bool           `json:"preshared_key"`                  // whether there is one
}

// Tunnels returns the names of the tunnels that are up, or of which something
// is left, sorted.
func Tunnels(ctx context.Context, h *Host) ([]string, error) {
	names, err := h.Records.Names()
	if err != nil {
		return nil, err
	}
	links, err := h.Links.OwnLinks(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading links: %w", err)
	}
	for _, l := range links {
		names = append(names, l.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Status sums up what was observed.
func (s *State) Status() Status {
	out := Status{Name: s.Name, State: s.condition(), Addresses: s.Addresses, DNS: s.DNS.Servers, Search: s.DNS.Domains(), Peers: []PeerStatus{}, Drift: []Drift{}, Foreign: []string{}}
	if out.Addresses == nil {
		out.Addresses = []netip.Prefix{}
	}
	last := s.Last()
	out.Passage = s.passed(last)
	if s.Record != nil {
		out.Config, out.Trace, out.Backend = s.Record.Config, last.Trace, last.Backend
	}
	if s.Link != nil {
		out.MTU = s.Link.MTU
		if s.Link.Backend != "" {
			d := s.Device
			out.Backend, out.ListenPort, out.FwMark = d.Backend, d.ListenPort, d.FwMark
			if d.PublicKey != (netlinkx.Key{}) {
				out.PublicKey = &d.PublicKey
			}
		}
		out.Peers = s.peers(last)
	}
	if s.Record == nil || s.Foreign() {
		return out // there is nothing to compare with
	}
	if s.Record.Phase == PhaseUp {
		for _, step := range WithoutHooks(Plan(last, s)) {
			if s.Link != nil && s.Link.Hung && isDevice(step) {
				continue // of which nothing is known
			}
			out.Drift = append(out.Drift, driftOf(step))
		}
	}
	if s.Link != nil {
		out.Foreign = append(out.Foreign, s.foreign(last)...)
	}
	return out
}

func driftOf(s Step) Drift {
	d := Drift{What: "missing", Step: s.String(), Changes: s.Changes()}
	for _, c := range d.Changes {
		switch c.Op {
		case OpChange:
			d.What = "changed"
		case OpRemove:
			d.What = "left over"
		}
	}
	return d
}

// condition says how the tunnel is.
func (s *State) condition() string {
	switch {
	case s.Up():
		return "up"
	case s.Foreign():
		return "not wgctl's: the link was replaced by another"
	case s.Record == nil && s.Link != nil:
		return "up, but its record is lost"
	case s.Record == nil:
		return "not up"
	case s.Record.Phase == PhaseKept:
		return "down, and its kill switch stands"
	case s.Record.Phase != PhaseUp:
		return "cut short: a run was killed or is under way"
	case s.Renamed != "":
		return "broken: the link was renamed to " + s.Renamed
	case s.Link == nil && s.Record.Spec.Backend == netlinkx.BackendUserspace:
		return "broken: the process of its device has died, or the link was deleted"
	case s.Link == nil:
		return "broken: the link was deleted"
	}
	if s.Link.Hung {
		return "broken: the process of its device does not answer"
	}
	return "broken: nothing serves its device"
}

func (s *State) peers(last *Spec) []PeerStatus {
	named := map[netlinkx.Key]Peer{}
	if last != nil {
		for _, p := range last.Device.Peers {
			named[p.PublicKey] = p
		}
	}
	out := make([]PeerStatus, 0, len(s.Device.Peers))
	for _, p := range s.Device.Peers {
		known := named[p.PublicKey]
		q := PeerStatus{
			Name: known.Name, PublicKey: p.PublicKey, Configured: known.Configured, AllowedIPs: p.AllowedIPs,
			ReceiveBytes: p.ReceiveBytes, TransmitBytes: p.TransmitBytes,
			PersistentKeepalive: p.PersistentKeepalive, PresharedKey: !p.PresharedKey.IsZero(),
		}
		if q.AllowedIPs == nil {
			q.AllowedIPs = []netip.Prefix{}
		}
		if p.Endpoint.IsValid() {
			q.Endpoint = p.Endpoint.String()
		}
		if !p.LatestHandshake.IsZero() {
			q.LatestHandshake = &p.LatestHandshake
		}
		out = append(out, q)
	}
	slices.SortStableFunc(out, func(a, b PeerStatus) int {
		switch {
		case a.LatestHandshake == nil && b.LatestHandshake == nil:
			return 0
		case a.LatestHandshake == nil:
			return 1
		case b.LatestHandshake == nil:
			return -1
		}
		return b.LatestHandshake.Compare(*a.LatestHandshake)
	})
	return out
}

// foreign lists what stands on the tunnel's link, or leads to its table, and
// was put there by somebody else.
func (s *State) foreign(last *Spec) []string {
	var out []string
	for _, a := range s.Addresses {
		if !slices.Contains(last.Addresses, a) {
			out = append(out, "address "+a.String())
		}
	}
	applied := make(map[any]bool, len(last.Routes)+len(last.Rules))
	for _, r := range last.Routes {
		applied[r] = true
	}
	for _, r := range s.Routes {
		if r.Protocol != kernelProtocol && !applied[r.Route] {
			out = append(out, "route "+routeText(r.Route, s.Name))
		}
	}
	for _, r := range last.Rules {
		applied[r] = true
	}
	for _, r := range s.Rules {
		ours := r.Protocol == netlinkx.Protocol && applied[r.Rule]
		if !ours && last.takesDefault() && r.Table == *last.Device.FwMark {
			out = append(out, fmt.Sprintf("rule -%d %s", r.Family, r.Rule))
		}
	}
	peers := make(map[netlinkx.Key]bool, len(last.Device.Peers))
	for _, p := range last.Device.Peers {
		peers[p.PublicKey] = true
	}
	for _, p := range s.Device.Peers {
		if !peers[p.PublicKey] {
			out = append(out, "peer "+p.PublicKey.String())
		}
	}
	return append(out, s.foreignSettings(last)...)
}

// foreignSettings lists what somebody set where the file says nothing.
func (s *State) foreignSettings(last *Spec) []string {
	var out []string
	if last.Device.FwMark == nil && s.Device.FwMark != 0 {
		out = append(out, fmt.Sprintf("fwmark %#x", s.Device.FwMark))
	}
	if last.Device.PrivateKey == nil && !s.Device.PrivateKey.IsZero() {
		out = append(out, "private key "+hidden)
	}
	applied := make(map[netlinkx.Key]Peer, len(last.Device.Peers))
	for _, p := range last.Device.Peers {
		applied[p.PublicKey] = p
	}
	for _, p := range s.Device.Peers {
		q, ours := applied[p.PublicKey]
		if !ours {
			continue
		}
		if q.PresharedKey == nil && !p.PresharedKey.IsZero() {
			out = append(out, fmt.Sprintf("preshared key %s of peer %s", hidden, p.PublicKey))
		}
		if q.PersistentKeepalive == nil && p.PersistentKeepalive != 0 {
			out = append(out, fmt.Sprintf("persistent keepalive %d of peer %s", p.PersistentKeepalive, p.PublicKey))
		}
	}
	return out
}

// kernelProtocol is that of routes which the kernel makes for addresses
// (RTPROT_KERNEL).
const kernelProtocol = 2
