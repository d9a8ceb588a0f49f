// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/check"
	"github.com/wgctl/wgctl/config"
)

// checking is what check is asked for.
type checking struct {
	all, host, elsewhere, names bool
	fix, dryRun                 bool
	asJSON, rules               bool
}

func newCheck(ui *ui) *cobra.Command {
	var c checking
	cmd := &cobra.Command{
		Use:   "check [NAME|FILE...]",
		Short: "Find what is wrong in files of tunnels, and on this host",
		Long: `Find what is wrong, or surely not meant, in files of tunnels: all of /etc/wireguard
if none is named. They are compared with each other and with this host, but for
--elsewhere. --host looks at the host itself, and alone at nothing else. Nothing is
changed, unless --fix mends what can be mended without changing what a file means.
A comment "# wgctl: ignore RULE" on or above a line silences a rule there, and
"# wgctl: ignore-file RULE" in the whole file.

Exit codes: 0 nothing but infos, 1 errors, 4 warnings and no error.`,
		Example: `  wgctl check wg0
  wgctl check ./office.conf --elsewhere
  wgctl check --all --host --names
  wgctl check wg0 --fix --dry-run
  wgctl check --rules`,
		ValidArgsFunction: completeConfigs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.validate(args); err != nil {
				return usageError{withHint(err, "wgctl help check shows how")}
			}
			if c.rules {
				return listRules(ui, c.asJSON)
			}
			return c.run(cmd.Context(), ui, args)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&c.all, "all", false, "all files of "+config.Dir)
	f.BoolVar(&c.host, "host", false, "look at this host too")
	f.BoolVar(&c.elsewhere, "elsewhere", false, "the files are for another host: leave this one out")
	f.BoolVar(&c.names, "names", false, "look up the names of endpoints")
	f.BoolVar(&c.fix, "fix", false, "mend what can be mended safely")
	f.BoolVar(&c.dryRun, "dry-run", false, "with --fix: show what it would change")
	f.BoolVar(&c.asJSON, "json", false, "print JSON")
	f.BoolVar(&c.rules, "rules", false, "list the rules")
	return cmd
}

func (c *checking) validate(args []string) error {
	switch {
	case c.all && len(args) > 0:
		return errors.New("check takes names or --all, not both")
	case c.elsewhere && c.host:
		return errors.New("--elsewhere leaves this host out, and --host asks for it")
	case c.dryRun && !c.fix:
		return errors.New("--dry-run is about --fix")
	case c.rules && (len(args) > 0 || c.all || c.host || c.fix || c.elsewhere || c.names):
		return errors.New("--rules lists the rules, and checks nothing")
	}
	return nil
}

// files are the paths that are asked for.
func (c *checking) files(ctx context.Context, args []string) (paths []string, err error) {
	switch {
	case len(args) == 0 && c.host && !c.all:
		return nil, nil
	case len(args) == 0:
		if _, err := os.ReadDir(config.Dir); errors.Is(err, os.ErrPermission) {
			return nil, rootHint(fmt.Errorf("reading config: %w", err), "check")
		}
		return allFiles(ctx)
	}
	for _, arg := range args {
		path, _, err := config.Locate(arg)
		if err != nil {
			return nil, err
		}
		if path != arg {
			if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
				return nil, withHint(fmt.Errorf("reading config: %w", err), "a file elsewhere is named by a path with a slash, as ./wg0.conf")
			}
		}
		if !slices.Contains(paths, path) {
			paths = append(paths, path)
		}
	}
	return paths, nil
}

func (c *checking) run(ctx context.Context, ui *ui, args []string) error {
	paths, err := c.files(ctx, args)
	if err != nil {
		return err
	}
	in, err := c.input(ctx, paths)
	if err != nil {
		return rootHint(err, "check")
	}
	found, silenced := check.Run(in)
	var mended []string
	if c.fix {
		if mended, err = c.mend(ui, in.Files, found); err != nil {
			return err
		}
		if len(mended) > 0 && !c.dryRun {
			if in, err = c.input(ctx, paths); err != nil {
				return err
			}
			found, silenced = check.Run(in)
		}
	}
	if err := c.print(ui, in, found, silenced, mended); err != nil {
		return err
	}
	switch {
	case check.Count(found, check.Error) > 0:
		return exitError(exitFailed)
	case check.Count(found, check.Warning) > 0:
		return exitError(exitChanges)
	}
	return nil
}

