// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const kindWireGuard = "wireguard"

// newbornGroup is the link group ("wgct") of a link between the message that
// makes it and the one that gives it the alias: the kernel takes no alias in
// the first, but it takes a group. So a crash in between leaves a link that
// can still be told to be ours.
const newbornGroup = 0x77676374

// Link returns the link of that name; alternative names don't count.
func (k *Kernel) Link(ctx context.Context, name string) (Link, error) {
	var l netlink.Link
	err := k.dumped(ctx, func(h *netlink.Handle) (err error) {
		l, err = h.LinkByName(name)
		return err
	})
	if errors.As(err, new(netlink.LinkNotFoundError)) || err == nil && l.Attrs().Name != name {
		return Link{}, missingError{unix.ENODEV}
	}
	if err != nil {
		return Link{}, err
	}
	return linkOf(l), nil
}

// OwnLinks returns the links that carry our alias, by index.
func (k *Kernel) OwnLinks(ctx context.Context) ([]Link, error) {
	var all []netlink.Link
	err := k.dumped(ctx, func(h *netlink.Handle) (err error) {
		all, err = h.LinkList()
		return err
	})
	if err != nil {
		return nil, err
	}
	var own []Link
	for _, l := range all {
		if l := linkOf(l); l.Alias == Alias {
			own = append(own, l)
		}
	}
	return own, nil
}

func linkOf(l netlink.Link) Link {
	a := l.Attrs()
	out := Link{
		Index: a.Index, Name: a.Name, Kind: l.Type(), MTU: a.MTU,
		Up: a.RawFlags&unix.IFF_UP != 0,
	}
	switch l := l.(type) {
	case *netlink.Device: // the library's word for a link without a kind
		out.Kind = ""
	case *netlink.Tuntap:
		out.Kind = "tun"
	case *netlink.GenericLink:
		out.Kind = l.LinkType
	}
	out.Alias, out.Note = splitAlias(a.Alias)
	if a.Group == newbornGroup && a.Alias == "" {
		out.Alias = Alias
	}
	return out
}

// MaxNote is how long a note can be: the kernel takes 255 bytes of alias
// (IFALIASZ in linux/if.h).
const MaxNote = 255 - len(Alias) - 1

// splitAlias takes the note off an alias of ours. An alias that has our word
// and then something else is its author's, as "wgctl uplink".
func splitAlias(text string) (alias, note string) {
	ours, note, noted := strings.Cut(text, " ")
	if !noted || ours != Alias || !isNote(note) {
		return text, ""
	}
	return ours, note
}

func isNote(note string) bool {
	for word := range strings.SplitSeq(note, " ") {
		if key, _, ok := strings.Cut(word, "="); !ok || key == "" {
			return false
		}
	}
	return len(note) <= MaxNote
}

// CreateFrom makes the WireGuard links of k from another namespace, where their
// UDP sockets stay (wg_newlink's src_net in drivers/net/wireguard/device.c).
func (k *Kernel) CreateFrom(outer *Kernel) { k.outer = outer }

// LinkAdd makes a WireGuard link. A kernel that doesn't know the kind is
// unix.EOPNOTSUPP.
func (k *Kernel) LinkAdd(ctx context.Context, name string) error {
	return k.linkAdd(ctx, name, kindWireGuard)
}

func (k *Kernel) linkAdd(ctx context.Context, name, kind string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	from := k
	if k.outer != nil {
		from = k.outer
	}
	req := from.request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	if k.outer != nil {
		req.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(k.ns))))
	}
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(newbornGroup)))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	req.AddData(info)
	if _, err := req.Execute(unix.NETLINK_ROUTE, 0); err != nil {
		return err
	}
	// From here on the link exists: what follows ignores cancellation.
	ctx = context.WithoutCancel(ctx)
	l, err := k.Link(ctx, name)
	if err == nil {
		err = k.linkMark(l.Index)
	}
	if err != nil {
		err = errors.Join(err, k.LinkDel(ctx, name))
	}
	return err
}

