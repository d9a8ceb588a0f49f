// SPDX-License-Identifier: MIT

package firewall

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// dbusTimeout bounds the work with firewalld, which answers in milliseconds
// unless it hangs, or starts.
const dbusTimeout = 10 * time.Second

// A daemon is firewalld, as it answers on the system bus (firewalld.dbus(5)).
// What is changed is its running state alone: "firewall-cmd --reload" ends it,
// and no file of firewalld's is written.
type daemon struct{ conn *dbus.Conn }

const (
	busName  = "org.fedoraproject.FirewallD1"
	busPath  = "/org/fedoraproject/FirewallD1"
	confPath = "/org/fedoraproject/FirewallD1/config"
)

// dialDaemon returns firewalld, or nil if it doesn't run. It doesn't start it.
func dialDaemon(ctx context.Context) (*daemon, error) {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return nil, ctx.Err() // no bus, no firewalld
	}
	var runs bool
	if err := conn.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.NameHasOwner", 0, busName).Store(&runs); err != nil || !runs {
		return nil, errors.Join(conn.Close(), err)
	}
	return &daemon{conn}, nil
}

func (d *daemon) close() { _ = d.conn.Close() }

// call calls a method of firewalld's; its name is without the bus name.
func (d *daemon) call(ctx context.Context, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return d.conn.Object(busName, path).CallWithContext(ctx, busName+"."+method, dbus.FlagNoAutoStart, args...)
}

// zone returns the zone that somebody else has put the interface into, and
// whether we have put it into the one that trusts it. A zone of its files is
// the administrator's.
func (d *daemon) zone(ctx context.Context, ifname string) (theirs string, ours bool, err error) {
	var running, permanent string
	if err := d.call(ctx, busPath, "zone.getZoneOfInterface", ifname).Store(&running); err != nil {
		return "", false, fmt.Errorf("asking firewalld for the zone of %s: %w", ifname, err)
	}
	if err := d.call(ctx, confPath, "config.getZoneOfInterface", ifname).Store(&permanent); err != nil {
		return "", false, fmt.Errorf("asking firewalld for the permanent zone of %s: %w", ifname, err)
	}
	if permanent == "" && running == trustedZone {
		return "", true, nil
	}
	return cmp.Or(permanent, running), false, nil
}

// setZone puts the interface into a zone, or takes it out.
func (d *daemon) setZone(ctx context.Context, zone, ifname string, in bool) error {
	method, verb := "zone.addInterface", "putting %s into zone %s of firewalld: %w"
	if !in {
		method, verb = "zone.removeInterface", "taking %s out of zone %s of firewalld: %w"
	}
	err := d.call(ctx, busPath, method, zone, ifname).Err
	if err == nil || said(err, "ALREADY_ENABLED", "ZONE_ALREADY_SET") || !in && said(err, "NOT_ENABLED", "UNKNOWN_INTERFACE", "INVALID_ZONE") {
		return nil
	}
	return fmt.Errorf(verb, ifname, zone, err)
}

// A directRule is one of firewalld's direct rules.
type directRule struct {
	Priority int32
	Args     []string
}

// directFamily is a family as firewalld calls it.
func directFamily(family string) string {
	if family == familyIP6 {
		return "ipv6"
	}
	return "ipv4"
}

// directRules returns the direct rules for forwarded packets, in their order.
func (d *daemon) directRules(ctx context.Context, at Place) ([]directRule, error) {
	var rules []directRule
	if err := d.call(ctx, busPath, "direct.getRules", directFamily(at.Family), at.Table, at.Chain).Store(&rules); err != nil {
		return nil, fmt.Errorf("asking firewalld for its direct rules: %w", err)
	}
	slices.SortStableFunc(rules, func(a, b directRule) int { return cmp.Compare(a.Priority, b.Priority) })
	return rules, nil
}

