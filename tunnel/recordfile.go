// SPDX-License-Identifier: MIT

package tunnel

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
	"github.com/wgctl/wgctl/routes"
)

// A record's file is a line of JSON and, after it, the bulk: what a tunnel has
// thousands of, a line each. Whoever needs none of that reads no more than the
// head, which the other tunnels are to one of them.

// Versions of the format; records of another version count as lost, and what
// they described is found by its marks. In version 2 all is in the head.
const (
	recordVersion = 3
	allInHead     = 2
)

// A recordHead is the line of JSON. In its Specs are no peers, and of the routes
// only the dead ends.
type recordHead struct {
	Record
	// Sections are the lengths of what follows, in bytes: peers and routes
	// of Spec, peers and routes of Before.
	Sections [4]int `json:"sections"`
}

// Load reads one record. A record that is missing, cut short or garbage is
// nil without an error: what it described is then found by its marks.
func (rs *Records) Load(name string) (*Record, error) {
	b, err := os.ReadFile(rs.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = rs.trusted()
	}
	if err != nil {
		return nil, fmt.Errorf("reading record of %s: %w", name, unwritable(err))
	}
	return decodeRecord(b, name), nil
}

// decodeRecord reads the text of a record; nil if it is none of that tunnel's.
func decodeRecord(b []byte, name string) *Record {
	line, rest, ended := bytes.Cut(b, []byte("\n"))
	h := decodeHead(line, name)
	if h == nil || h.Version == recordVersion && (!ended || h.decodeBulk(rest) != nil) {
		return nil
	}
	return &h.Record
}

// Head reads a record without its bulk: a Spec has no peers then, and of its
// routes only the dead ends. What isn't whole is nil, as with Load.
func (rs *Records) Head(name string) (*Record, error) {
	f, err := os.Open(rs.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var (
		line []byte
		fi   fs.FileInfo
	)
	if err == nil {
		defer func() { _ = f.Close() }()
		if fi, err = f.Stat(); err == nil {
			line, err = bufio.NewReader(f).ReadBytes('\n')
		}
		if untrusted := rs.trusted(); untrusted != nil {
			err = untrusted
		}
	}
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("reading record of %s: %w", name, unwritable(err))
	}
	h := decodeHead(bytes.TrimSuffix(line, []byte("\n")), name)
	switch {
	case h == nil:
		return nil, nil
	case h.Version == allInHead:
		h.Record.dropBulk()
		return &h.Record, nil
	}
	size := int64(len(line))
	for _, n := range h.Sections {
		size += int64(n)
	}
	if err == io.EOF || size != fi.Size() {
		return nil, nil // cut short
	}
	return &h.Record, nil
}

func decodeHead(line []byte, name string) *recordHead {
	var h recordHead
	if json.Unmarshal(line, &h) != nil || h.Spec == nil || h.Spec.Name != name || h.Spec.Firewall.Check() != nil {
		return nil
	}
	if h.Before != nil && h.Before.Firewall.Check() != nil {
		return nil
	}
	if h.Version != recordVersion && h.Version != allInHead {
		return nil
	}
	return &h
}

// dropBulk leaves what a head of today has.
func (r *Record) dropBulk() {
	for _, s := range []**Spec{&r.Spec, &r.Before} {
		if *s != nil {
			light := (*s).withoutBulk()
			*s = &light
		}
	}
}

func (s *Spec) withoutBulk() Spec {
	light := *s
	light.Device.Peers, light.Routes = nil, nil
	for _, r := range s.Routes {
		if r.Kind != routes.Unicast {
			light.Routes = append(light.Routes, r)
		}
	}
	return light
}

// Save writes the record whole, before what it describes is done.
func (rs *Records) Save(r *Record) error {
	b, err := r.encode()
	if err != nil {
		return fmt.Errorf("writing record of %s: %w", r.Spec.Name, err)
	}
	return rs.write(r.Spec.Name, b)
}

func (rs *Records) write(name string, b []byte) error {
	if err := os.MkdirAll(rs.Dir, 0o700); err != nil {
		return fmt.Errorf("making the record's folder: %w", err)
	}
	if err := rs.nameNamespace(); err != nil {
		return err
	}
	if err := renameio.WriteFile(rs.path(name), b, 0o600, renameio.WithTempDir(rs.Dir), renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("writing record of %s: %w", name, err)
	}
	return nil
}

