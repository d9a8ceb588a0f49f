// SPDX-License-Identifier: MIT

package config

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// Of more faults than are told those come first that stand first, though values
// are read behind the lines that they stand on.
func TestFirstFaultsAreTold(t *testing.T) {
	text := "[Interface]\n" + strings.Repeat("MTU = x\n", 30) + strings.Repeat("Nonsense = 1\n", 300)
	_, _, err := Parse("wg0.conf", strings.NewReader(text))
	var all Errors
	if !errors.As(err, &all) || len(all) != maxReports+1 {
		t.Fatalf("%d faults: %v", len(all), err)
	}
	for i, e := range all[:maxReports] {
		if want := i + 2; e.Line != want || (e.Key == "MTU") != (i < 30) {
			t.Fatalf("fault %d: %v, want line %d", i, e, want)
		}
	}
}

// A goingOn is a text without an end, and counts what was read of it.
type goingOn struct {
	begun io.Reader
	more  string
	read  int
}

func (e *goingOn) Read(p []byte) (int, error) {
	n, err := e.begun.Read(p)
	if err == io.EOF {
		n, err = copy(p, strings.Repeat(e.more, len(p)/len(e.more)+1)), nil
	}
	e.read += n
	return n, err
}

// A file is not read on for long behind what is enough to refuse it, whatever
// follows.
func TestReadingEnds(t *testing.T) {
	for name, begun := range map[string]string{
		"faults":        "[Interface]\n" + strings.Repeat("MTU = x\n", 5000), // one part and a half
		"many hooks":    "[Interface]\n" + strings.Repeat("PostUp = true\n", 200_000),
		"unknown lines": strings.Repeat("x\n", 1000),
	} {
		e := &goingOn{begun: strings.NewReader(begun), more: "#\n"}
		if _, _, err := Parse("wg0.conf", e); err == nil {
			t.Errorf("%s: taken", name)
		}
		if behind := e.read - len(begun); behind > 256<<10 {
			t.Errorf("%s: %d bytes were read behind them", name, behind)
		}
	}
}
