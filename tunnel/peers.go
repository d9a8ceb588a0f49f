// SPDX-License-Identifier: MIT

package tunnel

import (
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
)

// peersOf plays the peers of a file through as a fresh device would take them
// one after the other from wg: a peer that comes twice has the settings of
// both, but the allowed IPs of the last unless they are signed; a prefix
// belongs to the peer that claimed it last.
func peersOf(in []config.Peer, endpoints []netip.AddrPort) []Peer {
	var (
		out   = make([]Peer, 0, len(in))
		index = make(map[config.Key]int, len(in))
		owner = make(map[netip.Prefix]int, len(in))
	)
	for i, p := range in {
		n, again := index[p.PublicKey]
		if !again {
			n = len(out)
			index[p.PublicKey] = n
			out = append(out, Peer{PublicKey: netlinkx.Key(p.PublicKey)})
		}
		q := &out[n]
		if p.Name != "" {
			q.Name = p.Name
		}
		if p.PresharedKey != nil {
			q.PresharedKey = NewSecret(netlinkx.Secret(*p.PresharedKey))
		}
		if !p.Endpoint.IsZero() {
			q.Configured, q.Endpoint = endpointText(p.Endpoint), endpoints[i]
		}
		if p.PersistentKeepalive != nil {
			q.PersistentKeepalive = p.PersistentKeepalive
		}
		if again && !slices.ContainsFunc(p.AllowedIPs, func(a config.AllowedIP) bool { return a.Sign != config.Unsigned }) {
			for _, a := range q.AllowedIPs {
				if owner[a] == n {
					delete(owner, a)
				}
			}
			q.AllowedIPs = nil
		}
		for _, a := range p.AllowedIPs {
			switch had, ok := owner[a.Prefix]; {
			case a.Sign == config.Minus && ok && had == n:
				delete(owner, a.Prefix)
			case a.Sign == config.Minus:
			default:
				owner[a.Prefix] = n
				if !ok || had != n {
					q.AllowedIPs = append(q.AllowedIPs, a.Prefix)
				}
			}
		}
	}
	for n := range out {
		out[n].AllowedIPs = slices.DeleteFunc(out[n].AllowedIPs, func(a netip.Prefix) bool {
			if had, ok := owner[a]; !ok || had != n {
				return true
			}
			delete(owner, a) // a prefix that was moved away and back stands in the list twice
			return false
		})
	}
	return out
}

func endpointText(e config.Endpoint) string {
	if a, err := netip.ParseAddr(e.Host); err == nil && a.Is6() {
		return "[" + e.Host + "]:" + e.Port.String()
	}
	return e.Host + ":" + e.Port.String()
}