// input reads the files, those beside them, and the host.
func (c *checking) input(ctx context.Context, paths []string) (in check.Input, err error) {
	for _, path := range paths {
		f, err := readChecked(ctx, path)
		if err != nil {
			return in, err
		}
		if c.elsewhere {
			f.Access = check.Access{} // a mode here says nothing of there
		} else if f.Config != nil {
			f.KeyFiles = keyFiles(f.Config)
		}
		if c.names && f.Config != nil {
			f.Names = answers(ctx, f.Config)
		}
		in.Files = append(in.Files, f)
	}
	if c.elsewhere {
		return in, nil
	}
	in.Beside = beside(ctx, paths)
	in.Host, err = facts(ctx, c.host, slices.ContainsFunc(in.Files, func(f check.File) bool { return f.Config != nil && len(f.Config.Interface.DNS) > 0 }))
	return in, err
}

// keyFiles looks at the files that hold keys, as far as this user may, and but
// for those that only a unit of systemd has.
func keyFiles(cfg *config.Config) map[string]string {
	said := map[string]string{}
	for value, fault := range cfg.KeyFaults() {
		unseen := errors.Is(fault, fs.ErrPermission) && os.Geteuid() != 0
		if fault != nil && !unseen && !strings.HasPrefix(value, "credential:") {
			said[value] = fault.Error()
		}
	}
	return said
}

// beside reads the other files in the folders of those that are checked, as far
// as that can be done.
func beside(ctx context.Context, paths []string) (out []check.File) {
	var folders []string
	for _, path := range paths {
		if dir := filepath.Dir(path); !slices.Contains(folders, dir) {
			folders = append(folders, dir)
		}
	}
	for _, dir := range folders {
		files, _ := filepath.Glob(filepath.Join(dir, "*.conf"))
		for _, f := range files {
			if slices.ContainsFunc(paths, func(p string) bool { return filepath.Clean(p) == filepath.Clean(f) }) {
				continue
			}
			if _, _, err := config.Locate("./" + filepath.Base(f)); err != nil {
				continue // no file of a tunnel
			}
			if read, err := readChecked(ctx, f); err == nil && read.Config != nil {
				out = append(out, read)
			}
		}
	}
	return out
}

// A checkReport is what --json prints.
type checkReport struct {
	Findings []check.Finding `json:"findings"`
	Silenced int             `json:"silenced"`
	Files    []string        `json:"files"`
	Mended   []string        `json:"mended"`
	Host     *check.Machine  `json:"host,omitempty"`
}

func (c *checking) print(ui *ui, in check.Input, found []check.Finding, silenced int, mended []string) error {
	if c.asJSON {
		r := checkReport{Findings: append([]check.Finding{}, found...), Silenced: silenced, Files: []string{}, Mended: append([]string{}, mended...)}
		for _, f := range in.Files {
			r.Files = append(r.Files, f.Path)
		}
		if in.Host != nil {
			r.Host = in.Host.Machine
		}
		return ui.json(r)
	}
	var b strings.Builder
	if in.Host != nil && in.Host.Machine != nil {
		machineText(&b, in.Host)
	}
	told := map[string]bool{}
	for _, f := range found {
		b.WriteString(f.String() + "\n")
		if !told[f.Rule] {
			fmt.Fprintf(&b, "    %s\n    mend: %s\n", f.Why, f.Mend)
		}
		told[f.Rule] = true
	}
	b.WriteString(summary(in, found, silenced) + "\n")
	_, err := io.WriteString(ui.out, b.String())
	return err
}

// summary is the last line.
func summary(in check.Input, found []check.Finding, silenced int) string {
	words := []string{}
	for _, s := range []check.Severity{check.Error, check.Warning, check.Info} {
		if n := check.Count(found, s); n > 0 {
			words = append(words, countOf(n, string(s)))
		}
	}
	if len(words) == 0 {
		words = []string{"no fault"}
	}
	where := []string{}
	if n := len(in.Files); n > 0 {
		where = append(where, "in "+countOf(n, "file"))
	}
	if in.Host != nil && in.Host.Machine != nil {
		where = append(where, "on this host")
	}
	s := strings.Join(words, ", ") + " " + strings.Join(where, " and ")
	if silenced > 0 {
		s += fmt.Sprintf(" (%d silenced)", silenced)
	}
	if n := fixable(found); n > 0 {
		s += fmt.Sprintf("; --fix can mend %d", n)
	}
	return s
}

func fixable(found []check.Finding) (n int) {
	for _, f := range found {
		if f.Fix != nil {
			n++
		}
	}
	return n
}

func countOf(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func listRules(ui *ui, asJSON bool) error {
	if asJSON {
		return ui.json(check.Rules)
	}
	w := tabwriter.NewWriter(ui.out, 0, 0, 2, ' ', 0)
	for _, r := range check.Rules {
		finds := r.Finds
		if r.Fixes {
			finds += " (--fix)"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, r.Severity, finds)
	}
	return w.Flush()
}
