// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

// A Phase says how far a run got.
type Phase string

// The phases. A record that is changing or going down, under a lock that nobody
// holds, is that of a run that was killed.
const (
	PhaseChanging Phase = "changing" // up or reload
	PhaseUp       Phase = "up"
	PhaseDown     Phase = "down"
	PhaseKept     Phase = "kept" // down, but for its kill switch
)

// A Record is the little about a tunnel that can't be observed.
type Record struct {
	Version   int    `json:"version"`
	Phase     Phase  `json:"phase"`
	Config    string `json:"config"` // absolute path
	Digest    string `json:"config_digest"`
	Spec      *Spec  `json:"spec"`                // last applied, or being applied
	Before    *Spec  `json:"before,omitempty"`    // while changing: what was applied before
	Releasing bool   `json:"releasing,omitempty"` // going down: claims nothing shared any more
	Promotes  bool   `json:"promotes,omitempty"`  // changing: promote_secondaries of the link is set, and then back
	Link      int    `json:"link,omitempty"`      // index of the link that up made, 0 before
	Counts    bool   `json:"counts,omitempty"`    // the device tells its generation: netlinkx.Devices
	Seal      *Seal  `json:"seal,omitempty"`

	Sealable bool `json:"-"` // see Sealable

	bulk bulk
}

func (rs *Records) path(name string) string { return filepath.Join(rs.Dir, name+".json") }

// others returns the records of all tunnels but one, without their bulk.
func (rs *Records) others(than string) (list []*Record, err error) {
	names, err := rs.Names()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if n == than {
			continue
		}
		r, err := rs.Head(n)
		if err != nil {
			return nil, err
		}
		if r != nil {
			list = append(list, r)
		}
	}
	return list, nil
}

// Names returns the names of the tunnels that have a record, sorted.
func (rs *Records) Names() ([]string, error) {
	entries, err := os.ReadDir(rs.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading records: %w", err)
	}
	var names []string
	for _, e := range entries {
		if n, ok := strings.CutSuffix(e.Name(), ".json"); ok && e.Type().IsRegular() {
			names = append(names, n)
		}
	}
	return names, nil
}

// trusted refuses a folder that another user can write: the hooks of a record
// are run, and its other files are written.
func (rs *Records) trusted() error {
	fi, err := os.Lstat(rs.Dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !fi.IsDir():
		return fmt.Errorf("%s is no folder", rs.Dir)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, whose tunnels it has: run wgctl as that user", rs.Dir, st.Uid)
	case fi.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written by others than its owner: its mode is %04o", rs.Dir, fi.Mode().Perm())
	}
	return nil
}

// folderError says how who isn't root gets a folder of his own.
func (rs *Records) folderError(err error) error {
	err = fmt.Errorf("making the folder of locks: %w", unwritable(err))
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		err = fmt.Errorf("%w: name one of yours by WGCTL_RUNTIME_DIRECTORY, or by RuntimeDirectory= in a systemd unit", err)
	}
	return err
}

// recorded is the Spec as a record keeps it.
func (s *Spec) recorded() *Spec {
	if s == nil {
		return nil
	}
	kept := *s
	kept.Hooks = s.Hooks.recorded(publicKeys(s))
	return &kept
}

// Remove forgets a tunnel.
func (rs *Records) Remove(name string) error {
	if err := os.Remove(rs.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing record of %s: %w", name, err)
	}
	return nil
}