// setDirect replaces the direct rules of an interface. On an error those that
// came are gone again; those that went are back.
func (d *daemon) setDirect(ctx context.Context, at Place, p Passage) error {
	have, err := d.directRules(ctx, at)
	if err != nil {
		return err
	}
	have = slices.DeleteFunc(have, func(r directRule) bool { return parseRule(quoted(r.Args)).Ours != p.Interface })
	var undo []func()
	change := func(ctx context.Context, method string, r directRule) error {
		err := d.call(ctx, busPath, method, directFamily(at.Family), at.Table, at.Chain, r.Priority, r.Args).Err
		if err != nil && !said(err, "ALREADY_ENABLED", "NOT_ENABLED") {
			return fmt.Errorf("changing the direct rules of firewalld: %w", err)
		}
		return nil
	}
	const add, remove = "direct.addRule", "direct.removeRule"
	err = nil
	for _, r := range have {
		if err == nil {
			err = change(ctx, remove, r)
			undo = append(undo, func() { _ = change(context.WithoutCancel(ctx), add, r) })
		}
	}
	for i, words := range p.iptablesRules(at.Family) {
		if r := (directRule{int32(i), splitWords(words)}); err == nil {
			err = change(ctx, add, r)
			undo = append(undo, func() { _ = change(context.WithoutCancel(ctx), remove, r) })
		}
	}
	if err != nil {
		for _, back := range slices.Backward(undo) {
			back()
		}
	}
	return err
}

// said reports whether an error of firewalld's starts with one of its codes.
func said(err error, codes ...string) bool {
	var e dbus.Error
	if !errors.As(err, &e) {
		return false
	}
	return slices.ContainsFunc(codes, func(code string) bool { return strings.HasPrefix(e.Error(), code) })
}

// readForeign adds what only firewalld can tell: the zone of an interface, and
// what stands for it in the zone and among the direct rules. Firewalld counts
// only if its chains are in this network namespace: the bus knows of none.
func (f *ForeignFacts) readDaemon(ctx context.Context, ifname string) error {
	owned := slices.ContainsFunc(f.Chains, func(c ForeignChain) bool { return c.Owned && isFirewalld(c.Place) })
	var direct []Place
	for _, c := range f.Chains {
		if c.Chain == directChain && c.Table == "filter" {
			direct = append(direct, Place{Kind: PlaceDirect, Family: c.Family, Table: c.Table, Chain: forwardChain})
		}
	}
	if !owned && direct == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dbusTimeout)
	defer cancel()
	d, err := dialDaemon(ctx)
	if d == nil || err != nil {
		return err
	}
	defer d.close()
	f.Firewalld = true
	if owned {
		theirs, ours, err := d.zone(ctx, ifname)
		if err != nil {
			return err
		}
		f.Zone = theirs
		if ours {
			f.Chains = append(f.Chains, ForeignChain{Place: Place{Kind: PlaceZone, Chain: trustedZone}, Rules: []ForeignRule{{Ours: ifname, words: trustedZone}}})
		}
	}
	for _, at := range direct {
		rules, err := d.directRules(ctx, at)
		if err != nil {
			return err
		}
		c := ForeignChain{Place: at}
		for _, r := range rules {
			c.Rules = append(c.Rules, parseRule(quoted(r.Args)))
		}
		f.Chains = append(f.Chains, c)
	}
	return nil
}

// applyForeign makes a place of firewalld's have what the passage needs there.
// A firewalld that doesn't run has nothing of ours any more.
func (daemon) applyForeign(ctx context.Context, at Place, p Passage) error {
	ctx, cancel := context.WithTimeout(ctx, dbusTimeout)
	defer cancel()
	d, err := dialDaemon(ctx)
	if err != nil {
		return err
	}
	if d == nil {
		if p.Digest(at) == "" {
			return nil
		}
		return errors.New("firewalld does not run any more")
	}
	defer d.close()
	if at.Kind == PlaceZone {
		return d.setZone(ctx, at.Chain, p.Interface, p.Digest(at) != "")
	}
	return d.setDirect(ctx, at, p)
}
