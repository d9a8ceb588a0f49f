// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/wgctl/wgctl/lab"
	"github.com/wgctl/wgctl/namespace"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// A labSite is a lab on this machine: its hosts are namespaces with names.
type labSite struct {
	ui  *ui
	top *lab.Topology
}

// up makes it, or leaves nothing. What down needs is written before anything is
// made, so that it can be taken away whenever this is killed.
func (s *labSite) up(ctx context.Context, text string) error {
	if err := s.free(); err != nil {
		return err
	}
	if err := s.claim(text); err != nil {
		return err
	}
	if err := s.build(ctx); err != nil {
		return errors.Join(err, s.down(context.WithoutCancel(ctx)))
	}
	_, err := fmt.Fprint(s.ui.err, s.top.Text())
	return err
}

// claim makes the folder of the lab, and then its topology: of a run that was
// killed in between the folder is all that there is.
func (s *labSite) claim(text string) error {
	dir := labDir(s.top.Name)
	if err := os.MkdirAll(labsDir(), 0o700); err != nil {
		return fmt.Errorf("making the folder of labs: %w", err)
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return withHint(fmt.Errorf("lab %s is up already, or left of a run that was killed", s.top.Name), fmt.Sprintf(`"wgctl lab down %s" takes it away`, s.top.Name))
	}
	if err != nil {
		return fmt.Errorf("making the folder of the lab: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, topologyFile), []byte(text), 0o600); err != nil {
		return errors.Join(fmt.Errorf("writing the topology: %w", err), os.RemoveAll(dir))
	}
	return nil
}

// free reports a namespace of somebody else's that has a name of the lab's.
func (s *labSite) free() error {
	if _, err := os.Stat(labDir(s.top.Name)); err == nil {
		return nil // they are the lab's
	}
	for _, host := range s.top.Namespaces() {
		name := namespaceOf(s.top, host)
		if _, err := os.Lstat(filepath.Join(namespace.Dir, name)); err == nil {
			return fmt.Errorf("there is a network namespace %s already", name)
		}
	}
	return nil
}

func (s *labSite) build(ctx context.Context) error {
	in := map[string]*os.File{}
	defer func() {
		for _, ns := range in {
			_ = ns.Close()
		}
	}()
	for _, host := range s.top.Namespaces() {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		ns, err := namespace.Add(namespaceOf(s.top, host))
		if err != nil {
			return err
		}
		in[host] = ns
		if err := s.writeHosts(host); err != nil {
			return err
		}
	}
	if err := s.top.Build(ctx, in); err != nil {
		return err
	}
	return s.tunnels(ctx)
}

// writeHosts lets programs on a host find the others by their names.
func (s *labSite) writeHosts(host string) error {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost\n")
	for _, h := range s.top.Hosts {
		for _, l := range h.Links {
			for _, a := range l.Addresses {
				fmt.Fprintf(&b, "%s %s\n", a.Addr(), h.Name)
			}
		}
	}
	dir := filepath.Join(namespace.EtcDir, namespaceOf(s.top, host))
	err := os.MkdirAll(dir, 0o755) // #nosec G301 -- a namespace's /etc, for all its programs
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "hosts"), []byte(b.String()), 0o644) // #nosec G306 -- hosts are for all programs
	}
	if err != nil {
		return fmt.Errorf("writing the names of hosts: %w", err)
	}
	return nil
}

// tunnels writes the files of the tunnels and brings them up.
func (s *labSite) tunnels(ctx context.Context) error {
	files, err := s.top.Files()
	if err != nil {
		return err
	}
	for _, f := range files {
		dir := filepath.Join(labDir(s.top.Name), f.Host)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the folder of %s: %w", f.Host, err)
		}
		path := filepath.Join(dir, f.Interface+".conf")
		if err := renameio.WriteFile(path, []byte(f.Text), 0o600); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
		if err := s.wgctl(ctx, f.Host, "up", path); err != nil {
			return err
		}
	}
	return nil
}

// wgctl runs this program for a tunnel of a host.
func (s *labSite) wgctl(ctx context.Context, host, verb, path string) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding wgctl itself: %w", err)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, exe, verb, "--netns-all", namespaceOf(s.top, host), path)
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %s of %s: %s", host, verb, filepath.Base(path), faultOf(said.String(), err))
	}
	return nil
}

// faultOf is what a wgctl said of its failure.
func faultOf(said string, err error) string {
	for line := range strings.Lines(said) {
		if fault, ok := strings.CutPrefix(strings.TrimSpace(line), "wgctl: "); ok && !strings.HasPrefix(fault, "warning: ") {
			return fault
		}
	}
	return err.Error()
}

// down takes away what there is of the lab.
func (s *labSite) down(ctx context.Context) error {
	var errs []error
	files, _ := filepath.Glob(filepath.Join(labDir(s.top.Name), "*", "*.conf"))
	for _, f := range files {
		host := filepath.Base(filepath.Dir(f))
		err := s.wgctl(ctx, host, "down", f)
		if err != nil && !strings.Contains(err.Error(), "is not up") && !strings.Contains(err.Error(), "there is no network namespace") {
			errs = append(errs, err)
		}
	}
	for _, host := range s.top.Namespaces() {
		errs = append(errs, s.remove(host))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := os.RemoveAll(labDir(s.top.Name)); err != nil {
		return fmt.Errorf("removing the folder of the lab: %w", err)
	}
	for _, dir := range []string{labsDir(), namespace.EtcDir} {
		_ = os.Remove(dir) // if it was the last
	}
	return nil
}

// remove ends what runs on a host and removes its namespace.
func (s *labSite) remove(host string) error {
	name := namespaceOf(s.top, host)
	etc := filepath.Join(namespace.EtcDir, name)
	if err := os.RemoveAll(etc); err != nil {
		return fmt.Errorf("removing %s: %w", etc, err)
	}
	p, err := namespace.Find(filepath.Join(namespace.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	inode := uint64(0)
	if ns, err := p.Open(); err == nil {
		inode = namespace.Inode(ns)
		endAll(inode)
		_ = ns.Close()
	}
	// A mere file is what a run leaves that was killed on the way.
	if err := namespace.Remove(name); err != nil || inode == 0 {
		return err
	}
	return forgetNamespace(inode)
}

// forgetNamespace removes what is on record of a namespace that has gone with all
// that was in it, a lock of a run that was killed too.
func forgetNamespace(inode uint64) error {
	all, err := tunnel.OfNamespaces()
	if err != nil {
		return err
	}
	for _, rs := range all {
		if filepath.Base(rs.Dir) == strconv.FormatUint(inode, 10) {
			return rs.Forget()
		}
	}
	return nil
}

// endAll kills the processes in a namespace until there are none.
func endAll(inode uint64) {
	for range 100 {
		pid := processIn(inode)
		if pid == 0 || pid == os.Getpid() {
			return
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		time.Sleep(time.Millisecond)
	}
}
