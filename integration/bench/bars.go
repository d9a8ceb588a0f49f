// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// A bar is what wgctl promises of a run, and what came of it.
type bar struct {
	What   string
	Bar    string
	Got    string // "": it wasn't measured
	Held   bool
	Few    bool   // rounds, of one side at least: what came of it may be chance
	Rounds string // of each of what is compared
}

// enoughRounds are those of which a median, or a most, says something.
const enoughRounds = 5

// of notes the rounds of what was compared.
func (b *bar) of(results ...result) {
	var words []string
	for _, h := range results {
		words = append(words, fmt.Sprint(h.Rounds))
		b.Few = b.Few || h.Rounds < enoughRounds
	}
	b.Rounds = strings.Join(words, ", ")
}

var barColumns = []string{"what", "bar", "measured", "", "rounds"}

// bars are those that a report tells of.
func (r report) bars() []bar {
	quickly := 3.0
	if r.kernel() {
		quickly = 10
	}
	out := []bar{
		r.faster(bringUp, 1000, wgQuickTool, 100),
		r.faster(bringUp, 1, wgQuickTool, quickly),
		r.share(bringUp, 10_000, floorTool, 1.5),
		r.share(noOp, 10_000, syncconfTool, 0.5),
		r.counted(noOp, "writes to the kernel and the device", 0, func(c counts) int { return c.Writes }),
		r.counted(oneChanged, "peers that the device is told of", 1, func(c counts) int { return c.Peers }),
	}
	if r.kernel() { // a TUN has no peers to wait for
		out = append(out, r.share(removal, 10_000, wgQuickTool, 1), r.stall(10_000))
	}
	if most := r.mostPeers(); most > 10_000 {
		out = append(out, r.perPeer(most), r.memory(most))
	}
	return out
}

func (r report) kernel() bool { return strings.HasPrefix(r.Title, "Kernel") }

func (r report) find(operation string, peers int, tool string) (result, bool) {
	i := slices.IndexFunc(r.Results, func(h result) bool {
		return h.Operation == operation && h.Peers == peers && h.Tool == tool && h.Rounds > 0
	})
	if i < 0 {
		return result{}, false
	}
	return r.Results[i], true
}

// faster compares with a tool that should take so many times as long.
func (r report) faster(operation string, peers int, than string, times float64) bar {
	b := bar{What: fmt.Sprintf("%s, %s, against %s", operation, peersText(peers), than), Bar: fmt.Sprintf("at least %g times faster", times)}
	own, ok := r.find(operation, peers, wgctlTool)
	other, too := r.find(operation, peers, than)
	if ok && too {
		ratio := float64(other.Wall) / float64(own.Wall)
		b.Got, b.Held = fmt.Sprintf("%.1f times (%s, %s)", ratio, milliseconds(other.Wall), milliseconds(own.Wall)), ratio >= times
		b.of(own, other)
	}
	return b
}

// share compares with a tool of whose time wgctl should take at most a share.
func (r report) share(operation string, peers int, of string, most float64) bar {
	b := bar{What: fmt.Sprintf("%s, %s, against %s", operation, peersText(peers), of), Bar: fmt.Sprintf("at most %g of its time", most)}
	own, ok := r.find(operation, peers, wgctlTool)
	other, too := r.find(operation, peers, of)
	if ok && too {
		ratio := float64(own.Wall) / float64(other.Wall)
		b.Got, b.Held = fmt.Sprintf("%.2f (%s of %s)", ratio, milliseconds(own.Wall), milliseconds(other.Wall)), ratio <= most
		b.of(own, other)
	}
	return b
}

// stall compares how long others wait at most while a tunnel goes. It is not to be
// for the whole of it, as for a link that goes with its peers.
func (r report) stall(peers int) bar {
	b := bar{What: fmt.Sprintf("%s, %s: the longest that one waits", removal, peersText(peers)), Bar: "at most 0.5 of the time it takes"}
	own, ok := r.find(removal, peers, wgctlTool)
	other, too := r.find(removal, peers, wgQuickTool)
	if ok && too {
		b.Got = fmt.Sprintf("%s of %s; wg-quick: %s of %s", milliseconds(own.Stall), milliseconds(own.Wall), milliseconds(other.Stall), milliseconds(other.Wall))
		b.Held = own.Stall <= own.Wall/2
		b.of(own, other)
	}
	return b
}

func (r report) counted(operation, what string, want int, of func(counts) int) bar {
	b := bar{What: fmt.Sprintf("%s, %s: %s", operation, peersText(10_000), what), Bar: fmt.Sprintf("exactly %d", want)}
	if own, ok := r.find(operation, 10_000, wgctlTool); ok && own.Counts != nil {
		n := of(*own.Counts)
		b.Got, b.Held, b.Rounds = fmt.Sprint(n), n == want, "1"
	}
	return b
}

// mostPeers is the size of the largest tunnel.
func (r report) mostPeers() (most int) {
	for _, h := range r.Results {
		if h.Tool == wgctlTool && h.Operation == bringUp {
			most = max(most, h.Peers)
		}
	}
	return most
}

func (r report) perPeer(peers int) bar {
	b := bar{What: fmt.Sprintf("up, %s: cost a peer", peersText(peers)), Bar: "at most 1.3 times that at 10,000"}
	large, ok := r.find(bringUp, peers, wgctlTool)
	small, too := r.find(bringUp, 10_000, wgctlTool)
	if ok && too {
		ratio := float64(large.Wall) / float64(peers) / (float64(small.Wall) / 10_000)
		b.Got, b.Held = fmt.Sprintf("%.2f times", ratio), ratio <= 1.3
		b.of(large, small)
	}
	return b
}

func (r report) memory(peers int) bar {
	b := bar{What: fmt.Sprintf("up, %s: peak memory of wgctl's own process", peersText(peers)), Bar: "at most 3 KiB a peer"}
	if h, ok := r.find(bringUp, peers, wgctlTool); ok {
		each := float64(h.Memory) / float64(peers)
		b.Got, b.Held = fmt.Sprintf("%.2f KiB", each), each <= 3
		b.of(h)
	}
	return b
}

func peersText(n int) string {
	if n == 1 {
		return "1 peer"
	}
	return grouped(n) + " peers"
}

func (b bar) row() []string {
	verdict := "missed"
	switch {
	case b.Got == "":
		verdict = "not measured"
	case b.Few:
		verdict = "too few rounds"
	case b.Held:
		verdict = "held"
	}
	return []string{b.What, b.Bar, b.Got, verdict, b.Rounds}
}

// barTable prints the bars of a report.
func barTable(w io.Writer, r report) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw)
	fmt.Fprintln(tw, strings.Join(barColumns, "\t"))
	for _, b := range r.bars() {
		fmt.Fprintln(tw, strings.Join(b.row(), "\t"))
	}
	_ = tw.Flush()
}
