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
	v4, v6 Tool // of one mode; v6 may be absent
}

func (b iptables) tools() []Tool {
	return slices.DeleteFunc([]Tool{b.v4, b.v6}, func(t Tool) bool { return t.Path == "" })
}

func (b iptables) installed(ctx context.Context, ifname string) (Installed, error) {
	states, err := b.read(ctx, ifname)
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
	if err := b.check(r); err != nil {
		return err
	}
	have, err := b.read(ctx, r.Interface)
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
	for _, rule := range r.canonical().iptablesRules() {
		switch {
		case rule.Family == IPv6 && rule.Comment == "neighbour discovery", rule.Family == IPv6 && rule.Comment == "DHCPv6":
			// Without IPv6 there is none to let through.
		case rule.Family == IPv6 && b.v6.Path == "":
			return fmt.Errorf("writing iptables rules for %s: ip6tables is not usable here", rule.subject())
		case rule.Family == IPv4 && b.v4.Path == "":
			return fmt.Errorf("writing iptables rules for %s: iptables is not usable here", rule.subject())
		}
	}
	if !r.KillSwitch.IsZero() && (b.v4.Path == "" || b.v6.Path == "" && hasIPv6()) {
		return errors.New("writing iptables rules: a kill switch needs both iptables and ip6tables")
	}
	return nil
}

// putBack makes all families as they were.
func (b iptables) putBack(ctx context.Context, ifname string, was []ipState) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	now, err := b.read(ctx, ifname)
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

// read returns what stands in the families of b.tools, in that order.
func (b iptables) read(ctx context.Context, ifname string) ([]ipState, error) {
	var states []ipState
	for _, t := range b.tools() {
		s, err := t.read(ctx, ifname)
		if err != nil {
			return nil, err
		}
		states = append(states, s)
	}
	return states, nil
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

// read returns what stands of the tunnel. A program is run only if the kernel
// says that there may be something.
func (t Tool) read(ctx context.Context, ifname string) (ipState, error) {
	if !t.mayHold(ifname) {
		return ipState{}, ctx.Err()
	}
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
// in the tables that the tool programs. It runs no program: looking with one
// would load modules and make tables.
func (t Tool) mayHold(ifname string) bool {
	if t.Legacy {
		return legacyTables(t.V6, ownTables[:]...)
	}
	c, err := nftables.New()
	if err != nil {
		return false
	}
	family := nftables.TableFamilyIPv4
	if t.V6 {
		family = nftables.TableFamilyIPv6
	}
	chains, err := c.ListChainsOfTableFamily(family)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(chains, func(c *nftables.Chain) bool {
		for i, own := range ownChains {
			if c.Name == chainName(ifname, i) && c.Table.Name == own.table {
				return true
			}
		}
		return false
	})
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
