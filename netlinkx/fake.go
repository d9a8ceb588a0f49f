// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// Fake is a host in memory, with the same verbs as Kernel and, as far as they
// matter to a tunnel, the same effects and errnos. Lists come in the order in
// which things were added, where the kernel may have another. It prints itself
// as the commands that would make it again.
//
// It may be used by several goroutines.
type Fake struct {
	// OnCall, if it isn't nil, is called before each changing verb with the
	// verb's name, as "RouteAdd"; its error becomes the verb's, which then does
	// nothing.
	OnCall func(verb string) error
	// NoWireGuard makes it a kernel that doesn't know the link kind.
	NoWireGuard bool
	// NoPolicyRouting makes it a kernel that has no rules of some families.
	NoPolicyRouting []routes.Family

	mu        sync.Mutex
	links     []*fakeLink // by index
	deadEnds  []InstalledRoute
	rules     []InstalledRule
	sysctls   map[string]string
	lastIndex int
	lastPort  uint16

	calls    int
	failAt   int // the call that fails; 0: none
	failErr  error
	failHalf bool
}

var _ interface {
	Links
	Addresses
	Routes
	DeadEnds
	Rules
	Devices
	Sysctls
} = (*Fake)(nil)

type fakeLink struct {
	Link
	addrs  []fakeAddress
	routes []InstalledRoute
	device *Device // nil: not a WireGuard device
	edits  int     // of the device
	told   int     // of these, by Configure
}

type fakeAddress struct {
	Address
	secondary bool // an IPv4 address in the subnet of an earlier one
}

// presets are the sysctls of a new host. Those below conf.default are the
// values of links that have none of their own.
var presets = map[string]string{
	"net.ipv4.ip_forward":                       "0",
	"net.ipv4.conf.all.arp_ignore":              "0",
	"net.ipv4.conf.all.forwarding":              "0",
	"net.ipv4.conf.all.promote_secondaries":     "0",
	"net.ipv4.conf.all.rp_filter":               "0",
	"net.ipv4.conf.all.src_valid_mark":          "0",
	"net.ipv4.conf.default.arp_ignore":          "0",
	"net.ipv4.conf.default.forwarding":          "0",
	"net.ipv4.conf.default.promote_secondaries": "0",
	"net.ipv4.conf.default.rp_filter":           "0",
	"net.ipv4.conf.default.src_valid_mark":      "0",
	"net.ipv6.conf.all.accept_ra":               "1",
	"net.ipv6.conf.all.disable_ipv6":            "0",
	"net.ipv6.conf.all.forwarding":              "0",
	"net.ipv6.conf.default.accept_ra":           "1",
	"net.ipv6.conf.default.disable_ipv6":        "0",
	"net.ipv6.conf.default.forwarding":          "0",
}

// NewFake returns a host with nothing but the loopback link and the kernel's own
// policy rules.
func NewFake() *Fake {
	f := &Fake{sysctls: maps.Clone(presets), lastPort: 32767}
	f.AddLink(Link{Name: "lo", MTU: 65536, Up: true},
		netip.MustParsePrefix("127.0.0.1/8"), netip.MustParsePrefix("::1/128"))
	for _, r := range []routes.Rule{
		{Family: routes.V4, Priority: 0, Table: routes.TableLocal},
		{Family: routes.V4, Priority: 32766, Table: routes.TableMain},
		{Family: routes.V4, Priority: 32767, Table: routes.TableDefault},
		{Family: routes.V6, Priority: 0, Table: routes.TableLocal},
		{Family: routes.V6, Priority: 32766, Table: routes.TableMain},
	} {
		f.AddRule(InstalledRule{Rule: r, Protocol: unix.RTPROT_KERNEL, Plain: true})
	}
	return f
}

// AddLink adds a link as somebody else makes one, with its addresses. The index
// is chosen here; an MTU of 0 becomes 1500. A link that is up gets the routes of
// its subnets.
func (f *Fake) AddLink(l Link, addresses ...netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	up := l.Up
	l.Up = false
	n := f.newLink(l)
	for _, p := range addresses {
		n.insert(p, false)
	}
	if up {
		f.up(n)
	}
}

// DropLink removes a link, whosever it is, as when its process dies.
func (f *Fake) DropLink(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drop(name)
}

// SetAlias gives a link an alias, as ip(8) does. It does nothing if there is no
// such link.
func (f *Fake) SetAlias(link, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.find(link); l != nil {
		l.Alias, l.Note = splitAlias(text)
	}
}

