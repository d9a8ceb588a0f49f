// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Limits of a file. 131072 allowed IPs on one line fit.
const (
	maxFile = 256 << 20 // bytes
	maxLine = 8 << 20   // bytes
	maxPage = 32 << 20  // bytes of what is taken apart as text: 170,000 peers

	// maxPeers is that of the kernel (MAX_PEERS_PER_DEVICE of its messages.h);
	// of an embedded device it is 65,536.
	maxPeers = 1 << 20

	// maxAllowedIPs is two for each of so many peers; the whole Internet's
	// routing table has 1.3 million prefixes. Each takes 240 bytes here.
	maxAllowedIPs = 2 * maxPeers

	maxHookText = 8 << 20 // bytes of all hooks together

	maxEmpty = 1000 // lines that are wg-quick's and say nothing
)

// space is what wg and wg-quick both take for white space (isspace of the C
// locale); a no-break space is none.
const space = " \t\n\v\f\r"

// isSpace reports whether space has c.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// squash removes all white space, as wg does with every line.
func squash(s string) string {
	n := 0
	for n < len(s) && !isSpace(s[n]) {
		n++
	}
	if n == len(s) {
		return s
	}
	out := append(make([]byte, 0, len(s)), s[:n]...)
	for ; n < len(s); n++ {
		if !isSpace(s[n]) {
			out = append(out, s[n])
		}
	}
	return string(out)
}

// squashInPlace is squash for bytes that nobody needs afterwards.
func squashInPlace(b []byte) []byte {
	out := b[:0]
	for _, c := range b {
		if !isSpace(c) {
			out = append(out, c)
		}
	}
	return out
}

// A normaliser reads a file by the rules of wg and wg-quick and writes the
// entries it understands in a form that an ini reader can't misread: canonical
// key names, and values between triple quotes, each after its line number.
// What it doesn't understand goes to the report.
type normaliser struct {
	*report
	out       []byte
	read      func([]byte) []byte // is given whole entries of what is written, for room for more
	wait      func()              // until they have been read
	since     int                 // lines since some were given to read
	section   section             // where wg thinks it is
	forQuick  bool                // whether wg-quick, too, sees an [Interface] here
	header    bool                // whether there was any header
	iface     bool                // whether there was an [Interface]
	peers     int                 // how many [Peer] sections there were
	keyed     bool                // whether this section had a PublicKey
	empty     int                 // how many keys had no value
	keyless   int                 // how many [Peer] sections had none: enough, and the rest isn't read
	named     bool                // whether a comment of this section gave a name: the first counts
	commented bool                // in the comments after a peer that was commented out
	layout    *layout             // where entries stand, for edits; or nil
	noPeers   bool                // peers aren't read
	refers    bool                // something said of a peer isn't all in the file
}

// readAtOnce is how much is written, in bytes, before it is read: so that not
// all of a large file stands there in each of its forms, and that nothing is
// read behind more faults than are told.
const readAtOnce = 64 << 10

// waitAfter is how many lines behind what was given to read are looked at before it
// has been: much may be wrong with it, which ends the reading.
const waitAfter = 4096

// moreSection is the header of what goes on with the section before.
const moreSection = "more"

// flush has what was written read, if it is so much.
func (n *normaliser) flush(bytes int) {
	if n.read != nil && len(n.out) > bytes {
		n.out = n.read(n.out)[:0]
		n.since = 0
	}
}

