// SPDX-License-Identifier: MIT

package integration

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
)

//go:embed snapshot.sh
var snapshotScript string

// Snapshot is the state of the host that a tunnel may touch, as text that is
// the same byte for byte while nothing changes: links, addresses, rules, routes
// of all tables, nftables and iptables rules, listening sockets, network
// sysctls, /etc/resolv.conf, what else changed in /etc, the tree of /run,
// mounts and processes. Counters, timers and numbers that the kernel gives out
// are left out. What the kernel is still about to change by itself is waited for.
func (h *Host) Snapshot() string {
	h.t.Helper()
	var out Output
	WaitFor(h.t, 10*time.Second, "what the kernel does with the links of "+h.Name, func() bool {
		out = h.Must("sh", "-c", snapshotScript, "sh", h.legacyTables("ip"), h.legacyTables("ip6"))
		return !unfinished(out.Stdout)
	})
	var b strings.Builder
	write := func(part string, lines []string) {
		fmt.Fprintf(&b, "== %s\n", part)
		for _, line := range lines {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	for part := range strings.SplitSeq(out.Stdout, "== ") {
		if name, body, ok := strings.Cut(part, "\n"); ok {
			write(name, tidy(name, body))
		}
	}
	write("sockets", h.sockets())
	write("resolv.conf", h.resolvConf())
	write("etc", h.tree(h.scratch+"/upper", true))
	write("run", h.tree("/run", false))
	write("mounts", h.mounts())
	write("processes", h.Processes())
	write("sysctls", h.sysctls())
	return b.String()
}

// Unchanged fails the test, with a diff, unless the host comes to look as in
// the snapshot before. It waits a moment: a daemon's last words and the
// kernel's removal of a TUN device come after the command that asked for them.
func (h *Host) Unchanged(before string) {
	h.t.Helper()
	deadline := time.Now().Add(Timeout(5 * time.Second))
	for {
		now := h.Snapshot()
		if now == before {
			return
		}
		if time.Now().After(deadline) {
			h.t.Errorf("%s: the host is not as it was:\n%s", h.Name, Diff(before, now))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// unfinished reports whether the kernel still works at a link that has its
// carrier: at the state that follows from the other end's (linkwatch_event), or
// at an address that isn't used yet or has no local route (addrconf_dad_work). It
// reads what the script of a snapshot prints.
func unfinished(printed string) bool {
	carrier := map[string]bool{}
	for _, link := range linkLine.FindAllStringSubmatch(printed, -1) {
		name, other, flags, state := link[1], link[2], link[3], link[4]
		carrier[name] = slices.Contains(strings.Split(flags, ","), "LOWER_UP")
		// A link without another end, as a tunnel's, stays in the state UNKNOWN.
		if carrier[name] && other != "" && state != "UP" {
			return true
		}
	}
	for _, address := range addressLine.FindAllStringSubmatch(printed, -1) {
		name, addr, flags := address[1], address[2], strings.Fields(address[3])
		if !carrier[name] || slices.Contains(flags, "dadfailed") {
			continue
		}
		if slices.Contains(flags, "tentative") || !strings.Contains(printed, "\nlocal "+addr+" dev "+name+" ") {
			return true
		}
	}
	return false
}

var (
	linkLine    = regexp.MustCompile(`(?m)^\d+: ([^@\s]+)(@\S+)?: <(\S*)> .* state (\S+) `)
	addressLine = regexp.MustCompile(`(?m)^\d+: (\S+) +inet6 ([0-9a-f:.]+)[/ ].* scope \w+ ([^\\]*)\\`)
)

// Diff shows how two snapshots differ; empty when they don't.
func Diff(before, after string) string {
	return string(diff.Diff("before", []byte(before), "after", []byte(after)))
}

// parts tells of each part that a program printed what is noise in it (it
// changes by itself, or is an accident of numbering) and whether its order
// says something.
var parts = map[string]struct {
	noise   []replacement
	ordered bool
}{
	"links and addresses": {noise: []replacement{
		{regexp.MustCompile(`^\d+: `), ""},
		{regexp.MustCompile(`@if\d+`), "@peer"},
		{regexp.MustCompile(` link-netnsid \d+`), ""},
		{regexp.MustCompile(`\\? *valid_lft.*`), ""},
	}},
	// Rules come in the order of their priority, which they name.
	"rules and routes -4": {noise: routeNoise},
	"rules and routes -6": {noise: routeNoise},
	"nftables":            {ordered: true},
	"iptables": {ordered: true, noise: []replacement{
		{regexp.MustCompile(`^#.*`), ""}, // the date
		{regexp.MustCompile(`\[\d+:\d+\]`), "[0:0]"},
	}},
}

type replacement struct {
	pattern *regexp.Regexp
	put     string
}

var routeNoise = []replacement{{regexp.MustCompile(` expires \S+`), ""}}

// tidy takes the noise out of what a program printed.
func tidy(part, body string) []string {
	kind := parts[part]
	var lines []string
	for line := range strings.Lines(body) {
		for _, n := range kind.noise {
			line = n.pattern.ReplaceAllString(line, n.put)
		}
		if line = strings.TrimRight(line, " \t\n"); line != "" {
			lines = append(lines, line)
		}
	}
	if part == "iptables" {
		lines = dropEmptyTables(lines)
	}
	if !kind.ordered {
		slices.Sort(lines)
	}
	return lines
}

// dropEmptyTables removes tables of iptables-legacy that hold nothing but the
// built-in chains with their default policy: a table stays in the kernel once
// anybody has looked at it.
func dropEmptyTables(lines []string) []string {
	var kept, table []string
	empty := true
	for _, line := range lines {
		table = append(table, line)
		switch {
		case line == "COMMIT":
			if !empty {
				kept = append(kept, table...)
			}
			table, empty = nil, true
		case !strings.HasPrefix(line, "*") && !builtinChain.MatchString(line):
			empty = false
		}
	}
	return append(kept, table...)
}

var builtinChain = regexp.MustCompile(`^:[A-Z]+ ACCEPT \[`)
