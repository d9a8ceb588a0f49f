// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The tools that are compared.
const (
	wgctlTool    = "wgctl"
	wgTool       = "wg"
	wgQuickTool  = "wg-quick"
	floorTool    = "floor"
	syncconfTool = "wg syncconf"
)

// The operations that bars are about.
const (
	bringUp    = "up"
	noOp       = "reload, nothing changed"
	oneChanged = "reload, one peer changed"
	removal    = "down, others at work"
	question   = "wg show, right after up"
)

const ifname = "wgb"

// A bench is what is measured with what.
type bench struct {
	kernel  bool   // the kernel's devices, else the embedded device
	bin     string // with wgctl, its links, floor, and wireguard-go of upstream
	files   string // what tunnels are made of, kept between runs
	sizes   []int
	verbs   int // peers for the verbs of wg; 0: none
	rounds  int
	budget  time.Duration // for the rounds of one tool and size, after the first
	within  time.Duration // for all; what would not be done in time isn't begun; 0: no limit
	quick   int           // the most peers of wg-quick and systemd-networkd
	floors  int           // the most peers of the floor
	adds    bool          // to the results of an earlier run
	removal int           // peers of tunnels that are only taken down; 0: none
	whole   int           // the most peers of tunnels that go more than up and down
	trace   bool
	say     func(format string, args ...any)
	results results

	deadline time.Time            // of within; zero: none
	rate     map[string]rateOfOne // of each tool, by its last size
}

// run measures everything. Where one tool fails, its results end there.
func (b *bench) run(ctx context.Context) error {
	if b.verbs > 0 {
		if err := b.wgVerbs(ctx, b.verbs); err != nil {
			return err
		}
	}
	for _, n := range b.sizes {
		if err := b.tunnels(ctx, n); err != nil {
			return err
		}
	}
	if b.removal > 0 {
		return b.remove(ctx, b.removal)
	}
	return nil
}

// remove compares how a tunnel that wgctl brought up goes, by wgctl and by
// wg-quick, while others change addresses on the host.
func (b *bench) remove(ctx context.Context, peers int) error {
	if err := b.write(ctx, peers); err != nil {
		return err
	}
	downs := map[string]string{wgctlTool: b.link("", "wgctl"), wgQuickTool: "/usr/bin/wg-quick"}
	return b.alternate(ctx, peers, []string{wgctlTool, wgQuickTool}, func(tool, _ string) []step {
		return []step{
			{Argv: []string{"cp", filepath.Join(b.files, fmt.Sprint(peers)) + ".conf", file}},
			{Argv: []string{"chmod", "600", file}},
			{Argv: []string{b.link("", "wgctl"), "up", file}},
			{Name: removal, Argv: []string{downs[tool], "down", file}, Others: true},
		}
	})
}

func (b *bench) link(dir, name string) string { return filepath.Join(b.bin, dir, name) }

// path is where a round finds the wireguard-go that its tool is used with:
// wgctl's own, or upstream's.
func (b *bench) path(tool string) string {
	if tool == wgQuickTool {
		return b.link("upstream", "")
	}
	return b.link("links", "")
}

// wgVerbs compares wgctl as wg with wg, on the same device.
func (b *bench) wgVerbs(ctx context.Context, peers int) error {
	file := filepath.Join(b.files, fmt.Sprintf("%d.wg", peers))
	if err := b.write(ctx, peers); err != nil {
		return err
	}
	tools := map[string]string{wgctlTool: b.link("links", "wg"), wgTool: "/usr/bin/wg"}
	return b.alternate(ctx, peers, []string{wgctlTool, wgTool}, func(tool string, _ string) []step {
		wg := tools[tool]
		steps := []step{
			{Argv: []string{"cp", file, "/run/device"}},
			b.device(),
			{Argv: []string{"ip", "link", "set", ifname, "up"}},
			{Argv: []string{"/usr/bin/wg", "setconf", ifname, "/run/device"}},
		}
		for range 3 {
			steps = append(steps,
				step{Name: "wg --version", Argv: []string{wg, "--version"}},
				step{Name: "wg show dump", Argv: []string{wg, "show", ifname, "dump"}},
				step{Name: "wg showconf", Argv: []string{wg, "showconf", ifname}},
				step{Name: "wg syncconf", Argv: []string{wg, "syncconf", ifname, "/run/device"}},
				step{Name: "wg addconf", Argv: []string{wg, "addconf", ifname, "/run/device"}})
		}
		steps = append(steps, step{Name: "wg setconf", Argv: []string{wg, "setconf", ifname, "/run/device"}})
		return append(steps, empty()...)
	})
}

func (b *bench) device() step {
	if b.kernel {
		return step{Argv: []string{"ip", "link", "add", ifname, "type", "wireguard"}}
	}
	return step{Argv: []string{b.link("links", "wireguard-go"), ifname}}
}

// empty takes the peers of a device away. A namespace that ends with thousands
// of peers of the kernel keeps it busy for minutes.
func empty() []step {
	return []step{
		{Argv: []string{"cp", "/dev/null", "/run/empty"}},
		{Argv: []string{"/usr/bin/wg", "setconf", ifname, "/run/empty"}},
	}
}

