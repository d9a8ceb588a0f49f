// SPDX-License-Identifier: MIT

package tunnel

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
)

// A fakeHost is a whole host in memory. It prints itself as the commands that
// would make it again.
type fakeHost struct {
	*netlinkx.Fake
	firewalls map[string]firewall.Ruleset
	resolvers map[string]dns.Settings
	passages  map[firewall.Place]map[string]firewall.Passage // by interface
	hooks     []string
	records   *Records

	calls  int // changes outside the kernel
	failAt int
	again  int  // another one that is to fail
	killAt int  // the process dies before it makes that one
	noDNS  bool // whatever the resolver is told fails
	lost   bool // the resolver does what it is told, once, and says that it failed
}

var errInjected = errors.New("injected")

// newFakeHost is a host with one network card, its default route, and a few
// things that are somebody else's.
func newFakeHost(t testing.TB) *fakeHost { return newFakeHostAt(t, memoryDir(t)) }

// newFakeHostAt has its records in that folder.
func newFakeHostAt(t testing.TB, dir string) *fakeHost {
	t.Helper()
	f := netlinkx.NewFake()
	f.AddLink(netlinkx.Link{Name: "eth0", MTU: 1500, Up: true}, netip.MustParsePrefix("192.0.2.9/24"), netip.MustParsePrefix("2001:db8::9/64"))
	h := &fakeHost{Fake: f, firewalls: map[string]firewall.Ruleset{}, resolvers: map[string]dns.Settings{}, passages: map[firewall.Place]map[string]firewall.Passage{}, records: &Records{Dir: dir}}
	f.OnCall = func(verb string) error { return h.change() }
	return h
}

// memoryDir is a folder in memory, as /run is: records are synced to disk.
func memoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "wgctl-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (h *fakeHost) host() *Host {
	return &Host{
		Links: h.Fake, Addresses: h.Fake, Routes: h.Fake, Tables: h.Fake, DeadEnds: h.Fake, Rules: h.Fake, Devices: h.Fake, Sysctls: h.Fake,
		Firewall: fakeFirewall{h}, Foreign: fakeForeign{h}, DNS: fakeResolver{h}, Userspace: fakeUserspace{h}, Hooks: h,
		Names: fakeNames{}, Records: h.records,
	}
}

// change counts a change, and fails if it is the one that is to fail.
func (h *fakeHost) change() error {
	h.calls++
	if h.calls == h.killAt {
		panic(errKilled)
	}
	switch h.calls {
	case h.failAt:
		h.failAt = 0
		return errInjected
	case h.again:
		h.again = 0
		return errInjected
	}
	return nil
}

// failNext makes the kth change from now fail.
func (h *fakeHost) failNext(k int) { h.failAt = h.calls + k }

func (h *fakeHost) String() string {
	var b strings.Builder
	b.WriteString(h.Fake.String())
	for _, n := range slices.Sorted(maps.Keys(h.firewalls)) {
		b.WriteString(h.firewalls[n].Text())
	}
	for _, n := range slices.Sorted(maps.Keys(h.resolvers)) {
		fmt.Fprintf(&b, "resolvconf -a %s %v %v\n", n, h.resolvers[n].Servers, h.resolvers[n].Search)
	}
	for _, at := range droppingPlaces {
		for _, n := range slices.Sorted(maps.Keys(h.passages[at])) {
			fmt.Fprintf(&b, "%s: %v\n", h.passages[at][n].Command(at), h.passages[at][n].Accepts)
		}
	}
	names, _ := h.records.Names()
	for _, n := range names {
		r, _ := h.records.Head(n)
		fmt.Fprintf(&b, "record %s %s\n", n, r.Phase)
	}
	return b.String()
}

func (h *fakeHost) Run(_ context.Context, hook Hook) error {
	if err := h.change(); err != nil {
		return err
	}
	h.hooks = append(h.hooks, hook.Phase+": "+hook.Command)
	return nil
}

type fakeFirewall struct{ *fakeHost }

