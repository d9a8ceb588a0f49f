// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	goiptables "github.com/coreos/go-iptables/iptables"
	"github.com/google/nftables"
)

// lockWait is how long iptables-restore waits for the lock that all iptables
// programs of a host share, in seconds.
const lockWait = "--wait=5"

// undoTimeout bounds the way back after an error, which takes no notice of a
// context that has ended.
const undoTimeout = 30 * time.Second

// An iptables is the iptables backend: chains of our own in the tables of both
// families, and one jump to each. iptables-save is read whole,
// and one iptables-restore a family makes all changes of it.
//
// go-iptables tells what a program can do. It does not read or write rules
// here: it runs a program for each chain or rule, so that others would see a
// table half done, and merely to look makes the old tables (-S loads their
// modules), which -save does not.
type iptables struct {
	legacy bool
	found  func() []Tool // of both modes, those to be preferred first
	line   *line         // to nf_tables, which the newer programs fill
}

// tool returns the program of a family, without a path if there is none.
func (b iptables) tool(v6 bool) Tool {
	for _, t := range b.found() {
		if t.Legacy == b.legacy && t.V6 == v6 {
			return t
		}
	}
	return Tool{}
}

func (b iptables) tools() []Tool {
	return slices.DeleteFunc([]Tool{b.tool(false), b.tool(true)}, func(t Tool) bool { return t.Path == "" })
}

func (b iptables) installed(ctx context.Context, ifname string) (Installed, error) {
	in4, in6 := b.mayHold(ctx, ifname)
	if !in4 && !in6 {
		return Installed{}, ctx.Err()
	}
	states, err := b.read(ctx, ifname, in4, in6)
	if err != nil {
		return Installed{}, err
	}
	var v4 ipState
	var v6 *ipState
	for i, t := range b.tools() {
		if t.V6 {
			v6 = &states[i]
		} else {
			v4 = states[i]
		}
	}
	return readIptables(ifname, v4, v6), nil
}

func (b iptables) apply(ctx context.Context, r Ruleset) error {
	in4, in6 := b.mayHold(ctx, r.Interface)
	if r.Empty() && !in4 && !in6 {
		return ctx.Err()
	}
	if err := b.check(r); err != nil {
		return err
	}
	have, err := b.read(ctx, r.Interface, in4, in6)
	if err != nil {
		return err
	}
	for i, t := range b.tools() {
		if err := t.swap(ctx, r.Interface, have[i], r.iptablesState(t.V6)); err != nil {
			// A table of this family may have been committed before the
			// one that failed, so its own undoing is included.
			return errors.Join(err, b.putBack(ctx, r.Interface, have))
		}
	}
	return nil
}

// check refuses rulesets that these programs can't express.
func (b iptables) check(r Ruleset) error {
	if r.Empty() {
		return nil
	}
	if strings.HasSuffix(r.Interface, "+") {
		return fmt.Errorf("writing iptables rules: iptables takes the interface name %q as a pattern", r.Interface)
	}
	v4, v6 := b.tool(false), b.tool(true)
	for _, rule := range r.canonical().iptablesRules() {
		switch {
		case rule.Family == IPv6 && rule.Comment == "neighbour discovery", rule.Family == IPv6 && rule.Comment == "DHCPv6":
			// Without IPv6 there is none to let through.
		case rule.Family == IPv6 && v6.Path == "":
			return fmt.Errorf("writing iptables rules for %s: ip6tables is not usable here", rule.subject())
		case rule.Family == IPv4 && v4.Path == "":
			return fmt.Errorf("writing iptables rules for %s: iptables is not usable here", rule.subject())
		}
	}
	if !r.KillSwitch.IsZero() && (v4.Path == "" || v6.Path == "" && hasIPv6()) {
		return errors.New("writing iptables rules: a kill switch needs both iptables and ip6tables")
	}
	return nil
}

// putBack makes all families as they were.
func (b iptables) putBack(ctx context.Context, ifname string, was []ipState) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	in4, in6 := b.mayHold(ctx, ifname)
	now, err := b.read(ctx, ifname, in4, in6)
	if err != nil {
		return fmt.Errorf("putting rules back: %w", err)
	}
	var errs []error
	for i, t := range b.tools() {
		if err := t.swap(ctx, ifname, now[i], was[i]); err != nil {
			errs = append(errs, fmt.Errorf("putting rules back: %w", err))
		}
	}
	return errors.Join(errs...)
}

