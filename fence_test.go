// SPDX-License-Identifier: MIT

// Package wgctl_test holds the fences between the packages, which are those of
// the table in CONTRIBUTING.md, each with its reason.
package wgctl_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/wgctl/wgctl"

// A fence is what one package may import.
type fence struct {
	pkg string // below the module
	// ours are the packages of this module that it may import; all of them
	// if nil.
	ours []string
	why  string // of ours
	// banned are packages that it must not even depend on, by way of others.
	banned []ban
	// bannedHere are packages that it must not import itself.
	bannedHere []ban
}

// A ban is a package, and all below it if it ends in "/...".
type ban struct{ path, why string }

func (b ban) matches(path string) bool {
	dir, below := strings.CutSuffix(b.path, "/...")
	return path == dir || below && strings.HasPrefix(path, dir+"/")
}

const nothing = "" // in ours: no package at all

const blackBox = "integration drives the binary: what it shared with it, it could not check"

var (
	netlink = []ban{
		{"github.com/vishvananda/netlink/...", "netlink is netlinkx's: others see the kernel through its interfaces"},
		{"golang.zx2c4.com/wireguard/wgctrl/...", "WireGuard devices are netlinkx's: others see them through its interfaces"},
	}
	wireguardGo = []ban{
		{"golang.zx2c4.com/wireguard/conn/...", "only the process of an embedded device runs wireguard-go"},
		{"golang.zx2c4.com/wireguard/device/...", "only the process of an embedded device runs wireguard-go"},
		{"golang.zx2c4.com/wireguard/tun/...", "only the process of an embedded device runs wireguard-go"},
	}
	nftables = ban{"github.com/google/nftables/...", "packet filters are firewall's: others give it a Ruleset"}
	iptables = ban{"github.com/coreos/go-iptables/...", "packet filters are firewall's: others give it a Ruleset"}
	ini      = ban{"gopkg.in/ini.v1/...", "files are config's: others take a Config"}
	bus      = ban{"github.com/godbus/...", "daemons of the host are asked by firewall and dns, each its own"}
	cli      = []ban{
		{"github.com/spf13/...", "words of the command line are cmd's: below it, options are fields"},
		{"net/http/...", "what a tunnel needs is asked of the host, not of the web"},
	}
	quiet = []ban{
		{"flag", "words of the command line are cmd's: below it, options are fields"},
		{"log/...", "below cmd nothing logs: steps go to a callback, decisions come back with their trace"},
	}
)

func join(lists ...[]ban) []ban { return slices.Concat(lists...) }

var fences = []fence{
	{
		pkg: "config", ours: []string{nothing}, why: "a file is read without knowing what becomes of it",
		banned: join(netlink, wireguardGo, cli, []ban{
			nftables, iptables,
			{"os/exec", "config reads text and runs nothing"},
			{"net", "config looks no name up: an endpoint stays a host and a port"},
		}),
		bannedHere: quiet,
	}, {
		pkg: "routes", ours: []string{nothing}, why: "what routes a tunnel needs is worked out from facts alone",
		bannedHere: join(quiet, []ban{
			{"os/...", "routes is pure: it is told the facts of the host"},
			{"net", "routes is pure: addresses are netip's, and nothing is looked up"},
			{"syscall", "routes is pure: it is told the facts of the host"},
			{"time", "routes is pure: the same facts make the same routes at any time"},
		}),
	}, {
		pkg: "firewall", ours: []string{nothing}, why: "a ruleset is data, whoever wants it",
		banned: join(wireguardGo, cli, []ban{ini}), bannedHere: join(netlink, quiet),
	}, {
		pkg: "dns", ours: []string{nothing}, why: "resolver settings are data, whoever wants them",
		banned: join(netlink, wireguardGo, cli, []ban{ini, nftables, iptables}), bannedHere: quiet,
	}, {
		pkg: "namespace", ours: []string{nothing}, why: "a namespace is entered, whatever is in it",
		banned: join(netlink, wireguardGo, cli, []ban{ini, nftables, iptables}), bannedHere: quiet,
	}, {
		pkg: "lab", ours: []string{"namespace"}, why: "the hosts of a lab are made without what is tried on them",
		banned: join(netlink[1:], wireguardGo, cli, []ban{ini, iptables}), bannedHere: quiet,
	}, {
		pkg: "labtest", ours: []string{"lab", "namespace"}, why: "a lab for tests of others brings nothing along but the lab: tunnels are the program's",
		banned: join(netlink[1:], wireguardGo, []ban{ini, iptables}),
	}, {
		pkg: "netlinkx", ours: []string{"routes"}, why: "the kernel is told what to do by whoever decides: routes and rules are the only types that it shares",
		banned: join(wireguardGo, cli, []ban{ini, nftables, iptables}), bannedHere: quiet,
	}, {
		pkg: "netlinkx/userspace", ours: []string{nothing}, why: "the process of an embedded device knows nothing of tunnels",
		banned: join(cli, []ban{ini, nftables, iptables}),
	}, {
		pkg: "tunnel/hook", ours: []string{"routes"}, why: "what a hook means is in its text alone: tunnel decides what becomes of it",
		bannedHere: join(quiet, []ban{
			{"os/...", "a hook is understood, and not run"},
			{"net", "addresses are netip's, and nothing is looked up"},
			{"mvdan.cc/sh/v3/interp", "a hook is understood, and not run"},
		}),
	}, {
		pkg: "tunnel/shell", ours: []string{nothing}, why: "a shell runs what it is given, whoever gives it",
		bannedHere: join(quiet, []ban{{"os/signal", "signals end it, with all that it runs"}}),
	}, {
		pkg: "tunnel", ours: []string{"config", "routes", "firewall", "dns", "netlinkx", "namespace", "tunnel/hook"},
		why:    "tunnel is given a Host: it neither starts devices itself nor knows who calls it",
		banned: join(wireguardGo, cli), bannedHere: join(netlink, quiet, []ban{nftables, iptables, ini, bus}),
	}, {
		pkg: "check", ours: []string{"config", "routes", "tunnel", "tunnel/hook"}, why: "a rule is told the facts, and changes nothing",
		banned: join(wireguardGo, cli), bannedHere: join(netlink, quiet, []ban{
			nftables, iptables, ini, bus,
			{"os/...", "a rule is a function of files that were read and facts that were gathered"},
			{"net", "a rule looks no name up: what came of look-ups is among the facts"},
		}),
	}, {
		pkg: "agent", ours: []string{"tunnel", "netlinkx"}, why: "an agent decides when; what is done is tunnel's affair, and where the file is its caller's",
		banned: join(wireguardGo, cli), bannedHere: join(netlink, quiet, []ban{nftables, iptables, ini, bus}),
	}, {
		pkg:        "cmd/wgctl",
		bannedHere: join(netlink, wireguardGo, []ban{nftables, iptables, ini, bus}),
	}, {
		pkg: "integration", ours: []string{"lab"}, why: blackBox,
	}, {
		pkg: "integration/bench", ours: []string{nothing}, why: blackBox,
	}, {
		pkg: "integration/bench/floor", ours: []string{nothing}, why: "the floor is what can be done without us",
	}, {
		pkg: "integration/vm", ours: []string{nothing}, why: blackBox,
	}, {
		pkg: "integration/vm/boot", ours: []string{"integration/vm"}, why: blackBox,
	},
}

