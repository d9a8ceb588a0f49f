// SPDX-License-Identifier: MIT

package tunnel

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/netip"
	"slices"
	"time"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
	"github.com/wgctl/wgctl/tunnel/hook"
	"golang.org/x/crypto/blake2b"
)

// A Spec is what the host should look like with the tunnel up: everything is
// resolved, chosen and in the order of the file. It is written to the record
// as JSON, secrets as digests only.
type Spec struct {
	Name       string           `json:"name"`
	Backend    netlinkx.Backend `json:"backend"`
	Device     Device           `json:"device"`
	Addresses  []netip.Prefix   `json:"addresses,omitempty"`  // not masked
	MTU        int              `json:"mtu"`                  // bytes
	MTUChosen  bool             `json:"mtu_chosen,omitempty"` // the file gives none
	Routes     []routes.Route   `json:"routes,omitempty"`
	Rules      []routes.Rule    `json:"rules,omitempty"`
	MarkChosen bool             `json:"mark_chosen,omitempty"` // Device.FwMark isn't the file's
	Outside    bool             `json:"outside,omitempty"`     // the device's UDP socket is in another network namespace
	Firewall   firewall.Ruleset `json:"firewall"`
	Passage    firewall.Passage `json:"passage,omitzero"`
	DNS        dns.Settings     `json:"dns"`
	DNSMayFail bool             `json:"dns_may_fail,omitempty"` // then the tunnel comes up without
	Sysctls    []Sysctl         `json:"sysctls,omitempty"`
	Hooks      Hooks            `json:"hooks"` // those that are run
	// Kept says that of the tunnel only its kill switch should stand.
	Kept bool `json:"kept,omitempty"`

	HookMode config.HookMode `json:"hook_mode,omitempty"`
	Lifted   hook.Lifted     `json:"lifted,omitzero"` // what other hooks added to the fields above

	// Verdicts tell of each hook of the file what becomes of it.
	Verdicts []hook.Verdict `json:"-"`

	// Trace tells how each choice was made, a line a choice.
	Trace []string `json:"trace,omitempty"`
	// Notes say what the tunnel won't do on this host though it was asked for,
	// or does besides, a line each.
	Notes []string `json:"notes,omitempty"`
}

// A Device is what the WireGuard device should be. Nil fields are those that
// the file doesn't have: they are left as they are, unless the last applied
// Spec had them.
type Device struct {
	PrivateKey *Secret       `json:"private_key,omitempty"`
	PublicKey  *netlinkx.Key `json:"public_key,omitempty"` // that of PrivateKey
	ListenPort *uint16       `json:"listen_port,omitempty"`
	FwMark     *uint32       `json:"fwmark,omitempty"`
	Peers      Peers         `json:"peers,omitempty"` // no key comes twice, no prefix either
}

// A Peer is what one peer should be, with nil as in Device.
type Peer struct {
	Name                string         `json:"name,omitempty"`
	PublicKey           netlinkx.Key   `json:"public_key"`
	PresharedKey        *Secret        `json:"preshared_key,omitempty"`
	Configured          string         `json:"configured_endpoint,omitempty"` // as the file says, "host:port"
	Endpoint            netip.AddrPort `json:"endpoint,omitzero"`             // what Configured resolved to
	AllowedIPs          []netip.Prefix `json:"allowed_ips,omitempty"`
	PersistentKeepalive *uint16        `json:"persistent_keepalive,omitempty"` // seconds
}

// A Sysctl is a kernel parameter that the tunnel needs.
type Sysctl struct {
	Key      string `json:"key"` // "net.ipv4.conf.all.src_valid_mark"
	Value    string `json:"value"`
	Previous string `json:"previous"` // before the first tunnel that needs it
}

// Hooks are the shell commands of a file, with %i replaced.
type Hooks struct {
	Config   string   `json:"config,omitempty"` // path of the file
	PreUp    []string `json:"pre_up,omitempty"`
	PostUp   []string `json:"post_up,omitempty"`
	PreDown  []string `json:"pre_down,omitempty"`
	PostDown []string `json:"post_down,omitempty"`

	Timeout time.Duration `json:"timeout,omitempty"` // of each; 0: none
}

// A Secret is a key that should be set. Marshalled it is a digest, which still
// tells whether a device has that key; a Secret that was read back has no
// other use.
type Secret struct {
	key    netlinkx.Secret
	digest secretDigest // of one that was read back
	back   bool
}

