// SPDX-License-Identifier: MIT

package lab

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Text returns the topology for people to read: networks with their hosts, those
// that are on none, then tunnels.
func (t *Topology) Text() string {
	var b strings.Builder
	for _, n := range t.Networks {
		kind := "switch"
		if !n.Switched() {
			kind = "cable"
		}
		fmt.Fprintf(&b, "%s (%s)\n", n.Name, kind)
		for i, l := range n.Links {
			fmt.Fprintf(&b, "%s %s %s  %s\n", branch(i, len(n.Links)), l.Host.Name, l.Name, list(l.Addresses))
		}
	}
	for _, h := range t.Hosts {
		if len(h.Links) == 0 {
			fmt.Fprintf(&b, "%s (on no network)\n", h.Name)
		}
	}
	for _, tunnel := range t.Tunnels {
		kind := "tunnel, each with each"
		if tunnel.Hub != nil {
			kind = "tunnel, by way of " + tunnel.Hub.Name
		}
		fmt.Fprintf(&b, "%s (%s)\n", tunnel.Name, kind)
		for i, m := range tunnel.Members {
			where := "roaming"
			if m.Endpoint.IsValid() {
				where = "at " + m.Endpoint.String()
			}
			fmt.Fprintf(&b, "%s %s  %s  %s\n", branch(i, len(tunnel.Members)), m.Host.Name, list(m.Addresses), where)
		}
	}
	return b.String()
}

func branch(i, n int) string {
	if i == n-1 {
		return "└─"
	}
	return "├─"
}

// DOT returns the topology for Graphviz.
func (t *Topology) DOT() string {
	var b strings.Builder
	fmt.Fprintf(&b, "graph %q {\n", t.Name)
	for _, h := range t.Hosts {
		fmt.Fprintf(&b, "\t%q [shape=box];\n", h.Name)
	}
	for _, n := range t.Networks {
		fmt.Fprintf(&b, "\t%q [shape=ellipse];\n", n.Name)
		for _, l := range n.Links {
			fmt.Fprintf(&b, "\t%q -- %q [label=%q];\n", l.Host.Name, n.Name, l.Name+" "+list(l.Addresses))
		}
	}
	for _, e := range t.tunnelEdges() {
		fmt.Fprintf(&b, "\t%q -- %q [style=dashed, label=%q];\n", e.from, e.to, e.label)
	}
	b.WriteString("}\n")
	return b.String()
}

// An edge joins two nodes of a graph.
type edge struct{ from, to, label string }

// tunnelEdges are the pairs of peers.
func (t *Topology) tunnelEdges() (edges []edge) {
	for _, tunnel := range t.Tunnels {
		for i, a := range tunnel.Members {
			for _, z := range tunnel.Members[i+1:] {
				if tunnel.Hub == nil || a.Host == tunnel.Hub || z.Host == tunnel.Hub {
					edges = append(edges, edge{a.Host.Name, z.Host.Name, tunnel.Name})
				}
			}
		}
	}
	return edges
}

// SVG returns the topology as a picture: hosts and networks on a ring, cables as
// lines, tunnels as dashed ones.
func (t *Topology) SVG() string {
	type point struct{ x, y float64 }
	var names []string
	for _, h := range t.Hosts {
		names = append(names, h.Name)
	}
	for _, n := range t.Networks {
		names = append(names, n.Name)
	}
	radius := 60 + 28*float64(len(names))
	middle := radius + 90
	at := map[string]point{}
	for i, name := range names {
		angle := 2*math.Pi*float64(i)/float64(len(names)) - math.Pi/2
		at[name] = point{middle + radius*math.Cos(angle), middle + radius*math.Sin(angle)}
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0[1]f %.0[1]f" font-family="sans-serif" font-size="12" text-anchor="middle">`+"\n", 2*middle)
	draw := func(e edge, style string) {
		a, z := at[e.from], at[e.to]
		fmt.Fprintf(&b, `<line x1="%.0f" y1="%.0f" x2="%.0f" y2="%.0f" %s><title>%s</title></line>`+"\n", a.x, a.y, z.x, z.y, style, html.EscapeString(e.label))
	}
	for _, n := range t.Networks {
		for _, l := range n.Links {
			draw(edge{l.Host.Name, n.Name, l.Name + " " + list(l.Addresses)}, `stroke="#555"`)
		}
	}
	for _, e := range t.tunnelEdges() {
		draw(e, `stroke="#88171a" stroke-width="2" stroke-dasharray="6 4"`)
	}
	for i, name := range names {
		p, shape := at[name], `<rect x="%.0f" y="%.0f" width="96" height="30" rx="4" fill="#fff" stroke="#222"/>`
		if i >= len(t.Hosts) {
			shape = `<rect x="%.0f" y="%.0f" width="96" height="30" rx="15" fill="#eee" stroke="#999"/>`
		}
		fmt.Fprintf(&b, shape+"\n"+`<text x="%.0f" y="%.0f">%s</text>`+"\n", p.x-48, p.y-15, p.x, p.y+4, html.EscapeString(name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}
