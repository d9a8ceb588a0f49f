// SPDX-License-Identifier: MIT

// Package shell is the shell that hooks run in on a host without bash: an
// interpreter that speaks bash, inside of a process of wgctl's own.
//
// It is not for what wgctl itself does, and it starts no process for its own
// ends: whoever runs a hook puts Main into a process group that can be ended
// whole.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// Descriptors that the process of a hook is started with. The text comes over
// one, because on a command line anybody on the host could read it; the exit
// status goes over the other, as soon as it is known: what the hook left
// running in the background may go on in the same process.
const (
	TextFD   = 3
	StatusFD = 4
)

// preamble are the options, variables and functions that hooks find in
// wg-quick.
const preamble = `set -e -o pipefail; shopt -s extglob; export LC_ALL=C; INTERFACE=$1 CONFIG_FILE=$2 PROGRAM=wg-quick
cmd() { echo "[#] $*" >&2; "$@"; }
shift 2
`

// Main runs the hook whose text is on TextFD, with the standard descriptors of
// the process, and returns when nothing of it runs in this process any more. The
// exit status is that of the hook, written to StatusFD before.
func Main(ctx context.Context, ifname, config string) int {
	text, status := os.NewFile(TextFD, "hook"), os.NewFile(StatusFD, "status")
	hook, err := io.ReadAll(text)
	_ = text.Close()
	if err != nil {
		fmt.Fprintf(os.Stderr, "reading hook: %v\n", err)
		return 1
	}
	unix.CloseOnExec(StatusFD)
	return Run(ctx, string(hook), ifname, config, func(code int) {
		_, _ = fmt.Fprintln(status, code)
		_ = status.Close()
	})
}

// Run runs the text of a hook with the standard descriptors of the process.
// done is told the exit status before what runs in the background is waited
// for.
func Run(ctx context.Context, text, ifname, config string, done func(code int)) (code int) {
	runner, err := interp.New(
		interp.StdIO(os.Stdin, os.Stdout, os.Stderr),
		interp.Params("--", ifname, config),
		interp.CallHandler(call),
	)
	if err == nil {
		err = eval(ctx, runner, preamble)
	}
	if err == nil {
		err = eval(ctx, runner, text)
	}
	code = statusOf(err)
	done(code)
	_ = eval(ctx, runner, "wait")
	return code
}

func eval(ctx context.Context, runner *interp.Runner, text string) error {
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "hook")
	if err != nil {
		return err
	}
	return runner.Run(ctx, file)
}

// statusOf returns the exit status that an error stands for. One that isn't a
// status is the shell's own, as of syntax, and is printed.
func statusOf(err error) int {
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	fmt.Fprintln(os.Stderr, err)
	return 2
}

// call replaces builtins that the interpreter claims and doesn't have: by the
// programs of that name, or by what they do.
func call(ctx context.Context, args []string) ([]string, error) {
	switch args[0] {
	case "kill":
		hc := interp.HandlerCtx(ctx)
		path, err := interp.LookPathDir(hc.Dir, hc.Env, "kill")
		if err != nil {
			fmt.Fprintln(hc.Stderr, "kill:", exec.ErrNotFound)
			return []string{"false"}, nil
		}
		return append([]string{path}, args[1:]...), nil
	case "umask":
		return umask(interp.HandlerCtx(ctx), args[1:]), nil
	case "disown":
		return []string{"true"}, nil // nobody hangs up on what a hook leaves behind
	}
	return args, nil
}

// umask is the process's: a subshell can't have one of its own.
func umask(hc interp.HandlerContext, args []string) []string {
	if len(args) == 0 {
		old := unix.Umask(0)
		unix.Umask(old)
		fmt.Fprintf(hc.Stdout, "%04o\n", old)
		return []string{"true"}
	}
	mask, err := strconv.ParseUint(args[0], 8, 9)
	if err != nil || len(args) > 1 {
		fmt.Fprintln(hc.Stderr, "umask: only octal masks are known here")
		return []string{"false"}
	}
	unix.Umask(int(mask))
	return []string{"true"}
}