// normalise writes the file's entries, or returns the error of reading it.
func (n *normaliser) normalise(r io.Reader) error {
	limited := &io.LimitedReader{R: r, N: maxFile + 1}
	lines := newLineReader(limited)
	defer lines.forget()
	var err error
	for err == nil && !n.full() && n.keyless <= maxReports && !n.crowded {
		if n.noPeers && n.section == peerSection {
			lines.skip()
			n.keyed = true
		}
		if n.since++; n.since == waitAfter && n.wait != nil {
			n.wait()
			continue
		}
		var line []byte
		if line, err = lines.next(); err != nil {
			break
		}
		if lines.num == 1 {
			if bytes.HasPrefix(line, []byte("\xff\xfe")) || bytes.HasPrefix(line, []byte("\xfe\xff")) {
				n.errorf(1, 0, "", "is UTF-16 text: save the file as UTF-8")
				return nil
			}
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if !n.passedOver(line) && !n.idle(line) && !n.secretLine(lines.num, line) {
			n.line(lines.num, string(line))
		}
	}
	if n.wait != nil {
		n.wait()
	}
	switch {
	case n.crowded: // and said where
	case errors.Is(err, errLongLine):
		n.errorf(lines.num, 0, "", longLine)
	case err != nil && err != io.EOF:
		return fmt.Errorf("reading %s: %w", n.file, err)
	case limited.N <= 0:
		n.errorf(0, 0, "", "is larger than %d MiB", maxFile>>20)
	case lines.num == 0:
		n.errorf(0, 0, "", "is empty")
	case !n.iface && (!n.header || len(n.errors) == 0):
		n.errorf(0, 0, "", "has no [Interface] section")
	}
	n.flush(0)
	return nil
}

// idle reports whether a line surely says nothing, at little cost: a file may
// have millions of them.
func (n *normaliser) idle(line []byte) bool {
	line = bytes.TrimLeft(line, space)
	switch {
	case len(line) == 0:
		return true
	case line[0] != '#' || bytes.IndexByte(line, 0) >= 0:
		return false
	}
	return n.section != peerSection || bytes.IndexByte(line, '=') < 0 && bytes.IndexByte(line, '[') < 0
}

// passedOver reports whether a line belongs to a peer, and peers aren't read.
func (n *normaliser) passedOver(line []byte) bool {
	if !n.noPeers || n.section != peerSection {
		return false
	}
	n.keyed = true
	line = bytes.TrimLeft(line, space)
	return len(line) == 0 || line[0] != '['
}

func (n *normaliser) line(num int, raw string) {
	if strings.IndexByte(raw, 0) >= 0 {
		n.errorf(num, n.section, "", "line has a NUL byte")
		return
	}
	cut, _, _ := strings.Cut(raw, "#")
	switch cut = strings.Trim(cut, space); {
	case cut == "":
		n.comment(num, strings.Trim(raw, space))
	case cut[0] == '[':
		n.sectionHeader(num, cut)
	default:
		n.entry(num, strings.Trim(raw, space), cut)
	}
}

// sectionHeader reads a line that starts with "[". wg removes the white space
// inside; wg-quick doesn't and so misses a "[ Interface ]".
func (n *normaliser) sectionHeader(num int, line string) {
	n.header, n.commented = true, false
	if n.section == peerSection && !n.keyed {
		n.keyless++
	}
	n.keyed, n.named = false, false
	again := n.section == interfaceSection
	n.forQuick = strings.EqualFold(line, "[Interface]")
	switch name := squash(line); {
	case strings.EqualFold(name, "[Interface]"):
		if n.section, n.iface = interfaceSection, true; again {
			n.place(headerKey, num) // there may be millions of them, and they are one
			return
		}
	case strings.EqualFold(name, "[Peer]"):
		n.section = peerSection
		if n.peers++; n.peers > maxPeers {
			n.crowd(num, peerSection, "", manyPeers)
			return
		}
	default:
		n.section = unknownSection
		n.badHeader(num, line)
		return
	}
	if n.noPeers && n.section == peerSection {
		return
	}
	n.flush(readAtOnce)
	n.out = append(append(append(n.out, '['), n.section.String()...), "]\n"...)
	n.emit(num, headerKey, "")
}

func (n *normaliser) badHeader(num int, line string) {
	name, rest, closed := strings.Cut(line[1:], "]")
	switch name = strings.Trim(name, space); {
	case !closed:
		n.errorf(num, 0, "", "section header has no closing bracket")
	case rest != "":
		n.errorf(num, 0, "", "section header is followed by more text on its line")
	case isWord(name):
		n.errorf(num, 0, "", "unknown section [%s]: there are [Interface] and [Peer]", name)
	default:
		n.errorf(num, 0, "", "unknown section: there are [Interface] and [Peer]")
	}
}

// comment looks for the name of a peer in a line that wg and wg-quick skip.
func (n *normaliser) comment(num int, line string) {
	text := strings.TrimLeft(line, "#"+space)
	if strings.HasPrefix(text, "[") {
		n.commented = true // what follows belongs to a peer that isn't there
	}
	if n.section != peerSection || n.commented {
		return
	}
	name, value, ok := strings.Cut(text, "=")
	name, value = strings.Trim(name, space), strings.Trim(value, space)
	if ok && !n.named && (strings.EqualFold(name, "friendly_name") || strings.EqualFold(name, "Name")) && nameFault(value) == "" {
		n.named = true
		n.emit(num, commentKey, value)
	}
}

// entry reads any other line: raw with its comment, line without it.
func (n *normaliser) entry(num int, raw, line string) {
	if n.section == unknownSection {
		return // its header has been reported
	}
	n.commented = false
	name, _, assigned := strings.Cut(line, "=")
	if k := findKey(strings.Trim(name, space)); k != nil && k.grammar != wgGrammar {
		if k.section == n.section && (n.section == peerSection || n.forQuick) {
			n.quickEntry(num, k, raw, line, assigned)
			return
		}
		n.misplaced(num, k)
		return
	}
	squashed := squash(line)
	name, value, assigned := strings.Cut(squashed, "=")
	switch k := findKey(name); {
	case k == nil || k.grammar != wgGrammar:
		n.unknown(num, line)
	case k.section != n.section:
		n.misplaced(num, k)
	case !assigned:
		n.errorf(num, n.section, k.name, `has no "=" after it`)
	case value == "":
		n.errorf(num, n.section, k.name, "has no value")
	default:
		n.emit(num, k.name, value)
	}
}

// quickEntry reads a line as wg-quick does: a key alone is its own value, and
// an empty value is none.
func (n *normaliser) quickEntry(num int, k *key, raw, line string, assigned bool) {
	value := line
	if k.grammar == hookGrammar {
		value = raw
	}
	if assigned {
		_, value, _ = strings.Cut(value, "=")
		value = strings.Trim(value, space)
	}
	switch {
	case !assigned && k.own():
		n.errorf(num, n.section, k.name, `has no "=" after it`)
	case !assigned:
		n.warnf("empty-value", num, n.section, k.name, `has no "=" after it: wg-quick takes the whole line for the value`)
		n.emit(num, k.name, value)
	case value == "" && (k.own() || k.name == "SaveConfig"):
		n.errorf(num, n.section, k.name, "has no value")
	case value == "" && n.empty > maxEmpty:
		n.errorf(num, n.section, k.name, "has no value, as more than %d other lines", maxEmpty)
	case value == "":
		n.empty++
		n.warnf("empty-value", num, n.section, k.name, "has no value and does nothing")
	default:
		n.emit(num, k.name, value)
	}
}

// misplaced reports a key that exists, but not here.
func (n *normaliser) misplaced(num int, k *key) {
	switch {
	case n.section == beforeSections:
		n.errorf(num, 0, k.name, "stands before the first section: it belongs in [%s]", k.section)
	case k.section != n.section:
		n.errorf(num, n.section, k.name, "belongs in [%s]", k.section)
	default:
		n.errorf(num, n.section, k.name, `is not seen by wg-quick here: write the section's header as "[Interface]", without spaces inside`)
	}
}

// unknown reports a line that isn't understood. It may hold a secret: at most
// the word before the "=" is repeated.
func (n *normaliser) unknown(num int, line string) {
	name, value, assigned := strings.Cut(line, "=")
	name = strings.Trim(name, space)
	first := line
	if end := strings.IndexAny(line, space); end >= 0 {
		first = line[:end]
	}
	rest := strings.Trim(line[len(first):], space)
	k := findKey(strings.TrimSuffix(first, ":"))
	near := nearestKey(name)
	switch {
	case line[0] == ';':
		n.errorf(num, n.section, "", `line starts with ";": comments start with "#"`)
	case name == "":
		n.errorf(num, n.section, "", `has no key before the "="`)
	case k != nil && !strings.HasPrefix(rest, "="):
		n.errorf(num, n.section, k.name, `has no "=" after it`)
	case !assigned:
		n.errorf(num, n.section, "", `line has no "=" and is not a section header`)
	case !isWord(name), value == "" && near == nil: // "rest of a key=" is no key of ours
		n.errorf(num, n.section, "", "unknown key")
	default:
		hint := ""
		if near != nil {
			hint = " (did you mean " + near.name + "?)"
		}
		where := ""
		if n.section == beforeSections {
			where = " before the first section"
		}
		n.errorf(num, n.section, name, "unknown key%s%s", where, hint)
	}
}

// emit writes an entry. The ini reader takes what is between the first and the
// last triple quote of a line as it is.
func (n *normaliser) emit(num int, key, value string) {
	n.keyed = n.keyed || key == "PublicKey"
	n.refers = n.refers || n.section == peerSection && !saysAll(key)
	if n.flush(readAtOnce); len(n.out) == 0 {
		n.out = append(n.out, "["+moreSection+"]\n"...)
	}
	n.out = append(append(n.out, key...), `="""`...)
	n.out = append(strconv.AppendInt(n.out, int64(num), 10), ' ')
	n.out = append(append(n.out, value...), "\"\"\"\n"...)
	n.place(key, num)
}

// place notes where an entry stands.
func (n *normaliser) place(key string, num int) {
	if n.layout == nil || key == commentKey {
		return
	}
	peer := InInterface
	if n.section == peerSection {
		peer = n.peers - 1
	}
	n.layout.add(peer, key, num)
}
