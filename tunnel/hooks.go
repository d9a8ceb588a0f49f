// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/wgctl/wgctl/config"
	"golang.org/x/sys/unix"
)

// HookVariable is in the environment of hooks: the interface whose lock is
// held while they run.
const HookVariable = "WGCTL_HOOK"

// A Hook is one shell command of a file, at one of four moments.
type Hook struct {
	Phase     string // "PreUp", "PostUp", "PreDown" or "PostDown"
	Command   string // with %i replaced
	Interface string
	Config    string // path of the file
}

// HooksOf returns the hooks of a file with %i replaced, everywhere in the text
// as wg-quick does.
func HooksOf(cfg *config.Config, name string) Hooks {
	h := cfg.Interface.Hooks
	each := func(in []string) []string {
		var out []string
		for _, c := range in {
			out = append(out, strings.ReplaceAll(c, "%i", name))
		}
		return out
	}
	return Hooks{Config: cfg.File(), PreUp: each(h.PreUp), PostUp: each(h.PostUp), PreDown: each(h.PreDown), PostDown: each(h.PostDown)}
}

// Shell runs hooks as wg-quick's execute_hooks does, by bash where there is
// one: with "set -e -o pipefail" and extglob, LC_ALL=C, $INTERFACE and
// $CONFIG_FILE as shell variables, and the caller's folder and standard
// input. Each runs in a process group of its own, which is killed whole when
// the context ends.
type Shell struct {
	Stdin          *os.File
	Stdout, Stderr io.Writer
	// NoBash is told once if sh has to do.
	NoBash func(sh string)

	path string
	bash bool
}

// The text of a hook reaches the shell over descriptor 3: on a command line
// anybody on the host could read it.
const (
	bashPreamble = `set -e -o pipefail; shopt -s extglob; export LC_ALL=C; INTERFACE=$1 CONFIG_FILE=$2 PROGRAM=wg-quick
cmd() { echo "[#] $*" >&2; "$@"; }
IFS= read -r -d '' -u 3 HOOK || :; exec 3<&-; shift 2; eval "$HOOK"`
	shPreamble = `set -e; export LC_ALL=C; INTERFACE=$1 CONFIG_FILE=$2 PROGRAM=wg-quick
cmd() { echo "[#] $*" >&2; "$@"; }
HOOK=$(cat <&3); exec 3<&-; shift 2; eval "$HOOK"`
)

// Run runs one hook. The error names the phase, not the command's text.
func (s *Shell) Run(ctx context.Context, h Hook) error {
	if err := s.find(); err != nil {
		return err
	}
	preamble := shPreamble
	if s.bash {
		preamble = bashPreamble
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("running hook: %w", err)
	}
	defer r.Close()
	go func() {
		_, _ = io.WriteString(w, h.Command)
		_ = w.Close()
	}()
	cmd := exec.CommandContext(ctx, s.path, "-c", preamble, "wg-quick", h.Interface, h.Config)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Stdin, s.Stdout, s.Stderr
	cmd.ExtraFiles = []*os.File{r}
	cmd.Env = append(os.Environ(), HookVariable+"="+h.Interface)
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	restore := s.group(cmd)
	err = cmd.Run()
	restore()
	if ctx.Err() != nil && cmd.Process != nil {
		// Whatever the hook started and did not heed the first signal.
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
		return fmt.Errorf("%s hook was interrupted: %w", h.Phase, context.Cause(ctx))
	}
	if bySignal(err) {
		// Ctrl-C at a terminal goes to the hook alone. What it started and
		// doesn't listen must not outlive the rollback.
		_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // ended well; something it left running holds its output
	}
	return err
}

// bySignal reports whether a shell died of a signal, or says that what it ran
// did.
func bySignal(err error) bool {
	exit := (*exec.ExitError)(nil)
	return errors.As(err, &exit) && (!exit.Exited() || exit.ExitCode() > 128)
}

// group puts the hook into a process group of its own. Where a terminal is
// the standard input the group becomes its foreground, as a shell would do, so
// that the hook can ask for a password and Ctrl-C reaches it.
func (s *Shell) group(cmd *exec.Cmd) (restore func()) {
	cmd.SysProcAttr = &unix.SysProcAttr{Setpgid: true}
	if s.Stdin == nil {
		return func() {}
	}
	tty := int(s.Stdin.Fd())
	group, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	if err != nil || group != unix.Getpgrp() {
		return func() {}
	}
	cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, tty
	return func() {
		signal.Ignore(unix.SIGTTOU)
		defer signal.Reset(unix.SIGTTOU)
		_ = unix.IoctlSetPointerInt(tty, unix.TIOCSPGRP, group)
	}
}

func (s *Shell) find() error {
	if s.path != "" {
		return nil
	}
	if p, err := exec.LookPath("bash"); err == nil {
		s.path, s.bash = p, true
		return nil
	}
	p, err := exec.LookPath("sh")
	if err != nil {
		return fmt.Errorf("no shell to run hooks with: %w", err)
	}
	s.path = p
	if s.NoBash != nil {
		s.NoBash(p)
	}
	return nil
}

// recorded returns what a record keeps of the hooks: those of down, for when
// the file is gone by then, without any that has a key in its text.
func (h Hooks) recorded(public map[string]bool) Hooks {
	open := func(in []string) []string {
		return slices.DeleteFunc(slices.Clone(in), func(c string) bool { return HideKeys(c, public) != c })
	}
	return Hooks{Config: h.Config, PreDown: open(h.PreDown), PostDown: open(h.PostDown)}
}

// publicKeys are those of the tunnel and its peers. A nil Spec has none.
func publicKeys(specs ...*Spec) map[string]bool {
	public := map[string]bool{}
	for _, s := range specs {
		if s == nil {
			continue
		}
		if s.Device.PublicKey != nil {
			public[s.Device.PublicKey.String()] = true
		}
		for _, peer := range s.Device.Peers {
			public[peer.PublicKey.String()] = true
		}
	}
	return public
}

// HideKeys hides what could be a private or preshared key in the text of a
// hook: 44 characters of base64 that are none of the known public keys.
func HideKeys(text string, public map[string]bool) string {
	var b strings.Builder
	for i := 0; i < len(text); {
		n := 0
		for i+n < len(text) && isBase64(text[i+n]) {
			n++
		}
		if n == 0 {
			b.WriteByte(text[i])
			i++
			continue
		}
		word := text[i : i+n]
		head := max(0, n-keyLength) // of "name=KEY"
		key := word[head:]
		if len(key) == keyLength && key[keyLength-1] == '=' && (head == 0 || word[head-1] == '=') && !public[key] {
			key = hidden
		}
		b.WriteString(word[:head] + key)
		i += n
	}
	return b.String()
}

// keyLength is that of a key in base64.
const keyLength = 44

const hidden = "(hidden)"

func isBase64(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '='
}
