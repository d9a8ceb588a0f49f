// SPDX-License-Identifier: MIT

package userspace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Reap is for after a link was deleted: it waits until no process serves the
// interface any more, so that its port is free too, and removes the socket of
// one that was killed. One that was started here has ended then; where it doesn't
// by itself, as one that is stopped, it is killed. A process that goes on
// answering, which then serves a link of that name elsewhere, is unix.EADDRINUSE.
func (s *Starter) Reap(ctx context.Context, ifname string) error {
	if err := checkName(ifname); err != nil {
		return err
	}
	path := s.pathOf(ifname)
	var last dying
	if len(s.Args) > 0 {
		last = s.serving(ifname, path)
		defer last.close()
	}
	err := reap(ctx, path, leavingSoon)
	if errors.Is(err, unix.EADDRINUSE) {
		if len(s.Args) > 0 {
			_, err = s.endStopped(ifname)
		}
		if err == nil || errors.Is(err, unix.EADDRINUSE) {
			err = reap(ctx, path, leaving-leavingSoon)
		}
	}
	if errors.Is(err, unix.EADDRINUSE) && len(s.Args) > 0 {
		if ended, endErr := s.endHung(ifname); endErr != nil {
			err = endErr
		} else if ended {
			err = reap(ctx, path, leaving)
		}
	}
	if err != nil {
		return fmt.Errorf("waiting for the process behind %s: %w", path, err)
	}
	last.wait(ctx)
	return nil
}

func reap(ctx context.Context, path string, patience time.Duration) error {
	if !exists(path) && !exists(tempPath(path)) {
		return nil // and no directory is made for the lock
	}
	unlock, err := lockSocketDir(ctx, filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.Remove(tempPath(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return clearStale(ctx, path, patience)
}

// pathOf returns where the socket of an interface is, or was made.
func (s *Starter) pathOf(ifname string) string {
	if s.OwnSocketDir != "" {
		own := socketPath(s.OwnSocketDir, ifname)
		if exists(own) || exists(tempPath(own)) {
			return own
		}
	}
	return socketPath(cmp.Or(s.SocketDir, SocketDir), ifname)
}

// exists reports whether there is a file as far as this process may know: in
// a folder that is closed to it, it has none.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Stale reports whether there is a UAPI socket of that name on which nobody
// answers, or one that a killed start had not yet given its name.
func (s *Starter) Stale(ctx context.Context, ifname string) (bool, error) {
	if err := checkName(ifname); err != nil {
		return false, err
	}
	path := s.pathOf(ifname)
	if exists(tempPath(path)) {
		unlock, err := lockSocketDir(ctx, filepath.Dir(path))
		if err != nil {
			return false, fmt.Errorf("looking for %s: %w", path, err)
		}
		defer unlock() // after whoever is making a socket now
		if exists(tempPath(path)) {
			return true, nil
		}
	}
	if _, err := socketAt(path); err != nil {
		return false, nil // nothing, or nothing of ours
	}
	alive, err := answers(path)
	if err != nil {
		return false, fmt.Errorf("asking %s: %w", path, err)
	}
	return !alive, ctx.Err()
}
