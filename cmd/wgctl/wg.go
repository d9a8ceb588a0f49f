// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/tunnel"
)

// wgVersion is the release of wireguard-tools whose words, output and messages
// those of wg are here. Scripts compare it.
const wgVersion = "1.0.20260223"

// streams are those of a process.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// wgDevices are what wg looks at and changes: netlinkx.AsWg, or netlinkx.Fake.
type wgDevices interface {
	Device(ctx context.Context, name string) (netlinkx.Device, error)
	DeviceNames(ctx context.Context) ([]string, error)
	Configure(ctx context.Context, name string, c netlinkx.DeviceChange) error
}

// A wg is wg's verbs. They are there twice, and do and print the same: called
// as wg, with its messages and its exit codes (wgMain), and as verbs of wgctl
// (newWgVerbs).
type wg struct {
	prog string // in usage lines
	streams
	open  func() (wgDevices, error)
	hosts tunnel.Names
	env   func(string) string
	now   func() time.Time

	// named returns what people call the peers of an interface; nil for wg,
	// which doesn't know.
	named func(ifname string) map[netlinkx.Key]string
}

func newWg(prog string, std streams) *wg {
	return &wg{prog: prog, streams: std, open: openAsWg, hosts: tunnel.SystemNames{}, env: os.Getenv, now: time.Now}
}

func openAsWg() (wgDevices, error) {
	k, err := netlinkx.NewKernel()
	if err != nil {
		return nil, err
	}
	k.SocketsIn((&tunnel.Records{Dir: tunnel.RunDir()}).SocketDir())
	return netlinkx.AsWg{Kernel: k}, nil // open until the process ends
}

// A wgVerb is one of wg's words.
type wgVerb struct {
	name  string
	usage string // what follows the verb
	does  string // in the list of verbs
	run   func(*wg, context.Context, []string) error
}

// wgVerbs returns them in the order of wg's own list.
func wgVerbs() []wgVerb {
	return []wgVerb{
		{"show", " { <interface> | all | interfaces } [" + strings.Join(wgParamNames(), " | ") + "]",
			"Show interfaces and their peers, or one thing about them", (*wg).show},
		{"showconf", " <interface>", "Show an interface in the form that setconf reads", (*wg).showconf},
		{"set", " <interface> [listen-port <port>] [fwmark <mark>] [private-key <file path>]" +
			" [peer <base64 public key> [remove] [preshared-key <file path>] [endpoint <ip>:<port>]" +
			" [persistent-keepalive <interval seconds>]" +
			" [allowed-ips [+|-]<ip1>/<cidr1>[,[+|-]<ip2>/<cidr2>]...] ]...",
			"Change an interface, or add, change and remove its peers", (*wg).set},
		{"setconf", " <interface> <configuration filename>", "Give an interface what a file says and nothing else", (*wg).setconf},
		{"addconf", " <interface> <configuration filename>", "Add what a file says to an interface", (*wg).addconf},
		{"syncconf", " <interface> <configuration filename>", "As setconf, without disturbing the peers that stay", (*wg).syncconf},
		{"genkey", "", "Make a private key", (*wg).genkey},
		{"genpsk", "", "Make a preshared key", (*wg).genpsk},
		{"pubkey", "", "Read a private key and print its public key", (*wg).pubkey},
	}
}

func wgVerbNamed(name string) *wgVerb {
	for _, v := range wgVerbs() {
		if v.name == name {
			return &v
		}
	}
	return nil
}

// A wgUsageError is about a verb's words: its usage line says the rest.
type wgUsageError struct{ verb, msg string }

func (e wgUsageError) Error() string {
	if e.msg == "" {
		return "Wrong number of words"
	}
	return e.msg
}

// A wgSysError is what the system said when wg tried something. It prints as
// wg prints it.
type wgSysError struct {
	doing string // "Unable to access interface"
	err   error
}

func (e wgSysError) Unwrap() error { return e.err }
func (e wgSysError) Error() string { return e.doing + ": " + strerror(e.err) }

// strerror is strerror(3): Go's texts of error numbers are C's, but for the
// capital.
func strerror(err error) string {
	var errno syscall.Errno
	text := err.Error()
	if errors.As(err, &errno) {
		text = errno.Error()
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// wgMain is the whole program when it is called as wg. args are the words
// after argv[0], which is progName. It returns the exit status, 0 or 1.
func wgMain(ctx context.Context, args []string, std streams, progName string) int {
	debug.SetGCPercent(400) // the process is soon gone, and its memory with it
	return newWg(progName, std).main(ctx, args)
}

func (w *wg) main(ctx context.Context, args []string) int {
	if len(args) == 1 {
		switch args[0] {
		case "-v", "--version", "version":
			w.printVersion()
			return 0
		case "-h", "--help", "help":
			w.printHelp(w.out)
			return 0
		}
	}
	verb, rest := "show", []string(nil)
	if len(args) > 0 {
		verb, rest = args[0], args[1:]
	}
	v := wgVerbNamed(verb)
	if v == nil {
		w.complain("Invalid subcommand: `" + verb + "'")
		w.printHelp(w.err)
		return 1
	}
	return w.finish(v.run(w, ctx, rest))
}

// finish prints an error and returns the exit status.
func (w *wg) finish(err error) int {
	if err == nil {
		return 0
	}
	usage := wgUsageError{}
	switch {
	case errors.As(err, &usage):
		if usage.msg != "" {
			w.complain(usage.msg)
		}
		w.printUsage(usage.verb)
	case err.Error() != "":
		w.complain(err.Error())
	}
	return 1
}

func (w *wg) complain(line string) { _, _ = fmt.Fprintln(w.err, line) }

// printVersion names wireguard-tools first, as the scripts expect that look
// for a version.
func (w *wg) printVersion() {
	_, _ = fmt.Fprintf(w.out, "wireguard-tools v%s - https://github.com/wgctl/wgctl (wgctl %s)\n", wgVersion, version)
}

func (w *wg) printUsage(verb string) {
	_, _ = fmt.Fprintf(w.err, "Usage: %s %s%s\n", w.prog, verb, wgVerbNamed(verb).usage)
}

func (w *wg) printHelp(to io.Writer) {
	_, _ = fmt.Fprintf(to, "Usage: %s <cmd> [<args>]\n\nAvailable subcommands:\n", w.prog)
	for _, v := range wgVerbs() {
		_, _ = fmt.Fprintf(to, "  %s: %s\n", v.name, v.does)
	}
	_, _ = fmt.Fprintf(to, "A subcommand followed by --help shows its words. This is wgctl %s.\n", version)
}

// errSaid ends a verb that has printed why.
var errSaid = errors.New("")

// wgFileError adds the last line that wg prints of a bad file.
func wgFileError(err error) error {
	last := "Configuration parsing error"
	if f := (*config.WgError)(nil); errors.As(err, &f) && f.NoPublicKey {
		last = "Invalid configuration"
	}
	return fmt.Errorf("%w\n%s", err, last)
}
