// SPDX-License-Identifier: MIT

package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Untrusted says why hooks of a file can't be run: because of somebody who can
// write it, or put another in its place.
type Untrusted struct {
	Path string // the file, or the folder above it that is at fault
	Why  string
}

// Error returns the path and the fault.
func (u *Untrusted) Error() string {
	return fmt.Sprintf("hooks can't be trusted: %s %s", u.Path, u.Why)
}

// Trusted returns an Untrusted error unless the file, and each folder above it,
// belongs to root or to one of the users, and nobody else can write it; both by
// the path as it is given and where its links lead. A folder in which only its
// owner may remove what he has there, as in /tmp, may be open to all.
func Trusted(path string, users ...int) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("checking who can write %s: %w", path, err)
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("checking who can write %s: %w", path, err)
	}
	seen := map[string]bool{}
	for _, start := range []string{real, filepath.Dir(path)} {
		for p := start; !seen[p]; p = filepath.Dir(p) {
			seen[p] = true
			if err := trusted(p, users); err != nil {
				return err
			}
		}
	}
	return nil
}

func trusted(path string, users []int) error {
	fi, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("checking who can write %s: %w", path, err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("checking who can write %s: %w", path, fs.ErrInvalid)
	}
	sticky := fi.IsDir() && fi.Mode()&fs.ModeSticky != 0
	var who []string
	if fi.Mode()&0o020 != 0 && st.Gid != 0 {
		who = append(who, fmt.Sprintf("its group (%d)", st.Gid))
	}
	if fi.Mode()&0o002 != 0 {
		who = append(who, "everybody")
	}
	switch {
	case st.Uid != 0 && !slices.Contains(users, int(st.Uid)):
		return &Untrusted{path, fmt.Sprintf("belongs to user %d", st.Uid)}
	case len(who) > 0 && !sticky:
		return &Untrusted{path, "can be written by " + strings.Join(who, " and by ")}
	}
	return nil
}
