// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// enabledPath is there while Debian's resolvconf updates anything.
const enabledPath = "/run/resolvconf/enable-updates"

// resolvconf is the program of that name: openresolv or Debian's.
type resolvconf struct{ choice Choice }

// ready finds a resolv.conf that can't be written: openresolv's libc script
// takes no notice of whether it could write the file (seen with 3.12), so its
// exit status doesn't tell.
func (r *resolvconf) ready(Settings) error {
	if r.choice.Path == "" {
		return ErrNoResolvconf
	}
	if r.choice.Flavour == Debian {
		// It would take them in, and keep them to itself.
		if _, err := os.Stat(enabledPath); errors.Is(err, fs.ErrNotExist) {
			return errors.New("resolvconf's updates are disabled: resolvconf --enable-updates enables them")
		}
	}
	if r.choice.ResolvConf == "" {
		return nil
	}
	err := unix.Access(r.choice.ResolvConf, unix.W_OK)
	if err == unix.ENOENT {
		return nil // it makes it
	}
	return unwritable(r.choice.ResolvConf, err)
}

// installed reads resolvconf's files, and runs it only where it isn't known
// where they are.
func (r *resolvconf) installed(ctx context.Context, ifname string) (Settings, error) {
	var text string
	var err error
	if len(r.choice.Records) == 0 {
		// Exits with an error when there is nothing, in words that vary.
		text, _ = run(ctx, "", r.choice.Path, "-l", r.record(ifname))
		err = ctx.Err()
	} else {
		text, err = r.readRecord(ifname)
	}
	s := parse(ifname, text)
	if !s.Empty() {
		s.Backend = BackendResolvconf
	}
	return s, err
}

// add gives resolvconf the settings as wg-quick does (its set_dns): metric 0
// and exclusive, but for search domains alone, with which the host keeps its
// nameservers, and for those that a local resolver is to ask for some names only.
// Debian's knows neither and sorts by name instead; it takes the words and does
// nothing with them. Neither does anything when it is told what it has in its
// record already, though a run before this one may have been killed before
// resolv.conf was made anew.
func (r *resolvconf) add(ctx context.Context, s Settings) error {
	args := []string{"-a", r.record(s.Interface), "-m", "0"}
	switch {
	case s.Private:
		args = append(args, "-p")
	case len(s.Servers) > 0:
		args = append(args, "-x")
	}
	known := false
	if len(r.choice.Records) > 0 {
		text, err := r.readRecord(s.Interface)
		known = err == nil && parse(s.Interface, text).Equal(parse(s.Interface, s.text()))
	}
	if _, err := run(ctx, s.text(), r.choice.Path, args...); err != nil || !known {
		return err
	}
	_, err := run(ctx, "", r.choice.Path, "-u")
	return err
}

// remove takes the tunnel's entry away, if there is one (wg-quick's unset_dns).
// Where it is gone already, a run before this one may have been killed before
// resolv.conf was made anew.
func (r *resolvconf) remove(ctx context.Context, s Settings) error {
	gone := false
	if len(r.choice.Records) > 0 {
		text, err := r.readRecord(s.Interface)
		gone = err == nil && text == ""
	}
	if err := runToTheEnd(ctx, r.choice.Path, "-d", r.record(s.Interface), "-f"); err != nil || !gone || !r.makes() {
		return err
	}
	return runToTheEnd(ctx, r.choice.Path, "-u")
}

// makes reports whether the resolv.conf that is there is resolvconf's: openresolv
// that was told of nothing would write an empty one over any other.
func (r *resolvconf) makes() bool {
	return r.choice.ResolvConf == "" || strings.HasPrefix(readText(r.choice.ResolvConf), openresolvMark)
}

// record returns the name that resolvconf knows the tunnel by.
func (r *resolvconf) record(ifname string) string { return r.choice.Prefix + ifname }

// readRecord returns the text of the tunnel's record, "" if there is none.
func (r *resolvconf) readRecord(ifname string) (string, error) {
	for _, dir := range r.choice.Records {
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		return readIfThere(filepath.Join(dir, r.record(ifname)))
	}
	return "", nil
}

// readIfThere reads a file that may be missing.
func readIfThere(path string) (string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}
