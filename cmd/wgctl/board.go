// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/wgctl/wgctl/tunnel"
	"golang.org/x/sys/unix"
)

// A board shows several tunnels at work: on a terminal a line for each, which
// is drawn over; else the lines of all, each with its tunnel's name.
type board struct {
	mu       sync.Mutex
	to       *ui
	terminal bool
	names    []string
	text     []string // of each line
	steps    []int
	start    time.Time
	drawn    bool
}

func newBoard(u *ui, names []string) *board {
	b := &board{to: u, names: names, text: make([]string, len(names)), steps: make([]int, len(names)), start: time.Now()}
	f, ok := u.err.(*os.File)
	b.terminal = ok && isTerminal(f)
	return b
}

// row is the ui of one tunnel.
func (b *board) row(i int) *ui {
	return &ui{out: above{b, b.to.out}, err: above{b, b.to.err}, quick: b.to.quick, place: b.to.place, name: b.names[i], board: b, line: i}
}

// step shows what a tunnel is doing.
func (b *board) step(i int, s tunnel.Step) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.steps[i]++
	if !b.terminal {
		_, _ = fmt.Fprintf(b.to.err, "[#] %s: %s\n", b.names[i], s)
		return
	}
	b.set(i, "[#] "+s.String())
}

// done shows how a tunnel's work ended.
func (b *board) done(i int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.terminal:
	case err != nil:
		b.set(i, "failed")
	case b.steps[i] == 0:
		b.set(i, "nothing to change")
	default:
		b.set(i, fmt.Sprintf("done, %d steps in %.1f s", b.steps[i], time.Since(b.start).Seconds()))
	}
}

func (b *board) progress(i int, text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.terminal {
		b.set(i, text)
	}
}

func (b *board) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.draw()
	b.drawn = false // errors come below
}

func (b *board) set(i int, text string) {
	b.text[i] = text
	b.draw()
}

// draw writes all lines, over those that stand there.
func (b *board) draw() {
	if !b.terminal {
		return
	}
	b.erase()
	width := columns(b.to.err)
	for i, name := range b.names {
		line := []rune(fmt.Sprintf("%-15s %s", name, b.text[i]))
		_, _ = fmt.Fprintln(b.to.err, string(line[:min(len(line), width-1)]))
	}
	b.drawn = true
}

func (b *board) erase() {
	if b.drawn {
		_, _ = fmt.Fprintf(b.to.err, "\x1b[%dA\x1b[J", len(b.names))
		b.drawn = false
	}
}

// above writes lines above the board.
type above struct {
	b  *board
	to io.Writer
}

func (a above) Write(p []byte) (int, error) {
	a.b.mu.Lock()
	defer a.b.mu.Unlock()
	if !a.b.terminal || len(p) == 0 {
		return a.to.Write(p)
	}
	a.b.erase()
	n, err := a.to.Write(p)
	if !strings.HasSuffix(string(p), "\n") {
		_, _ = fmt.Fprintln(a.to)
	}
	a.b.draw()
	return n, err
}

// columns is the width of the terminal behind a writer.
func columns(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 1 {
			return int(size.Col)
		}
	}
	return 80
}
