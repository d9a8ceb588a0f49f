// SPDX-License-Identifier: MIT

package vm

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
)

// Output is what a command in a guest left.
type Output struct {
	Console string // standard output and error, and what the kernel had to say
	Code    int    // exit status
}

// Run boots the machine for a test and runs a command in it. The console is
// logged as it comes. A machine that cannot have guests skips the test, or
// fails it under WGCTL_TEST_STRICT=1.
func Run(ctx context.Context, t testing.TB, m Machine, command ...string) Output {
	t.Helper()
	needGuest(t)
	var console bytes.Buffer
	lines := &logLines{t: t}
	code, err := m.Run(ctx, teeWriter{&console, lines}, command...)
	lines.flush()
	if err != nil {
		t.Fatalf("kernel %s: %v", m.Kernel, err)
	}
	return Output{console.String(), code}
}

// needGuest ends the test where no guest can run, or shall not: -short.
func needGuest(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine")
	}
	if err := Probe(); err != nil {
		needed(t, err.Error())
	}
}

// needed reports that a probe failed.
func needed(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("WGCTL_TEST_STRICT") == "1" {
		t.Fatal("cannot run here: " + reason)
	}
	t.Skip("cannot run here: " + reason)
}

type teeWriter struct {
	all   *bytes.Buffer
	lines *logLines
}

func (w teeWriter) Write(b []byte) (int, error) {
	w.all.Write(b)
	return w.lines.Write(b)
}

// logLines writes each whole line to a test's log, without what a test binary
// says for programs to read (-test.v=test2json).
type logLines struct {
	t    testing.TB
	rest string
}

func (l *logLines) Write(b []byte) (int, error) {
	lines := strings.Split(l.rest+string(b), "\n")
	l.rest = lines[len(lines)-1]
	for _, line := range lines[:len(lines)-1] {
		if !strings.HasPrefix(line, "\x16===") {
			l.t.Log(strings.TrimPrefix(line, "\x16"))
		}
	}
	return len(b), nil
}

func (l *logLines) flush() {
	if l.rest != "" {
		l.t.Log(l.rest)
		l.rest = ""
	}
}