// read returns what stands in the families of b.tools, in that order. A program
// is run only for a family that may hold something.
func (b iptables) read(ctx context.Context, ifname string, in4, in6 bool) ([]ipState, error) {
	var states []ipState
	for _, t := range b.tools() {
		var s ipState
		if t.V6 && in6 || !t.V6 && in4 {
			var err error
			if s, err = t.read(ctx, ifname); err != nil {
				return nil, err
			}
		}
		states = append(states, s)
	}
	return states, ctx.Err()
}

// A Tool is one iptables program with its -save and -restore.
type Tool struct {
	Path   string // of iptables itself; "-save" and "-restore" are added to it
	V6     bool   // ip6tables
	Legacy bool   // programs the old tables; else nf_tables
}

func (t Tool) String() string {
	mode := "nf_tables"
	if t.Legacy {
		mode = "legacy"
	}
	return t.Path + "(" + mode + ")"
}

// read returns what stands of the tunnel.
func (t Tool) read(ctx context.Context, ifname string) (ipState, error) {
	save, err := run(ctx, "", t.Path+"-save")
	if err != nil {
		return ipState{}, fmt.Errorf("reading the rules of %s: %w", ifname, err)
	}
	return parseSave(save, ifname), nil
}

// swap makes have into want.
func (t Tool) swap(ctx context.Context, ifname string, have, want ipState) error {
	text := restoreText(ifname, have, want)
	if text == "" {
		return ctx.Err()
	}
	if err := t.restore(ctx, text); err != nil {
		return fmt.Errorf("programming the rules of %s: %w", ifname, err)
	}
	return nil
}

// restore gives -restore what to add and delete.
func (t Tool) restore(ctx context.Context, text string) error {
	args := []string{"--noflush"}
	waits, err := t.restoreWaits()
	if err != nil {
		return err
	}
	if waits {
		args = append(args, lockWait)
	}
	_, err = run(ctx, text, t.Path+"-restore", args...)
	return err
}

// restoreWaits reports whether -restore knows --wait: since iptables 1.6.2,
// before which it took no lock at all (iptables commit 999eaa241212, "support
// acquiring the lock").
func (t Tool) restoreWaits() (bool, error) {
	family := goiptables.ProtocolIPv4
	if t.V6 {
		family = goiptables.ProtocolIPv6
	}
	program, err := goiptables.New(goiptables.Path(t.Path), goiptables.IPFamily(family))
	if err != nil {
		return false, fmt.Errorf("asking %s for its version: %w", t.Path, err)
	}
	major, minor, patch := program.GetIptablesVersion()
	return slices.Compare([]int{major, minor, patch}, []int{1, 6, 2}) >= 0, nil
}

// mayHold reports whether this network namespace can have rules of the tunnel
// in the tables of either family that these programs are about. It runs none of
// them: looking with one would load modules and make tables.
func (b iptables) mayHold(ctx context.Context, ifname string) (v4, v6 bool) {
	if b.legacy {
		return legacyTables(false, ownTables[:]...), legacyTables(true, ownTables[:]...)
	}
	c, err := b.line.take(ctx)
	if err != nil {
		return false, false
	}
	chains, err := c.ListChains()
	b.line.give(c, err)
	if err != nil {
		return false, false
	}
	for _, c := range chains {
		for i, own := range ownChains {
			if c.Name == chainName(ifname, i) && c.Table.Name == own.table {
				v4 = v4 || c.Table.Family == nftables.TableFamilyIPv4
				v6 = v6 || c.Table.Family == nftables.TableFamilyIPv6
			}
		}
	}
	return v4, v6
}

// legacyTables reports whether one of the tables exists in the old iptables of
// this network namespace (net/ipv4/netfilter/ip_tables.c, x_tables.c). The
// file is read by way of the thread: its namespace may be another than that of
// the process.
func legacyTables(v6 bool, tables ...string) bool {
	file := "/proc/thread-self/net/ip_tables_names"
	if v6 {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	names, err := os.ReadFile(file)
	if err != nil {
		return false // without the module there is no such file
	}
	return slices.ContainsFunc(strings.Fields(string(names)), func(name string) bool { return slices.Contains(tables, name) })
}
