// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// An nft is the nftables backend: one table a tunnel, of family inet, replaced
// as a whole by one batch. It talks netlink and runs no program.
type nft struct{ line *line }

// An installedChain is a chain of the kernel's, or one that is about to be.
type installedChain struct {
	*nftables.Chain
	rules []*nftables.Rule
}

// check has nothing to refuse: any valid ruleset can be written.
func (nft) check(Ruleset) error { return nil }

func (b nft) apply(ctx context.Context, r Ruleset) error {
	if r.Empty() {
		return b.remove(ctx, r.Interface)
	}
	r = r.canonical()
	sets, chains := render(r.Interface, r.sets(), r.chains())
	return b.replace(ctx, r.Interface, sets, chains)
}

// replace makes the table of that interface consist of the sets and chains, in
// one transaction: on an error the table is as it was.
//
// The first time nothing is deleted. The kernel frees what was deleted after a
// grace period, and lets nobody close a socket of nf_tables before
// (nft_rcv_nl_event in net/netfilter/nf_tables_api.c).
func (b nft) replace(ctx context.Context, ifname string, sets []installedSet, chains []installedChain) (err error) {
	c, err := b.line.take(ctx)
	if err != nil {
		return err
	}
	var refused error
	defer func() { b.line.give(c, errors.Join(err, refused)) }()
	table := ownTable(ifname)
	if _, refused = c.ListTableOfFamily(table.Name, table.Family); absent(refused) {
		c.CreateTable(table)
		if refused = b.fill(c, table, sets, chains); !errors.Is(refused, unix.EEXIST) {
			return refused
		}
		// Somebody was quicker.
	}
	// Adding what is there already is no error, deleting what isn't is one:
	// in this order the batch does whether there is a table or not.
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	return b.fill(c, table, sets, chains)
}

// fill sends a transaction that was begun, with what a new table is to have.
func (nft) fill(c *nftables.Conn, table *nftables.Table, sets []installedSet, chains []installedChain) error {
	for _, s := range sets {
		if err := c.AddSet(s.Set, s.elements); err != nil {
			return fmt.Errorf("making set %s of table inet %s: %w", s.Name, table.Name, err)
		}
	}
	for _, ch := range chains {
		c.AddChain(ch.Chain)
		for _, r := range ch.rules {
			c.AddRule(r)
		}
	}
	err := c.Flush()
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("programming table inet %s: %w (does the kernel have nft_fib_inet, nft_ct and nft_nat?)", table.Name, err)
	}
	if err != nil {
		return fmt.Errorf("programming table inet %s: %w", table.Name, err)
	}
	return nil
}

func (b nft) remove(ctx context.Context, ifname string) error {
	c, err := b.line.take(ctx)
	if err != nil {
		return err
	}
	table := ownTable(ifname)
	c.DelTable(table)
	err = c.Flush()
	b.line.give(c, err)
	if err != nil && !absent(err) {
		return fmt.Errorf("deleting table inet %s: %w", table.Name, err)
	}
	return nil
}

