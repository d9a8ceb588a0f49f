// SPDX-License-Identifier: MIT

// Package netlinkx is the kernel's view of the network as values and a handful
// of verbs: links, addresses, routes, policy rules, WireGuard devices and
// sysctls of one network namespace. Kernel is the real thing, over
// vishvananda/netlink and wgctrl; Fake is an in-memory host for tests, and one
// conformance table holds the two together.
//
// It is not where anything is decided: it knows no config file, no plan and no
// firewall. No type of the libraries below it appears in a signature.
//
// Errors carry the kernel's errno (errors.Is(err, unix.EEXIST) works), and
// something that does not exist is also an os.ErrNotExist. Callers add what
// they were doing; this package adds only what it alone knows.
package netlinkx

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/wgctl/wgctl/routes"
)

// Marks by which wgctl finds its own things in the kernel.
const (
	Protocol = 87      // routing protocol number of routes, rules and addresses
	Alias    = "wgctl" // link alias (IFLA_IFALIAS)
)

// Backend says what implements a WireGuard device.
type Backend string

// The backends.
const (
	BackendKernel    Backend = "kernel"
	BackendUserspace Backend = "userspace"
)

// A Link is a network interface. Kind is the kernel's: "wireguard", "tun",
// "veth", or "" for hardware.
type Link struct {
	Index int
	Name  string
	Kind  string
	Alias string
	Note  string // what ours says besides: see LinkNote
	MTU   int    // bytes
	Up    bool
}

// An Address is an address of a link, with the length of its on-link prefix.
// KernelMade addresses are the link-local ones that the kernel adds by itself.
type Address struct {
	Prefix     netip.Prefix // not masked
	KernelMade bool
}

// An InstalledRoute is a route as it stands in the kernel. The metric of an
// IPv6 route that was added without one is 0 here, though the kernel says 1024.
type InstalledRoute struct {
	routes.Route
	Protocol int  // 2 is the kernel, 87 is ours
	Plain    bool // has nothing that routes.Route can't say: no gateway, source or odd type
}

// An InstalledRule is a policy rule as it stands in the kernel.
type InstalledRule struct {
	routes.Rule
	Protocol int
	Plain    bool // has nothing that routes.Rule can't say
}

// A Key is a public key. It prints as base64, as wg writes it.
type Key [32]byte

// String returns the base64 form, 44 characters.
func (k Key) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText returns the base64 form.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the base64 form.
func (k *Key) UnmarshalText(b []byte) error {
	const length = 44
	var d [33]byte
	if len(b) != length { // Decode needs room for all that it is given
		return fmt.Errorf("not a key of %d base64 characters", length)
	}
	n, err := base64.StdEncoding.Strict().Decode(d[:], b)
	if err != nil || n != len(k) {
		return fmt.Errorf("not a key of %d base64 characters", length)
	}
	copy(k[:], d[:])
	return nil
}

// A Secret is a private or preshared key; the zero value is none. However it
// is printed or marshalled, it comes out as "(hidden)".
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

// IsZero reports whether there is no key.
func (s Secret) IsZero() bool { return s == Secret{} }

// Clamped returns a private key as a device holds it and gives it back, with
// five bits fixed (curve25519_clamp_secret): not every tool that makes keys
// fixes them.
func (s Secret) Clamped() Secret {
	if !s.IsZero() {
		s[0], s[31] = s[0]&248, s[31]&127|64
	}
	return s
}

// PublicKey returns the public key of a private key, or the zero key for none.
// A device is asked for its key again and again, and each time that the public
// one is made of it leaves copies of it in memory: so it is made once.
func (s Secret) PublicKey() Key {
	if s.IsZero() {
		return Key{}
	}
	digest := sha256.Sum256(s[:])
	madeKeys.Lock()
	defer madeKeys.Unlock()
	if madeKeys.of == digest {
		return madeKeys.key
	}
	priv, err := ecdh.X25519().NewPrivateKey(s[:])
	if err != nil {
		return Key{}
	}
	madeKeys.of, madeKeys.key = digest, Key(priv.PublicKey().Bytes())
	return madeKeys.key
}

// madeKeys is the public key that was made last, and the digest of its private
// one.
var madeKeys struct {
	sync.Mutex
	of  [sha256.Size]byte
	key Key
}

// A Device is a WireGuard device as it is.
type Device struct {
	Name       string
	Backend    Backend
	PrivateKey Secret // zero: none
	PublicKey  Key
	ListenPort uint16
	FwMark     uint32 // 0: off
	Peers      []Peer // in the device's own order
}

// A Peer is a peer of a device as it is.
type Peer struct {
	PublicKey           Key
	PresharedKey        Secret         // zero: none
	Endpoint            netip.AddrPort // invalid: none; with its zone, on either backend
	AllowedIPs          []netip.Prefix // masked, in the device's own order
	PersistentKeepalive uint16         // seconds; 0: off
	LatestHandshake     time.Time      // zero: never
	ReceiveBytes        int64
	TransmitBytes       int64
}

// A DeviceChange says what to change of a device. Nil fields stay as they are,
// and so do peers that aren't named unless ReplacePeers is set.
type DeviceChange struct {
	PrivateKey   *Secret // zero removes it
	ListenPort   *uint16 // 0 lets the device choose
	FwMark       *uint32 // 0 is off
	ReplacePeers bool    // first removes all the peers that there are
	Peers        []PeerChange
}

// A PeerChange says what to change of one peer, in the terms of the kernel's
// wireguard.h: a peer that doesn't exist is made unless UpdateOnly is set,
// and an allowed IP that another peer has moves to this one.
type PeerChange struct {
	PublicKey           Key
	Remove              bool
	UpdateOnly          bool
	PresharedKey        *Secret        // zero removes it
	Endpoint            netip.AddrPort // invalid: as it is
	PersistentKeepalive *uint16        // seconds; 0 is off
	ReplaceAllowedIPs   bool
	AllowedIPs          []netip.Prefix
	RemoveAllowedIPs    []netip.Prefix // after AllowedIPs are added; another peer's stay its
}

// A RoutePath is what the host's own routing says of the way to an address.
type RoutePath struct {
	Link string // name of the outgoing link
	MTU  int    // the route's own mtu attribute, else the link's MTU
}
