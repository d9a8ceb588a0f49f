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
	"time"

	"golang.org/x/sys/unix"
)

// lockDir is the folder that is locked for files of /etc: any user can open, and
// so lock, that one itself.
const lockDir = "/run/wgctl"

// lockTimeout bounds the wait for other tunnels, which have the lock while they
// read and write files, or NetworkManager reads them.
const lockTimeout = busTimeout

// lock keeps other tunnels out while one reads and writes the file.
func (f *file) lock(ctx context.Context) (unlock func(), err error) {
	dir := filepath.Dir(f.path)
	if f.alone {
		// #nosec G301 -- a namespace's /etc, for all its programs
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if dir == "/etc" || strings.HasPrefix(dir, "/etc/") {
		dir = lockDir
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for {
		unlock, err := tryLock(dir)
		switch {
		case err == nil:
			return unlock, nil
		case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EROFS):
			dir = filepath.Dir(f.path) // of who isn't root, or has no /run
			if unlock, err = tryLock(dir); err == nil {
				return unlock, nil
			}
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("locking %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("locking %s: another program has it: %w", dir, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// tryLock locks a folder. lockDir may have to be made, and others may take it
// away meanwhile: the lock only counts on what is still there.
func tryLock(path string) (unlock func(), err error) {
	made := path == lockDir && os.Mkdir(path, 0o700) == nil
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
		here, err1 := dir.Stat()
		there, err2 := os.Stat(path)
		if err1 != nil || err2 != nil || !os.SameFile(here, there) {
			err = unix.EWOULDBLOCK
		}
	}
	if err != nil {
		_ = dir.Close()
		return nil, err
	}
	return func() {
		if made {
			_ = os.Remove(path) // unless somebody has put something there
		}
		_ = dir.Close()
	}, nil
}