// amend changes the head of a record and leaves the bulk as it is. It reports
// whether there is a record; change says whether there is something to write.
func (rs *Records) amend(name string, change func(*Record) bool) (bool, error) {
	b, err := os.ReadFile(rs.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = rs.trusted()
	}
	if err != nil {
		return false, fmt.Errorf("reading record of %s: %w", name, unwritable(err))
	}
	line, bulk, ended := bytes.Cut(b, []byte("\n"))
	h := decodeHead(line, name)
	switch {
	case h == nil || h.Version == recordVersion && !ended:
		return false, nil
	case !change(&h.Record):
		return true, nil
	case h.Version == allInHead:
		return true, rs.Save(&h.Record)
	}
	if line, err = json.Marshal(h); err != nil {
		return true, fmt.Errorf("writing record of %s: %w", name, err)
	}
	return true, rs.write(name, slices.Concat(line, []byte("\n"), bulk))
}

// A bulk is that of a Spec as it is written. A record that is written again
// with the same Spec takes it as it is.
type bulk struct {
	of            *Spec
	peers, routes []byte
}

func (b *bulk) fill(of *Spec) {
	if b.of == of {
		return
	}
	*b = bulk{of: of}
	b.peers, _ = of.Device.Peers.MarshalText()
	for _, r := range of.Routes {
		b.routes = appendRoute(b.routes, r)
	}
}

// LearnRecord has encoding/json make its encoder of records, of some forty types,
// which takes longer than most steps do: aside, for who is about to need it.
func LearnRecord() { learnRecord() }

var learnRecord = sync.OnceFunc(func() {
	go func() { _, _ = json.Marshal(recordHead{}) }()
})

// encode returns the text that decodeRecord reads.
func (r *Record) encode() ([]byte, error) {
	r.Version = recordVersion
	h := recordHead{Record: *r}
	r.bulk.fill(r.Spec)
	parts := [][]byte{r.bulk.peers, r.bulk.routes}
	if r.Before != nil {
		var before bulk
		before.fill(r.Before)
		parts = append(parts, before.peers, before.routes)
	}
	h.Spec, h.Before = r.Spec.recorded(), r.Before.recorded()
	h.dropBulk()
	for i, p := range parts {
		h.Sections[i] = len(p)
	}
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return slices.Concat(append([][]byte{line, []byte("\n")}, parts...)...), nil
}

// decodeBulk reads what follows the head.
func (h *recordHead) decodeBulk(b []byte) error {
	var parts [len(h.Sections)][]byte
	for i, n := range h.Sections {
		if n < 0 || n > len(b) {
			return errBulk
		}
		parts[i], b = b[:n], b[n:]
	}
	if len(b) > 0 {
		return errBulk
	}
	for i, s := range []*Spec{h.Spec, h.Before} {
		if s == nil {
			continue
		}
		if err := s.Device.Peers.UnmarshalText(parts[2*i]); err != nil {
			return err
		}
		var err error
		if s.Routes, err = routesIn(string(parts[2*i+1])); err != nil {
			return err
		}
	}
	h.bulk = bulk{of: h.Spec, peers: parts[0], routes: parts[1]}
	return nil
}

var errBulk = errors.New("reading the bulk of a record: not as it was written")

// appendRoute writes a line of prefix, table, metric, and the number of the
// kind.
func appendRoute(b []byte, r routes.Route) []byte {
	b = append(r.Dst.AppendTo(b), '\t')
	for i, n := range []uint32{r.Table, r.Metric, uint32(r.Kind)} {
		b = append(strconv.AppendUint(b, uint64(n), 10), "\t\t\n"[i])
	}
	return b
}

// routesIn reads lines that appendRoute wrote.
func routesIn(text string) ([]routes.Route, error) {
	if text == "" {
		return nil, nil
	}
	out := make([]routes.Route, 0, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		var f [4]string
		if !columns(strings.TrimSuffix(line, "\n"), f[:]) {
			return nil, errBulk
		}
		dst, err := netip.ParsePrefix(f[0])
		if err != nil {
			return nil, errBulk
		}
		var n [3]uint64
		for i := range n {
			if n[i], err = strconv.ParseUint(f[i+1], 10, 32); err != nil {
				return nil, errBulk
			}
		}
		out = append(out, routes.Route{Dst: dst, Table: uint32(n[0]), Metric: uint32(n[1]), Kind: routes.Kind(n[2])})
	}
	return out, nil
}

// columns cuts a line at its tabs, and reports whether there are as many
// columns as places for them.
func columns(line string, into []string) bool {
	last := len(into) - 1
	for i := range last {
		var more bool
		if into[i], line, more = strings.Cut(line, "\t"); !more {
			return false
		}
	}
	into[last] = line
	return !strings.Contains(line, "\t")
}
