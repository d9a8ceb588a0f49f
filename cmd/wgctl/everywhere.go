// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/wgctl/wgctl/namespace"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// everywhere takes down what wgctl has made beside the tunnels of the calling
// process' namespace: labs, and the tunnels of all other namespaces. What can't
// be taken down does not stop the rest.
func (t taking) everywhere(ctx context.Context, u *ui) error {
	names, err := labs()
	errs := []error{err}
	for _, name := range names {
		top, err := standing(name)
		if err == nil {
			err = (&labSite{ui: u, top: top}).down(ctx)
		}
		errs = append(errs, err)
	}
	all, err := tunnel.OfNamespaces()
	errs = append(errs, err)
	for _, rs := range all {
		if rs.Dir != tunnel.RunDir() {
			errs = append(errs, t.elsewhere(ctx, u, rs))
		}
	}
	return errors.Join(errs...)
}

// elsewhere takes down the tunnels of another namespace, or forgets them if that
// is gone.
func (t taking) elsewhere(ctx context.Context, u *ui, rs *tunnel.Records) error {
	noted := rs.Noted()
	if noted == nil { // brought up by a wgctl that was in there already
		noted = &tunnel.Namespace{}
		noted.Inode, _ = strconv.ParseUint(filepath.Base(rs.Dir), 10, 64)
	}
	word := wordFor(noted)
	if word == "" {
		return bury(ctx, u, rs, noted)
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding wgctl itself: %w", err)
	}
	cmd := exec.CommandContext(ctx, exe, "down", "--netns", word, "--all")
	if t.keep {
		cmd.Args = append(cmd.Args, "--keep-killswitch")
	}
	cmd.Stdout, cmd.Stderr = u.out, u.err
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("taking down the tunnels in network namespace %s: %w", word, err)
	}
	return nil
}

// wordFor is what --netns calls a namespace, "" if it is gone.
func wordFor(noted *tunnel.Namespace) string {
	paths, _ := filepath.Glob(filepath.Join(namespace.Dir, "*"))
	if noted.Path != "" {
		paths = append([]string{noted.Path}, paths...)
	}
	for _, path := range paths {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Ino == noted.Inode {
			return path
		}
	}
	if pid := processIn(noted.Inode); pid != 0 {
		return strconv.Itoa(pid)
	}
	return ""
}
