// SPDX-License-Identifier: MIT

package integration

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The promise: wgctl up and down run no ip, wg, nft, iptables or sysctl, but
// resolvconf alone, and that only for a file that has DNS. strace(1) tells each
// program that the command or a child of it starts; what resolvconf starts is
// resolvconf's affair.
func TestRunsNoPrograms(t *testing.T) {
	oneGuest(t, "odd")
	Need(t, "strace", "resolvconf")
	for _, c := range []struct {
		name    string
		mayRun  []string
		mustRun bool
	}{
		{"fulldual", nil, false},
		{"provider", []string{"resolvconf"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newToolHost(t, "wgctl", c.name, corpusFile(t, "", c.name))
			for _, verb := range []string{"up", "down"} {
				ran := traceExec(x.h, Bin(t), verb, c.name)
				for _, program := range ran {
					if !slices.Contains(c.mayRun, program) {
						t.Errorf("%s ran %s", verb, program)
					}
				}
				if c.mustRun && len(ran) == 0 {
					t.Errorf("%s: nothing seen of %v", verb, c.mayRun)
				}
			}
			x.h.Unchanged(x.before)
		})
	}
	// That strace sees what it is asked for: wg-quick runs them all.
	t.Run("control", func(t *testing.T) {
		Only(t, Userspace) // strace is the same in the guest, and wg-quick slow under it
		x := newToolHost(t, "wg-quick", "fulldual", corpusFile(t, "", "fulldual"))
		ran := traceExec(x.h, "wg-quick", "up", "fulldual")
		for _, program := range []string{"ip", "wg", "nft", "sysctl"} {
			if !slices.Contains(ran, program) {
				t.Errorf("wg-quick is not seen to run %s: %v", program, ran)
			}
		}
	})
}

// traceExec runs a command under strace and lists the programs that it and its
// children started, without itself and without what resolvconf started. strace
// stays with the device's process after the command has ended.
func traceExec(h *Host, command ...string) []string {
	h.t.Helper()
	const log, status = "/run/strace", "/run/status"
	h.Start(slices.Concat([]string{"strace", "-f", "-qq", "-e", "trace=execve,process", "-e", "signal=none", "-o", log, "--",
		"sh", "-c", `"$@"; echo $? >` + status, "sh"}, command)...)
	WaitFor(h.t, runLimit, "the command under strace to end", func() bool { return h.Exists(status) && h.ReadFile(status) != "" })
	if code := h.ReadFile(status); code != "0\n" {
		h.t.Fatalf("%s: %v under strace ended with %s", h.Name, command, code)
	}
	text := h.ReadFile(log)
	h.Must("rm", log, status)
	return execs(text, command[0])
}

var (
	execLine  = regexp.MustCompile(`^(\d+) +execve\("([^"]+)"`)
	childLine = regexp.MustCompile(`^(\d+) .*\b(?:clone3?|v?fork)\b.* = (\d+)`)
)

// execs reads a log of strace. Of a call that another process interrupted there
// are two halves, the second of which names the child, maybe after the child's
// own first call: so parents are read first.
func execs(log, self string) []string {
	_, log, _ = strings.Cut(log, "\n") // the shell that runs the command
	parent := map[string]string{}
	for line := range strings.Lines(log) {
		if m := childLine.FindStringSubmatch(line); m != nil {
			parent[m[2]] = m[1]
		}
	}
	resolvconf := map[string]bool{}
	within := func(pid string) bool {
		for pid != "" && !resolvconf[pid] {
			pid = parent[pid]
		}
		return pid != ""
	}
	var ran []string
	for line := range strings.Lines(log) {
		m := execLine.FindStringSubmatch(line)
		if m == nil || m[2] == self || m[2] == "/proc/self/exe" || within(m[1]) || strings.Contains(line, "ENOENT") {
			continue
		}
		program := m[2][strings.LastIndex(m[2], "/")+1:]
		if program == "resolvconf" {
			resolvconf[m[1]] = true
		}
		ran = append(ran, program)
	}
	return ran
}
