// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// tableFamilies are the families whose chains forwarded packets go through.
var tableFamilies = map[string]nftables.TableFamily{
	familyIP: nftables.TableFamilyIPv4, familyIP6: nftables.TableFamilyIPv6, familyINet: nftables.TableFamilyINet,
}

// readForeign returns the chains of other tables in nf_tables, of iptables-nft too.
// It looks at base chains and at what they lead every packet to, not at the
// thousands of rules that may lie beyond a condition.
func (b nft) readForeign(ctx context.Context) (_ []ForeignChain, err error) {
	c, err := b.line.take(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { b.line.give(c, err) }()
	// The rules of several chains make sense together only.
	for range foreignTries {
		before, err := c.GetGen()
		if err != nil {
			return nil, fmt.Errorf("reading the generation of the ruleset: %w", err)
		}
		chains, err := readTables(c)
		if err != nil {
			return nil, err
		}
		if after, err := c.GetGen(); err == nil && after.ID == before.ID {
			return chains, nil
		}
	}
	return nil, fmt.Errorf("reading the ruleset: somebody keeps changing it: %w", unix.EAGAIN)
}

// foreignTries is how often a ruleset that somebody changes meanwhile is looked
// at again.
const foreignTries = 50

// readTables returns the chains of all tables, of one generation or of several.
func readTables(c *nftables.Conn) ([]ForeignChain, error) {
	var out []ForeignChain
	for _, family := range []string{familyIP, familyIP6, familyINet} {
		tables, err := c.ListTablesOfFamily(tableFamilies[family])
		if absent(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing tables of family %s: %w", family, err)
		}
		if len(tables) == 0 {
			continue
		}
		chains, err := c.ListChainsOfTableFamily(tableFamilies[family])
		if err != nil {
			return nil, fmt.Errorf("listing chains of family %s: %w", family, err)
		}
		for _, t := range tables {
			if strings.HasPrefix(t.Name, ownPrefix) || t.Flags&nftables.TableFlagDormant != 0 {
				continue
			}
			found, err := readTable(c, t, family, chains)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	return out, nil
}

// readTable returns the chains of one table if a forwarded packet comes there.
func readTable(c *nftables.Conn, t *nftables.Table, family string, all []*nftables.Chain) ([]ForeignChain, error) {
	kind := PlaceNFT
	var out []ForeignChain
	read := map[string]bool{}
	for _, ch := range all {
		if ch.Table.Name != t.Name {
			continue
		}
		f := ForeignChain{Place: Place{Family: family, Table: t.Name, Chain: ch.Name}, Owned: t.Flags&nftables.TableFlagOwner != 0}
		if f.Hook = hookOf(ch, t.Name); f.Hook != "" {
			f.Drop = ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop
			read[ch.Name] = true
		}
		if xtChain(ch, t.Name, family) {
			kind = PlaceIPTables
		}
		out = append(out, f)
	}
	if len(read) == 0 {
		return nil, nil
	}
	read[dockerUser] = true
	for i := 0; i < len(out); i++ { // read grows meanwhile
		f := &out[i]
		f.Kind = kind
		if !read[f.Chain] || f.Rules != nil {
			continue
		}
		rules, err := c.GetRules(t, &nftables.Chain{Name: f.Chain, Table: t})
		if errors.Is(err, unix.ENOENT) {
			continue // it went away meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("listing rules of chain %s %s %s: %w", family, t.Name, f.Chain, err)
		}
		f.Rules = make([]ForeignRule, 0, len(rules))
		for _, r := range rules {
			rule := readRule(r)
			if f.Rules = append(f.Rules, rule); rule.Always && rule.Chain != "" && !read[rule.Chain] {
				read[rule.Chain] = true
				i = -1 // the chain may stand above
			}
		}
	}
	return out, nil
}

// hookOf returns the hook of a base chain that can drop what concerns a tunnel.
// Other types and the NAT hooks drop nothing by default.
func hookOf(ch *nftables.Chain, table string) string {
	switch {
	case ch.Type != nftables.ChainTypeFilter || ch.Hooknum == nil:
	case *ch.Hooknum == *nftables.ChainHookForward:
		return "forward"
	case *ch.Hooknum == *nftables.ChainHookInput:
		return "input"
	case *ch.Hooknum == *nftables.ChainHookPrerouting && table == "raw":
		return "prerouting"
	}
	return ""
}

// xtChain reports whether a chain is one of the built-in ones of iptables-nft.
func xtChain(ch *nftables.Chain, table, family string) bool {
	return family != familyINet && slices.Contains([]string{"filter", "raw"}, table) &&
		slices.Contains([]string{forwardChain, "INPUT", "PREROUTING", "OUTPUT"}, ch.Name)
}

// applyForeign replaces the accepts of an interface in one chain, in one
// transaction: those that are there go, and the new ones become its first
// rules. A chain that isn't there has none.
func (b nft) applyForeign(ctx context.Context, at Place, p Passage) error {
	var err error
	for range foreignTries { // somebody may change what stands between the look and the transaction
		if err = b.tryForeign(ctx, at, p); !errors.Is(err, unix.ERESTART) {
			break
		}
	}
	if absent(err) && p.Digest(at) == "" {
		return nil
	}
	return err
}

func (b nft) tryForeign(ctx context.Context, at Place, p Passage) (err error) {
	c, err := b.line.take(ctx)
	if err != nil {
		return err
	}
	defer func() { b.line.give(c, err) }()
	table := &nftables.Table{Name: at.Table, Family: tableFamilies[at.Family]}
	chain := &nftables.Chain{Name: at.Chain, Table: table}
	gen, err := c.GetGen()
	if err != nil {
		return fmt.Errorf("reading the generation of the ruleset: %w", err)
	}
	rules, err := c.GetRules(table, chain)
	if err != nil {
		return fmt.Errorf("listing rules of chain %s %s %s: %w", at.Family, at.Table, at.Chain, err)
	}
	changes := 0
	for _, r := range rules {
		if readRule(r).Ours == p.Interface {
			changes++
			if err := c.DelRule(&nftables.Rule{Table: table, Chain: chain, Handle: r.Handle}); err != nil {
				return fmt.Errorf("deleting a rule: %w", err)
			}
		}
	}
	for _, exprs := range slices.Backward(p.nftRules(at)) { // each goes above the last
		changes++
		c.InsertRule(&nftables.Rule{Table: table, Chain: chain, Exprs: exprs, UserData: p.userData(at)})
	}
	if changes == 0 {
		return nil
	}
	if err := c.FlushWithGenID(gen.ID); err != nil {
		return fmt.Errorf("programming chain %s %s %s: %w", at.Family, at.Table, at.Chain, err)
	}
	return nil
}
