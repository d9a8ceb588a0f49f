// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/namespace"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// execInsideVerb is how wgctl starts itself as the first process of a command's
// namespace.
const (
	execInsideVerb = "exec-inside"
	execOuterFD    = 3
)

func newExecInside(ui *ui) *cobra.Command {
	var steps bool
	cmd := &cobra.Command{
		Use:    execInsideVerb + " FILE COMMAND [WORD...]",
		Short:  "Run a command behind a tunnel, as the first process of its namespace",
		Hidden: true,
		Args:   words(cobra.MinimumNArgs(2), "a file and a command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if os.Getpid() != 1 {
				return errors.New("this is for wgctl exec itself")
			}
			unix.CloseOnExec(execOuterFD)
			ui.quiet = !steps
			in := inside{ui: ui, file: args[0], command: args[1:]}
			return in.run(cmd.Context())
		},
	}
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().BoolVar(&steps, "steps", false, "show steps")
	return cmd
}

// An inside is the life of a command's namespace.
type inside struct {
	ui      *ui
	file    string
	command []string
}

func (in *inside) run(ctx context.Context) error {
	in.ui.place = &place{outer: os.NewFile(execOuterFD, "the namespace of the caller"), private: true}
	if err := in.furnish(ctx); err != nil {
		return execHint(err)
	}
	if err := up(ctx, in.ui, in.file, tunnel.Options{}); err != nil {
		return err
	}
	in.warnOfResolver()
	code, err := in.runCommand()
	if err != nil {
		code = exitNotRunnable
		in.ui.finish(err)
	}
	// The command has the last word: what goes wrong now is said, no more.
	if err := down(context.WithoutCancel(ctx), in.ui, in.file); err != nil {
		in.ui.finish(err)
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

// resolverFolders hold sockets by which names are looked up in the host's
// namespace, around the tunnel: nss-resolve, nscd, nss-mdns.
var resolverFolders = []string{"/run/systemd/resolve", "/run/nscd", "/var/run/nscd", "/run/avahi-daemon"}

// furnish makes the new namespaces fit to live in.
func (in *inside) furnish(ctx context.Context) error {
	text, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading nameservers: %w", err)
	}
	if err := namespace.Mount(""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := in.coverRun(); err != nil {
		return err
	}
	if err := in.keepResolvConf(string(text)); err != nil {
		return fmt.Errorf("keeping nameservers apart: %w", err)
	}
	kernel, err := netlinkx.NewKernel()
	if err != nil {
		return fmt.Errorf("connecting to the kernel: %w", err)
	}
	defer func() { _ = kernel.Close() }()
	if err := kernel.LinkSet(ctx, "lo", 0, true); err != nil {
		return fmt.Errorf("setting lo up: %w", err)
	}
	return nil
}

// coverRun gives the namespace empty folders for records and sockets, which go
// with it, and hides those of resolvers.
func (in *inside) coverRun() error {
	own := []string{tunnel.RunDir()}
	if tunnel.SharedSocketDir() {
		own = append(own, "/run/wireguard")
	}
	for _, dir := range own {
		if err := tunnel.MakeRunDir(dir); err != nil {
			return err
		}
	}
	for _, dir := range append(own, resolverFolders...) {
		err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755")
		if err != nil && err != unix.ENOENT {
			return fmt.Errorf("covering %s: %w", dir, err)
		}
	}
	return nil
}

// keepResolvConf gives the namespace a resolv.conf of its own.
func (in *inside) keepResolvConf(text string) error {
	dir := filepath.Join(tunnel.RunDir(), "etc")
	// #nosec G301 -- a namespace's /etc, for all its programs
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	in.ui.place.file = filepath.Join(dir, "resolv.conf")
	// #nosec G306 -- resolv.conf is for all programs
	if err := os.WriteFile(in.ui.place.file, []byte(text), 0o644); err != nil {
		return err
	}
	return bindResolvConf(in.ui.place.file)
}

// bindResolvConf puts the private file in the place of /etc/resolv.conf, or of
// what that leads to, which may be in a folder that is covered now. Where there
// is none nothing can be put.
func bindResolvConf(private string) error {
	err := unix.Mount(private, "/etc/resolv.conf", "none", unix.MS_BIND, "")
	if err != unix.ENOENT {
		return err
	}
	target, err := os.Readlink("/etc/resolv.conf")
	if err != nil {
		return nil
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join("/etc", target)
	}
	for _, dir := range resolverFolders {
		if strings.HasPrefix(filepath.Clean(target), dir+"/") {
			return os.Symlink(private, target)
		}
	}
	return nil
}

// warnOfResolver says so where the nameservers can't be reached from here.
func (in *inside) warnOfResolver() {
	text, _ := os.ReadFile(in.ui.place.file)
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(words[1]); err == nil && a.IsLoopback() {
			in.ui.note("%s names no DNS, and the host's own nameserver %s can't be reached from the tunnel's namespace", in.file, a)
		}
	}
}

// runCommand runs the command to its end, and collects what daemons leave, as
// the first process has to. It returns the exit status.
func (in *inside) runCommand() (int, error) {
	path, code := lookCommand(in.command[0])
	if code != 0 {
		return code, nil
	}
	child, err := os.StartProcess(path, in.command, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return 0, fmt.Errorf("starting %s: %w", in.command[0], err)
	}
	stop := passSignals(child.Pid)
	defer stop()
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("waiting for %s: %w", in.command[0], err)
		case pid != child.Pid:
		case status.Signaled():
			return 128 + int(status.Signal()), nil
		default:
			return status.ExitStatus(), nil
		}
	}
}