// A listed is what go list says of a package.
type listed struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string // by whatever way

	TestImports, XTestImports []string
	Dir                       string
}

func list(t *testing.T, args ...string) map[string]listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Imports,Deps,TestImports,XTestImports,Dir"}, args...)...)
	cmd.Env = append(cmd.Environ(), "GOOS=linux", "GOFLAGS=-mod=readonly")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v: %s", err, stderr.String())
	}
	all := map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// No package reaches beyond its floor.
func TestFences(t *testing.T) {
	all := list(t, "-deps", "./...")
	for _, f := range fences {
		p, ok := all[module+"/"+f.pkg]
		if !ok {
			t.Errorf("there is no package %s any more: its fence has to move with it", f.pkg)
			continue
		}
		for _, fault := range f.faults(p) {
			t.Error(fault)
		}
	}
}

// faults says what of a package's imports is beyond the fence, and why it is
// there.
func (f fence) faults(p listed) (out []string) {
	for _, path := range p.Imports {
		if name, ours := strings.CutPrefix(path, module+"/"); ours && f.ours != nil && !slices.Contains(f.ours, name) {
			out = append(out, fmt.Sprintf("%s must not import %s: %s", f.pkg, name, f.why))
		}
		for _, b := range slices.Concat(f.banned, f.bannedHere) {
			if b.matches(path) {
				out = append(out, fmt.Sprintf("%s must not import %s: %s", f.pkg, path, b.why))
			}
		}
	}
	for _, path := range p.Deps {
		for _, b := range f.banned {
			if b.matches(path) && !slices.Contains(p.Imports, path) {
				out = append(out, fmt.Sprintf("%s must not depend on %s, by whatever way: %s", f.pkg, path, b.why))
			}
		}
	}
	return out
}

// Every package has its fence, so that a new one is thought about.
func TestEveryPackageIsFenced(t *testing.T) {
	for path, p := range list(t, "./...") {
		name := strings.TrimPrefix(path, module+"/")
		if path == module || slices.ContainsFunc(fences, func(f fence) bool { return f.pkg == name }) {
			continue
		}
		t.Errorf("package %s (%s) has no fence: add what it may import, and why, to the list in fence_test.go", name, p.Dir)
	}
}

// routes needs nothing but the standard library and netip's sets, so that its tables can be
// tried anywhere.
func TestRoutesIsStandardLibraryOnly(t *testing.T) {
	for path, p := range list(t, "-deps", "./routes") {
		if !p.Standard && path != module+"/routes" && path != "go4.org/netipx" {
			t.Errorf("routes must not depend on %s: it is netip, sets of it, and the standard library", path)
		}
	}
}

// The black box stays one in its tests too, and nobody leans on it.
func TestIntegrationIsABlackBox(t *testing.T) {
	for path, p := range list(t, "./...") {
		inside := strings.HasPrefix(path, module+"/integration")
		for _, i := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if !strings.HasPrefix(i, module+"/") || i == module+"/lab" {
				continue // the wires between hosts are not what is tested
			}
			if strings.HasPrefix(i, module+"/integration") != inside {
				t.Errorf("%s must not import %s: %s", path, i, blackBox)
			}
		}
	}
}

// A fence holds: the test of the test.
func TestFenceFinds(t *testing.T) {
	f := fence{
		pkg: "a", ours: []string{"b"}, why: "because",
		banned:     []ban{{"net", "no names"}, {"x.org/y/...", "no y"}},
		bannedHere: []ban{{"log/...", "no logs"}},
	}
	got := f.faults(listed{
		Imports: []string{"fmt", module + "/b", module + "/c", "log/slog", "x.org/y/z", "x.org/yy"},
		Deps:    []string{"fmt", "log", "log/slog", "net", "net/netip", "x.org/y/z", module + "/d"},
	})
	want := []string{
		"a must not import c: because",
		"a must not import log/slog: no logs",
		"a must not import x.org/y/z: no y",
		"a must not depend on net, by whatever way: no names",
	}
	if !slices.Equal(got, want) {
		t.Errorf("faults:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
