// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
)

// maxAtOnce bounds the tunnels that are worked on at a time.
const maxAtOnce = 16

// each does a verb's work for every tunnel named, all at once. Each tunnel is
// whole or not at all by itself, whatever becomes of the others.
func each(ctx context.Context, u *ui, args []string, work func(context.Context, *ui, string) error) error {
	switch len(args) {
	case 0:
		_, _ = fmt.Fprintln(u.err, "no tunnel is up")
		return nil
	case 1:
		return work(ctx, u, args[0])
	}
	names := make([]string, len(args))
	for i, a := range args {
		names[i] = strings.TrimSuffix(filepath.Base(a), ".conf")
	}
	b := newBoard(u, names)
	defer b.end()
	errs := make(several, len(args))
	places := make(chan struct{}, maxAtOnce)
	var wg sync.WaitGroup
	for i, a := range args {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			errs[i] = work(ctx, b.row(i), a)
			b.done(i, errs[i])
		})
	}
	wg.Wait()
	if errors.Join(errs...) == nil {
		return nil
	}
	return errs
}

// several are the errors of several tunnels, nil where there was none.
type several []error

// Error has the lines of all.
func (s several) Error() string { return errors.Join(s...).Error() }

// Unwrap returns them, so that errors.Is finds any.
func (s several) Unwrap() []error { return s }

// allFlag adds --all, and returns the words that a verb then works on.
func allFlag(cmd *cobra.Command, what string, find func(context.Context) ([]string, error)) func(context.Context, []string) ([]string, error) {
	all := cmd.Flags().Bool("all", false, what)
	cmd.Args = func(_ *cobra.Command, args []string) error {
		switch {
		case *all && len(args) > 0:
			return usageError{withHint(fmt.Errorf("%s takes names or --all, not both", cmd.Name()), "wgctl help "+cmd.Name()+" shows how")}
		case !*all && len(args) == 0:
			return usageError{withHint(fmt.Errorf("%s takes the name of a tunnel or a file, or --all", cmd.Name()), "wgctl help "+cmd.Name()+" shows how")}
		}
		return nil
	}
	return func(ctx context.Context, args []string) ([]string, error) {
		if !*all {
			return args, nil
		}
		return find(ctx)
	}
}

// allFiles are the tunnels that have a file.
func allFiles(context.Context) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(config.Dir, "*.conf"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("there is no tunnel in %s", config.Dir)
	}
	return files, err
}

// allTunnels are those that are up, or of which something is left.
func allTunnels(ctx context.Context) ([]string, error) {
	_, names, err := hostAndTunnels(ctx)
	return names, err
}

// runningTunnels are allTunnels without those that are down as they are meant to
// be, and of which a kill switch was kept.
func runningTunnels(ctx context.Context) ([]string, error) {
	host, names, err := hostAndTunnels(ctx)
	if err != nil {
		return nil, err
	}
	var running []string
	for _, name := range names {
		r, err := host.Records.Head(name)
		if err != nil {
			return nil, err
		}
		if r == nil || r.Phase != tunnel.PhaseKept {
			running = append(running, name)
		}
	}
	return running, nil
}

func hostAndTunnels(ctx context.Context) (*tunnel.Host, []string, error) {
	host, err := newHost(ctx, newUI(nil, nil))
	if err != nil {
		return nil, nil, err
	}
	names, err := tunnel.Tunnels(ctx, host)
	return host, names, err
}
