// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const procSys = "/proc/sys"

// Sysctl reads a kernel parameter as k's namespace has it. Where the key has
// slashes for dots, as sysctl(8) allows it, a dot stands for itself:
// "net/ipv4/conf/eth0.7/rp_filter".
func (k *Kernel) Sysctl(ctx context.Context, key string) (string, error) {
	path, err := sysctlPath(ctx, key)
	if err != nil {
		return "", err
	}
	var value string
	err = k.inside(func() (err error) {
		value, err = readParameter(path)
		return err
	})
	return value, err
}

// readParameter reads a file of /proc/sys, which the kernel fills in one read(2),
// without what os.ReadFile does beside: it asks for the size, registers with
// epoll(7) and reads to the end.
func readParameter(path string) (string, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return "", &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var b [4096]byte
	n, err := retry(func() (int, error) { return unix.Read(fd, b[:]) })
	if err != nil {
		return "", &os.PathError{Op: "read", Path: path, Err: err}
	}
	if n == len(b) { // a list without end
		all, err := os.ReadFile(path)
		return strings.TrimRight(string(all), "\n"), err
	}
	return strings.TrimRight(string(b[:n]), "\n"), nil
}

// retry calls f until no signal interrupts it.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// SetSysctl writes a kernel parameter. On a read-only /proc/sys that is
// unix.EROFS, even if the value is the same.
func (k *Kernel) SetSysctl(ctx context.Context, key, value string) error {
	path, err := sysctlPath(ctx, key)
	if err != nil {
		return err
	}
	return k.inside(func() error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		// One write(2): the kernel takes each as a value of its own.
		_, err = f.WriteString(value + "\n")
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		return err
	})
}

// sysctlPath returns the file of a key. Whichever of "." and "/" comes first
// separates the key's parts, and the other one then stands for "." in a part,
// as in sysctl(8).
func sysctlPath(ctx context.Context, key string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	rel := key
	if i := strings.IndexAny(key, "./"); i >= 0 && key[i] == '.' {
		rel = strings.NewReplacer(".", "/", "/", ".").Replace(key)
	}
	// A link called ".." must not lead out of the tree.
	if filepath.Clean(rel) != rel || !filepath.IsLocal(rel) || rel == "." {
		return "", &os.PathError{Op: "sysctl", Path: key, Err: unix.EINVAL}
	}
	return filepath.Join(procSys, rel), nil
}
