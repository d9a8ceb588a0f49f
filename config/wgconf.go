// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A WgChange is what wg(8) is told to change of a device: by a file of its own
// (setconf, addconf, syncconf), or by the words after "wg set". Nil fields
// aren't mentioned.
type WgChange struct {
	PrivateKey *Secret // zero: remove it
	ListenPort *Port
	FwMark     *uint32 // 0: "off"
	Peers      []WgPeer
}

// A WgPeer is one [Peer] section, or a "peer" among words. The same key may
// come twice.
type WgPeer struct {
	Peer                   // without a Name
	Remove            bool // never in a file
	ReplaceAllowedIPs bool // AllowedIPs are the whole; else changes, or not mentioned
}

// Endpoints returns a Config that has the endpoints of the peers, to look them
// up.
func (c *WgChange) Endpoints() *Config {
	out := &Config{Peers: make([]Peer, len(c.Peers))}
	for i := range c.Peers {
		out.Peers[i].Endpoint = c.Peers[i].Endpoint
	}
	return out
}

// A WgError is something wrong with a file or with words for wg. It is in wg's
// own words, which tools look for, but for the values that it leaves out: what
// may be a key isn't repeated.
type WgError struct {
	Msg string

	// NoPublicKey tells a peer without a key from all other faults: wg does.
	NoPublicKey bool
}

// Error returns the message: one line, which starts with a capital as wg's do.
func (e *WgError) Error() string { return e.Msg }

func wgErrorf(format string, args ...any) error { return &WgError{Msg: fmt.Sprintf(format, args...)} }

// wgValueError names a value unless it may be a key.
func wgValueError(msg, value string) error {
	if maybeKey(value) {
		return &WgError{Msg: msg}
	}
	return wgErrorf("%s: `%s'", msg, Printable(value))
}

// Printable keeps a file, or a word, from writing to the terminal that shows
// what is wrong with it.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// ParseWg reads a file as wg does: its own keys only, in any case, with all
// white space taken out of a line. It ends at the first fault, a *WgError;
// other errors are those of r. The warnings are whole lines, and come with an
// error too.
//
// A peer's allowed IPs replace those that it has, unless one of them is
// signed.
func ParseWg(r io.Reader) (*WgChange, []string, error) {
	w := &wgReader{}
	changed := func() bool { return false }
	if file, ok := r.(*os.File); ok {
		if was, err := file.Stat(); err == nil {
			changed = func() bool { return changedSince(file, was) }
		}
		if err := countCrowd(file, file); errors.Is(err, errManyPeers) {
			return nil, nil, wgErrorf("File %v", err)
		} else if isCrowd(err) {
			return nil, nil, wgErrorf("%v", err)
		} else if err != nil {
			return nil, nil, err
		}
	}
	limited := &io.LimitedReader{R: r, N: maxFile + 1}
	lines := newLineReader(limited)
	defer lines.forget()
	line, err := lines.next()
	for ; err == nil; line, err = lines.next() {
		w.num = lines.num
		if err := w.line(line); err != nil {
			return nil, w.warnings, err
		}
	}
	switch {
	case errors.Is(err, errLongLine):
		return nil, w.warnings, wgErrorf("Line is longer than %d MiB", maxLine>>20)
	case err != io.EOF:
		return nil, w.warnings, err
	case limited.N <= 0:
		return nil, w.warnings, wgErrorf("File is larger than %d MiB", maxFile>>20)
	}
	if changed() {
		return nil, w.warnings, wgErrorf("File has changed while it was read")
	}
	if err := w.finish(); err != nil {
		return nil, w.warnings, err
	}
	return &w.change, w.warnings, nil
}

// A wgReader takes values one after the other.
type wgReader struct {
	change   WgChange
	warnings []string
	section  section
	peer     *WgPeer // the last of change.Peers
	keyless  int     // peers whose key hasn't come yet
	keyed    bool    // whether the one of peer has
	allowed  int     // allowed IPs of all peers
	num      int     // of the line
}

func (w *wgReader) line(raw []byte) error {
	if k, ok := secretIn(raw, w.section); ok {
		if w.section == peerSection {
			w.peer.PresharedKey = k
		} else {
			w.change.PrivateKey = k
		}
		return nil
	}
	if i := bytes.IndexByte(raw, '#'); i >= 0 {
		raw = raw[:i]
	}
	line := string(squashInPlace(raw))
	switch {
	case line == "":
		return nil
	case strings.IndexByte(line, 0) >= 0:
		return wgErrorf("Line unrecognized: it has a NUL byte")
	case strings.EqualFold(line, "[Interface]"):
		w.section = interfaceSection
		return nil
	case strings.EqualFold(line, "[Peer]") && len(w.change.Peers) == maxPeers:
		return wgErrorf("File %v", errManyPeers)
	case strings.EqualFold(line, "[Peer]"):
		w.section = peerSection
		w.addPeer()
		w.peer.ReplaceAllowedIPs = true
		return nil
	}
	name, value, assigned := strings.Cut(line, "=")
	k := findKey(name)
	if k == nil || k.grammar != wgGrammar || k.section != w.section || !assigned || value == "" {
		return unrecognized(line, name, value)
	}
	return wgSetters[k.name](w, value)
}

