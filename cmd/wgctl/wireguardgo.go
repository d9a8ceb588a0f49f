// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/wgctl/wgctl/netlinkx/userspace"
)

// The variables of wireguard-go, and one of our own by which it starts itself
// as the device's process. That one shows as "wireguard-go IF", for those who
// look for it by its name.
const (
	tunVariable        = "WG_TUN_FD"
	uapiVariable       = "WG_UAPI_FD"
	foregroundVariable = "WG_PROCESS_FOREGROUND"
	detachedVariable   = "WGCTL_DEVICE_SERVE"

	wireguardGoName = "wireguard-go"
)

// wireguardGoMain is wgctl under the name of wireguard-go: its words, its
// variables and its exit codes, 0 and 1. Its log goes to standard output, as
// the original's does; the banner is left out.
func wireguardGoMain(ctx context.Context, argv []string, ui *ui) int {
	args := argv[1:]
	if len(args) == 1 && args[0] == "--version" {
		_, _ = fmt.Fprintf(ui.out, "wireguard-go v%s\n\nUserspace WireGuard daemon for %s-%s, by wgctl %s.\n"+
			"Information available at https://www.wireguard.com.\n", wireguardGoVersion(), runtime.GOOS, runtime.GOARCH, version)
		return exitDone
	}
	foreground := os.Getenv(foregroundVariable) == "1"
	if len(args) == 2 && (args[0] == "-f" || args[0] == "--foreground") {
		foreground, args = true, args[1:]
	}
	if len(args) != 1 || slices.Contains([]string{"-f", "--foreground", "-h", "--help"}, args[0]) {
		// The original exits 0 as well, whatever the words were.
		_, _ = fmt.Fprintf(ui.out, "Usage: %s [-f/--foreground] INTERFACE-NAME\n", argv[0])
		return exitDone
	}
	if err := wireguardGo(ctx, args[0], foreground); err != nil {
		_, _ = fmt.Fprintf(ui.err, "%s: %v\n", filepath.Base(argv[0]), err)
		return exitFailed
	}
	return exitDone
}

// wireguardGo serves a device until the context ends, or has a process of its
// own do so and returns when the device answers.
func wireguardGo(ctx context.Context, ifname string, foreground bool) error {
	level := os.Getenv("LOG_LEVEL")
	if os.Getenv(detachedVariable) != "" {
		// For pgrep, pkill and killall; it is of no use to the device.
		_ = os.WriteFile("/proc/self/comm", []byte(wireguardGoName), 0)
		return userspace.Serve(ctx, userspace.ServeOptions{Interface: ifname, Detached: true, LogLevel: level, NoJournal: true})
	}
	tun, err := descriptor(tunVariable)
	if err != nil {
		return err
	}
	uapi, err := descriptor(uapiVariable)
	if err != nil {
		return err
	}
	if tun != 0 {
		if ifname, err = userspace.TUNName(tun); err != nil {
			return err
		}
	}
	if foreground {
		return userspace.Serve(ctx, userspace.ServeOptions{Interface: ifname, TUN: tun, UAPI: uapi, LogLevel: level, Log: os.Stdout})
	}
	starter := userspace.Starter{
		Name: wireguardGoName, TUN: tun, UAPI: uapi, Env: []string{detachedVariable + "=1"},
		LogLevel: level, Stderr: os.Stdout, NoJournal: true,
	}
	return starter.Start(ctx, ifname)
}

// descriptor returns the number of an inherited descriptor, or 0 if none is
// named.
func descriptor(variable string) (int, error) {
	v := os.Getenv(variable)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %q is not a descriptor", variable, v)
	}
	return int(n), nil
}

// wireguardGoVersion returns the version of the device in the form that
// wireguard-go gives its own: 0.0.YYYYMMDD.
func wireguardGoVersion() string {
	const module = "golang.zx2c4.com/wireguard"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "0.0.0"
	}
	for _, m := range info.Deps {
		if m.Path != module {
			continue
		}
		// A pseudo-version: v0.0.0-20260522210424-ecfc5a8d5446.
		if _, date, found := strings.Cut(m.Version, "-"); found && len(date) > 8 {
			return "0.0." + date[:8]
		}
		return strings.TrimPrefix(m.Version, "v")
	}
	return "0.0.0"
}
