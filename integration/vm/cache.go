// SPDX-License-Identifier: MIT

package vm

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// metaPackages are the Debian packages that depend on the newest kernel of a
// series. The cloud flavour is small and has the virtio drivers.
var metaPackages = map[string]string{
	"6.1":  "linux-image-cloud-amd64",
	"6.12": "linux-image-6.12-cloud-amd64",
}

// kernel is an unpacked kernel package.
type kernel struct {
	release string // as uname -r has it
	image   string // path of the bzImage
	tree    string // folder with lib/modules/RELEASE
}

func (k kernel) modules() string { return filepath.Join(k.tree, "lib/modules", k.release) }

// cacheDir is where kernels are kept.
func cacheDir() (string, error) {
	if dir := os.Getenv("WGCTL_VM_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		// No $HOME, as under some service managers.
		dir = "/var/cache"
	}
	return filepath.Join(dir, "wgctl-vm"), nil
}

// systemdTree is where scripts/witnesses unpacks packages of Debian that only a
// guest with systemd gets to see.
func systemdTree() string {
	if dir := os.Getenv("WGCTL_SYSTEMD"); dir != "" {
		return dir
	}
	return "/var/cache/wgctl-systemd"
}

// fetchKernel returns a kernel of the series, from the cache or from Debian.
func fetchKernel(ctx context.Context, series string) (kernel, error) {
	meta, ok := metaPackages[series]
	if !ok {
		return kernel{}, fmt.Errorf("no kernel %q: there are 6.1 and 6.12", series)
	}
	cache, err := cacheDir()
	if err != nil {
		return kernel{}, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return kernel{}, err
	}
	unlock, err := lock(filepath.Join(cache, series+".lock"))
	if err != nil {
		return kernel{}, err
	}
	defer unlock()
	tree := filepath.Join(cache, series)
	if _, err := os.Stat(tree); os.IsNotExist(err) {
		if err := unpackKernel(ctx, meta, tree); err != nil {
			return kernel{}, fmt.Errorf("fetching kernel %s: %w", series, err)
		}
	}
	return openKernel(tree)
}

// lock keeps two runs from unpacking the same kernel at once.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// unpackKernel downloads the kernel that the meta package depends on and
// unpacks it into tree, whole or not at all.
func unpackKernel(ctx context.Context, meta, tree string) error {
	image, err := dependency(ctx, meta)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(tree), "unpacking-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	// A folder that apt's own user may write to spares its warning.
	if err := os.Chmod(tmp, 0o777); err != nil {
		return err
	}
	// The unsigned variant carries the modules by itself in every release; the
	// signed one is the fallback for archives without it.
	if _, err := output(ctx, tmp, "apt-get", "download", image+"-unsigned"); err != nil {
		if _, err := output(ctx, tmp, "apt-get", "download", image); err != nil {
			return fmt.Errorf("%w (is `apt-get update` needed?)", err)
		}
	}
	debs, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("downloading %s: found %d packages", image, len(debs))
	}
	unpacked := filepath.Join(tmp, "tree")
	if _, err := output(ctx, tmp, "dpkg", "-x", debs[0], unpacked); err != nil {
		return err
	}
	k, err := openKernel(unpacked)
	if err != nil {
		return err
	}
	// The package leaves this to its installation script.
	if _, err := output(ctx, tmp, "depmod", "-b", unpacked, k.release); err != nil {
		return err
	}
	return os.Rename(unpacked, tree)
}

// dependency is the kernel package that the meta package depends on.
func dependency(ctx context.Context, meta string) (string, error) {
	out, err := output(ctx, "", "apt-cache", "depends", meta)
	if err != nil {
		return "", err
	}
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		if name, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "Depends: linux-image-"); ok {
			return "linux-image-" + name, nil
		}
	}
	return "", fmt.Errorf("apt knows no kernel for %s (is `apt-get update` needed?)", meta)
}

// openKernel finds out what was unpacked.
func openKernel(tree string) (kernel, error) {
	images, err := filepath.Glob(filepath.Join(tree, "boot/vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("looking for a kernel in %s: found %d", tree, len(images))
	}
	release := strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")
	k := kernel{release, images[0], tree}
	if _, err := os.Stat(k.modules()); err != nil {
		// Where /lib is merged into /usr, for packages too.
		k.tree = filepath.Join(tree, "usr")
		if _, err := os.Stat(k.modules()); err != nil {
			return kernel{}, fmt.Errorf("looking for modules: %w", err)
		}
	}
	return k, nil
}

// output runs a program and returns what it printed on standard output.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running %s: %w: %s", strings.Join(append([]string{name}, args...), " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
