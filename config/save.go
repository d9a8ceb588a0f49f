// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// ErrChanged is the error of saving a file that isn't any more what was read.
var ErrChanged = errors.New("file has changed since it was read")

// Save replaces the content of a config file, whole or not at all, also if the
// power fails; read is what the caller read before. Owner and mode stay, and a
// symbolic link stays one. If the file is not as read, it is left alone and the
// error is ErrChanged, with the first line that is another.
func Save(path string, read, content []byte) error {
	if err := save(path, read, content); err != nil {
		return fmt.Errorf("saving %s: %w", path, err)
	}
	return nil
}

func save(path string, read, content []byte) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	fi, err := unchanged(path, read)
	if err != nil || bytes.Equal(read, content) {
		return err
	}
	dir := filepath.Dir(path)
	// Not in TMPDIR, where renameio would look first: it is a private key.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := likeness(f.File, fi); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if _, err := unchanged(path, read); err != nil { // writing took a while
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncDir(dir)
}

// unchanged returns ErrChanged if the file's content isn't as read.
func unchanged(path string, read []byte) (fs.FileInfo, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	now, err := os.ReadFile(path)
	if err == nil && !bytes.Equal(now, read) {
		err = fmt.Errorf("%w: line %d is another now", ErrChanged, firstChange(read, now))
	}
	return fi, err
}

// firstChange is the first line in which two texts differ. What it says is
// nobody's to repeat: it may be a key.
func firstChange(was, is []byte) int {
	same := 0
	for same < min(len(was), len(is)) && was[same] == is[same] {
		same++
	}
	return 1 + bytes.Count(was[:same], []byte("\n"))
}

// likeness gives a file the owner and the mode of another.
func likeness(f *os.File, other fs.FileInfo) error {
	own, err := f.Stat()
	if err != nil {
		return err
	}
	is, want := own.Sys().(*syscall.Stat_t), other.Sys().(*syscall.Stat_t)
	if is.Uid != want.Uid || is.Gid != want.Gid {
		if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(other.Mode().Perm())
}

// syncDir makes a rename in a directory last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
