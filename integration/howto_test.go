// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The hosts that documents speak of, each in a network of its own: its address
// ends in 1 or 2, that of the router to all others in 254.
var documented = map[string]struct{ v4, router4, v6, router6 string }{
	"relay":   {"203.0.113.1/24", "203.0.113.254", "2001:db8:1::1/64", "2001:db8:1::fe"},
	"laptop":  {"198.51.100.2/24", "198.51.100.254", "2001:db8:2::2/64", "2001:db8:2::fe"},
	"nas":     {"192.0.2.2/25", "192.0.2.126", "2001:db8:3::2/64", "2001:db8:3::fe"},
	"visitor": {"192.0.2.130/25", "192.0.2.254", "2001:db8:4::2/64", "2001:db8:4::fe"},
}

// sites have a machine behind them.
var sites = map[string]struct{ lan4, machine, machine4 string }{
	"relay": {"192.168.10.1/24", "desk", "192.168.10.2"},
	"nas":   {"192.168.20.1/24", "printer", "192.168.20.2"},
}

// internetOf makes documented hosts with a way to each other.
func internetOf(t testing.TB, names ...string) map[string]*Host {
	t.Helper()
	hosts, all := map[string]*Host{}, []*Host{NewHost(t, "internet")}
	var wires, ends, between strings.Builder
	for i, name := range names {
		d := documented[name]
		hosts[name] = newTunnelHost(t, name)
		all = append(all, hosts[name])
		_, bits, _ := strings.Cut(d.v4, "/")
		fmt.Fprintf(&wires, "[Network wire%d]\n", i)
		fmt.Fprintf(&ends, "[Host %s]\nLink = wire%d %s, %s\nGateway = %s, %s\n", name, i, d.v4, d.v6, d.router4, d.router6)
		fmt.Fprintf(&between, "Link = wire%d %s/%s, %s/64\n", i, d.router4, bits, d.router6)
	}
	Lay(t, wires.String()+ends.String()+"[Host internet]\nForward = on\n"+between.String(), all...)
	return hosts
}

// withSites adds the machines behind hosts.
func withSites(t testing.TB, hosts map[string]*Host, names ...string) {
	t.Helper()
	for _, name := range names {
		s := sites[name]
		m := NewHost(t, s.machine)
		Connect(t, hosts[name].At("lan0", s.lan4), m.At("eth0", s.machine4+"/24"))
		gateway, _, _ := strings.Cut(s.lan4, "/")
		m.Must("ip", "route", "add", "default", "via", gateway)
		hosts[name].settle()
		m.settle()
		hosts[s.machine] = m
	}
}

