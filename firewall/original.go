// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
)

// What the original wg-quick leaves on the host while a tunnel is up (its
// add_default): a table wg-quick-IF of each family, or where there was no nft
// rules of iptables with a comment. It carries none of our marks.

// originalTable is the name of wg-quick's tables.
func originalTable(ifname string) string { return "wg-quick-" + ifname }

// originalComment is in each of wg-quick's iptables rules.
func originalComment(ifname string) string {
	return fmt.Sprintf(`-m comment --comment "wg-quick(8) rule for %s"`, ifname)
}

// Original returns what stands of wg-quick's rules for that interface, in the
// words that take it away: "nft delete table ip wg-quick-wg0", or the number
// of iptables rules.
func (fw *Firewall) Original(ctx context.Context, ifname string) ([]string, error) {
	tables, err := originalTables(ctx, ifname)
	if err != nil {
		return nil, err
	}
	var words []string
	for _, t := range tables {
		words = append(words, "nft delete table "+familyWord(t)+" "+t.Name)
	}
	for _, t := range fw.originalTools() {
		text, n, err := t.original(ctx, ifname)
		if err != nil {
			return nil, err
		}
		if text != "" {
			words = append(words, fmt.Sprintf("%s-restore -n (%d rules of wg-quick for %s deleted)", t.Path, n, ifname))
		}
	}
	return words, nil
}

// RemoveOriginal takes wg-quick's rules for that interface away. Nothing there
// is no error.
func (fw *Firewall) RemoveOriginal(ctx context.Context, ifname string) error {
	tables, err := originalTables(ctx, ifname)
	if err == nil && len(tables) > 0 {
		err = deleteTables(ctx, tables)
	}
	errs := []error{err}
	for _, t := range fw.originalTools() {
		text, _, err := t.original(ctx, ifname)
		if err == nil && text != "" {
			err = t.restore(ctx, text)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing wg-quick's firewall rules of %s: %w", ifname, err)
	}
	return nil
}

func originalTables(ctx context.Context, ifname string) ([]*nftables.Table, error) {
	c, err := (*line)(nil).take(ctx)
	if err != nil {
		return nil, nil // a kernel without nf_tables has no tables
	}
	defer c.CloseLasting()
	var own []*nftables.Table
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		t, err := c.ListTableOfFamily(originalTable(ifname), family)
		if absent(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading table %s: %w", originalTable(ifname), err)
		}
		own = append(own, t)
	}
	return own, nil
}

func familyWord(t *nftables.Table) string {
	if t.Family == nftables.TableFamilyIPv6 {
		return "ip6"
	}
	return "ip"
}

// deleteTables is one transaction.
func deleteTables(ctx context.Context, tables []*nftables.Table) error {
	c, err := (*line)(nil).take(ctx)
	if err != nil {
		return err
	}
	defer c.CloseLasting()
	for _, t := range tables {
		c.DelTable(t)
	}
	if err := c.Flush(); err != nil && !absent(err) {
		return fmt.Errorf("deleting tables: %w", err)
	}
	return nil
}

// originalTools are the programs of both modes.
func (fw *Firewall) originalTools() []Tool {
	var all []Tool
	for _, b := range append([]backend{fw.chosen}, fw.others...) {
		if b, ok := b.(iptables); ok {
			all = append(all, b.tools()...)
		}
	}
	return all
}

// original returns the input of iptables-restore that deletes wg-quick's
// rules, and how many they are; "" if there are none. A program is run only
// where its tables exist.
func (t Tool) original(ctx context.Context, ifname string) (text string, n int, err error) {
	if !t.mayHoldOriginal() {
		return "", 0, ctx.Err()
	}
	save, err := run(ctx, "", t.Path+"-save")
	if err != nil {
		return "", 0, fmt.Errorf("reading wg-quick's rules of %s: %w", ifname, err)
	}
	text, n = deleteOriginal(save, ifname)
	return text, n, nil
}

// mayHoldOriginal reports whether the tables exist in which wg-quick has rules.
func (t Tool) mayHoldOriginal() bool {
	if t.Legacy {
		return legacyTables(t.V6)
	}
	c, err := nftables.New()
	if err != nil {
		return false
	}
	family := nftables.TableFamilyIPv4
	if t.V6 {
		family = nftables.TableFamilyIPv6
	}
	for _, name := range []string{"raw", "mangle"} {
		if _, err := c.ListTableOfFamily(name, family); err == nil {
			return true
		}
	}
	return false
}

// deleteOriginal turns what iptables-save printed into what deletes the rules
// of wg-quick in it.
func deleteOriginal(save, ifname string) (text string, n int) {
	var b strings.Builder
	table, open := "", false
	for line := range strings.Lines(save) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			table, open = line, false
		case line == "COMMIT" && open:
			b.WriteString("COMMIT\n")
		case strings.HasPrefix(line, "-A ") && strings.Contains(line+" ", originalComment(ifname)+" "):
			if !open {
				b.WriteString(table + "\n")
				open = true
			}
			b.WriteString("-D" + strings.TrimPrefix(line, "-A") + "\n")
			n++
		}
	}
	return b.String(), n
}
