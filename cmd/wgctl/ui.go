// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// The rules of printing:
//
//   - Results go to standard output, all else to standard error.
//   - A step is "[#] " and the words an administrator would type.
//   - An error is one lower-case line "wgctl: what was done: why"; a file with
//     several faults gets a line for each. Hints are lines of their own.
//   - No key is ever printed but public ones.
//
// Exit codes: see finish. Only main calls os.Exit.
type ui struct {
	out, err io.Writer
	quick    bool // speak as wg-quick does

	quiet bool // say nothing of steps
	stays bool // the process does not end when a verb's work is done

	place *place // nil: the namespace that it was called in

	// Of one tunnel among several that are worked on at once:
	name  string
	board *board
	line  int

	counting time.Time // when the step began that is taken
}

func newUI(out, err io.Writer) *ui { return &ui{out: out, err: err} }

// Exit codes.
const (
	exitDone    = 0
	exitFailed  = 1 // and the host is as it was
	exitUsage   = 2
	exitResidue = 3 // failed and not wholly undone
	exitChanges = 4 // plan --check: there is something to do
	// exitFile is EX_CONFIG of sysexits.h: run again, it would fail again.
	exitFile = 78
)

// A usageError is about the words of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// A fileError is about the file that run was given.
type fileError struct{ error }

func (e fileError) Unwrap() error { return e.error }

// An exitError ends the program with a code and prints nothing.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// A hinted error has a line of advice.
type hinted struct {
	error
	hint string
}

func (e hinted) Unwrap() error { return e.error }

func withHint(err error, hint string) error { return hinted{err, hint} }

// finish prints an error and returns the exit code.
func (u *ui) finish(err error) int {
	if err == nil {
		return exitDone
	}
	if code := exitError(0); errors.As(err, &code) {
		return int(code)
	}
	if all := several(nil); errors.As(err, &all) {
		return u.finishAll(all)
	}
	for _, line := range strings.Split(strings.TrimRight(err.Error(), "\n"), "\n") {
		_, _ = fmt.Fprintf(u.err, "wgctl: %s\n", line)
	}
	for _, h := range hints(err) {
		u.hint(h)
	}
	if coded := (codedError{}); errors.As(err, &coded) {
		return coded.code
	}
	switch {
	case tunnel.Residue(err):
		return exitResidue
	case errors.As(err, &usageError{}):
		return exitUsage
	case errors.As(err, &fileError{}):
		return exitFile
	}
	return exitFailed
}

// finishAll prints the errors of several tunnels, and returns the gravest exit
// code.
func (u *ui) finishAll(all several) int {
	code := exitDone
	for _, err := range all {
		switch c := u.finish(err); {
		case code == exitDone, c == exitResidue, c == exitFailed && code == exitUsage:
			code = c
		}
	}
	return code
}

// hints are what can be said beyond the error itself.
func hints(err error) (out []string) {
	if h := (hinted{}); errors.As(err, &h) {
		out = append(out, h.hint)
	}
	failed := (*tunnel.StepError)(nil)
	if errors.As(err, &failed) {
		for _, r := range failed.Ran {
			out = append(out, "this hook had run, and what it did was not undone: "+r)
		}
		for _, l := range failed.Left {
			out = append(out, "could not be undone: "+l.Error())
		}
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE) && failed != nil:
		out = append(out, `another socket has the port: "ss -lunp" shows whose`)
	case errors.Is(err, unix.EPERM) && os.Geteuid() != 0:
		out = append(out, "this needs root, or CAP_NET_ADMIN at least")
	}
	if tunnel.Residue(err) {
		out = append(out, `"wgctl down" takes away what is left`)
	}
	return out
}

func (u *ui) hint(s string) { _, _ = fmt.Fprintln(u.err, "hint: "+s) }

func (u *ui) note(format string, args ...any) {
	_, _ = fmt.Fprintf(u.err, "[!] "+format+"\n", args...)
}

// manySteps is how many steps of a batch get a line each.
const manySteps = 10

// step prints what is being done. wg-quick has a line for each of many routes.
func (u *ui) step(s tunnel.Step) {
	u.counting = time.Now()
	batch, ok := s.(tunnel.Batch)
	switch {
	case u.quiet:
	case ok && (u.quick || u.board == nil && len(batch.Steps) <= manySteps):
		for _, one := range batch.Steps {
			u.step(one)
		}
	case u.quick:
		_, _ = fmt.Fprintln(u.err, "[#] "+quickStep(s))
	case u.board != nil:
		u.board.step(u.line, s)
	default:
		_, _ = fmt.Fprintln(u.err, "[#] "+s.String())
	}
}

// progress tells on a terminal how far a long step got.
func (u *ui) progress(done, total int, what string) {
	rate := float64(done) / max(time.Since(u.counting).Seconds(), 0.001)
	text := fmt.Sprintf("%d of %d %s, %.0f a second", done, total, what, rate)
	f, ok := u.err.(*os.File)
	switch {
	case u.board != nil:
		u.board.progress(u.line, text)
	case ok && isTerminal(f) && !u.quick && done < total:
		_, _ = fmt.Fprintf(u.err, "\r\x1b[K    %s", text)
	case ok && isTerminal(f) && !u.quick:
		_, _ = fmt.Fprint(u.err, "\r\x1b[K")
	}
}

// confirm asks on a terminal; elsewhere the answer is no.
func (u *ui) confirm(question string) (answer, asked bool) {
	if !isTerminal(os.Stdin) || !isTerminal(os.Stderr) {
		return false, false
	}
	_, _ = fmt.Fprintf(u.err, "[?] %s: go on? [y/N] ", question)
	word, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	return slices.Contains([]string{"y", "yes"}, strings.ToLower(strings.TrimSpace(word))), true
}

func (u *ui) warnings(ws []config.Warning) {
	for _, w := range ws {
		_, _ = fmt.Fprintln(u.err, "wgctl: warning: "+w.String())
	}
}

func (u *ui) waiting(name string) func(pid string) {
	return func(pid string) { u.note("waiting for process %s, which is working on %s", pid, name) }
}

func (u *ui) lookupFailed(host, port string, err error, delay time.Duration) {
	if u.quick {
		_, _ = fmt.Fprintln(u.err, lookupAgain(host, port, err, delay))
		return
	}
	u.note("looking up %s failed: %v; trying again in %.2f seconds", host, err, delay.Seconds())
}

func (u *ui) json(v any) error {
	e := json.NewEncoder(u.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