// Every how-to works: its files and commands, in their order, on the hosts that
// it speaks of, print what it shows; and when it is through, all are as before.
func TestHowTos(t *testing.T) {
	Only(t, Userspace) // what commands print doesn't depend on the device, as other tests show
	worlds := map[string]func(t testing.TB) map[string]*Host{
		"full-tunnel.md": func(t testing.TB) map[string]*Host {
			hosts := internetOf(t, "relay", "laptop", "visitor")
			hosts["laptop"].Hide("resolvconf") // openresolv leaves folders of its own
			return hosts
		},
		"hub-and-spoke.md": func(t testing.TB) map[string]*Host { return internetOf(t, "relay", "laptop", "nas") },
		"site-to-site.md": func(t testing.TB) map[string]*Host {
			hosts := internetOf(t, "relay", "nas")
			withSites(t, hosts, "relay", "nas")
			return hosts
		},
		"containers.md": func(t testing.TB) map[string]*Host {
			hosts := internetOf(t, "relay", "laptop")
			hosts["laptop"].Sh("mkdir -m 755 /run/netns && mount --bind /run/netns /run/netns && mount --make-shared /run/netns")
			return hosts
		},
		"from-wg-quick.md": func(t testing.TB) map[string]*Host {
			Need(t, "wg-quick", "iptables")
			hosts := internetOf(t, "relay", "laptop")
			hosts["relay"].Setenv("WG_QUICK_USERSPACE_IMPLEMENTATION", WireguardGo(t))
			// What the hooks leave that the original runs: the parameter, and the
			// chains of iptables, empty.
			hosts["relay"].Sh("sysctl -qw net.ipv4.ip_forward=1; for c in 'FORWARD -j ACCEPT' 'POSTROUTING -t nat -j MASQUERADE'; do iptables -A $c; iptables -D $c; done")
			return hosts
		},
		"ci.md": func(t testing.TB) map[string]*Host {
			h := newTunnelHost(t, "runner")
			h.Must("mount", "-t", "tmpfs", "none", "/srv")
			// What ip-netns(8) leaves behind.
			h.Sh("mkdir -m 755 /run/netns && mount --bind /run/netns /run/netns && mount --make-shared /run/netns")
			return map[string]*Host{"runner": h}
		},
		"../nas-relay.md": func(t testing.TB) map[string]*Host {
			hosts := internetOf(t, "relay", "nas", "visitor")
			hosts["nas"].Answer(":22", ":443")
			return hosts
		},
		"../first-steps.md": func(t testing.TB) map[string]*Host { return internetOf(t, "relay", "laptop") },
	}
	const dir = "../docs/howto"
	files, err := filepath.Glob(dir + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if name := filepath.Base(f); worlds[name] == nil {
			t.Errorf("nobody plays %s", name)
		}
	}
	for name, world := range worlds {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".md"), func(t *testing.T) {
			t.Parallel() // most of it is pings a second apart
			p := readPage(t, filepath.Join(dir, name))
			commands := 0
			for _, b := range p.blocks {
				if b.language == "console" {
					commands += len(b.typedLines(t))
				} else if !slices.Contains([]string{"ini", "text"}, b.language) {
					t.Errorf("%s:%d: nobody plays a block of %s", p.path, b.line, b.language)
				}
			}
			if commands < 5 {
				t.Fatalf("%s has %d commands", p.path, commands)
			}
			p.blocks = slices.DeleteFunc(p.blocks, func(b pageBlock) bool { return b.host == "debian" }) // TestPackages plays these
			hosts := world(t)
			before := map[string]string{}
			for name, h := range hosts {
				before[name] = h.Snapshot()
			}
			p.play(t, hosts)
			for name, h := range hosts {
				h.Sh("rmdir /run/wgctl/netns/* 2>/dev/null || true") // of namespaces that are gone
				h.Unchanged(before[name])
			}
		})
	}
}

// A page shows when what it says isn't so: the test of the test.
func TestPage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	const content = "```text\nnot played\n```\n\n```ini h:/root/a\nx = 1\n```\n```console h\n# echo one; echo \\\n> two\none\n…\n$ true\n# seq 3\n…\n3\n```\n"
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	p := readPage(t, path)
	if len(p.blocks) != 3 || p.blocks[1].file != "/root/a" || p.blocks[1].text != "x = 1\n" || p.blocks[2].host != "h" {
		t.Fatalf("blocks: %+v", p.blocks)
	}
	typed := p.blocks[2].typedLines(t)
	if len(typed) != 3 || typed[0].command != "echo one; echo \\\ntwo\n" || typed[0].output != "one\n…\n" || typed[1].printed || typed[2].line != 14 {
		t.Errorf("typed: %+v", typed)
	}
	for _, c := range []struct {
		shown, printed string
		want           bool
	}{
		{"one\n", "one\n", true},
		{"one\n", "one\ntwo\n", false},
		{"one\n…\n", "one\ntwo\nthree\n", true},
		{"…\n", "", true},
		{"a … c\n", "a b c  \n", true},
		{"a … c\n", "a b\nc\n", false},
		{"…\nthree\n", "one\nthree\n", true},
		{"…\nthree\n", "one\n", false},
		{"a.c\n", "abc\n", false},
	} {
		if got := fits(c.shown, c.printed); got != c.want {
			t.Errorf("%q fits %q: %t", c.printed, c.shown, got)
		}
	}
}