// release takes the host's lock and ends a tunnel's claims on what tunnels
// share.
func (rs *Records) release(ctx context.Context, name string) (unlock func(), err error) {
	unlock, err = rs.LockHost(ctx)
	if err != nil {
		return nil, err
	}
	_, err = rs.amend(name, func(own *Record) bool {
		had := own.Releasing
		own.Releasing = true
		return !had
	})
	if noRoom(err) {
		err = nil // others count on the claim, and the last of them puts it back
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}

// noRoom reports whether a file could not be written because the disk is full.
func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// held reports whether one of the tunnels needs the parameter.
func held(records []*Record, key string) bool {
	return slices.ContainsFunc(records, func(r *Record) bool { return !r.Releasing && r.claims(key) })
}

// claims reports whether the tunnel needs the parameter, or did before it began
// to go down.
func (r *Record) claims(key string) bool {
	return r.Spec != nil && slices.ContainsFunc(r.Spec.Sysctls, func(c Sysctl) bool { return c.Key == key })
}

// Lock takes the lock of one tunnel and waits for whoever has it; waiting is
// called once with that process's number if it takes long.
func (rs *Records) Lock(ctx context.Context, name string, waiting func(pid string)) (unlock func(), err error) {
	unlock, err = rs.lock(ctx, name+".lock", waiting)
	if err == nil {
		rs.sweep(name)
	}
	return unlock, err
}

// sweep removes what writers of the tunnel's record left that were killed. The
// caller has the tunnel's lock, so that nobody is writing now.
func (rs *Records) sweep(name string) {
	entries, _ := os.ReadDir(rs.Dir)
	for _, e := range entries {
		// renameio puts a dot in front and a number behind.
		n, ok := strings.CutPrefix(e.Name(), "."+filepath.Base(rs.path(name)))
		if _, err := strconv.ParseUint(n, 10, 64); ok && err == nil {
			_ = os.Remove(filepath.Join(rs.Dir, e.Name()))
		}
	}
}

// LockHost takes the lock under which tables, marks and priorities are chosen
// and shared sysctls change hands. It is held for moments only.
func (rs *Records) LockHost(ctx context.Context) (unlock func(), err error) {
	return rs.lock(ctx, ".host.lock", func(string) {})
}

func (rs *Records) lock(ctx context.Context, name string, waiting func(pid string)) (func(), error) {
	if err := os.MkdirAll(rs.Dir, 0o700); err != nil {
		return nil, rs.folderError(err)
	}
	if err := rs.trusted(); err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	path := filepath.Join(rs.Dir, name)
	start, told := time.Now(), false
	for {
		f, err := tryLock(path)
		if err == nil {
			return func() {
				_ = os.Remove(path) // while it is still ours: see tryLock
				_ = f.Close()
			}, nil
		}
		if errors.Is(err, fs.ErrNotExist) { // a tunnel's end took the folder away
			err = errors.Join(os.MkdirAll(rs.Dir, 0o700), unix.EWOULDBLOCK)
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("locking %s: %w", path, unwritable(err))
		}
		if !told && time.Since(start) > time.Second {
			told = true
			pid, _ := os.ReadFile(path)
			waiting(strings.TrimSpace(string(pid)))
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the lock %s: %w", path, context.Cause(ctx))
		case <-time.After(lockPoll(time.Since(start))):
		}
	}
}

// lockPoll is how long to wait before the next try. Who has waited long tries
// more often than who has just come, so that in a crowd nobody waits for ever.
func lockPoll(waited time.Duration) time.Duration {
	switch {
	case waited < time.Second:
		return 10 * time.Millisecond
	case waited < 5*time.Second:
		return 4 * time.Millisecond
	}
	return time.Millisecond
}

// tryLock opens and locks the file. A holder removes its file before it lets
// go, so a lock counts only if the file is still the one at that path.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	here, err1 := f.Stat()
	there, err2 := os.Stat(path)
	if err1 != nil || err2 != nil || !os.SameFile(here, there) {
		_ = f.Close()
		return nil, unix.EWOULDBLOCK
	}
	_ = f.Truncate(0)
	_, _ = fmt.Fprintln(f, os.Getpid())
	return f, nil
}

// maySpeak reports whether the record is that of a run under way, or killed,
// that tells resolvconf something.
func (r *Record) maySpeak() bool {
	if r == nil || r.Phase != PhaseChanging && r.Phase != PhaseDown {
		return false
	}
	return r.Spec.DNS.Backend == dns.BackendResolvconf || r.Before != nil && r.Before.DNS.Backend == dns.BackendResolvconf
}

// rules returns those that the record claims.
func (r *Record) rules() []routes.Rule {
	if r.Spec == nil {
		return nil
	}
	return r.Spec.Rules
}
