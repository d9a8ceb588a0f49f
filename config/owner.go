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

// Trusted returns an Untrusted error unless what was read belongs to root or to
// one of the users, and nobody else could write it or put another file in its
// place; and unless it is there still.
func (c *Config) Trusted(users ...int) error {
	if c.origin == nil {
		return fmt.Errorf("checking who can write %s: it was not read from a file: %w", c.file, fs.ErrInvalid)
	}
	if err := Trusted(c.file, users...); err != nil {
		return err
	}
	// By now another file may have this name, and have been looked at.
	path, err := filepath.Abs(c.file)
	if err != nil {
		return fmt.Errorf("checking who can write %s: %w", c.file, err)
	}
	if err := trusted(path, c.origin, users); err != nil {
		return err
	}
	now, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("checking who can write %s: %w", path, err)
	}
	if !os.SameFile(now, c.origin) {
		return &Untrusted{path, "was replaced since it was read"}
	}
	return nil
}

// Trusted returns an Untrusted error unless the file, and each folder above it,
// belongs to root or to one of the users, and nobody else can write it; both by
// the path as it is given and where its links lead. A folder in which only its
// owner may remove what he has there, as in /tmp, may be open to all. For a file
// that was read before, ask its Config.
func Trusted(path string, users ...int) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("checking who can write %s: %w", path, err)
	}
	return along(path, func(p string) (fs.FileInfo, error) {
		fi, err := os.Lstat(p)
		if err != nil {
			return nil, fmt.Errorf("checking who can write %s: %w", p, err)
		}
		return fi, trusted(p, fi, users)
	})
}

// along calls visit with all that the kernel goes by to find a path: each
// folder and each link, those that links lead by too.
func along(path string, visit func(string) (fs.FileInfo, error)) error {
	const maxLinks = 40 // MAXSYMLINKS of Linux
	at, rest, links := "/", strings.Split(path, "/"), 0
	if _, err := visit(at); err != nil {
		return err
	}
	for len(rest) > 0 {
		next := filepath.Join(at, rest[0]) // ".." of a folder without links in its path
		if rest = rest[1:]; next == at {
			continue
		}
		fi, err := visit(next)
		if err != nil {
			return err
		}
		if fi.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		target, err := os.Readlink(next)
		if links++; err == nil && links > maxLinks {
			err = syscall.ELOOP
		}
		if err != nil {
			return fmt.Errorf("checking who can write %s: %w", next, err)
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return nil
}

// trusted looks at one file, folder or link. The mode of a link says nothing.
func trusted(path string, fi fs.FileInfo, users []int) error {
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
	case len(who) > 0 && !sticky && fi.Mode()&fs.ModeSymlink == 0:
		return &Untrusted{path, "can be written by " + strings.Join(who, " and by ")}
	}
	return nil
}
