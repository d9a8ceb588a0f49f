// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
)

// resolve looks the names of endpoints and ports up. Its errors are those of
// getaddrinfo(3), which wg passes on.
func (w *wg) resolve(ctx context.Context, in *config.WgChange) (netlinkx.DeviceChange, error) {
	out := netlinkx.DeviceChange{FwMark: in.FwMark}
	if in.PrivateKey != nil {
		out.PrivateKey = (*netlinkx.Secret)(in.PrivateKey)
	}
	if p := in.ListenPort; p != nil {
		port, err := w.port(ctx, *p)
		if err != nil {
			return out, err
		}
		out.ListenPort = &port
	}
	endpoints, err := w.endpoints(ctx, in.Endpoints())
	if err != nil {
		return out, err
	}
	out.Peers = make([]netlinkx.PeerChange, len(in.Peers))
	for i := range in.Peers {
		out.Peers[i] = peerChange(&in.Peers[i], endpoints[i])
	}
	return out, nil
}

func peerChange(p *config.WgPeer, endpoint netip.AddrPort) netlinkx.PeerChange {
	c := netlinkx.PeerChange{
		PublicKey: netlinkx.Key(p.PublicKey), Remove: p.Remove, Endpoint: endpoint,
		PresharedKey: (*netlinkx.Secret)(p.PresharedKey), PersistentKeepalive: p.PersistentKeepalive,
		ReplaceAllowedIPs: p.ReplaceAllowedIPs,
	}
	c.AllowedIPs, c.RemoveAllowedIPs = addedAndRemoved(p.AllowedIPs)
	return c
}

// addedAndRemoved parts a list by sign. Of a prefix that comes twice, the last
// counts.
func addedAndRemoved(ips []config.AllowedIP) (added, removed []netip.Prefix) {
	if len(ips) == 0 {
		return nil, nil
	}
	added = make([]netip.Prefix, 0, len(ips))
	if !slices.ContainsFunc(ips, func(a config.AllowedIP) bool { return a.Sign == config.Minus }) {
		for _, a := range ips {
			added = append(added, a.Prefix)
		}
		return added, nil
	}
	last := make(map[netip.Prefix]int, len(ips))
	for i, a := range ips {
		last[a.Prefix] = i
	}
	for i, a := range ips {
		switch {
		case last[a.Prefix] != i:
		case a.Sign == config.Minus:
			removed = append(removed, a.Prefix)
		default:
			added = append(added, a.Prefix)
		}
	}
	return added, removed
}

func (w *wg) port(ctx context.Context, p config.Port) (uint16, error) {
	if p.Service == "" {
		return p.Number, nil
	}
	n, err := w.hosts.LookupPort(ctx, p.Service)
	if err != nil {
		return 0, fmt.Errorf("%s: `%s'", config.WgNoService, p.Service)
	}
	return n, nil
}

func (w *wg) endpoints(ctx context.Context, cfg *config.Config) ([]netip.AddrPort, error) {
	any := false
	for _, p := range cfg.Peers {
		any = any || !p.Endpoint.IsZero()
	}
	if !any {
		return make([]netip.AddrPort, len(cfg.Peers)), nil
	}
	retries, err := w.retries() // which wg reads even where nothing is looked up
	if err != nil {
		return nil, err
	}
	names := &failures{Names: w.hosts, of: map[string]error{}}
	l := tunnel.Lookup{Retries: retries, Waiting: func(host, port string, err error, delay time.Duration) {
		w.complain(lookupAgain(host, port, err, delay))
	}}
	out, err := l.Endpoints(ctx, names, cfg)
	if err != nil {
		return nil, names.explain(err, cfg)
	}
	return out, nil
}

// lookupAgain is what wg says of a name that is to be looked up again.
func lookupAgain(host, port string, err error, delay time.Duration) string {
	return fmt.Sprintf("%s: `%s:%s'. Trying again in %.2f seconds...", gaiStrerror(err), host, port, delay.Seconds())
}

// explain says in wg's words which look-up failed first, in the file's order.
func (f *failures) explain(err error, cfg *config.Config) error {
	for _, p := range cfg.Peers {
		if text := f.text(p.Endpoint); text != "" {
			return fmt.Errorf("%s: `%s:%s'", text, p.Endpoint.Host, p.Endpoint.Port)
		}
	}
	return err
}

func (w *wg) retries() (int, error) {
	const name = "WG_ENDPOINT_RESOLUTION_RETRIES"
	switch v := w.env(name); v {
	case "":
		return tunnel.DefaultRetries, nil
	case "infinity":
		return -1, nil
	default:
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			//lint:ignore ST1005 these are wg's words
			return 0, fmt.Errorf("Unable to parse %s: `%s'", name, v)
		}
		return int(n), nil
	}
}

// failures are Names that remember what failed last, by host and by service.
type failures struct {
	tunnel.Names
	mu sync.Mutex
	of map[string]error
}

func (f *failures) LookupHost(ctx context.Context, name string) ([]netip.Addr, error) {
	addrs, err := f.Names.LookupHost(ctx, name)
	if err == nil && len(addrs) == 0 {
		f.remember("host "+name, &net.DNSError{IsNotFound: true})
	} else {
		f.remember("host "+name, err)
	}
	return addrs, err
}

func (f *failures) LookupPort(ctx context.Context, service string) (uint16, error) {
	n, err := f.Names.LookupPort(ctx, service)
	f.remember("port "+service, err)
	return n, err
}

func (f *failures) remember(what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.of[what] = err
}

// text is what getaddrinfo(3) would have said of an endpoint, or nothing.
func (f *failures) text(e config.Endpoint) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of["port "+e.Port.Service] != nil {
		return config.WgNoService
	}
	if err := f.of["host "+e.Host]; err != nil {
		return gaiStrerror(err)
	}
	return ""
}

// gaiStrerror is gai_strerror(3) for what a look-up of a host may say.
func gaiStrerror(err error) string {
	if d := (*net.DNSError)(nil); errors.As(err, &d) && d.IsNotFound {
		return config.WgNoHost
	}
	return "Temporary failure in name resolution"
}
