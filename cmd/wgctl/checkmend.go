// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/wgctl/wgctl/check"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
)

// readChecked reads a file for check. What is wrong with its text is no error.
func readChecked(ctx context.Context, path string) (check.File, error) {
	f := check.File{Path: path, Name: strings.TrimSuffix(filepath.Base(path), ".conf")}
	var err error
	if f.Text, err = config.ReadPage(ctx, path); err != nil {
		if !errors.As(err, new(*config.Error)) {
			return f, err
		}
	}
	if err == nil {
		f.Config, f.Warnings, err = config.Parse(path, bytes.NewReader(f.Text))
	}
	if one := (*config.Error)(nil); err != nil && !errors.As(err, &f.Errors) {
		if !errors.As(err, &one) {
			return f, err
		}
		f.Errors = config.Errors{one}
	}
	f.Access = access(path)
	return f, nil
}

// access says who may do what with a file.
func access(path string) (a check.Access) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return a
	}
	if fi, err := os.Stat(real); err == nil && fi.Mode().IsRegular() {
		a.Mode = fi.Mode().Perm()
	}
	if fi, err := os.Stat(filepath.Dir(real)); err == nil {
		a.Folder = fi.Mode().Perm()
	}
	if fault := (*config.Untrusted)(nil); errors.As(config.Trusted(path, trustedUsers()...), &fault) {
		a.Untrusted = fault.Error()
	}
	return a
}

// namesTimeout bounds all look-ups of one file.
const namesTimeout = 5 * time.Second

// answers looks up the names of a file's endpoints, all at once and each once.
func answers(ctx context.Context, cfg *config.Config) map[string]check.Answer {
	ctx, cancel := context.WithTimeout(ctx, namesTimeout)
	defer cancel()
	type found struct {
		name   string
		answer check.Answer
	}
	out := map[string]check.Answer{}
	var asked []string
	for _, p := range cfg.Peers {
		if _, known := out[p.Endpoint.Host]; known || p.Endpoint.IsZero() || isAddress(p.Endpoint.Host) {
			continue
		}
		out[p.Endpoint.Host] = check.Answer{}
		asked = append(asked, p.Endpoint.Host)
	}
	results, places := make(chan found, len(asked)), make(chan struct{}, maxAtOnce)
	for _, name := range asked {
		go func() {
			places <- struct{}{}
			defer func() { <-places }()
			addrs, err := tunnel.SystemNames{}.LookupHost(ctx, name)
			a := check.Answer{}
			for _, addr := range addrs {
				a.Addresses = append(a.Addresses, addr.Unmap())
			}
			if err != nil {
				a.Error = lookupText(name, err)
			}
			results <- found{name, a}
		}()
	}
	for range asked {
		r := <-results
		out[r.name] = r.answer
	}
	return out
}

// mend makes the fixes of the findings and tells what it did, a line each; with
// --dry-run it only tells.
func (c *checking) mend(ui *ui, files []check.File, found []check.Finding) (done []string, err error) {
	say := func(text string) {
		done = append(done, strings.Split(strings.TrimRight(text, "\n"), "\n")...)
		if !c.asJSON {
			_, _ = fmt.Fprint(ui.out, text)
		}
	}
	for i := range files {
		f := &files[i]
		var of []check.Finding
		for _, x := range found {
			if x.File == f.Path {
				of = append(of, x)
			}
		}
		text := check.Mended(f.Text, of)
		changes := check.Changes(f.Path, f.Text, text)
		if changes == "" {
			continue
		}
		if !c.dryRun {
			if err := config.Save(f.Path, f.Text, text); err != nil {
				return done, err
			}
		}
		say(tunnel.HideKeys(changes, nil))
	}
	for _, x := range found {
		if x.Fix == nil || x.Fix.Path == "" {
			continue
		}
		if !c.dryRun {
			if err := os.Chmod(x.Fix.Path, x.Fix.Mode); err != nil {
				return done, fmt.Errorf("changing the mode: %w", err)
			}
		}
		say(fmt.Sprintf("[#] chmod %04o %s\n", x.Fix.Mode, x.Fix.Path))
	}
	return done, nil
}
