// SPDX-License-Identifier: MIT

package dns

import (
	"fmt"
	"slices"
	"strings"
)

// mark begins a resolv.conf of ours, and entryMark the lines in it that say what
// each tunnel wants: the file itself is the state.
const (
	mark      = "# Made by wgctl"
	entryMark = "# tunnel "
)

// A fileText is a resolv.conf of ours.
type fileText struct {
	absent  bool       // there was none before
	tunnels []Settings // the one that came up last comes first
}

// isOurs reports whether a resolv.conf was made by us.
func isOurs(text string) bool { return strings.HasPrefix(text, mark) }

const (
	markAbsent = mark + ": there was no file here before.\n"
	markBeside = mark + ": what was here before stands in a file beside this one, and comes back.\n"
)

// parseFile reads what render wrote.
func parseFile(text string) fileText {
	f := fileText{absent: strings.HasPrefix(text, markAbsent)}
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, entryMark)
		words := strings.Fields(rest)
		if !ok || len(words) == 0 {
			continue
		}
		s := parse(words[0], entryWords(words[1:]))
		s.Backend = BackendFile
		f.tunnels = append(f.tunnels, s)
	}
	return f
}

// entryWords are the words of an entry as lines of resolv.conf.
func entryWords(words []string) string {
	var b strings.Builder
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		b.WriteString(key + " " + value + "\n")
	}
	return b.String()
}

func entry(s Settings) string {
	words := []string{s.Interface}
	for _, a := range s.Servers {
		words = append(words, "nameserver="+a.String())
	}
	for _, d := range s.Domains() {
		words = append(words, "search="+d)
	}
	return entryMark + strings.Join(words, " ") + "\n"
}

// set makes s stand: where the tunnel is known it keeps its place.
func (f *fileText) set(s Settings) {
	i := slices.IndexFunc(f.tunnels, func(t Settings) bool { return t.Interface == s.Interface })
	if i >= 0 {
		f.tunnels[i] = s
		return
	}
	f.tunnels = slices.Insert(f.tunnels, 0, s)
}

func (f *fileText) drop(ifname string) {
	f.tunnels = slices.DeleteFunc(f.tunnels, func(t Settings) bool { return t.Interface == ifname })
}

func (f fileText) find(ifname string) (Settings, bool) {
	for _, t := range f.tunnels {
		if t.Interface == ifname {
			return t, true
		}
	}
	return Settings{Interface: ifname}, false
}

// render returns the file. The nameservers are those of the tunnel that came up
// last, and no others: the resolver of the C library takes the next one in the
// list when one doesn't answer, and would ask the wrong one. Search domains are
// those of all tunnels. Where no tunnel has nameservers, those of before stay.
func (f fileText) render(before string) string {
	var b strings.Builder
	if f.absent {
		b.WriteString(markAbsent)
	} else {
		b.WriteString(markBeside)
	}
	for _, t := range f.tunnels {
		b.WriteString(entry(t))
	}
	old := parse("", before)
	var search []string
	servers := old.Servers
	for _, t := range slices.Backward(f.tunnels) {
		if len(t.Servers) > 0 {
			servers = t.Servers
		}
	}
	exclusive := slices.ContainsFunc(f.tunnels, func(t Settings) bool { return len(t.Servers) > 0 })
	for _, t := range f.tunnels {
		search = append(search, t.Search...)
	}
	if !exclusive {
		search = append(search, old.Search...)
	}
	for _, a := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	if search = unique(search); len(search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(search, " "))
	}
	if o := options(before); len(o) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(o, " "))
	}
	return b.String()
}

func unique(list []string) (out []string) {
	for _, x := range list {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// options returns the options of a resolv.conf that are about how to ask, and
// not about whom: trust in the old nameservers' validation is not for new ones.
func options(text string) (out []string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "options" {
			out = append(out, words[1:]...)
		}
	}
	return slices.DeleteFunc(out, func(o string) bool { return o == "trust-ad" })
}
