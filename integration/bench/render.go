// SPDX-License-Identifier: MIT

package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

var columns = []string{"operation", "peers", "tool", "time", "least", "to wgctl", "processor", "memory", "messages", "writes", "processes", "rounds"}

// rows are the cells of a report, without the heads of columns.
func (r report) rows() (out [][]string) {
	base := map[string]time.Duration{}
	for _, h := range r.Results {
		if h.Tool == wgctlTool {
			base[fmt.Sprint(h.Operation, h.Peers)] = h.Wall
		}
	}
	for _, h := range r.Results {
		row := []string{
			h.Operation, grouped(h.Peers), h.Tool, milliseconds(h.Wall), milliseconds(h.Min), "", milliseconds(h.CPU),
			strconv.FormatFloat(float64(h.Memory)/1024, 'f', 1, 64) + " MiB", "", "", "", strconv.Itoa(h.Rounds),
		}
		if own := base[fmt.Sprint(h.Operation, h.Peers)]; own > 0 {
			row[5] = strconv.FormatFloat(float64(h.Wall)/float64(own), 'f', 2, 64)
		}
		if h.Counts != nil {
			row[8], row[9], row[10] = strconv.Itoa(h.Counts.Messages), strconv.Itoa(h.Counts.Writes), strconv.Itoa(h.Counts.Processes)
		}
		out = append(out, row)
	}
	return out
}

func milliseconds(d time.Duration) string {
	digits := 0
	switch ms := d.Seconds() * 1000; {
	case ms < 10:
		digits = 2
	case ms < 1000:
		digits = 1
	}
	return strconv.FormatFloat(d.Seconds()*1000, 'f', digits, 64) + " ms"
}

// grouped writes 10000 as 10,000.
func grouped(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// table prints a report.
func table(w io.Writer, r report) {
	fmt.Fprintf(w, "%s\n\n", r.Title)
	for _, f := range r.Facts {
		fmt.Fprintf(w, "%s: %s\n", f.Name, f.Value)
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(columns, "\t"))
	for _, row := range r.rows() {
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	_ = tw.Flush()
}

const introduction = `# Benchmarks

Written by ` + "`make bench`" + `: do not edit. It measures wgctl beside wg, wg-quick and a floor, a program that sends the same
netlink messages and does nothing else, on the same files, by turns, each round in a network namespace of its own.

![cost of up against peers](benchmarks.svg)

- **time** is the median over the rounds, **least** their minimum; **to wgctl** is the tool's time over that of wgctl: above 1, wgctl is
  faster.
- **processor** is user and system time of the tool and all that it starts and waits for. **memory** is that of the largest process among them;
  values below some 5 MiB are the measuring program's own. A userspace device, which stays, is in neither.
- **messages** are netlink messages sent, **writes** those of them that change something, and the requests to a userspace device that do, and
  **processes** those started: counted by strace in a round of their own, which isn't timed.
- A reload by wg-quick is ` + "`wg syncconf IF <(wg-quick strip FILE)`" + `; wg syncconf is without the second half, on a tunnel of wgctl. Status by wg-quick is
  ` + "`wg show IF`" + `, which looks at no route and no drift.
- While **others** are **at work**, a program changes an address of the loopback every 10 ms: the bars say how long the slowest of these changes took.
- systemd-networkd makes no other devices than the kernel's, and runs on a bus of its own, without udev. Its up is ` + "`networkctl reload`" + `, once the files are
  there, and the wait until the last route is; its down is ` + "`networkctl delete`" + `, and the wait until the link is gone. A device that is there it doesn't change when its
  file does. What it takes itself, beside networkctl, is in neither processor nor memory, and nothing is counted.
- What an embedded device takes for its peers, it takes whoever starts it: two scalar multiplications on Curve25519 for each, which wireguard-go
  computes one after the other as peers are made (NewPeer in its device/peer.go); one of the two is for a public key that nobody asked for
  (NewPrivateKey of Go's crypto/ecdh, up to Go 1.27). wgctl's device, the floor's too, answers the last request before it has computed that; packets
  and questions that come meanwhile wait for it. **wg show, right after up** is the first such question: up and that together are the time until the
  device has everything.
`

// render writes the page from all reports of a folder.
func render(dir, doc string) error {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}
	slices.SortFunc(paths, func(a, b string) int { return -cmp.Compare(a, b) }) // userspace first
	var page strings.Builder
	page.WriteString(introduction)
	for _, path := range paths {
		r, err := read(path)
		if err != nil {
			return err
		}
		section(&page, r)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "throughput.txt")); err == nil {
		throughput(&page, string(text))
	}
	return os.WriteFile(doc, []byte(page.String()), 0o644)
}

func section(w io.Writer, r report) {
	fmt.Fprintf(w, "\n## %s\n\n", r.Title)
	for _, f := range r.Facts {
		fmt.Fprintf(w, "- %s: %s\n", f.Name, f.Value)
	}
	var bars [][]string
	for _, b := range r.bars() {
		bars = append(bars, b.row())
	}
	markdown(w, barColumns, bars)
	markdown(w, columns, r.rows())
}

func markdown(w io.Writer, head []string, rows [][]string) {
	fmt.Fprintf(w, "\n| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

// throughput writes what go test says of a benchmark: a name, a number of
// runs, then values with their units.
func throughput(w io.Writer, text string) {
	fmt.Fprint(w, "\n## Throughput of the embedded device\n\nOne machine, two namespaces, iperf3 over TCP, with the bind of wgctl and with upstream's, by turns.\n\n| streams | |\n|---|---|\n")
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		_, name, _ := strings.Cut(f[0], "/")
		var values []string
		for i := 2; i+1 < len(f); i += 2 {
			if f[i+1] != "ns/op" {
				values = append(values, f[i]+" "+f[i+1])
			}
		}
		fmt.Fprintf(w, "| %s | %s |\n", name, strings.Join(values, ", "))
	}
}
