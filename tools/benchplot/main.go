// SPDX-License-Identifier: MIT

// Command benchplot draws what the time of "up" is against the number of
// peers, from results of the benchmark, both axes logarithmic.
//
//	benchplot -o benchmarks.svg RESULTS.json...
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"image/color"
	"math"
	"os"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

func main() {
	out := flag.String("o", "benchmarks.svg", "the file that is written")
	operation := flag.String("operation", "up", "the operation that is drawn")
	flag.Parse()
	if err := run(*out, *operation, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "benchplot: %v\n", err)
		os.Exit(1)
	}
}

// A report is what integration/bench writes, as far as it is drawn.
type report struct {
	Title   string
	Results []struct {
		Operation string
		Peers     int
		Tool      string
		Wall      time.Duration
	}
}

func run(out, operation string, paths []string) error {
	p := plot.New()
	p.Title.Text = operation + ": time against peers"
	p.X.Label.Text, p.Y.Label.Text = "peers", "seconds"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = decades{}, decades{}
	p.Legend.Top, p.Legend.Left, p.Legend.Padding = true, true, vg.Points(4)
	p.Add(plotter.NewGrid())
	for i, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var r report
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if err := r.draw(p, operation, i); err != nil {
			return fmt.Errorf("drawing %s: %w", path, err)
		}
	}
	// Without these, Save of a plot of nothing would never end.
	if p.X.Max <= 0 || p.Y.Max <= 0 {
		return fmt.Errorf("no result of %q in %v", operation, paths)
	}
	p.Y.Min = math.Pow(10, math.Floor(math.Log10(p.Y.Min)))
	p.Y.Max = math.Pow(10, math.Ceil(math.Log10(p.Y.Max)))
	return p.Save(8*vg.Inch, 5*vg.Inch, out)
}

var tools = []struct {
	name  string
	color color.RGBA
}{
	{"wg-quick", color.RGBA{R: 0xd5, G: 0x5e, A: 0xff}},
	{"wgctl", color.RGBA{G: 0x72, B: 0xb2, A: 0xff}},
	{"floor", color.RGBA{R: 0x99, G: 0x99, B: 0x99, A: 0xff}},
}

// draw adds a line for each tool; the nth report has its own dashes.
func (r report) draw(p *plot.Plot, operation string, nth int) error {
	for _, tool := range tools {
		var points plotter.XYs
		for _, h := range r.Results {
			if h.Operation == operation && h.Tool == tool.name {
				points = append(points, plotter.XY{X: float64(h.Peers), Y: h.Wall.Seconds()})
			}
		}
		if len(points) == 0 {
			continue
		}
		slices.SortFunc(points, func(a, b plotter.XY) int { return int(a.X - b.X) })
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		line.Color, dots.Color = tool.color, tool.color
		line.Width = vg.Points(1.5)
		if nth > 0 {
			line.Dashes = []vg.Length{vg.Points(float64(2 + 3*nth)), vg.Points(3)}
		}
		dots.Shape = draw.CircleGlyph{}
		dots.Radius = vg.Points(2)
		p.Add(line, dots)
		p.Legend.Add(tool.name+", "+r.Title, line, dots)
	}
	return nil
}

// decades are the ticks of a logarithmic axis.
type decades struct{}

// Ticks returns a tick with its number for each power of ten.
func (decades) Ticks(least, most float64) (ticks []plot.Tick) {
	for _, t := range (plot.LogTicks{Prec: -1}).Ticks(least, most) {
		if t.Label != "" {
			t.Label = strconv.FormatFloat(t.Value, 'f', -1, 64)
		}
		ticks = append(ticks, t)
	}
	return ticks
}
