// SPDX-License-Identifier: MIT

package netlinkx

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// String returns the commands that would make the host again, in an order that
// depends on what is there and not on how it came about. Keys come out as short
// digests; sysctls only where they differ from those of a new host.
func (f *Fake) String() string {
	f.mu.Lock()
	var names, keys []string
	for _, l := range f.links {
		names = append(names, l.Name)
	}
	for key, v := range f.sysctls {
		if presets[key] != v {
			keys = append(keys, key)
		}
	}
	f.mu.Unlock()
	s, err := describe(context.Background(), f, names, keys)
	if err != nil {
		return "# " + err.Error() + "\n"
	}
	return s
}

// describe asks h for the links and sysctls of these names and for all rules, and
// returns the commands that would make them.
func describe(ctx context.Context, h interface {
	Links
	Addresses
	Routes
	DeadEnds
	Rules
	Devices
	Sysctls
}, links, sysctls []string) (string, error) {
	var p printer
	for _, name := range slices.Sorted(slices.Values(links)) {
		l, err := h.Link(ctx, name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		addrs, aerr := h.Addresses(ctx, name)
		rts, rerr := h.Routes(ctx, name)
		if err := errors.Join(err, aerr, rerr); err != nil {
			return "", err
		}
		p.link(l)
		p.addresses(name, addrs)
		p.routes(name, rts)
		d, err := h.Device(ctx, name)
		if err == nil {
			p.device(d)
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	ends, err := h.DeadEnds(ctx)
	if err != nil {
		return "", err
	}
	p.deadEnds(ends)
	rules, err := h.Rules(ctx)
	if err != nil {
		return "", err
	}
	p.rules(rules)
	for _, key := range slices.Sorted(slices.Values(sysctls)) {
		v, err := h.Sysctl(ctx, key)
		if err == nil {
			p.linef("sysctl -w %s=%s", key, v)
		} else if !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return p.String(), nil
}

type printer struct{ strings.Builder }

func (p *printer) linef(format string, args ...any) { fmt.Fprintf(p, format+"\n", args...) }

func (p *printer) link(l Link) {
	if l.Kind == "" {
		p.linef("# %s is hardware", l.Name)
	} else {
		p.linef("ip link add dev %s type %s", l.Name, l.Kind)
	}
	switch {
	case l.Note != "":
		p.linef("ip link set dev %s alias '%s %s'", l.Name, l.Alias, l.Note)
	case l.Alias != "":
		p.linef("ip link set dev %s alias %s", l.Name, l.Alias)
	}
	state := "down"
	if l.Up {
		state = "up"
	}
	p.linef("ip link set mtu %d %s dev %s", l.MTU, state, l.Name)
}

// addresses leaves out what the kernel makes by itself, with a random part.
func (p *printer) addresses(link string, list []Address) {
	list = slices.SortedFunc(slices.Values(list), func(a, b Address) int { return a.Prefix.Compare(b.Prefix) })
	for _, a := range list {
		if !a.KernelMade {
			p.linef("ip address add %s dev %s", a.Prefix, link)
		}
	}
}

func (p *printer) routes(link string, list []InstalledRoute) {
	list = slices.SortedFunc(slices.Values(list), func(a, b InstalledRoute) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), a.Dst.Compare(b.Dst), cmp.Compare(a.Metric, b.Metric),
			cmp.Compare(a.Protocol, b.Protocol))
	})
	for _, r := range list {
		p.linef("ip route add %s dev %s proto %s%s", r.Route, link, protocol(r.Protocol), more(r.Plain))
	}
}

func (p *printer) deadEnds(list []InstalledRoute) {
	lines := make([]string, 0, len(list))
	for _, r := range list {
		lines = append(lines, fmt.Sprintf("ip route add %s proto %s%s", r.Route, protocol(r.Protocol), more(r.Plain)))
	}
	slices.Sort(lines)
	for _, l := range lines {
		p.linef("%s", l)
	}
}

func (p *printer) rules(list []InstalledRule) {
	list = slices.SortedFunc(slices.Values(list), func(a, b InstalledRule) int {
		return cmp.Or(cmp.Compare(a.Family, b.Family), cmp.Compare(a.Priority, b.Priority),
			strings.Compare(a.Rule.String(), b.Rule.String()), cmp.Compare(a.Protocol, b.Protocol))
	})
	for _, r := range list {
		p.linef("ip -%d rule add %s proto %s%s", r.Family, r.Rule, protocol(r.Protocol), more(r.Plain))
	}
}

func more(plain bool) string {
	if plain {
		return ""
	}
	return " # and more"
}

func protocol(n int) string {
	switch n {
	case unix.RTPROT_KERNEL:
		return "kernel"
	case unix.RTPROT_BOOT:
		return "boot"
	}
	return fmt.Sprint(n)
}

func (p *printer) device(d Device) {
	p.linef("wg set %s%s listen-port %d fwmark %#x", d.Name, secret("private-key", d.PrivateKey), d.ListenPort, d.FwMark)
	byKey := make(map[string]Peer, len(d.Peers))
	for _, peer := range d.Peers {
		byKey[peer.PublicKey.String()] = peer
	}
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		peer := byKey[key]
		fmt.Fprintf(p, "wg set %s peer %s%s", d.Name, digest(peer.PublicKey[:]), secret("preshared-key", peer.PresharedKey))
		if peer.Endpoint.IsValid() {
			fmt.Fprintf(p, " endpoint %s", peer.Endpoint)
		}
		if peer.PersistentKeepalive != 0 {
			fmt.Fprintf(p, " persistent-keepalive %d", peer.PersistentKeepalive)
		}
		ips := make([]string, len(peer.AllowedIPs))
		for i, a := range peer.AllowedIPs {
			ips[i] = a.String()
		}
		slices.Sort(ips)
		p.linef(" allowed-ips %s", strings.Join(ips, ","))
	}
}

func secret(word string, s Secret) string {
	if s.IsZero() {
		return ""
	}
	return " " + word + " " + digest(s[:])
}

// digest stands for a key where a reader only has to tell keys apart.
func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%x", sum[:4])
}