// unrecognized names what wg doesn't know, without its value.
func unrecognized(line, name, value string) error {
	const msg = "Line unrecognized"
	switch {
	case value == "":
		return wgValueError(msg, line)
	case name == "":
		return wgErrorf(msg)
	}
	return wgValueError(msg, name)
}

func (w *wgReader) addPeer() {
	w.change.Peers = append(w.change.Peers, WgPeer{})
	w.peer = &w.change.Peers[len(w.change.Peers)-1]
	w.keyless++
	w.keyed = false
}

func (w *wgReader) finish() error {
	if w.keyless > 0 {
		return &WgError{Msg: "A peer is missing a public key", NoPublicKey: true}
	}
	return nil
}

// wgSetters are what each key of wg does, in a file and among words.
var wgSetters = map[string]func(*wgReader, string) error{
	"PrivateKey":          (*wgReader).privateKey,
	"ListenPort":          (*wgReader).listenPort,
	"FwMark":              (*wgReader).fwMark,
	"PublicKey":           (*wgReader).publicKey,
	"PresharedKey":        (*wgReader).presharedKey,
	"Endpoint":            (*wgReader).endpoint,
	"AllowedIPs":          (*wgReader).allowedIPs,
	"PersistentKeepalive": (*wgReader).persistentKeepalive,
}

var errWgKey = &WgError{Msg: "Key is not the correct length or format"}

func (w *wgReader) privateKey(value string) error {
	k, ok := parseKey(value)
	if !ok {
		return errWgKey
	}
	s := Secret(k)
	w.change.PrivateKey = &s
	return nil
}

func (w *wgReader) publicKey(value string) error {
	k, ok := parseKey(value)
	if !ok {
		return errWgKey
	}
	w.peer.PublicKey = k
	if !w.keyed {
		w.keyless--
	}
	w.keyed = true
	return nil
}

func (w *wgReader) presharedKey(value string) error {
	k, ok := parseKey(value)
	if !ok {
		return errWgKey
	}
	s := Secret(k)
	w.peer.PresharedKey = &s
	return nil
}

// WgNoService is what wg, or rather getaddrinfo(3), says of a port that is
// neither a number nor the name of a service.
const WgNoService = "Servname not supported for ai_socktype"

func (w *wgReader) listenPort(value string) error {
	if value == "" {
		return wgErrorf("Unable to parse empty port")
	}
	p, ok := parsePort(value)
	if !ok {
		return wgValueError(WgNoService, value)
	}
	w.change.ListenPort = &p
	return nil
}

func (w *wgReader) fwMark(value string) error {
	m, ok := parseFwMark(value)
	if !ok {
		return wgValueError("Fwmark is neither 0/off nor 0-0xffffffff", value)
	}
	w.change.FwMark = &m
	return nil
}

func (w *wgReader) persistentKeepalive(value string) error {
	s, ok := parseKeepalive(value)
	if !ok {
		return wgValueError("Persistent keepalive interval is neither 0/off nor 1-65535", value)
	}
	w.peer.PersistentKeepalive = &s
	return nil
}

// WgNoHost is what getaddrinfo(3) says of a host that there is not.
const WgNoHost = "Name or service not known"

func (w *wgReader) endpoint(value string) error {
	if value == "" {
		return wgErrorf("Unable to parse empty endpoint")
	}
	e, fault := parseEndpoint(value)
	switch fault {
	case "":
		w.peer.Endpoint = e
		return nil
	case noBracket:
		return wgValueError("Unable to find matching brace of endpoint", value)
	case noPort, noPortAfterBracket:
		return wgValueError("Unable to find port of endpoint", value)
	case wrongPort:
		return wgValueError(WgNoService, value)
	}
	return wgValueError(WgNoHost, value)
}

// allowedIPs adds to what an earlier line of the section gave.
func (w *wgReader) allowedIPs(value string) error {
	p := w.peer
	for item := range strings.SplitSeq(value, ",") {
		if w.allowed++; w.allowed > maxAllowedIPs {
			return wgErrorf("%v", tooManyError{w.num})
		}
		ip, unmasked, fault := parseAllowedIP(item)
		if fault != "" {
			return allowedIPError(item, fault)
		}
		if unmasked {
			w.warnings = append(w.warnings, "Warning: AllowedIP has nonzero host part: "+strings.TrimLeft(item, "+-"))
		}
		if ip.Sign != Unsigned {
			p.ReplaceAllowedIPs = false
		}
		p.AllowedIPs = append(p.AllowedIPs, ip)
	}
	return nil
}

func allowedIPError(item, fault string) error {
	if fault != noAddress {
		return wgValueError("AllowedIP is not in the correct format", item)
	}
	addr, _, _ := strings.Cut(item, "/")
	if addr != "" && (addr[0] == '+' || addr[0] == '-') {
		addr = addr[1:]
	}
	return wgValueError("Unable to parse IP address", addr)
}
