// SPDX-License-Identifier: MIT

// Package config reads and writes WireGuard configuration files as wg-quick(8)
// and wg(8) understand them together, with a few keys of wgctl's own.
//
// It is text and types and nothing else: no name is looked up, no host is
// asked, and what a file says is not yet what will be done (package tunnel
// resolves it).
package config

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/netip"
	"time"
)

// A Config is what one file says.
type Config struct {
	Interface Interface
	Peers     []Peer // in the file's order; the same key may come twice

	file   string
	origin fs.FileInfo // of the file as it was opened; nil: there was none
	digest string
	refers bool // a peer is made of more than the text
	warned bool
	lines  places
}

// An Interface is the [Interface] sections of a file, merged: the last value
// of a key wins, lists add up. Nil pointers are keys that the file doesn't
// have.
type Interface struct {
	// Keys of wg(8).
	PrivateKey *Secret // zero: the file says 32 zero bytes, which removes the key
	ListenPort *Port
	FwMark     *uint32 // 0: "off"

	// Keys of wg-quick(8).
	Addresses  []netip.Prefix // not masked, in order, no two equal
	DNS        []netip.Addr
	DNSSearch  []string
	MTU        int // bytes; 0: not set
	Table      Table
	Hooks      Hooks
	SaveConfig bool

	// Keys of wgctl.
	PrivateKeyFile   string // "": not set; see ReadKeys, which reads it into PrivateKey
	Backend          Backend
	HookMode         HookMode
	HookTimeout      time.Duration  // of each hook; 0: none
	ExcludedIPs      []netip.Prefix // masked, in order
	RouteMetric      uint32         // 0: not set
	RouteAggregation bool
	Forward          *bool
	Masquerade       Masquerade
	PortForwards     []PortForward // in order, no two for the same packet
	ClampMSS         ClampMSS
	KillSwitch       bool
	DNSBackend       DNSBackend // "": not set
	DNSFailure       DNSFailure // "": not set
}

// Hooks are shell commands in order, as written but for the space around them.
// A "%i" in them is still a "%i".
type Hooks struct {
	PreUp, PostUp, PreDown, PostDown []string
}

// Empty reports whether there are none.
func (h Hooks) Empty() bool {
	return len(h.PreUp)+len(h.PostUp)+len(h.PreDown)+len(h.PostDown) == 0
}

// A Peer is one [Peer] section.
type Peer struct {
	Name                string // the Name key, or a "# friendly_name = " or "# Name = " comment inside the section
	PublicKey           Key
	PresharedKey        *Secret
	PresharedKeyFile    string   // "": not set; see ReadKeys
	Endpoint            Endpoint // zero: none
	AllowedIPs          []AllowedIP
	PersistentKeepalive *uint16 // seconds; 0: "off"
}

// An AllowedIP is one item of an AllowedIPs list. wg(8) reads a list with any
// signed item as a change to what the peer has, and one without as the whole.
type AllowedIP struct {
	Prefix netip.Prefix // masked
	Sign   Sign
}

// A Sign is the "+" or "-" before an allowed IP.
type Sign uint8

// The signs.
const (
	Unsigned Sign = iota
	Plus
	Minus
)

// A Port is a UDP port by number or by service name ("domain"); the name is
// not looked up here.
type Port struct {
	Number  uint16
	Service string // "" when the file gives a number
}

// String returns the port as it is written in a file.
func (p Port) String() string {
	if p.Service != "" {
		return p.Service
	}
	return fmt.Sprint(p.Number)
}

// An Endpoint is a host name or address literal and a port, unresolved.
type Endpoint struct {
	Host string // without brackets; an IPv6 literal may have a zone
	Port Port
}

// IsZero reports whether there is no endpoint.
func (e Endpoint) IsZero() bool { return e == Endpoint{} }

// A Table is the Table key: where routes go.
type Table struct {
	Mode   TableMode
	Number uint32 // for TableNumber
	Name   string // for TableName: a name of /etc/iproute2/rt_tables, not looked up here
}

