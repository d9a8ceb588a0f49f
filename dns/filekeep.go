// SPDX-License-Identifier: MIT

package dns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// keptSuffix is that of the name of what was there before; after it come, for
// a copy, the number of the file's inode, and the name of a tunnel.
const keptSuffix = ".before-wgctl"

// spareDir is where a copy is kept if the folder of the file can't be written.
const spareDir = "/run/wgctl/dns"

// A kept is what was there before the first tunnel.
type kept struct {
	path, tunnel string
	copied       bool // not the file itself by a second name
}

// kept returns what is kept of the file. Of a mount point that is only a copy
// of this very file: one folder may hold what several network namespaces keep
// (ip netns exec mounts a resolv.conf of its own).
func (f *file) kept() (list []kept) {
	dir, base := filepath.Split(f.path)
	beside := namesIn(dir)
	copies := fmt.Sprintf("%s%s.%d-", base, keptSuffix, inode(f.path))
	list = append(keptIn(dir, beside, copies, true), keptIn(spareDir, namesIn(spareDir), copies, true)...)
	if links := keptIn(dir, beside, base+keptSuffix+"-", false); len(links) > 0 && !f.fixed() {
		list = append(list, links...)
	}
	return list
}

// namesIn returns the names in a folder in any order, and none of one that
// can't be read.
func namesIn(dir string) []string {
	d, err := os.Open(dir) // #nosec G304 -- the folder of resolv.conf, or ours
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	return names
}

// keptIn returns those of the names that begin with prefix, in order.
func keptIn(dir string, names []string, prefix string, copied bool) (list []kept) {
	for _, name := range names {
		if tunnel, ok := strings.CutPrefix(name, prefix); ok {
			list = append(list, kept{filepath.Join(dir, name), tunnel, copied})
		}
	}
	slices.SortFunc(list, func(a, b kept) int { return strings.Compare(a.tunnel, b.tunnel) })
	return list
}

// keep keeps what is there now, in the name of a tunnel. absent says that there
// is nothing.
func (f *file) keep(tunnel string) (absent bool, err error) {
	if _, err := os.Lstat(f.path); errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	name := f.path + keptSuffix + "-" + tunnel
	if !f.fixed() {
		// A symbolic link gets a second name itself, not what it leads to.
		err := unix.Linkat(unix.AT_FDCWD, f.path, unix.AT_FDCWD, name, 0)
		if err == nil {
			return false, syncDir(filepath.Dir(f.path))
		}
		if err == unix.ENOSPC || err == unix.EDQUOT {
			return false, fmt.Errorf("keeping %s: %w", f.path, err)
		}
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return false, err
	}
	suffix := fmt.Sprintf("%s.%d-%s", keptSuffix, inode(f.path), tunnel)
	err = writeSynced(f.path+suffix, string(text))
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EPERM) {
		if err = os.MkdirAll(spareDir, 0o700); err == nil {
			err = writeSynced(filepath.Join(spareDir, filepath.Base(f.path)+suffix), string(text))
		}
	}
	return false, err
}

// handOver lets what is kept carry the name of a tunnel that stays.
func (f *file) handOver(tunnel string) error {
	all := f.kept()
	if len(all) == 0 {
		return nil
	}
	k := all[0]
	if to := strings.TrimSuffix(k.path, "-"+k.tunnel) + "-" + tunnel; to != k.path {
		return os.Rename(k.path, to)
	}
	return nil
}

// temporary is the name of a file that is being written for a tunnel.
func (f *file) temporary(tunnel string) string { return f.path + ".wgctl-new-" + tunnel }

// write replaces the file, at once where that can be. Everybody may read it,
// whatever the umask is.
func (f *file) write(tunnel, text string) error {
	if _, err := os.Lstat(f.path); f.alone && errors.Is(err, fs.ErrNotExist) {
		return writeSynced(f.path, text)
	}
	inPlace := f.fixed()
	for _, k := range f.kept() {
		inPlace = inPlace || k.copied
	}
	if inPlace {
		return writeInPlace(f.path, text)
	}
	temporary := f.temporary(tunnel)
	err := writeSynced(temporary, text)
	if err == nil {
		err = os.Rename(temporary, f.path)
	}
	if err != nil {
		return errors.Join(err, gone(os.Remove(temporary)))
	}
	return syncDir(filepath.Dir(f.path))
}

func writeSynced(path, text string) error {
	if err := gone(os.Remove(path)); err != nil {
		return err
	}
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) // #nosec G302 -- every program of the host reads it
	if err != nil {
		return err
	}
	_, err = w.WriteString(text)
	if err == nil {
		err = w.Chmod(0o644)
	}
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// writeInPlace keeps the inode. The first line comes with the rest in one
// write, longer than what was there, so that a run that is killed leaves the
// one or the other, or the new one with line breaks after it.
func writeInPlace(path, text string) error {
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	padded := text
	if info, err := w.Stat(); err == nil && int(info.Size()) > len(text) {
		padded += strings.Repeat("\n", int(info.Size())-len(text))
	}
	_, err = w.WriteString(padded)
	if err == nil {
		err = w.Truncate(int64(len(text)))
	}
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// An unsyncedError says that a file is as it should be, but may not be after a
// power cut.
type unsyncedError struct{ error }

// syncDir has the names in a folder survive a power cut.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return unsyncedError{err}
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return unsyncedError{err}
	}
	return nil
}

// settled takes no notice of an unsyncedError where a tunnel's entry was taken
// away: if a power cut brings it back, Forget takes it away again.
func settled(err error) error {
	if unsynced := (unsyncedError{}); errors.As(err, &unsynced) {
		return nil
	}
	return err
}

// inode returns the number of the file that a path leads to, 0 if there is none.
func inode(path string) uint64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// isMountPoint reports whether something is mounted on a path: rename(2) can't
// replace that.
func isMountPoint(path string) bool {
	for line := range strings.Lines(readText("/proc/self/mountinfo")) {
		if words := strings.Fields(line); len(words) > 4 && words[4] == path {
			return true
		}
	}
	return false
}