// AddRoute adds a route of somebody else through the link, whatever stands in
// its place; one without a protocol number has that of ip(8), 3. It does nothing
// if there is no such link.
func (f *Fake) AddRoute(link string, r InstalledRoute) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Protocol == 0 {
		r.Protocol = unix.RTPROT_BOOT
	}
	if l := f.find(link); l != nil {
		l.routes = append(l.routes, r)
	}
}

// AddRule adds a policy rule of somebody else. The rules that ip(8) adds have
// protocol number 0.
func (f *Fake) AddRule(r InstalledRule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.insertRule(r)
}

// EditDevice calls edit with the device of that name, to give it what only
// traffic gives a real one: handshakes, counters, an endpoint that roamed. It
// does nothing if there is no such device.
func (f *Fake) EditDevice(name string, edit func(*Device)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l := f.find(name); l != nil && l.device != nil {
		edit(l.device)
		l.edits++
	}
}

// FailAt makes the nth changing verb from now (1 is the next) fail with err and
// do nothing. There is one such fault at a time; n of 0 takes it away.
func (f *Fake) FailAt(n int, err error) { f.fail(n, err, false) }

// FailHalf is FailAt, but if the nth verb is Configure it sets the device's own
// fields and the first half of the peers before it fails.
func (f *Fake) FailHalf(n int, err error) { f.fail(n, err, true) }

func (f *Fake) fail(n int, err error, half bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failAt, f.failErr, f.failHalf = 0, err, half
	if n > 0 {
		f.failAt = f.calls + n
	}
}

// Calls returns how many changing verbs were called so far, failed ones
// included.
func (f *Fake) Calls() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// change opens a changing verb: it locks f and returns the unlocking, or the
// error that the verb is to fail with. half says that it should do half its
// work before.
func (f *Fake) change(ctx context.Context, verb string) (unlock func(), half bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	f.mu.Lock()
	f.calls++
	now := f.calls
	f.mu.Unlock()
	if f.OnCall != nil {
		if err := f.OnCall(verb); err != nil {
			return nil, false, err
		}
	}
	f.mu.Lock()
	if f.failAt == now {
		err, half = f.failErr, f.failHalf
		f.failAt = 0
	}
	if err != nil && !half {
		f.mu.Unlock()
		return nil, false, err
	}
	return f.mu.Unlock, half, err
}

// begin is change for the verbs that can't be half done.
func (f *Fake) begin(ctx context.Context, verb string) (unlock func(), err error) {
	unlock, half, err := f.change(ctx, verb)
	if half {
		unlock()
	}
	return unlock, err
}

// read opens a reading verb.
func (f *Fake) read(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	return f.mu.Unlock, nil
}

func (f *Fake) find(name string) *fakeLink {
	i := slices.IndexFunc(f.links, func(l *fakeLink) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return f.links[i]
}

// Sysctl returns a preset or what was set.
func (f *Fake) Sysctl(ctx context.Context, key string) (string, error) {
	unlock, err := f.read(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	v, ok := f.sysctl(key)
	if !ok {
		return "", unix.ENOENT
	}
	return v, nil
}

// SetSysctl sets a key that exists.
func (f *Fake) SetSysctl(ctx context.Context, key, value string) error {
	unlock, err := f.begin(ctx, "SetSysctl")
	if err != nil {
		return err
	}
	defer unlock()
	if _, ok := f.sysctl(key); !ok {
		return unix.ENOENT
	}
	key = dotted(key)
	delete(f.sysctls, key)
	if v, ok := f.sysctl(key); !ok || v != value {
		f.sysctls[key] = value
	}
	return nil
}

// dotted turns a key that is separated by slashes into one separated by dots,
// with a slash where a link's name has a dot, as sysctl(8) does.
func dotted(key string) string {
	if !strings.Contains(key, "/") || strings.HasPrefix(key, "net.") {
		return key
	}
	return strings.NewReplacer("/", ".", ".", "/").Replace(key)
}

// sysctl looks a key up; a link's own one falls back to that of "default".
func (f *Fake) sysctl(key string) (string, bool) {
	key = dotted(key)
	if v, ok := f.sysctls[key]; ok {
		return v, true
	}
	part := strings.Split(key, ".")
	if len(part) != 5 || part[2] != "conf" || f.find(strings.ReplaceAll(part[3], "/", ".")) == nil {
		return "", false
	}
	part[3] = "default"
	v, ok := f.sysctls[strings.Join(part, ".")]
	return v, ok
}

// either reports whether a sysctl below net.FAMILY.conf is on for all links or
// for this one.
func (f *Fake) either(family, link, name string) bool {
	all, _ := f.sysctl("net." + family + ".conf.all." + name)
	own, _ := f.sysctl("net." + family + ".conf." + link + "." + name)
	return all == "1" || own == "1"
}