// A TableMode says what kind of value Table has.
type TableMode uint8

// The modes. TableAuto is the value of a file that doesn't say.
const (
	TableAuto TableMode = iota
	TableOff
	TableNumber
	TableName
)

// A Backend is the Backend key: what may implement the device.
type Backend string

// The backends. The empty string is BackendAuto.
const (
	BackendAuto      Backend = "auto"
	BackendKernel    Backend = "kernel"
	BackendUserspace Backend = "userspace"
)

// A Key is a public key.
type Key [32]byte

// String returns the base64 form, 44 characters.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// A Secret is a private or preshared key. However it is printed or marshalled,
// it comes out as "(hidden)"; only Format writes it.
type Secret [32]byte

const hidden = "(hidden)"

// String returns "(hidden)".
func (Secret) String() string { return hidden }

// GoString returns "(hidden)".
func (Secret) GoString() string { return hidden }

// Format prints "(hidden)" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(hidden)) }

// MarshalText returns "(hidden)".
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// InInterface is the peer index by which Errorf and Line name [Interface].
const InInterface = -1

// File returns the path that the config was read from.
func (c *Config) File() string { return c.file }

// Digest returns the XXH64 of the text that was parsed, in hexadecimal: other texts
// have others, but for chance, one in 2^64.
func (c *Config) Digest() string { return c.digest }

// SelfContained reports whether all that is said of peers is in the file, so
// that it is the same as long as Digest is: but for what names of hosts and
// services stand for.
func (c *Config) SelfContained() bool { return !c.refers }

// Quiet reports whether the text drew no warning.
func (c *Config) Quiet() bool { return !c.warned }

// Line returns the line of the nth value (from 0) of a key, in its canonical
// spelling as in "AllowedIPs"; peer is an index of Peers or InInterface. For
// lists, every item counts as a value, and of DNS the addresses come before the
// search domains; of a key that was given again, only the value that counts.
// The line of a section's header is that of the key "". It returns 0 where
// there is no such value.
func (c *Config) Line(peer int, key string, n int) int {
	return c.lines.line(placeOf(peer, key), n)
}

// Errorf returns an Error at the nth value of a key; see Line.
func (c *Config) Errorf(peer int, key string, n int, format string, args ...any) *Error {
	section := "Interface"
	if peer >= 0 {
		section = "Peer"
	}
	return &Error{File: c.file, Line: c.Line(peer, key, n), Section: section, Key: key, Msg: fmt.Sprintf(format, args...)}
}

// An Error is one thing wrong with a file. Its message never holds the value
// of a key, nor a line that could not be understood.
type Error struct {
	File    string
	Line    int    // from 1; 0: the file as a whole
	Section string // "Interface", "Peer" or ""
	Key     string // canonical spelling where it is known, else as written; or ""
	Msg     string
	Rule    string // of a Warning: what kind it is, by the name that "wgctl check" has for it
}

// Error returns "wg0.conf:12: [Peer] AllowedIPs: message".
func (e *Error) Error() string {
	s := e.File
	if e.Line > 0 {
		s += fmt.Sprintf(":%d", e.Line)
	}
	s += ": "
	if e.Section != "" {
		s += "[" + e.Section + "] "
	}
	if e.Key != "" {
		s += e.Key + ": "
	}
	return s + e.Msg
}

// Errors are all the things wrong with a file, by line. errors.As finds the
// single ones.
type Errors []*Error

// Error returns one line per error.
func (e Errors) Error() string {
	s := ""
	for i, err := range e {
		if i > 0 {
			s += "\n"
		}
		s += err.Error()
	}
	return s
}

// Unwrap returns the single errors.
func (e Errors) Unwrap() []error {
	out := make([]error, len(e))
	for i, err := range e {
		out[i] = err
	}
	return out
}

// A Warning is something that wg and wg-quick accept but that surely isn't
// meant. It prints as an Error does, and its message names the other line
// where two places are concerned.
type Warning Error

// String returns the warning as Error.Error would.
func (w Warning) String() string { return (*Error)(&w).Error() }