// absent reports whether an error of reading or deleting a table says that
// there is none. A kernel without nf_tables has no table either: depending on
// the message, its nfnetlink answers with one of the other three.
func absent(err error) bool {
	for _, errno := range []error{unix.ENOENT, unix.EINVAL, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

func (b nft) installed(ctx context.Context, ifname string) (_ Installed, err error) {
	c, err := b.line.take(ctx)
	if err != nil {
		return Installed{}, err
	}
	defer func() { b.line.give(c, err) }()

	table, err := c.ListTableOfFamily(TableName(ifname), nftables.TableFamilyINet)
	if absent(err) {
		return Installed{}, nil
	}
	if err != nil {
		return Installed{}, fmt.Errorf("reading table inet %s: %w", TableName(ifname), err)
	}
	chains, err := readChains(c, table)
	if err != nil {
		return Installed{}, fmt.Errorf("reading table inet %s: %w", table.Name, err)
	}
	sets, err := readSets(ctx, c, table)
	if err != nil {
		return Installed{}, fmt.Errorf("reading table inet %s: %w", table.Name, err)
	}
	t, ok := tagOf(chains, ifname)
	found := Installed{Digest: t.digest, Mark: t.mark}
	found.KillSwitch = slices.ContainsFunc(chains, func(c installedChain) bool { return c.Name == killChain })
	// A dormant table has all its rules and none of their effect.
	if !ok || table.Flags&nftables.TableFlagDormant != 0 || fingerprint(sets, chains) != t.rules {
		found.Digest = changed
	}
	return found, nil
}

// readChains returns the chains of a table with their rules, in the kernel's
// order.
func readChains(c *nftables.Conn, table *nftables.Table) ([]installedChain, error) {
	all, err := c.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return nil, fmt.Errorf("listing chains: %w", err)
	}
	var own []installedChain
	for _, ch := range all {
		if ch.Table.Name != table.Name {
			continue
		}
		rules, err := c.GetRules(table, ch)
		if err != nil {
			return nil, fmt.Errorf("listing rules of chain %s: %w", ch.Name, err)
		}
		own = append(own, installedChain{ch, rules})
	}
	return own, nil
}

// readSets returns the sets and maps of a table with their elements.
func readSets(ctx context.Context, c *nftables.Conn, table *nftables.Table) ([]installedSet, error) {
	all, err := c.GetSets(table)
	if err != nil {
		return nil, fmt.Errorf("listing sets: %w", err)
	}
	out := make([]installedSet, 0, len(all))
	for _, s := range all {
		elements, err := readElements(ctx, func() ([]nftables.SetElement, error) { return c.GetSetElements(s) })
		if err != nil {
			return nil, fmt.Errorf("listing elements of set %s: %w", s.Name, err)
		}
		out = append(out, installedSet{s, elements})
	}
	return out, nil
}

// readElements returns what read returns once it tells each element only once.
// While the kernel makes room in a hash table, which it does after many
// elements were added, a listing has some of them twice and others not at all
// (nft_rhash_walk in net/netfilter/nft_set_hash.c counts those it has told, and
// starts again from that number in a table whose order has changed).
func readElements(ctx context.Context, read func() ([]nftables.SetElement, error)) ([]nftables.SetElement, error) {
	for wait := time.Millisecond; ; wait *= 2 {
		elements, err := read()
		if err != nil || !repeats(elements) {
			return elements, err
		}
		if wait > time.Second {
			return nil, errors.New("the kernel told some of them more than once, time and again")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// repeats reports whether an element is there twice. In an interval set the
// end of one can be where the next begins.
func repeats(elements []nftables.SetElement) bool {
	type id struct {
		key string
		end bool
	}
	seen := make(map[id]bool, len(elements))
	for _, e := range elements {
		seen[id{string(e.Key), e.IntervalEnd}] = true
	}
	return len(seen) < len(elements)
}

// tagOf returns the tag that one of the rules carries.
func tagOf(chains []installedChain, ifname string) (tag, bool) {
	for _, c := range chains {
		for _, r := range c.rules {
			if t, ok := findTag(comment(r.UserData), ifname); ok {
				return t, true
			}
		}
	}
	return tag{}, false
}

// comment returns the comment in a rule's user data: a row of type, length and
// value, which anybody may have written (libnftnl, include/libnftnl/udata.h).
func comment(udata []byte) string {
	for len(udata) >= 2 && len(udata) >= 2+int(udata[1]) {
		value := udata[2 : 2+int(udata[1])]
		if userdata.Type(udata[0]) == userdata.TypeComment {
			return unix.ByteSliceToString(value)
		}
		udata = udata[2+len(value):]
	}
	return ""
}

// render returns sets and chains as the kernel takes them.
func render(ifname string, sets []set, chains []chain) ([]installedSet, []installedChain) {
	table := ownTable(ifname)
	outSets := make([]installedSet, 0, len(sets))
	for _, s := range sets {
		outSets = append(outSets, s.render(table))
	}
	accept := nftables.ChainPolicyAccept
	out := make([]installedChain, 0, len(chains))
	for _, c := range chains {
		ch := &nftables.Chain{
			Name: c.name, Table: table, Type: c.kind,
			Hooknum: c.hook, Priority: c.priority, Policy: &accept,
		}
		rules := make([]*nftables.Rule, 0, len(c.rules))
		for _, r := range c.rules {
			nr := &nftables.Rule{Table: table, Chain: ch, UserData: userdata.AppendString(nil, userdata.TypeComment, r.comment)}
			for _, t := range r.terms {
				nr.Exprs = append(nr.Exprs, t.exprs...)
			}
			rules = append(rules, nr)
		}
		out = append(out, installedChain{ch, rules})
	}
	return outSets, out
}

func ownTable(ifname string) *nftables.Table {
	return &nftables.Table{Name: TableName(ifname), Family: nftables.TableFamilyINet}
}
