// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A backend programs rulesets in one of the kernel's packet filters.
type backend interface {
	// installed returns what stands, without a word of what could.
	installed(ctx context.Context, ifname string) (Installed, error)
	// apply replaces what stands; an empty ruleset removes it. On an error
	// what stood is back.
	apply(ctx context.Context, r Ruleset) error
	// check returns why r can't be written as rules of this backend.
	check(r Ruleset) error
}

// A Firewall programs the rulesets of tunnels with the chosen backend, and
// removes what another one left. Its methods act on the network namespace of
// the threads that call them, which must be the same for all calls.
type Firewall struct {
	chosen backend   // nil if there is none
	others []backend // where something of ours may stand from an earlier choice
	trace  string    // of the choice
	err    error     // why there is none

	foreign *Foreign
}

// Close lets go of the connection to nf_tables that is kept for the next
// question, if there is one.
func (f *Firewall) Close() error { return f.foreign.line.close() }

// Open returns the firewall of this host and the trace of the choice. A host
// without a packet filter is no error: see Ready. The error is the context's.
func Open(ctx context.Context) (*Firewall, string, error) {
	fw, trace := New(Detect(ctx))
	return fw, trace, ctx.Err()
}

// New returns the firewall that Choose names, and the trace of the choice.
func New(f Facts) (*Firewall, string) {
	name, trace, err := Choose(f)
	fw := &Firewall{trace: trace, err: err}
	legacy, overNFT := f.iptables(true), f.iptables(false)
	fw.foreign = &Foreign{legacy: legacy, nftables: f.NFTables, line: f.line}
	switch name {
	case BackendNFTables:
		fw.chosen, fw.others = nft{f.line}, []backend{overNFT, legacy}
	case BackendIPTablesNFT:
		fw.chosen, fw.others = overNFT, []backend{legacy, nft{f.line}}
	case BackendIPTablesLegacy:
		fw.chosen, fw.others = legacy, nil
		if f.NFTables == nil {
			fw.others = []backend{overNFT, nft{f.line}}
		}
	}
	return fw, trace
}

// Ready returns nil if a ruleset with rules could be applied, else why not:
// an ErrNoBackend, or unix.EPERM. Ask before anything else is changed.
func (fw *Firewall) Ready() error { return fw.err }

// Choose returns the trace of the choice that r goes by, and an error if r
// can't be applied with it, changing nothing. An empty ruleset needs no choice:
// it has no trace.
func (fw *Firewall) Choose(ctx context.Context, r Ruleset) (trace string, err error) {
	if r.Empty() {
		return "", ctx.Err()
	}
	if err := r.validate(); err != nil {
		return fw.trace, err
	}
	if fw.chosen == nil {
		return fw.trace, fw.err
	}
	return fw.trace, errors.Join(fw.chosen.check(r), ctx.Err())
}

// Installed returns what stands for the tunnel of that interface; nothing where
// an ordinary user is not told. What stands
// in another backend than the chosen one counts as changed, so that the next
// Apply clears it.
func (fw *Firewall) Installed(ctx context.Context, ifname string) (Installed, error) {
	if fw.chosen == nil && (passing(fw.err) || errors.Is(fw.err, unix.EPERM) && os.Geteuid() == 0) {
		return Installed{}, fw.err // rules may well stand there
	}
	if fw.chosen == nil {
		return Installed{}, nil
	}
	found, err := fw.chosen.installed(ctx, ifname)
	if err != nil || found.Digest != "" {
		return found, err
	}
	for _, b := range fw.others {
		left, err := b.installed(ctx, ifname)
		if err != nil {
			return Installed{}, err
		}
		if left.Digest != "" {
			return Installed{Digest: changed, Mark: left.Mark, KillSwitch: left.KillSwitch}, nil
		}
	}
	return Installed{}, nil
}

// Apply replaces all that stands for r.Interface by r: as one transaction with
// nftables, and table by table, put back on an error, with iptables. An empty
// ruleset removes everything. What another backend left goes last: rules that
// stand twice for a moment do no harm.
func (fw *Firewall) Apply(ctx context.Context, r Ruleset) error {
	if err := r.validate(); err != nil {
		return err
	}
	if fw.chosen == nil {
		if r.Empty() {
			return nil
		}
		return fmt.Errorf("applying firewall rules of %s: %w", r.Interface, fw.err)
	}
	if err := fw.chosen.apply(ctx, r); err != nil {
		return fmt.Errorf("applying firewall rules of %s: %w", r.Interface, err)
	}
	// From here on what was asked for is done: a cancellation comes too late.
	ctx = context.WithoutCancel(ctx)
	var errs []error
	for _, b := range fw.others {
		if err := b.apply(ctx, Ruleset{Interface: r.Interface}); err != nil {
			errs = append(errs, fmt.Errorf("removing firewall rules of %s left by another backend: %w", r.Interface, err))
		}
	}
	return errors.Join(errs...)
}
