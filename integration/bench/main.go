// SPDX-License-Identifier: MIT

// Command bench measures wgctl beside wg, wg-quick, systemd-networkd and a program
// that only sends the netlink messages, on the same tunnels, in one run, by turns.
//
//	bench [flags] run     measure, print a table, write OUT/NAME.json
//	bench [flags] files   write the files of tunnels, and measure nothing
//	bench [flags] render  write DOC from OUT/*.json
//
// Each round has a network namespace, a /run and processes of its own, which
// end with it. make bench builds what it needs and calls it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "round" {
		exit(round())
	}
	if len(os.Args) > 2 && os.Args[1] == "networkd" {
		exit(networkd(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(command(ctx, os.Args[1:]))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func command(ctx context.Context, args []string) error {
	b := &bench{say: func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }}
	var sizes, out, doc string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&b.kernel, "kernel", false, "measure the kernel's devices, not the embedded device")
	f.StringVar(&b.bin, "bin", "build/bench/bin", "folder of the programs that are measured")
	f.StringVar(&b.files, "files", "build/bench/files", "folder of the files of tunnels, which are kept")
	f.StringVar(&sizes, "sizes", "1,10,100,1000,10000", "how many peers tunnels have, what matters most first")
	f.IntVar(&b.verbs, "verbs", 10000, "how many peers the device has for the verbs of wg; 0: they aren't measured")
	f.IntVar(&b.rounds, "rounds", 5, "rounds of each tool at each size")
	f.DurationVar(&b.budget, "budget", time.Minute, "what the rounds of one tool at one size may take, but for the first")
	f.DurationVar(&b.within, "within", 0, "what all may take; what would not be done in time isn't begun; 0: no limit")
	f.IntVar(&b.quick, "wg-quick", 10000, "the most peers that wg-quick and systemd-networkd are given")
	f.IntVar(&b.floors, "floor", 100000, "the most peers that the floor is given")
	f.IntVar(&b.removal, "removal", 0, "peers of tunnels that are only taken down, while others change addresses; 0: none")
	f.IntVar(&b.whole, "whole", 10000, "the most peers of tunnels that are reloaded and shown, too")
	f.BoolVar(&b.adds, "add", false, "keep what the results of an earlier run, of the same programs, have of other operations and sizes")
	f.BoolVar(&b.trace, "count", true, "count netlink messages and processes, by strace")
	f.StringVar(&out, "out", "build/bench", "folder of the results")
	f.StringVar(&doc, "doc", "docs/benchmarks.md", "the page that is written")
	if err := f.Parse(args); err != nil {
		return err
	}
	for s := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return fmt.Errorf("%q is no number of peers", s)
		}
		b.sizes = append(b.sizes, n)
	}
	switch f.Arg(0) {
	case "run":
		return b.measure(ctx, out)
	case "files":
		return b.prepare(ctx)
	case "render":
		return render(out, doc)
	}
	return errors.New("usage: bench [flags] run|files|render")
}

// A report is what a run leaves.
type report struct {
	Title   string
	Facts   []fact // of the machine and the programs
	Results []result
}

type fact struct{ Name, Value string }

func (b *bench) measure(ctx context.Context, out string) error {
	if b.trace {
		if _, err := exec.LookPath("strace"); err != nil {
			b.say("nothing is counted: %v", err)
			b.trace = false
		}
	}
	for _, dir := range []*string{&b.bin, &b.files, &out} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return err
		}
		*dir = abs
		if err := os.MkdirAll(abs, 0o755); err != nil {
			return err
		}
	}
	path := filepath.Join(out, b.name()+".json")
	var earlier report
	if b.adds {
		var err error
		if earlier, err = read(path); err != nil {
			return err
		}
		r := report{Title: b.title(), Facts: b.facts(0)}
		if err := r.add(earlier); err != nil { // before the hours that it takes
			return err
		}
	}
	start := time.Now()
	if b.within > 0 {
		b.deadline = start.Add(b.within)
	}
	err := b.run(ctx)
	r := report{Title: b.title(), Facts: b.facts(time.Since(start)), Results: b.results.all()}
	if b.adds {
		err = errors.Join(err, r.add(earlier))
	}
	table(os.Stdout, r)
	barTable(os.Stdout, r)
	text, merr := json.MarshalIndent(r, "", "\t")
	if merr == nil {
		merr = os.WriteFile(path, text, 0o644)
	}
	return errors.Join(err, merr)
}

// read returns the report that a run left.
func read(path string) (r report, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("reading %s: %w", path, err)
	}
	return r, nil
}

func (b *bench) backend() string {
	if b.kernel {
		return "kernel"
	}
	return "userspace"
}

func (b *bench) title() string {
	if b.kernel {
		return "Kernel device, Linux " + release()
	}
	return "Userspace device, Linux " + release()
}

// name is that of the results: of a kernel's device with the kernel's series.
func (b *bench) name() string {
	if part := strings.SplitN(release(), ".", 3); b.kernel && len(part) == 3 {
		return "kernel-" + part[0] + "." + part[1]
	}
	return b.backend()
}

func release() string { return firstLine("uname", "-r") }

func (b *bench) facts(took time.Duration) []fact {
	facts := []fact{
		{"date", time.Now().UTC().Format("2006-01-02 15:04 UTC")},
		{"processor", processor()},
		{"kernel", firstLine("uname", "-srm")},
		{"wgctl", firstLine(b.link("", "wgctl"), "version")},
		{"wg, wg-quick", firstLine("/usr/bin/wg", "--version")},
		{"rounds", fmt.Sprintf("%d, fewer where a tool's would take more than %v; medians", b.rounds, b.budget)},
		{"took", took.Round(time.Second).String()},
	}
	if b.kernel {
		facts = append(facts, fact{networkdTool, firstLine("networkctl", "--version")})
	} else {
		facts = append(facts, fact{"device", "embedded in wgctl; wg-quick starts wireguard-go"})
	}
	return facts
}

func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	n, model := 0, ""
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			n++
			model = strings.TrimSpace(value)
		}
	}
	return fmt.Sprintf("%d of %s", n, model)
}

func firstLine(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
