// SPDX-License-Identifier: MIT

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"github.com/wgctl/wgctl/namespace"
	"golang.org/x/sys/unix"
)

// Build makes the links, addresses, routes and routers of a topology in network
// namespaces, which are given by the names that Namespaces returns and stay the
// caller's. Where it fails, what it made is in them, and goes with them.
func (t *Topology) Build(ctx context.Context, in map[string]*os.File) error {
	b := &builder{ctx: ctx, in: in, handles: map[string]*netlink.Handle{}}
	defer b.close()
	for _, name := range t.Namespaces() {
		if err := b.open(name); err != nil {
			return fmt.Errorf("opening the namespace of %s: %w", name, err)
		}
	}
	for _, n := range t.Networks {
		if err := b.network(n); err != nil {
			return fmt.Errorf("making network %s: %w", n.Name, err)
		}
	}
	for _, h := range t.Hosts {
		if err := b.host(h); err != nil {
			return fmt.Errorf("making host %s: %w", h.Name, err)
		}
	}
	return nil
}

type builder struct {
	ctx     context.Context
	in      map[string]*os.File
	handles map[string]*netlink.Handle
}

func (b *builder) close() {
	for _, h := range b.handles {
		_ = h.Close()
	}
}

func (b *builder) open(name string) error {
	ns := b.in[name]
	if ns == nil {
		return errors.New("there is none")
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	b.handles[name] = h
	return b.up(h, "lo")
}

func (b *builder) up(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if err == nil {
		err = h.LinkSetUp(l)
	}
	if err != nil {
		return fmt.Errorf("setting %s up: %w", name, err)
	}
	return b.ctx.Err()
}

// network makes a cable, or a bridge and a cable from each host to it.
func (b *builder) network(n *Network) error {
	if !n.Switched() {
		return b.cable(n.Links[0].Host.Name, n.Links[0].Name, n.Links[1].Host.Name, n.Links[1].Name)
	}
	h := b.handles[n.Name]
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	if err := h.LinkAdd(bridge); err != nil {
		return fmt.Errorf("making a bridge: %w", err)
	}
	if err := b.up(h, "br0"); err != nil {
		return err
	}
	for i, l := range n.Links {
		port := "port" + strconv.Itoa(i)
		if err := b.cable(n.Name, port, l.Host.Name, l.Name); err != nil {
			return err
		}
		link, err := h.LinkByName(port)
		if err == nil {
			err = h.LinkSetMaster(link, bridge)
		}
		if err != nil {
			return fmt.Errorf("plugging in %s: %w", l.Host.Name, err)
		}
	}
	return nil
}

// cable makes a pair of links, each in its namespace, and sets both up.
func (b *builder) cable(a, aLink, z, zLink string) error {
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: aLink}, PeerName: zLink, PeerNamespace: netlink.NsFd(b.in[z].Fd()),
	}
	if err := b.handles[a].LinkAdd(pair); err != nil {
		return fmt.Errorf("connecting %s to %s: %w", a, z, err)
	}
	return errors.Join(b.up(b.handles[a], aLink), b.up(b.handles[z], zLink))
}

// host gives a host its addresses and routes, and makes it a router.
func (b *builder) host(h *Host) error {
	handle := b.handles[h.Name]
	for _, l := range h.Links {
		link, err := handle.LinkByName(l.Name)
		if err != nil {
			return err
		}
		for _, a := range l.Addresses {
			addr := &netlink.Addr{IPNet: netlink.NewIPNet(a.Addr().AsSlice())}
			addr.Mask = mask(a)
			if a.Addr().Is6() {
				addr.Flags = unix.IFA_F_NODAD
			}
			if err := handle.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("adding %s to %s: %w", a, l.Name, err)
			}
		}
	}
	routes := h.Routes
	for _, g := range h.Gateways {
		routes = append(routes[:len(routes):len(routes)], Route{netip.PrefixFrom(zero(g), 0), g})
	}
	for _, r := range routes {
		if err := handle.RouteAdd(&netlink.Route{Dst: ipNet(r.To), Gw: r.Via.AsSlice()}); err != nil {
			return fmt.Errorf("adding the route to %s via %s: %w", r.To, r.Via, err)
		}
	}
	if h.Forward {
		if err := b.forward(h); err != nil {
			return err
		}
	}
	return b.masquerade(h)
}

func (b *builder) forward(h *Host) error {
	return namespace.Inside(b.in[h.Name], func() error {
		for _, key := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			err := os.WriteFile("/proc/sys/net/"+key, []byte("1"), 0)
			if err != nil && !errors.Is(err, os.ErrNotExist) { // no IPv6
				return fmt.Errorf("making it forward: %w", err)
			}
		}
		return nil
	})
}

// masquerade makes a table that gives what leaves on some links the address of
// the host.
func (b *builder) masquerade(h *Host) error {
	if len(h.Masquerade) == 0 {
		return nil
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(b.in[h.Name].Fd())))
	if err != nil {
		return fmt.Errorf("making it masquerade: %w", err)
	}
	table := c.AddTable(&nftables.Table{Name: "lab", Family: nftables.TableFamilyINet})
	chain := c.AddChain(&nftables.Chain{
		Name: "leaving", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, name := range h.Masquerade {
		var padded [unix.IFNAMSIZ]byte
		copy(padded[:], name)
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded[:]},
			&expr.Masq{},
		}})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("making it masquerade: %w", err)
	}
	return nil
}
