// SPDX-License-Identifier: MIT

package lab

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// tunnel reads a section [Tunnel].
func (p *parser) tunnel(s *section) (err error) {
	if s.kind != "Tunnel" {
		return nil
	}
	t := &Tunnel{Name: s.name, Port: 51820, Keepalive: 25}
	if slices.ContainsFunc(p.t.Tunnels, func(o *Tunnel) bool { return o.Name == t.Name }) {
		return s.errorf(p.file, line{}, "there is a tunnel of that name already")
	}
	for _, l := range s.keys {
		switch l.key {
		case "Subnet":
			t.Subnets, err = p.prefixes(s, l, strings.Split(l.value, ","))
		case "ListenPort":
			t.Port, err = p.number(s, l, 1)
		case "PersistentKeepalive":
			t.Keepalive, err = p.number(s, l, 0)
		case "Hub":
			if t.Hub = p.t.Host(l.value); t.Hub == nil {
				err = s.errorf(p.file, l, "there is no host %s", l.value)
			}
		}
		if err != nil {
			return err
		}
	}
	if len(t.Subnets) == 0 {
		return s.errorf(p.file, line{}, "a tunnel has a Subnet")
	}
	for _, l := range s.keys {
		if l.key == "Member" {
			if err := p.member(s, l, t); err != nil {
				return err
			}
		}
	}
	return p.finish(s, t)
}

// finish looks at the whole of a tunnel.
func (p *parser) finish(s *section, t *Tunnel) error {
	switch {
	case len(t.Members) < 2:
		return s.errorf(p.file, line{}, "a tunnel has two members at least")
	case t.Hub != nil && t.member(t.Hub) == nil:
		return s.errorf(p.file, line{}, "the hub %s is no member", t.Hub.Name)
	case t.Hub != nil && !t.member(t.Hub).Endpoint.IsValid():
		return s.errorf(p.file, line{}, "the hub %s is roaming, and nobody would find it", t.Hub.Name)
	}
	p.t.Tunnels = append(p.t.Tunnels, t)
	return nil
}

// member reads "Member = HOST [roaming] [at ADDRESS] [routes PREFIX,...]".
func (p *parser) member(s *section, l line, t *Tunnel) error {
	words := strings.Fields(l.value)
	m := &Member{Host: p.t.Host(words[0])}
	if m.Host == nil {
		return s.errorf(p.file, l, "there is no host %s", words[0])
	}
	if t.member(m.Host) != nil {
		return s.errorf(p.file, l, "%s is a member already", words[0])
	}
	roaming := false
	for words = words[1:]; len(words) > 0; words = words[1:] {
		var err error
		switch {
		case words[0] == "roaming":
			roaming = true
		case words[0] == "at" && len(words) > 1:
			words = words[1:]
			if m.Endpoint, err = netip.ParseAddr(words[0]); err != nil {
				return s.errorf(p.file, l, "%q is no address", words[0])
			}
		case words[0] == "routes" && len(words) > 1:
			words = words[1:]
			if m.Routes, err = p.prefixes(s, l, strings.Split(words[0], ",")); err != nil {
				return err
			}
		default:
			return s.errorf(p.file, l, "a member is \"HOST [roaming] [at ADDRESS] [routes PREFIX,PREFIX]\", without %q", words[0])
		}
	}
	if !roaming && !m.Endpoint.IsValid() {
		if len(m.Host.Links) == 0 || len(m.Host.Links[0].Addresses) == 0 {
			return s.errorf(p.file, l, "%s has no address that others could send to", m.Host.Name)
		}
		m.Endpoint = m.Host.Links[0].Addresses[0].Addr()
	}
	for _, subnet := range t.Subnets {
		a, err := take(subnet, p.taken)
		if err != nil {
			return s.errorf(p.file, l, "%v", err)
		}
		m.Addresses = append(m.Addresses, a)
	}
	t.Members = append(t.Members, m)
	return nil
}

func (p *parser) number(s *section, l line, least uint64) (uint16, error) {
	n, err := strconv.ParseUint(l.value, 10, 16)
	if err != nil || n < least {
		return 0, s.errorf(p.file, l, "must be a number from %d to 65535", least)
	}
	return uint16(n), nil
}

func (t *Tunnel) member(h *Host) *Member {
	i := slices.IndexFunc(t.Members, func(m *Member) bool { return m.Host == h })
	if i < 0 {
		return nil
	}
	return t.Members[i]
}

// A File is a tunnel's file of one host, in wg-quick's dialect.
type File struct {
	Host, Interface string
	Text            string
}

// Files returns the files of all tunnels, with keys that are made anew each
// time.
func (t *Topology) Files() ([]File, error) {
	var out []File
	for _, tunnel := range t.Tunnels {
		keys := make(map[*Member]*ecdh.PrivateKey, len(tunnel.Members))
		for _, m := range tunnel.Members {
			key, err := newKey()
			if err != nil {
				return nil, fmt.Errorf("making a key: %w", err)
			}
			keys[m] = key
		}
		for _, m := range tunnel.Members {
			out = append(out, File{m.Host.Name, tunnel.Name, tunnel.file(m, keys)})
		}
	}
	return out, nil
}

// newKey makes a key as wg does, with the bits fixed that X25519 doesn't look at.
func newKey() (*ecdh.PrivateKey, error) {
	var k [32]byte
	if _, err := rand.Read(k[:]); err != nil {
		return nil, err
	}
	k[0], k[31] = k[0]&248, k[31]&127|64
	return ecdh.X25519().NewPrivateKey(k[:])
}

// file writes the file of a member.
func (t *Tunnel) file(m *Member, keys map[*Member]*ecdh.PrivateKey) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Interface]\nPrivateKey = %s\nAddress = %s\n", text(keys[m].Bytes()), list(m.Addresses))
	fmt.Fprintf(&b, "ListenPort = %d\n", t.Port)
	if m.Host == t.Hub {
		b.WriteString("Forward = on\n")
	}
	for _, peer := range t.Members {
		if peer == m || t.Hub != nil && m.Host != t.Hub && peer.Host != t.Hub {
			continue
		}
		fmt.Fprintf(&b, "\n[Peer]\nName = %s\nPublicKey = %s\nAllowedIPs = %s\n", peer.Host.Name, text(keys[peer].PublicKey().Bytes()), list(t.allowed(m, peer)))
		if peer.Endpoint.IsValid() {
			fmt.Fprintf(&b, "Endpoint = %s\n", netip.AddrPortFrom(peer.Endpoint, t.Port))
			if !m.Endpoint.IsValid() && t.Keepalive != 0 {
				fmt.Fprintf(&b, "PersistentKeepalive = %d\n", t.Keepalive)
			}
		}
	}
	return b.String()
}

// allowed are the addresses behind a peer, as a member sees it: behind a hub are
// all the others.
func (t *Tunnel) allowed(m, peer *Member) (out []netip.Prefix) {
	if peer.Host == t.Hub {
		out = append(out, t.Subnets...)
		for _, other := range t.Members {
			if other != m {
				out = append(out, other.Routes...)
			}
		}
		return out
	}
	for _, a := range peer.Addresses {
		out = append(out, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()))
	}
	return append(out, peer.Routes...)
}

func text(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

func list(prefixes []netip.Prefix) string {
	words := make([]string, 0, len(prefixes))
	for _, p := range prefixes {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}
