// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Saved is a device as it is, to be written into its file. Nil lists and
// pointers, and zeros where the file can't say zero, stand for what isn't known
// and stays as the file has it.
type Saved struct {
	PrivateKey *Secret
	ListenPort uint16
	FwMark     uint32         // 0: off; also for a mark that wasn't chosen by the file
	MTU        int            // bytes
	Addresses  []netip.Prefix // not masked
	DNS        []netip.Addr
	Peers      []SavedPeer // all of them: a peer that isn't here is gone
}

// A SavedPeer is a peer of a device as it is.
type SavedPeer struct {
	PublicKey           Key
	PresharedKey        *Secret        // nil or zero: none
	Endpoint            netip.AddrPort // invalid: none
	AllowedIPs          []netip.Prefix
	PersistentKeepalive uint16 // seconds; 0: off
}

// Update returns the text of a config file with what differs from s rewritten
// and every other byte kept: comments, order, spelling, hooks, names and search
// domains. New peers come at the end; the sections of vanished ones go, with
// the comments inside and right above them.
//
// Not every difference is a change to save. A file without a private key,
// ListenPort, FwMark or MTU doesn't get one, nor does a link-local address get
// in. Where a peer was last seen replaces an address in its Endpoint, but not a
// host name, and isn't added where there is no Endpoint.
//
// A file that Parse refuses is an error, and so is one that can't be edited.
func Update(original []byte, s Saved) ([]byte, error) {
	n := &normaliser{report: &report{file: "config"}, layout: &layout{lines: newPlaces(), last: map[int]int{}}}
	c, _, err := parse(n, bytes.NewReader(original))
	if err != nil {
		return nil, fmt.Errorf("editing config: %w", err)
	}
	e := newEditor(original, c, n.layout)
	e.updateInterface(s)
	e.updatePeers(s.Peers)
	out := e.bytes()
	if _, _, err := Parse("edited config", bytes.NewReader(out)); err != nil {
		return nil, fmt.Errorf("editing config: %w", err)
	}
	return out, nil
}

func (e *editor) updateInterface(s Saved) {
	ifc := &e.cfg.Interface
	if ifc.PrivateKey != nil && s.PrivateKey != nil && *ifc.PrivateKey != *s.PrivateKey {
		e.set(InInterface, "PrivateKey", base64.StdEncoding.EncodeToString(s.PrivateKey[:]))
	}
	// A service name isn't looked up here, and a port 0 asks for any.
	if p := ifc.ListenPort; p != nil && p.Service == "" && p.Number != 0 && s.ListenPort != 0 && p.Number != s.ListenPort {
		e.set(InInterface, "ListenPort", fmt.Sprint(s.ListenPort))
	}
	if ifc.FwMark != nil && *ifc.FwMark != s.FwMark {
		e.set(InInterface, "FwMark", formatFwMark(s.FwMark))
	}
	if ifc.MTU != 0 && s.MTU != 0 && ifc.MTU != s.MTU {
		e.set(InInterface, "MTU", fmt.Sprint(s.MTU))
	}
	if s.Addresses != nil {
		e.updateAddresses(s.Addresses)
	}
	if s.DNS != nil {
		e.editList(InInterface, "DNS", strs(s.DNS, netip.Addr.String), func(item string) (string, bool) {
			a, err := netip.ParseAddr(item)
			return a.String(), err != nil // a search domain
		})
	}
}

func (e *editor) updateAddresses(have []netip.Prefix) {
	var want []string
	for _, p := range have {
		if !p.Addr().IsLinkLocalUnicast() || p.Addr().Is4() || slices.Contains(e.cfg.Interface.Addresses, p) {
			want = append(want, p.String())
		}
	}
	e.editList(InInterface, "Address", want, func(item string) (string, bool) {
		p, _ := parseAddress(item)
		return p.String(), false
	})
}

