// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Foreign lets the passages of tunnels through the packet filters of the host
// that are not ours: Docker's, ufw's, firewalld's, an administrator's own. Its
// methods act on the network namespace of the calling thread, and on nothing
// but accepts of ours.
type Foreign struct {
	legacy   iptables // the programs of the old iptables, as far as they are there
	nftables error    // why nf_tables can't be used; nil if it can
	line     *line
}

// Foreign returns the packet filters that are not ours.
func (fw *Firewall) Foreign() *Foreign { return fw.foreign }

// Facts gathers what there is to know of the other packet filters of this
// network namespace, for the tunnel of an interface. It changes nothing, and
// runs a program only where the old iptables has tables.
func (fo *Foreign) Facts(ctx context.Context, ifname string) (ForeignFacts, error) {
	var f ForeignFacts
	var err error
	switch {
	case fo.nftables == nil:
		f.Chains, err = nft{fo.line}.readForeign(ctx)
	case passing(fo.nftables):
		err = fo.nftables
	case errors.Is(fo.nftables, unix.EPERM):
		return f, nil // nobody but root sees any of it
	}
	if err != nil {
		return f, fmt.Errorf("reading other packet filters: %w", err)
	}
	if err := fo.readLegacy(ctx, &f); err != nil {
		return f, fmt.Errorf("reading other packet filters: %w", err)
	}
	if err := f.readDaemon(ctx, ifname); err != nil {
		return f, fmt.Errorf("reading other packet filters: %w", err)
	}
	return f, nil
}

// readLegacy adds the chains of the old iptables.
func (fo *Foreign) readLegacy(ctx context.Context, f *ForeignFacts) error {
	for _, v6 := range []bool{false, true} {
		if !legacyTables(v6, "filter") {
			continue
		}
		t := fo.legacy.tool(v6)
		if t.Path == "" {
			f.Legacy = "unreadable"
			continue
		}
		chains, err := t.readForeign(ctx)
		if err != nil {
			return err
		}
		f.Chains = append(f.Chains, chains...)
	}
	return nil
}

// Choose returns the places for p, and an error if it can't be written there,
// changing nothing. An empty passage needs no place.
func (fo *Foreign) Choose(ctx context.Context, p Passage) (PlaceChoice, error) {
	if p.Empty() {
		return PlaceChoice{}, ctx.Err()
	}
	if err := p.validate(); err != nil {
		return PlaceChoice{}, err
	}
	f, err := fo.Facts(ctx, p.Interface)
	if err != nil {
		return PlaceChoice{}, err
	}
	choice := ChoosePlaces(f)
	if !p.needsZone() { // firewalld lets the rest pass in any zone
		choice.Notes = slices.DeleteFunc(choice.Notes, func(note string) bool { return strings.HasPrefix(note, firewalldName) })
	}
	for _, at := range choice.Places {
		if err := p.check(at); err != nil {
			return choice, err
		}
	}
	return choice, nil
}

// check refuses what iptables would read as something else, and what its chains
// in nf_tables can't be given: the library has no protocol for the match icmp.
func (p Passage) check(at Place) error {
	if at.Kind == PlaceNFT || at.Kind == PlaceZone {
		return nil
	}
	for _, r := range p.at(at.Family) {
		if r.ICMPType != 0 && at.Kind == PlaceIPTables {
			return fmt.Errorf("writing iptables rules: an accept of ICMP type %d alone can't be put into chain %s: accept ICMP as a whole", r.ICMPType, at.Chain)
		}
		for _, l := range []Link{r.In, r.Out} {
			if !l.Pattern && strings.HasSuffix(l.Name, "+") {
				return fmt.Errorf("writing iptables rules: iptables takes the interface name %q as a pattern", l.Name)
			}
		}
	}
	return nil
}

// Installed returns the places where forwarded packets may be dropped by
// default, and all others where accepts for that interface stand.
func (fo *Foreign) Installed(ctx context.Context, ifname string) ([]Standing, error) {
	f, err := fo.Facts(ctx, ifname)
	if err != nil {
		return nil, err
	}
	return f.standings(ifname), nil
}

// Apply makes the accepts of p.Interface at one place be those of p: as one
// transaction, but for direct rules of firewalld, which are put back on an
// error. An empty passage removes them.
func (fo *Foreign) Apply(ctx context.Context, at Place, p Passage) error {
	err := errors.Join(p.validate(), p.check(at), ctx.Err())
	if err == nil {
		switch at.Kind {
		case PlaceNFT, PlaceIPTables:
			err = nft{fo.line}.applyForeign(ctx, at, p)
		case PlaceLegacy:
			err = fo.legacy.tool(at.Family == familyIP6).applyForeign(ctx, at, p)
		case PlaceDirect, PlaceZone:
			err = daemon{}.applyForeign(ctx, at, p)
		default:
			err = fmt.Errorf("a place of kind %q: %w", at.Kind, unix.EINVAL)
		}
	}
	if err != nil {
		return fmt.Errorf("opening %s for %s: %w", at, p.Interface, err)
	}
	return nil
}
