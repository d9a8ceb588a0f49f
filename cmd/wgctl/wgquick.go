// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// A quick is a run under the name of wg-quick: its words, lines, messages and
// exit codes, which are 0 and 1. What is done is what wgctl does.
type quick struct {
	prog string // as it was called, without the folder
	self string // argv[0]
	ui   *ui
}

// wgQuickMain takes the words after argv[0].
func wgQuickMain(ctx context.Context, argv []string, ui *ui) int {
	q := quick{prog: filepath.Base(argv[0]), self: argv[0], ui: ui}
	ui.quick = true
	args := argv[1:]
	if len(args) == 1 && (args[0] == "help" || args[0] == "-h" || args[0] == "--help") {
		_, _ = fmt.Fprint(ui.err, q.usage()) // as the original does
		return 0
	}
	verbs := map[string]func(context.Context, string) error{"up": q.up, "down": q.down, "save": q.save, "strip": q.strip}
	if len(args) != 2 || verbs[args[0]] == nil {
		_, _ = fmt.Fprint(ui.err, q.usage())
		return 1
	}
	if err := q.becomeRoot(args); err != nil {
		return q.die(err)
	}
	if err := verbs[args[0]](ctx, args[1]); err != nil {
		return q.die(err)
	}
	return 0
}

func (q quick) usage() string {
	return fmt.Sprintf(`Usage: %s [ up | down | save | strip ] [ CONFIG_FILE | INTERFACE ]

  CONFIG_FILE is a path whose last part is the name of an interface followed by
  ".conf"; INTERFACE stands for %s/INTERFACE.conf. Besides the keys of wg(8)
  the file may have, in its [Interface] section:

  - Address: comma-separated addresses of the interface, with prefix lengths
    (repeatable)
  - DNS: comma-separated nameservers and search domains (repeatable)
  - MTU: the interface's; chosen by the way to the peers if not given
  - Table: the routing table, or "auto" or "off"
  - PreUp, PostUp, PreDown, PostDown: commands to run (repeatable)
  - SaveConfig: true, to save the interface's state on down

  This is wgctl. "wgctl help" shows what it can do under its own name.
`, q.prog, config.Dir)
}

// die prints a message as wg-quick does.
func (q quick) die(err error) int {
	if said := (wgSaid{}); errors.As(err, &said) {
		_, _ = fmt.Fprintf(q.ui.err, "%v\nConfiguration parsing error\n", said)
		return 1
	}
	for line := range strings.SplitSeq(strings.TrimRight(err.Error(), "\n"), "\n") {
		_, _ = fmt.Fprintf(q.ui.err, "%s: %s\n", q.prog, line)
	}
	for _, h := range hints(err) {
		q.ui.hint(h)
	}
	return 1
}

// A wgSaid is an error that wg-quick leaves to wg to print.
type wgSaid struct{ error }

// endpoints looks the names of a file up. Where that fails a run as wg-quick
// has wg's words for it.
func (u *ui) endpoints(ctx context.Context, l tunnel.Lookup, names tunnel.Names, cfg *config.Config) ([]netip.AddrPort, error) {
	if !u.quick {
		return l.Endpoints(ctx, names, cfg)
	}
	failed := &failures{Names: names, of: map[string]error{}}
	out, err := l.Endpoints(ctx, failed, cfg)
	if err != nil && ctx.Err() == nil {
		err = wgSaid{failed.explain(err, cfg)}
	}
	return out, err
}

// becomeRoot starts the same words again by sudo where that is needed.
func (q quick) becomeRoot(args []string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	sudo, err := exec.LookPath("sudo")
	if err != nil {
		return fmt.Errorf("%s must be run as root", q.prog)
	}
	self, err := exec.LookPath(q.self) // the link, not what it leads to
	if err == nil {
		self, err = filepath.Abs(self)
	}
	if err != nil {
		return fmt.Errorf("finding %s: %w", q.self, err)
	}
	prompt := fmt.Sprintf("[?] %s must be run as root. Please enter the password for %%u to continue: ", q.prog)
	argv := append([]string{"sudo", "-p", prompt, "--", self}, args...)
	return fmt.Errorf("running sudo: %w", unix.Exec(sudo, argv, os.Environ()))
}

// quickName is what wg-quick takes for the name of an interface.
var quickName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_=+.-]{1,15}$`) })

// locate finds the file by wg-quick's rule, with its messages.
func (q quick) locate(arg string) (path, name string, err error) {
	path, name, err = config.Locate(arg)
	if _, statErr := os.Stat(path); err == nil && errors.Is(statErr, os.ErrNotExist) {
		return "", "", fmt.Errorf("`%s' does not exist", config.Printable(path))
	}
	if _, statErr := os.Stat(arg); err != nil && errors.Is(statErr, os.ErrNotExist) && !quickName().MatchString(arg) {
		return "", "", fmt.Errorf("`%s' does not exist", config.Printable(arg))
	}
	if err != nil {
		//lint:ignore ST1005 these are wg-quick's words
		return "", "", withHint(errors.New("The config file must be a valid interface name, followed by .conf"), err.Error())
	}
	if real, err := filepath.EvalSymlinks(path); err == nil && worldAccessible(real) {
		_, _ = fmt.Fprintf(q.ui.err, "Warning: `%s' is world accessible\n", real)
	}
	return path, name, nil
}

// worldAccessible reports whether everybody may do something with the file that
// the folder lets them do, as wg-quick sees it (its parse_options).
func worldAccessible(path string) bool {
	file, err := os.Stat(path)
	dir, dirErr := os.Stat(filepath.Dir(path))
	return err == nil && dirErr == nil && file.Mode()&dir.Mode()&0o007 != 0
}

func (q quick) up(ctx context.Context, arg string) error {
	_, name, err := q.locate(arg)
	if err != nil {
		return err
	}
	err = up(ctx, q.ui, arg, tunnel.Options{Quick: true})
	if errors.Is(err, tunnel.ErrUp) || errors.Is(err, tunnel.ErrForeign) {
		return fmt.Errorf("`%s' already exists", name)
	}
	return err
}

func (q quick) down(ctx context.Context, arg string) error {
	path, name, err := q.locate(arg)
	if err != nil {
		return err
	}
	err = down(ctx, q.ui, arg)
	switch {
	case err == nil:
		err = clearOriginal(ctx, q.ui, name)
	case errors.Is(err, tunnel.ErrNotUp), errors.Is(err, tunnel.ErrForeign):
		err = downOriginal(ctx, q.ui, path, name)
	}
	if errors.Is(err, tunnel.ErrNotUp) || errors.Is(err, tunnel.ErrForeign) {
		return fmt.Errorf("`%s' is not a WireGuard interface", name)
	}
	return err
}

func (q quick) save(ctx context.Context, arg string) error {
	path, name, err := q.locate(arg)
	if err != nil {
		return err
	}
	err = save(ctx, q.ui, path, name)
	if errors.Is(err, tunnel.ErrNotUp) {
		return fmt.Errorf("`%s' is not a WireGuard interface", name)
	}
	return err
}

func (q quick) strip(ctx context.Context, arg string) error {
	path, _, err := q.locate(arg)
	if err != nil {
		return err
	}
	return strip(ctx, q.ui, path)
}
