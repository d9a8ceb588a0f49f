// SPDX-License-Identifier: MIT

package vm

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// bootModules are what the first stage needs to reach the root file system.
var bootModules = []string{"virtio_pci", "virtiofs", "overlay"}

//go:embed init.sh
var initScript []byte

// writeInitramfs writes the first root: busybox, the modules on the way to
// virtiofs and the script that loads them.
func writeInitramfs(ctx context.Context, w io.Writer, k kernel) error {
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("reading the static busybox: %w", err)
	}
	a := archive{w: w}
	for _, dir := range []string{"bin", "dev", "proc", "modules", "lower", "upper", "root"} {
		a.add(dir, modeDir|0o755, nil)
	}
	a.add("bin/busybox", modeFile|0o755, busybox)
	a.add("init", modeFile|0o755, initScript)
	chain, err := moduleChain(ctx, k)
	if err != nil {
		return err
	}
	for i, path := range chain {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		// Numbered, for the shell's order of names to be the order of loading.
		a.add(fmt.Sprintf("modules/%02d-%s", i, filepath.Base(path)), modeFile|0o644, content)
	}
	a.add("TRAILER!!!", 0, nil)
	return a.err
}

// moduleChain lists the files of the boot modules and of all they depend on,
// dependencies first.
func moduleChain(ctx context.Context, k kernel) ([]string, error) {
	args := append([]string{"-d", k.tree, "-S", k.release, "--show-depends", "-a"}, bootModules...)
	out, err := output(ctx, "", "modprobe", args...)
	if err != nil {
		return nil, err
	}
	var chain []string
	seen := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "insmod ")
		path = strings.TrimSpace(path)
		if ok && !seen[path] { // others are "builtin NAME"
			seen[path] = true
			chain = append(chain, path)
		}
	}
	return chain, nil
}

// File types of cpio, as in stat(2).
const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

// archive writes cpio in the "newc" form that the kernel unpacks
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	w   io.Writer
	ino int
	err error // the first one
}

func (a *archive) add(name string, mode int, content []byte) {
	a.ino++
	var b bytes.Buffer
	fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		a.ino, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	b.WriteString(name)
	b.WriteByte(0)
	pad(&b)
	b.Write(content)
	pad(&b)
	if a.err == nil {
		_, a.err = a.w.Write(b.Bytes())
	}
}

// pad fills up to a multiple of four bytes.
func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
