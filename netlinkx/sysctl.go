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
	err = k.inside(func() error {
		b, err := os.ReadFile(path)
		value = strings.TrimRight(string(b), "\n")
		return err
	})
	return value, err
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
