// SPDX-License-Identifier: MIT

// Command wgctl is the WireGuard control plane of a Linux host. This package
// is words in, words out: it dispatches by verb, one file a verb, puts the
// real host together (host.go) and prints (ui.go). What is done is decided in
// package tunnel.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "unknown"

func main() {
	signals := []os.Signal{os.Interrupt, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) { // as under nohup
		signals = append(signals, unix.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	code := run(ctx, os.Args[1:], newUI(os.Stdout, os.Stderr))
	stop()
	os.Exit(code)
}

// run is the whole program but for the process around it.
func run(ctx context.Context, args []string, ui *ui) int {
	root := newRoot(ui)
	root.SetArgs(args)
	root.SetOut(ui.out)
	root.SetErr(ui.err)
	return ui.finish(root.ExecuteContext(ctx))
}
