// SPDX-License-Identifier: MIT

package check

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/wgctl/wgctl/config"
)

// A Fix is what mends a finding without changing what the file means: another
// spelling of an allowed IP, or a mode that lets fewer users in.
type Fix struct {
	Line int    `json:"line,omitempty"` // of the allowed IP
	N    int    `json:"item"`           // which one of the line it is, from 0
	To   string `json:"to"`             // its new spelling; "": it goes

	Path string      `json:"path,omitempty"` // the file or folder whose mode changes
	Mode fs.FileMode `json:"mode,omitempty"`
}

// Mended returns a file's text with the fixes of the findings in it made, and
// every other byte kept.
func Mended(text []byte, found []Finding) []byte {
	edits := map[config.Item]string{}
	for _, f := range found {
		if f.Fix == nil || f.Fix.Path != "" {
			continue
		}
		at := config.Item{Line: f.Fix.Line, N: f.Fix.N}
		if to, twice := edits[at]; twice && to == "" {
			continue // it goes, however it is spelled
		}
		edits[at] = f.Fix.To
	}
	return config.EditAllowedIPs(text, edits)
}

// Changes returns what differs between two texts of one file, in the manner of
// diff without context. Lines that come go where the ones they replace were.
func Changes(path string, was, is []byte) string {
	if string(was) == string(is) {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", path, path)
	olds, news := strings.SplitAfter(string(was), "\n"), strings.SplitAfter(string(is), "\n")
	for len(olds) > 0 {
		switch {
		case len(news) > 0 && olds[0] == news[0]:
			olds, news = olds[1:], news[1:]
		case len(olds)-len(news) > 0 && (len(news) == 0 || len(olds) > 1 && olds[1] == news[0]):
			b.WriteString("-" + strings.TrimRight(olds[0], "\r\n") + "\n")
			olds = olds[1:]
		default:
			b.WriteString("-" + strings.TrimRight(olds[0], "\r\n") + "\n+" + strings.TrimRight(news[0], "\r\n") + "\n")
			olds, news = olds[1:], news[1:]
		}
	}
	return b.String()
}