// linkMark gives a link our alias, and a newborn one the default group back.
func (k *Kernel) linkMark(index int) error {
	return k.setAlias(index, Alias, nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(0)))
}

func (k *Kernel) setAlias(index int, alias string, more ...*nl.RtAttr) error {
	req := k.request(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	for _, a := range more {
		req.AddData(a)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// LinkClaim gives the link our alias if it has that index: the caller knows
// that it made it, though somebody gave it another alias.
func (k *Kernel) LinkClaim(ctx context.Context, name string, index int) error {
	l, err := k.Link(ctx, name)
	if err != nil {
		return err
	}
	if l.Index != index {
		return unix.EPERM
	}
	return missing(k.linkMark(l.Index), unix.ENODEV)
}

// LinkNote makes our alias on the link say something besides.
func (k *Kernel) LinkNote(ctx context.Context, name, note string) error {
	l, err := k.Link(ctx, name)
	if err != nil {
		return err
	}
	alias, err := l.noted(note)
	if err != nil {
		return err
	}
	return missing(k.setAlias(l.Index, alias), unix.ENODEV)
}

// noted returns the whole alias of a link of ours that has the note.
func (l Link) noted(note string) (alias string, err error) {
	switch {
	case l.Alias != Alias:
		return "", unix.EPERM
	case note == "":
		return Alias, nil
	case !isNote(note):
		return "", unix.EINVAL
	}
	return Alias + " " + note, nil
}

// LinkDel removes the link, of whatever kind, if it carries our alias. It
// removes by index what it has looked at: a link that took the name meanwhile
// is safe. A WireGuard link loses its peers first, in parts: with thousands of
// them the kernel needs minutes, in which nobody else can change a link, an
// address or a route if they go with the link.
func (k *Kernel) LinkDel(ctx context.Context, name string) error {
	l, err := k.Link(ctx, name)
	if err != nil {
		return err
	}
	if l.Alias != Alias {
		return unix.EPERM
	}
	if l.Kind == kindWireGuard {
		// Where that fails, they go with the link.
		_ = k.removePeers(context.WithoutCancel(ctx), l)
	}
	req := k.request(unix.RTM_DELLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(l.Index)
	req.AddData(msg)
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return missing(err, unix.ENODEV)
}

// LinkSet does what "ip link set mtu N up dev NAME" does: the kernel sets the
// MTU first, then the flag, so that the link never is up with the wrong one.
func (k *Kernel) LinkSet(ctx context.Context, name string, mtu int, up bool) error {
	l, err := k.Link(ctx, name)
	if err != nil {
		return err
	}
	req := k.request(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(l.Index)
	msg.Change = unix.IFF_UP
	if up {
		msg.Flags = unix.IFF_UP
	}
	req.AddData(msg)
	if mtu != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	}
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return missing(err, unix.ENODEV)
}

// index returns the number of the link. It is ten times as fast as Link, which
// counts where there is a route for every allowed IP.
func (k *Kernel) index(ctx context.Context, name string) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, missingError{unix.ENODEV} // longer than a name can be
	}
	raw, err := k.ctl.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), unix.SIOCGIFINDEX, req) })
	if err := errors.Join(cerr, err); err != nil {
		return 0, missing(err, unix.ENODEV)
	}
	return int(req.Uint32()), nil
}

// links returns all links of the namespace, by index.
func (k *Kernel) links(ctx context.Context) (map[int]Link, error) {
	var list []netlink.Link
	err := k.dumped(ctx, func(h *netlink.Handle) (err error) {
		list, err = h.LinkList()
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make(map[int]Link, len(list))
	for _, l := range list {
		out[l.Attrs().Index] = linkOf(l)
	}
	return out, nil
}

func (k *Kernel) linkByIndex(ctx context.Context, index int) (Link, error) {
	var l netlink.Link
	err := k.dumped(ctx, func(h *netlink.Handle) (err error) {
		l, err = h.LinkByIndex(index)
		return err
	})
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return Link{}, missingError{unix.ENODEV}
	}
	if err != nil {
		return Link{}, err
	}
	return linkOf(l), nil
}