type secretDigest [12]byte

// NewSecret wraps a key.
func NewSecret(k netlinkx.Secret) *Secret { return &Secret{key: k} }

// digestOf is by BLAKE2b, which takes a third of SHA-256 where the processor has no
// instructions for that.
func digestOf(k *netlinkx.Secret) secretDigest {
	b := labelled(k)
	sum := blake2b.Sum256(b[:])
	clear(b[:])
	return secretDigest(sum[:len(secretDigest{})])
}

// earlierDigestOf is what the records of earlier versions have.
func earlierDigestOf(k *netlinkx.Secret) secretDigest {
	b := labelled(k)
	sum := sha256.Sum256(b[:])
	clear(b[:])
	return secretDigest(sum[:len(secretDigest{})])
}

const digestLabel = "wgctl secret "

func labelled(k *netlinkx.Secret) (b [len(digestLabel) + len(netlinkx.Secret{})]byte) {
	copy(b[copy(b[:], digestLabel):], k[:])
	return b
}

// Is reports whether k is the key.
func (s *Secret) Is(k netlinkx.Secret) bool {
	if s.back {
		return s.digest == digestOf(&k) || s.digest == earlierDigestOf(&k)
	}
	return subtle.ConstantTimeCompare(s.key[:], k[:]) == 1
}

// String returns "(hidden)".
func (s *Secret) String() string { return s.key.String() }

// MarshalText returns the digest in hexadecimal.
func (s *Secret) MarshalText() ([]byte, error) { return s.appendDigest(nil), nil }

// forget keeps no more than the digest.
func (s *Secret) forget() {
	if s != nil && !s.back {
		s.digest, s.back = digestOf(&s.key), true
		clear(s.key[:])
	}
}

// ForgetKeys leaves of the keys what a Spec that is read back has: enough to
// tell whether a device has them, and not to set them.
func (s *Spec) ForgetKeys() {
	s.Device.PrivateKey.forget()
	for i := range s.Device.Peers {
		s.Device.Peers[i].PresharedKey.forget()
	}
}

func (s *Secret) appendDigest(b []byte) []byte {
	d := s.digest
	if !s.back {
		d = digestOf(&s.key)
	}
	return hex.AppendEncode(b, d[:])
}

// UnmarshalText reads a digest.
func (s *Secret) UnmarshalText(b []byte) error {
	if len(b) != hex.EncodedLen(len(s.digest)) {
		return hex.ErrLength
	}
	s.back = true
	_, err := hex.Decode(s.digest[:], b)
	return err
}

// allowedIPs returns those of all peers together.
func (d Device) allowedIPs() []netip.Prefix {
	n := 0
	for _, p := range d.Peers {
		n += len(p.AllowedIPs)
	}
	out := make([]netip.Prefix, 0, n)
	for _, p := range d.Peers {
		out = append(out, p.AllowedIPs...)
	}
	return out
}

// with returns s with everything of t added that s doesn't have: what may
// stand there when a change from t to s was cut short.
func (s *Spec) with(t *Spec) *Spec {
	if t == nil {
		return s
	}
	u := *s
	u.Addresses = united(s.Addresses, t.Addresses)
	u.Routes = united(s.Routes, t.Routes)
	u.Rules = united(s.Rules, t.Rules)
	u.Sysctls = united(s.Sysctls, t.Sysctls)
	u.DNS.Aside = append(slices.Clip(s.DNS.Aside), dns.Without(t.DNS.Aside, s.DNS.Aside)...)
	known := make(map[netlinkx.Key]bool, len(s.Device.Peers))
	for _, p := range s.Device.Peers {
		known[p.PublicKey] = true
	}
	for _, p := range t.Device.Peers {
		if !known[p.PublicKey] {
			u.Device.Peers = append(slices.Clip(u.Device.Peers), p)
		}
	}
	return &u
}

// united returns the members of a, then those of b that a doesn't have.
func united[T comparable](a, b []T) []T {
	in := make(map[T]bool, len(a))
	for _, x := range a {
		in[x] = true
	}
	out := slices.Clip(a)
	for _, x := range b {
		if !in[x] {
			out = append(out, x)
		}
	}
	return out
}

// takesDefault reports whether a default route goes through the tunnel by
// policy rules.
func (s *Spec) takesDefault() bool { return len(s.ownRules()) > 0 }