func (e *editor) updatePeers(have []SavedPeer) {
	sections := map[Key][]int{} // a peer may have several
	for i, p := range e.cfg.Peers {
		sections[p.PublicKey] = append(sections[p.PublicKey], i)
	}
	for _, p := range have {
		if in := sections[p.PublicKey]; in != nil {
			e.updatePeer(in, p)
			delete(sections, p.PublicKey)
			continue
		}
		e.appendPeer(p)
	}
	for _, in := range sections {
		for _, i := range in {
			e.removeSection(i)
		}
	}
}

// updatePeer edits the last of a peer's sections: it is the one that counts.
func (e *editor) updatePeer(in []int, s SavedPeer) {
	last := in[len(in)-1]
	var f Peer // what the sections say together
	for _, i := range in {
		f = overrule(f, e.cfg.Peers[i])
	}
	psk := s.PresharedKey
	if psk != nil && *psk == (Secret{}) {
		psk = nil
	}
	switch {
	case f.PresharedKeyFile != "": // is its owner's to change
	case psk != nil && !same(f.PresharedKey, psk):
		e.set(last, "PresharedKey", base64.StdEncoding.EncodeToString(psk[:]))
	case psk == nil && f.PresharedKey != nil && *f.PresharedKey != (Secret{}):
		for _, i := range in {
			e.drop(i, "PresharedKey")
		}
	}
	var keepalive uint16
	if f.PersistentKeepalive != nil {
		keepalive = *f.PersistentKeepalive
	}
	if keepalive != s.PersistentKeepalive {
		e.set(last, "PersistentKeepalive", formatKeepalive(s.PersistentKeepalive))
	}
	if to, moved := movedEndpoint(f.Endpoint, s.Endpoint); moved {
		e.set(last, "Endpoint", to)
	}
	e.editList(last, "AllowedIPs", strs(s.AllowedIPs, netip.Prefix.String), func(item string) (string, bool) {
		ip, _, _ := parseAllowedIP(squash(item))
		return ip.Prefix.String(), ip.Sign == Minus
	})
}

// overrule returns what two sections of one peer say together; allowed IPs
// aside, of which the last section's count.
func overrule(p, q Peer) Peer {
	if q.PresharedKey == nil && q.PresharedKeyFile == "" {
		q.PresharedKey, q.PresharedKeyFile = p.PresharedKey, p.PresharedKeyFile
	}
	if q.PersistentKeepalive == nil {
		q.PersistentKeepalive = p.PersistentKeepalive
	}
	if q.Endpoint.IsZero() {
		q.Endpoint = p.Endpoint
	}
	return q
}

// movedEndpoint returns the endpoint to write, if the file gives another
// address than the device.
func movedEndpoint(file Endpoint, device netip.AddrPort) (string, bool) {
	a, err := netip.ParseAddr(file.Host)
	if err != nil || !device.IsValid() {
		return "", false
	}
	to := device.Addr().Unmap()
	if to.Zone() == "" && to.IsLinkLocalUnicast() {
		to = to.WithZone(a.Zone()) // the kernel's answer has no zone
	}
	if a.Unmap() == to && (file.Port.Service != "" || file.Port.Number == device.Port()) {
		return "", false
	}
	return Endpoint{Host: to.String(), Port: Port{Number: device.Port()}}.String(), true
}

func (e *editor) appendPeer(s SavedPeer) {
	p := Peer{PublicKey: s.PublicKey, PresharedKey: s.PresharedKey}
	if p.PresharedKey != nil && *p.PresharedKey == (Secret{}) {
		p.PresharedKey = nil
	}
	if s.Endpoint.IsValid() {
		p.Endpoint = Endpoint{Host: s.Endpoint.Addr().Unmap().String(), Port: Port{Number: s.Endpoint.Port()}}
	}
	for _, prefix := range s.AllowedIPs {
		p.AllowedIPs = append(p.AllowedIPs, AllowedIP{Prefix: prefix})
	}
	if s.PersistentKeepalive != 0 {
		p.PersistentKeepalive = &s.PersistentKeepalive
	}
	var text bytes.Buffer
	p.format(&text)
	for line := range strings.Lines(text.String()) {
		e.tail = append(e.tail, strings.TrimSuffix(line, "\n")+e.eol)
	}
}