// prepare writes the files of all sizes.
func (b *bench) prepare(ctx context.Context) error {
	if err := os.MkdirAll(b.files, 0o755); err != nil {
		return err
	}
	for _, n := range append([]int{b.verbs, b.removal}, b.sizes...) {
		if err := b.write(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// write writes the files of tunnels of so many peers, unless an earlier run
// did.
func (b *bench) write(ctx context.Context, peers int) error {
	base := filepath.Join(b.files, fmt.Sprint(peers))
	for path, write := range map[string]func(string) error{
		base + ".conf":    func(path string) error { return writeTunnel(path, peers, false) },
		base + ".changed": func(path string) error { return writeTunnel(path, peers, true) },
		base + ".wg":      func(path string) error { return writeDevice(path, peers) },
		base + ".netdev":  func(path string) error { return writeNetdev(path, peers) },
		base + ".network": writeNetwork,
		base + "." + b.backend() + ".floor": func(path string) error {
			named := filepath.Join(b.files, ifname+".conf")
			defer func() { _ = os.Remove(named) }()
			if err := writeTunnel(named, peers, false); err != nil {
				return err
			}
			return exec.CommandContext(ctx, b.link("", "floor"), "prepare", b.backend(), named, path).Run()
		},
	} {
		if err := writeOnce(path, write); err != nil {
			return fmt.Errorf("writing %s: %w", path, err)
		}
	}
	return nil
}

// tunnels compares the life of a tunnel.
func (b *bench) tunnels(ctx context.Context, peers int) error {
	if err := b.write(ctx, peers); err != nil {
		return err
	}
	base := filepath.Join(b.files, fmt.Sprint(peers))
	tools := []string{wgctlTool}
	if peers <= b.floors {
		tools = append(tools, floorTool)
	}
	if peers <= b.quick {
		tools = append(tools, wgQuickTool)
	}
	networkd, err := b.asNetworkd(base, peers)
	if err != nil {
		return err
	}
	if b.kernel && peers <= b.quick && hasNetworkd() {
		tools = append(tools, networkdTool)
	}
	return b.alternate(ctx, peers, tools, func(tool, trace string) []step {
		steps := []step{
			{Argv: []string{"cp", base + ".conf", "/run/" + ifname + ".conf"}},
			{Argv: []string{"chmod", "600", "/run/" + ifname + ".conf"}},
		}
		switch tool {
		case floorTool:
			up := []string{b.link("", "floor"), "run", base + "." + b.backend() + ".floor", b.link("links", "wireguard-go")}
			return append(append(steps, step{Name: bringUp, Argv: up}, askAfterUp), empty()...)
		case wgQuickTool:
			return append(steps, b.asWgQuick(base, peers)...)
		case networkdTool:
			return networkd
		}
		return append(steps, b.asWgctl(base, peers)...)
	})
}

const file = "/run/" + ifname + ".conf"

// askAfterUp waits for what a device has answered and not carried out, which is none
// of what comes after it.
var askAfterUp = step{Name: question, Argv: []string{"/usr/bin/wg", "show", ifname, "listen-port"}}

// idiom is a reload by wg and wg-quick, as the latter's manual has it.
var idiom = []string{"bash", "-c", "/usr/bin/wg syncconf " + ifname + " <(/usr/bin/wg-quick strip " + file + ")"}

// asWgctl is a life of a tunnel by wgctl.
func (b *bench) asWgctl(base string, peers int) []step {
	wgctl := b.link("", "wgctl")
	steps := []step{{Name: bringUp, Argv: []string{wgctl, "up", file}}, askAfterUp}
	if peers > b.whole {
		return append(steps, step{Name: "down", Argv: []string{wgctl, "down", file}})
	}
	if b.hasReload() {
		steps = append(steps,
			step{Name: noOp, Argv: []string{wgctl, "reload", file}, Sent: true},
			step{Argv: []string{"cp", base + ".changed", file}},
			step{Name: oneChanged, Argv: []string{wgctl, "reload", file}, Sent: true},
			step{Argv: []string{"cp", base + ".wg", "/run/device"}},
			step{Argv: []string{"/usr/bin/wg", "syncconf", ifname, "/run/device"}},
			step{Name: noOp + "|" + syncconfTool, Argv: []string{"/usr/bin/wg", "syncconf", ifname, "/run/device"}})
	}
	return append(steps,
		step{Name: "status", Argv: []string{wgctl, "status", ifname}},
		step{Name: "down", Argv: []string{wgctl, "down", file}})
}

// hasReload reports whether wgctl knows the verb.
func (b *bench) hasReload() bool {
	out, err := exec.Command(b.link("", "wgctl"), "reload", "--help").Output()
	return err == nil && strings.Contains(string(out), "wgctl reload")
}

// asWgQuick is a life of a tunnel by wg-quick and wg.
func (b *bench) asWgQuick(base string, peers int) []step {
	up := step{Name: bringUp, Argv: []string{"/usr/bin/wg-quick", "up", file}}
	down := step{Name: "down", Argv: []string{"/usr/bin/wg-quick", "down", file}}
	if b.kernel && peers >= 1000 { // it takes minutes in a guest
		return []step{up, askAfterUp, down}
	}
	return []step{
		up,
		askAfterUp,
		{Name: noOp, Argv: idiom},
		{Argv: []string{"cp", base + ".changed", file}},
		{Name: oneChanged, Argv: idiom},
		{Name: "status", Argv: []string{"/usr/bin/wg", "show", ifname}},
		down,
	}
}

// writeOnce makes a file unless an earlier run did.
func writeOnce(path string, write func(path string) error) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := write(path + ".new"); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