func (f fakeFirewall) Installed(_ context.Context, ifname string) (firewall.Installed, error) {
	r, ok := f.firewalls[ifname]
	if !ok {
		return firewall.Installed{}, nil
	}
	return firewall.Installed{Digest: r.Digest(), Mark: cmp.Or(r.RestoreMark, r.KillSwitch.Mark), KillSwitch: !r.KillSwitch.IsZero()}, nil
}

func (f fakeFirewall) Apply(_ context.Context, r firewall.Ruleset) error {
	if err := f.change(); err != nil {
		return err
	}
	if r.Empty() {
		delete(f.firewalls, r.Interface)
	} else {
		f.firewalls[r.Interface] = r
	}
	return nil
}

func (f fakeFirewall) Choose(context.Context, firewall.Ruleset) (string, error) { return "", nil }

// droppingPlaces are those of a host with Docker and a table of the
// administrator's own.
var droppingPlaces = []firewall.Place{
	{Kind: firewall.PlaceIPTables, Family: "ip", Table: "filter", Chain: "DOCKER-USER"},
	{Kind: firewall.PlaceNFT, Family: "inet", Table: "filter", Chain: "forward"},
}

type fakeForeign struct{ *fakeHost }

func (f fakeForeign) Installed(_ context.Context, ifname string) ([]firewall.Standing, error) {
	var out []firewall.Standing
	for _, at := range droppingPlaces {
		out = append(out, firewall.Standing{Place: at, Wanted: true, Digest: f.passages[at][ifname].Digest(at), Tagged: true})
	}
	return out, nil
}

func (f fakeForeign) Apply(_ context.Context, at firewall.Place, p firewall.Passage) error {
	if err := f.change(); err != nil {
		return err
	}
	if f.passages[at] == nil {
		f.passages[at] = map[string]firewall.Passage{}
	}
	if f.passages[at][p.Interface] = p; p.Empty() {
		delete(f.passages[at], p.Interface)
	}
	return nil
}

func (f fakeForeign) Choose(context.Context, firewall.Passage) (firewall.PlaceChoice, error) {
	return firewall.PlaceChoice{Places: droppingPlaces}, nil
}

type fakeResolver struct{ *fakeHost }

func (f fakeResolver) Installed(_ context.Context, ifname string) (dns.Settings, error) {
	return f.resolvers[ifname], nil
}

func (f fakeResolver) Apply(_ context.Context, s dns.Settings) error {
	if f.noDNS {
		return errInjected
	}
	if err := f.change(); err != nil {
		return err
	}
	if s.Empty() {
		delete(f.resolvers, s.Interface)
	} else {
		f.resolvers[s.Interface] = s
	}
	if f.lost {
		f.lost = false
		return errInjected
	}
	return nil
}

func (f fakeResolver) Choose(_ context.Context, s dns.Settings) (dns.Settings, string, error) {
	s.Backend = ""
	return s, "", nil
}

type fakeUserspace struct{ *fakeHost }

func (f fakeUserspace) Available(context.Context) error { return nil }
func (f fakeUserspace) Start(ctx context.Context, ifname string) error {
	return f.StartUserspace(ctx, ifname)
}
func (f fakeUserspace) Prepare(string) error                        { return nil }
func (f fakeUserspace) Forget()                                     {}
func (f fakeUserspace) Counts() bool                                { return true }
func (f fakeUserspace) Reap(context.Context, string) error          { return nil }
func (f fakeUserspace) Stale(context.Context, string) (bool, error) { return false, nil }

type fakeNames struct{}

func (fakeNames) LookupHost(_ context.Context, name string) ([]netip.Addr, error) {
	if name == "peer.example" {
		return []netip.Addr{netip.MustParseAddr("192.0.2.77")}, nil
	}
	return nil, fmt.Errorf("no such host: %s", name)
}

func (fakeNames) LookupPort(_ context.Context, service string) (uint16, error) {
	if service == "domain" {
		return 53, nil
	}
	return 0, fmt.Errorf("no such service: %s", service)
}
