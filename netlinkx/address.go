// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addresses returns the addresses of the link, IPv4 first, else in the
// kernel's order. An address with a peer has the peer's prefix length.
func (k *Kernel) Addresses(ctx context.Context, link string) ([]Address, error) {
	l, err := k.Link(ctx, link)
	if err != nil {
		return nil, err
	}
	var out []Address
	err = k.dumped(ctx, func(h *netlink.Handle) error {
		list, err := h.AddrList(ref(l.Index), netlink.FAMILY_ALL)
		out = make([]Address, 0, len(list))
		for _, a := range list {
			p, ok := prefixOf(a.IPNet)
			if !ok {
				continue
			}
			if a.Peer != nil {
				bits, _ := a.Peer.Mask.Size()
				p = netip.PrefixFrom(p.Addr(), bits)
			}
			out = append(out, Address{Prefix: p, KernelMade: kernelMade(p, a.Protocol, l.Kind)})
		}
		return err
	})
	if err != nil {
		return nil, missing(err, unix.ENODEV)
	}
	return out, nil
}

// kernelMade tells the link-local addresses that the kernel makes by itself.
// Since 5.18 it says so in IFA_PROTO; before, every fe80::/64 that isn't marked
// as ours must be taken for one. On WireGuard links the kernel makes none
// (wg_open sets addr_gen_mode to none).
func kernelMade(p netip.Prefix, protocol int, kind string) bool {
	switch protocol {
	case netlink.IFAPROT_KERNEL_LL:
		return true
	case Protocol:
		return false
	}
	return kind != kindWireGuard && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() && p.Bits() == 64
}

// AddressAdd does what "ip address add P dev LINK" does, and marks the address
// with our protocol number where the kernel has a place for it. An address
// that the link has already is unix.EEXIST; where IPv6 is disabled, an IPv6
// one is unix.EACCES.
func (k *Kernel) AddressAdd(ctx context.Context, link string, p netip.Prefix) error {
	index, err := k.index(ctx, link)
	if err != nil {
		return err
	}
	a := addrOf(p)
	a.Protocol = Protocol
	a.Broadcast = net.IPv4zero // none
	if p.Addr().Is4() && p.Addr().IsLoopback() {
		a.Scope = unix.RT_SCOPE_HOST // as ip(8) chooses it
	}
	return missing(k.handle().AddrAdd(ref(index), a), unix.ENODEV)
}

// AddressDel removes the address; one that isn't there is unix.EADDRNOTAVAIL
// and an os.ErrNotExist. Without promote_secondaries, the kernel removes the
// other IPv4 addresses of the same subnet along with the first of them; and
// with a link's last IPv4 address all its IPv4 routes go.
func (k *Kernel) AddressDel(ctx context.Context, link string, p netip.Prefix) error {
	index, err := k.index(ctx, link)
	if err != nil {
		return err
	}
	a := addrOf(p)
	a.Broadcast = net.IPv4zero
	return missing(k.handle().AddrDel(ref(index), a), unix.ENODEV, unix.EADDRNOTAVAIL)
}

func addrOf(p netip.Prefix) *netlink.Addr { return &netlink.Addr{IPNet: ipNetOf(p)} }

// ref names a link by its index alone, for the library.
func ref(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

func ipNetOf(p netip.Prefix) *net.IPNet {
	return &net.IPNet{
		IP:   p.Addr().AsSlice(),
		Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen()),
	}
}

// prefixOf turns the library's prefix into ours. The kernel's own bytes are 4
// or 16 long, so the family isn't guessed from the address: ::ffff:10.0.0.1
// stays IPv6.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits, size := n.Mask.Size()
	if size == 8*net.IPv4len && a.Is4In6() {
		a = a.Unmap() // net.IPv4zero is 16 bytes long
	}
	return netip.PrefixFrom(a, bits), size == a.BitLen()
}
