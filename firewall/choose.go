// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// ErrNoBackend is the error of a Firewall that has no packet filter to
// program.
var ErrNoBackend = errors.New("no packet filter to program")

// Names of the backends, as Choose returns them.
const (
	BackendNFTables       = "nftables"
	BackendIPTablesNFT    = "iptables-nft"
	BackendIPTablesLegacy = "iptables-legacy"
	BackendNone           = "none"
)

// ForceVariable is the environment variable by which a user decides: nftables
// or iptables.
const ForceVariable = "WGCTL_FIREWALL"

// Facts are what the choice of a backend is made from.
type Facts struct {
	// NFTables is nil if the kernel's nf_tables answered, else why it
	// couldn't be used.
	NFTables error
	// Tools returns the iptables programs found, those to be preferred first.
	// It is asked where the kernel has no nf_tables, or something of theirs:
	// looking for six programs takes longer than bringing a small tunnel's
	// rules up. nil if there are none.
	Tools func() []Tool
	// Force is "nftables" or "iptables" if somebody decided already, else "".
	Force string

	line *line // to nf_tables
}

// Choose returns the name of the backend to use and how it was found, as one
// line. The error, with the name "none", says what to install; it concerns
// only tunnels that have rules.
//
// nf_tables over netlink comes first: it replaces a table in one transaction
// and needs no program. iptables is for kernels without it.
func Choose(f Facts) (name, trace string, err error) {
	var t tracer
	defer func() { trace = t.end(name) }()

	if f.Force != "" {
		t.add("force", f.Force)
		if f.Force != "nftables" && f.Force != "iptables" {
			return BackendNone, "", fmt.Errorf("choosing a firewall backend: %q is neither nftables nor iptables: %w", f.Force, unix.EINVAL)
		}
	}
	if f.Force != "iptables" {
		if f.NFTables == nil {
			t.add("nf_tables", "yes")
			return BackendNFTables, "", nil
		}
		t.add("nf_tables", reason(f.NFTables))
		if errors.Is(f.NFTables, unix.EPERM) || passing(f.NFTables) {
			// iptables would be refused too, and less clearly; and what has
			// no room now says nothing of what the kernel can.
			return BackendNone, "", fmt.Errorf("choosing a firewall backend: reading nf_tables: %w", f.NFTables)
		}
		if f.Force == "nftables" {
			return BackendNone, "", fmt.Errorf("choosing a firewall backend: reading nf_tables: %w", f.NFTables)
		}
	}
	for _, tool := range f.tools() {
		if !tool.Legacy && f.NFTables != nil {
			t.add("skip", tool.String())
			continue
		}
		pick := f.iptables(tool.Legacy)
		t.add("iptables", orDash(pick.tool(false).Path))
		t.add("ip6tables", orDash(pick.tool(true).Path))
		if tool.Legacy {
			return BackendIPTablesLegacy, "", nil
		}
		return BackendIPTablesNFT, "", nil
	}
	t.add("iptables", "-")
	return BackendNone, "", fmt.Errorf("choosing a firewall backend: %w: the kernel has no nf_tables and iptables is not installed", ErrNoBackend)
}

// passing reports whether an error says that memory, descriptors or buffers
// ran out, or that something was busy, and nothing of what the kernel can.
func passing(err error) bool {
	return slices.ContainsFunc([]error{unix.ENOBUFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE, unix.EAGAIN, unix.EINTR, unix.EBUSY, unix.EEXIST, unix.EIO},
		func(e error) bool { return errors.Is(err, e) })
}

func (f Facts) tools() []Tool {
	if f.Tools == nil {
		return nil
	}
	return f.Tools()
}

// iptables returns the backend of the preferred tools of one mode.
func (f Facts) iptables(legacy bool) iptables {
	return iptables{legacy: legacy, found: f.tools, line: f.line}
}

// Detect gathers the facts of this host and network namespace. It changes
// nothing and, as a rule, runs no program.
func Detect(ctx context.Context) Facts {
	f := Facts{Force: os.Getenv(ForceVariable)}
	f.line = new(line)
	c, err := f.line.take(ctx)
	if err == nil {
		_, err = c.ListTablesOfFamily(nftables.TableFamilyINet)
		f.line.give(c, err)
	}
	f.NFTables = err
	// What is undone after a cancellation may need them, too.
	ctx = context.WithoutCancel(ctx)
	f.Tools = sync.OnceValue(func() []Tool { return findTools(ctx) })
	return f
}

// findTools looks for the programs of both modes, in the order of preference.
func findTools(ctx context.Context) (tools []Tool) {
	for _, name := range []string{
		"iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft",
	} {
		t, ok := findTool(ctx, name)
		if t.V6 && !hasIPv6() {
			continue // the program is there, and fails
		}
		if ok && !slices.ContainsFunc(tools, func(o Tool) bool { return o.V6 == t.V6 && o.Legacy == t.Legacy }) {
			tools = append(tools, t)
		}
	}
	return tools
}

// hasIPv6 reports whether the kernel runs IPv6 in this network namespace
// (net/ipv6/addrconf.c; there is no such file after ipv6.disable=1).
func hasIPv6() bool {
	_, err := os.Stat("/proc/thread-self/net/if_inet6")
	return err == nil
}

// findTool looks for a program that has its -save and -restore beside it.
func findTool(ctx context.Context, name string) (Tool, bool) {
	path, ok := lookPath(name)
	if !ok {
		return Tool{}, false
	}
	for _, suffix := range []string{"-save", "-restore"} {
		if _, err := exec.LookPath(path + suffix); err != nil {
			return Tool{}, false
		}
	}
	legacy, err := isLegacy(ctx, path)
	return Tool{Path: path, V6: strings.HasPrefix(name, "ip6"), Legacy: legacy}, err == nil
}

// lookPath is exec.LookPath that also finds what the PATH of cron or of an
// unprivileged shell doesn't name.
func lookPath(name string) (string, bool) {
	for _, p := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(p); err == nil {
			return found, true
		}
	}
	return "", false
}

// isLegacy tells the two kinds of iptables apart: by the multi-call program
// behind the name, else by its version line, "iptables v1.8.9 (nf_tables)".
// Before 1.8 there was only the one that is called legacy today, and it did
// not say so. (go-iptables reads that line too, but keeps the mode to itself.)
func isLegacy(ctx context.Context, path string) (bool, error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		switch filepath.Base(target) {
		case "xtables-legacy-multi", "xtables-multi":
			return true, nil
		case "xtables-nft-multi":
			return false, nil
		}
	}
	version, err := run(ctx, "", path, "--version")
	return !strings.Contains(version, "(nf_tables)"), err
}

// A tracer collects what a decision was made from.
type tracer struct{ words []string }

func (t *tracer) add(key, value string) { t.words = append(t.words, key+"="+value) }

func (t *tracer) end(ret string) string {
	t.add("ret", ret)
	return "firewall: [" + strings.Join(t.words, " ") + "]"
}

// reason returns an error as one word of a trace.
func reason(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return "no"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
