// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/namespace"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// A namespace that is gone took the links of its tunnels along, and with them
// the devices. What is left are records, and the nameservers in /etc/netns.

// buried is what becomes of a verb whose namespace is gone: down forgets the
// tunnels that were there. notFound says that it is.
func buried(ctx context.Context, u *ui, verb string, p namespace.Place, args []string, notFound error) error {
	all, err := tunnel.OfNamespaces()
	if err != nil {
		return err
	}
	var left []string
	for _, rs := range all {
		noted := rs.Noted()
		if noted == nil || noted.Path != p.Path {
			continue
		}
		if pid := processIn(noted.Inode); pid != 0 {
			return withHint(fmt.Errorf("%w, and process %d still runs in what had that name", notFound, pid),
				fmt.Sprintf("--netns %d means it", pid))
		}
		names, err := rs.Names()
		if err != nil {
			return err
		}
		if verb != "down" {
			left = append(left, names...)
			continue
		}
		if err := wantsAll(names, args); err != nil {
			return err
		}
		if err := bury(ctx, u, rs, noted); err != nil {
			return err
		}
		return exitError(exitDone)
	}
	if len(left) > 0 {
		return withHint(notFound, fmt.Sprintf(`"wgctl down --netns %s %s" forgets what was up there`, p.Path, left[0]))
	}
	return notFound
}

// wantsAll reports words that name none of the tunnels.
func wantsAll(names, args []string) error {
	for _, a := range args {
		_, name, err := config.Locate(a)
		if err != nil {
			return err
		}
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s %w", name, tunnel.ErrNotUp)
		}
	}
	return nil
}

// bury forgets the tunnels of a namespace that is gone.
func bury(ctx context.Context, u *ui, rs *tunnel.Records, noted *tunnel.Namespace) error {
	names, err := rs.Names()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		u.note("%s is gone with its network namespace", name)
		if noted.Name == "" {
			continue
		}
		r := dns.At((&place{Place: namespace.Place{Name: noted.Name}}).resolvConf())
		errs = append(errs, r.Apply(ctx, dns.Settings{Interface: name}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return rs.Forget()
}

// sweep forgets the tunnels of a namespace whose number the calling process'
// namespace got.
func (p *place) sweep(ctx context.Context, u *ui, rs *tunnel.Records) error {
	noted := rs.Noted()
	if noted == nil || noted.Cookie == 0 || rs.Namespace == nil || noted.Cookie == rs.Namespace.Cookie {
		return nil
	}
	return bury(ctx, u, rs, noted)
}

// records are those of the namespace that this process is in.
func records(u *ui) *tunnel.Records {
	rs := &tunnel.Records{Dir: tunnel.RunDir()}
	if u.place == nil || u.place.private {
		return rs
	}
	rs.Dir = tunnel.NamespaceRunDir()
	rs.Namespace = &tunnel.Namespace{Path: u.place.Path, Name: u.place.Name, Cookie: namespace.Cookie()}
	if here, err := namespace.Here(); err == nil {
		rs.Namespace.Inode = namespace.Inode(here)
		_ = here.Close()
	}
	return rs
}

// processIn returns the number of a process in the namespace with that inode, 0
// if there is none.
func processIn(inode uint64) int {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join("/proc", e.Name(), "ns/net"), &st) == nil && uint64(st.Ino) == inode && !strings.HasPrefix(stateOf(pid), "Z") {
			return pid
		}
	}
	return 0
}

// stateOf is the letter of a process' state.
func stateOf(pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "Z"
	}
	return strings.TrimSpace(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
}
