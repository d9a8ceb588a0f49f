// SPDX-License-Identifier: MIT

package namespace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Add makes a namespace with a name, as "ip netns add" does. A name that is
// taken is an fs.ErrExist.
func Add(name string) (*os.File, error) {
	if err := shareDir(); err != nil {
		return nil, fmt.Errorf("making network namespace %s: %w", name, err)
	}
	path := filepath.Join(Dir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0)
	if err != nil {
		return nil, fmt.Errorf("making network namespace %s: %w", name, err)
	}
	_ = f.Close()
	ns, err := New()
	if err == nil {
		err = unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), path, "", unix.MS_BIND, "")
	}
	if err != nil {
		if ns != nil {
			_ = ns.Close()
		}
		return nil, errors.Join(fmt.Errorf("making network namespace %s: %w", name, err), os.Remove(path))
	}
	return ns, nil
}

// shareDir makes /run/netns a mount that is shared, so that other mount
// namespaces see the names that come and go: what "ip netns add" does the first
// time.
func shareDir() error {
	// #nosec G301 -- as ip netns makes it
	if err := os.MkdirAll(Dir, 0o755); err != nil {
		return err
	}
	if unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "") == nil {
		return nil
	}
	if err := unix.Mount(Dir, Dir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Mount("", Dir, "none", unix.MS_SHARED|unix.MS_REC, "")
}

// Remove takes the name away, as "ip netns delete" does. The namespace ends when
// nothing runs in it any more. None of that name is an fs.ErrNotExist.
func Remove(name string) error {
	path := filepath.Join(Dir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !isMissing(err) {
		return fmt.Errorf("removing network namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("removing network namespace %s: %w", name, err)
	}
	return nil
}

// Furnish gives the calling thread, which the caller has locked and which is in
// the namespace of that name, mounts of its own, as "ip netns exec" does: /sys
// shows the links of the namespace, and what is in /etc/netns/NAME stands for
// what has that name in /etc.
func Furnish(name string) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	return Mount(name)
}

// Mount is Furnish for a process that has a mount namespace of its own already.
func Mount(name string) error {
	if err := unix.Mount("", "/", "none", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping mounts apart: %w", err)
	}
	if err := mountSys(); err != nil {
		return err
	}
	if name == "" {
		return nil
	}
	return mountEtc(filepath.Join(EtcDir, name))
}

// mountSys mounts a /sys for the thread's network namespace, read-only if the
// one that was there is.
func mountSys() error {
	var flags uintptr
	var st unix.Statfs_t
	if unix.Statfs("/sys", &st) == nil && st.Flags&unix.ST_RDONLY != 0 {
		flags = unix.MS_RDONLY
	}
	if err := unix.Unmount("/sys", unix.MNT_DETACH); err != nil && !isMissing(err) && err != unix.EPERM {
		return fmt.Errorf("unmounting /sys: %w", err)
	}
	err := unix.Mount("sysfs", "/sys", "sysfs", flags, "")
	if err != nil && err != unix.EBUSY && err != unix.EPERM && err != unix.ENOENT {
		return fmt.Errorf("mounting /sys: %w", err)
	}
	return nil
}

// mountEtc binds what is in a folder to what has that name in /etc. What is not
// there in /etc can't be bound, and is left out.
func mountEtc(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading %s: %w", dir, err)
	}
	for _, e := range entries {
		from, to := filepath.Join(dir, e.Name()), filepath.Join("/etc", e.Name())
		err := unix.Mount(from, to, "none", unix.MS_BIND, "")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("binding %s to %s: %w", from, to, err)
		}
	}
	return nil
}
