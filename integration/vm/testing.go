// SPDX-License-Identifier: MIT

package vm

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"testing"
)

// Output is what a command in a guest left.
type Output struct {
	Console string // standard output and error, and what the kernel had to say
	Code    int    // exit status
}

// lastLines is how much of a console is shown with a test that failed; go test -v
// shows all of it, as it comes.
const lastLines = 60

// Run boots the machine for a test and runs a command in it. A machine that cannot
// have guests skips the test, or fails it under WGCTL_TEST_STRICT=1.
func Run(ctx context.Context, t testing.TB, m Machine, command ...string) Output {
	t.Helper()
	needGuest(t)
	out, err := boot(ctx, t, m, command...)
	if err != nil {
		t.Fatalf("kernel %s: %v", m.Kernel, err)
	}
	return out
}

// boot is Run, but for the test's end.
func boot(ctx context.Context, t testing.TB, m Machine, command ...string) (Output, error) {
	var console bytes.Buffer
	var to io.Writer = &console
	if testing.Verbose() {
		lines := &logLines{t: t}
		defer lines.flush()
		to = io.MultiWriter(&console, lines)
	} else {
		t.Cleanup(func() {
			if t.Failed() {
				lines := strings.Split(strings.TrimSpace(console.String()), "\n")
				t.Logf("the console's last lines:\n%s", strings.Join(lines[max(0, len(lines)-lastLines):], "\n"))
			}
		})
	}
	code, err := m.Run(ctx, to, command...)
	return Output{console.String(), code}, err
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
