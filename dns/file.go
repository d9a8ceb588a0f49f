// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// file is /etc/resolv.conf where nobody else makes it.
//
// What was there before is kept beside it: where that can be, the very file, or
// the symbolic link, by a second name. To put it back is then one rename, after
// which nothing is left, and owner, mode and target are what they were. Where
// the file is a mount point, as in a container, or can't have a second name, a
// copy is kept and the file is written in place.
//
// The copy's name ends in that of a tunnel that wrote the file, so that the
// tunnel's end finds what a killed run left, whoever wrote resolv.conf since.
type file struct {
	path string
	// alone says that the file is that of a network namespace: programs that
	// run there have it mounted, so that it is written in place; and it is
	// made, with its folder, where there is none.
	alone bool
}

// ready returns the errno of a file that can't be written.
func (f *file) ready(Settings) error {
	if _, err := os.Lstat(f.path); f.alone && errors.Is(err, fs.ErrNotExist) {
		return f.canBeMade()
	}
	dir := unix.Access(filepath.Dir(f.path), unix.W_OK)
	info, err := os.Lstat(f.path)
	switch {
	case err != nil, dir == nil && info.Mode()&os.ModeSymlink != 0:
		err = dir
	default:
		err = unix.Access(f.path, unix.W_OK)
		if err == unix.EACCES && dir == nil && !f.fixed() && strangersGetLinks() {
			err = nil // what is there only gets another name
		}
	}
	return unwritable(f.path, err)
}

// unwritable returns the error of a path that access(2) refuses to root for good.
// Who isn't root may only want to see what root would do.
func unwritable(path string, err error) error {
	switch err {
	case unix.EACCES: // root without CAP_DAC_OVERRIDE, as in a unit, and somebody else's file
		if os.Geteuid() != 0 {
			return nil
		}
	case unix.EROFS, unix.EPERM, unix.ENOENT: // read-only mount, immutable file, no such folder
	default:
		return nil
	}
	return fmt.Errorf("writing %s: %w", path, err)
}

// strangersGetLinks reports whether a file may get a second name by who neither
// owns it nor may write it: proc_sys_fs(5).
func strangersGetLinks() bool {
	return strings.TrimSpace(readText("/proc/sys/fs/protected_hardlinks")) == "0"
}

// canBeMade returns why a file that isn't there can't be made with its folder.
func (f *file) canBeMade() error {
	for dir := filepath.Dir(f.path); ; dir = filepath.Dir(dir) {
		switch err := unix.Access(dir, unix.W_OK); err {
		case nil:
			return nil
		case unix.ENOENT:
		default:
			return fmt.Errorf("making %s: %w", f.path, err)
		}
	}
}

// fixed reports whether the file must stay the same inode.
func (f *file) fixed() bool { return f.alone || isMountPoint(f.path) }

func (f *file) installed(_ context.Context, ifname string) (Settings, error) {
	text, err := readIfThere(f.path)
	if err != nil {
		return Settings{}, err
	}
	s := Settings{Interface: ifname}
	if isOurs(text) {
		if s, ok := parseFile(text).find(ifname); ok {
			return s, nil
		}
	} else {
		for _, k := range f.kept() {
			s.Stale = s.Stale || k.tunnel == ifname
		}
	}
	if _, err := os.Lstat(f.temporary(ifname)); err == nil {
		s.Stale = true
	}
	if s.Stale {
		s.Backend = BackendFile
	}
	return s, nil
}

// previous returns what the file held before the first tunnel, for the record:
// nothing if it is no such file as people have.
func (f *file) previous() (string, error) {
	text, err := readIfThere(f.path)
	if err == nil && isOurs(text) {
		text = f.before()
	}
	const most = 64 << 10
	if len(text) > most {
		text = ""
	}
	return text, err
}

// before returns the text of what is kept.
func (f *file) before() string {
	for _, k := range f.kept() {
		return readText(k.path)
	}
	return ""
}

func (f *file) add(ctx context.Context, s Settings) error {
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	text, err := readIfThere(f.path)
	if err != nil {
		return err
	}
	now := parseFile(text)
	if !isOurs(text) {
		if err := f.clear(text); err != nil {
			return err
		}
		if now.absent, err = f.keep(s.Interface); err != nil {
			return err
		}
	}
	now.set(s)
	err = f.write(s.Interface, now.render(f.before()))
	if unsynced := (unsyncedError{}); err != nil && !isOurs(text) && !errors.As(err, &unsynced) {
		return errors.Join(err, f.clear(text))
	}
	return err // where the file is ours now, what was there stays kept
}

func (f *file) remove(ctx context.Context, s Settings) error {
	unlock, err := f.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(f.temporary(s.Interface)); err == nil {
		if err := os.Remove(f.temporary(s.Interface)); err != nil {
			return err
		}
	}
	text, err := readIfThere(f.path)
	if err != nil {
		return err
	}
	if !isOurs(text) {
		return f.clear(text) // what somebody else wrote meanwhile stays
	}
	now := parseFile(text)
	now.drop(s.Interface)
	if len(now.tunnels) == 0 {
		return f.restore(now.absent, s)
	}
	if err := f.handOver(now.tunnels[0].Interface); err != nil {
		return err
	}
	return settled(f.write(s.Interface, now.render(f.before())))
}

// restore puts back what was there before the first tunnel.
func (f *file) restore(absent bool, s Settings) error {
	kept := f.kept()
	switch {
	case absent:
		err := gone(os.Remove(f.path))
		if f.alone {
			dir := filepath.Dir(f.path)
			_ = os.Remove(dir) // unless somebody has put something there
			_ = os.Remove(filepath.Dir(dir))
		}
		return err
	case len(kept) == 0 && s.Previous != "":
		return settled(f.write(s.Interface, s.Previous))
	case len(kept) == 0:
		err := settled(f.write(s.Interface, "# wgctl: the file with what was here before is gone.\n"))
		return errors.Join(errors.New("what "+f.path+" held before is gone: write it anew"), err)
	case !kept[0].copied:
		if err := os.Rename(kept[0].path, f.path); err != nil {
			return err
		}
		return settled(syncDir(filepath.Dir(f.path)))
	}
	text, err := os.ReadFile(kept[0].path)
	if err != nil {
		return err
	}
	if err := writeInPlace(f.path, string(text)); err != nil {
		return err
	}
	return os.Remove(kept[0].path)
}

// clear takes away what a killed run kept of a file that isn't ours, whose text
// is given. A file that was being put back in place may have a tail of line
// breaks.
func (f *file) clear(text string) error {
	for _, k := range f.kept() {
		if k.copied {
			if old := readText(k.path); old != text && strings.TrimRight(old, "\n") == strings.TrimRight(text, "\n") {
				if err := writeInPlace(f.path, old); err != nil {
					return err
				}
			}
		}
		if err := gone(os.Remove(k.path)); err != nil {
			return err
		}
	}
	return nil
}

// gone takes no notice of a file that isn't there.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
