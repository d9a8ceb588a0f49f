// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// otherNames are the tools that wgctl stands in for by name.
var otherNames = []string{"wg", "wg-quick", "wireguard-go"}

func newInstallLinks(ui *ui) *cobra.Command {
	var force, remove bool
	cmd := &cobra.Command{
		Use:   "install-links [DIR]",
		Short: "Make wg, wg-quick and wireguard-go links to wgctl",
		Long: `Make symbolic links wg, wg-quick and wireguard-go in DIR, or beside wgctl itself,
so that it stands in for those tools. What is there already and isn't such a link
is left alone, and then no link is made, unless --force is given.`,
		Example: `  wgctl install-links /usr/local/bin
  wgctl install-links /usr/local/bin --remove`,
		Args: words(cobra.MaximumNArgs(1), "one folder, or none"),
		RunE: func(_ *cobra.Command, args []string) error {
			if force && remove {
				return usageError{errors.New("install-links takes --force or --remove, not both")}
			}
			target, err := os.Executable()
			if err != nil {
				return fmt.Errorf("finding wgctl itself: %w", err)
			}
			dir := filepath.Dir(target)
			if len(args) == 1 {
				dir = args[0]
			}
			if remove {
				return removeLinks(ui, dir, target)
			}
			return installLinks(ui, dir, target, force)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace what is there")
	cmd.Flags().BoolVar(&remove, "remove", false, "take the links away")
	return cmd
}

// installLinks makes all links that aren't there, or none.
func installLinks(ui *ui, dir, target string, force bool) error {
	var missing []string
	var foreign []error
	replaced := map[string]bool{}
	for _, name := range otherNames {
		path := filepath.Join(dir, name)
		switch ours, err := isOurs(path, target); {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, path)
		case err != nil:
			return fmt.Errorf("making links: %w", err)
		case !ours && isFolder(path):
			return fmt.Errorf("making links: %s is a folder", path)
		case !ours && force:
			missing = append(missing, path)
			replaced[path] = true
		case !ours:
			foreign = append(foreign, fmt.Errorf("making links: %s is there already", path))
		}
	}
	if len(foreign) > 0 {
		return withHint(errors.Join(foreign...), "--force replaces it, and no package manager will know")
	}
	if filepath.Dir(target) == filepath.Clean(dir) {
		target = filepath.Base(target) // so that both can be moved together
	}
	for i, path := range missing {
		if err := replaceByLink(target, path); err != nil {
			for _, made := range missing[:i] {
				if !replaced[made] { // what was there can't come back
					_ = os.Remove(made)
				}
			}
			return fmt.Errorf("making links: %w", err)
		}
		_, _ = fmt.Fprintf(ui.err, "[#] ln -s %s %s\n", target, path)
	}
	return nil
}

// replaceByLink puts a link in place of whatever is there, in one step.
func replaceByLink(target, path string) error {
	if err := os.Symlink(target, path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	temp := path + ".wgctl-new"
	_ = os.Remove(temp) // of a run that was killed
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return nil
}

func removeLinks(ui *ui, dir, target string) error {
	for _, name := range otherNames {
		path := filepath.Join(dir, name)
		ours, err := isOurs(path, target)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !ours {
			continue
		}
		if err == nil {
			err = os.Remove(path)
		}
		if err != nil {
			return fmt.Errorf("removing links: %w", err)
		}
		_, _ = fmt.Fprintf(ui.err, "[#] rm %s\n", path)
	}
	return nil
}

func isFolder(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// isOurs reports whether a path is a symbolic link that leads to wgctl.
func isOurs(path, target string) (bool, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	if info.Mode().Type() != fs.ModeSymlink {
		return false, nil
	}
	leads, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a link to nowhere is somebody's
	}
	real, realErr := filepath.EvalSymlinks(target)
	return leads == real, errors.Join(err, realErr)
}
