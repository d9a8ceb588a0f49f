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
	"path/filepath"
	"slices"

	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// wgName is by which this is wg.
const wgName = "wg"

// version is set by the linker.
var version = "unknown"

func main() {
	// Keys will be in this process: no core dump, and no look into it by
	// others of the same user. The programs that it starts are as ever.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	ui := newUI(os.Stdout, os.Stderr)
	ctx, stop := context.Background(), func() {}
	if filepath.Base(os.Args[0]) != wgName { // which has nothing to undo
		ctx, stop = takeSignals(ui)
	}
	code := dispatch(ctx, os.Args, ui)
	stop()
	os.Exit(code)
}

// ending are the signals that end a command once it has undone what it did.
var ending = []os.Signal{os.Interrupt, unix.SIGTERM, unix.SIGHUP}

// takeSignals ends the context at the first of them.
func takeSignals(ui *ui) (ctx context.Context, stop func()) {
	signals := ending
	if signal.Ignored(unix.SIGHUP) { // as under nohup
		signals = signals[:2]
	}
	ctx, stop = signal.NotifyContext(context.Background(), signals...)
	// From here on, not from when a goroutine gets to it: verbs that take signals
	// for themselves have then taken these, too.
	counted := make(chan os.Signal, 3)
	signal.Notify(counted, signals...)
	go impatient(ui, counted)
	return ctx, stop
}

// leaveSignals lets them end the process at once: there is nothing to undo.
// They are named, as to reset all of a system's costs milliseconds.
func leaveSignals() { signal.Reset(ending...) }

// impatient ends the process at the third signal. The first one undoes what was
// done, which may take its time, or never end where the kernel doesn't answer.
func impatient(ui *ui, signals <-chan os.Signal) {
	<-signals
	<-signals
	ui.note(`still undoing: once more leaves it as it is, for "wgctl down" to take away`)
	<-signals
	tunnel.KillHooks()
	os.Exit(exitResidue)
}

// dispatch is the whole program but for the process around it: argv[0] says
// whose words the others are.
func dispatch(ctx context.Context, argv []string, ui *ui) int {
	name := filepath.Base(argv[0])
	if isCompletion(argv) && slices.Contains(otherNames, name) {
		return complete(ctx, argv, ui)
	}
	switch name {
	case wgName:
		return wgMain(ctx, argv[1:], streams{os.Stdin, ui.out, ui.err}, argv[0])
	case "wg-quick":
		return wgQuickMain(ctx, argv, ui)
	case wireguardGoName:
		return wireguardGoMain(ctx, argv, ui)
	}
	return run(ctx, argv[1:], ui)
}

// run takes wgctl's own words.
func run(ctx context.Context, args []string, ui *ui) int {
	root := newRoot(ui)
	root.SetArgs(args)
	root.SetOut(ui.out)
	root.SetErr(ui.err)
	return ui.finish(root.ExecuteContext(ctx))
}
