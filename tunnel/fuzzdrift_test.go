// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// A meddler is everybody else on a host: it changes what is ours behind our
// back, and adds what isn't. Of the latter it knows the lines that the host
// prints while they stand.
type meddler struct {
	*testing.T
	*fakeHost
	rnd     *rand.Rand
	lines   []string        // foreign things that don't hang on the link
	onLink  []string        // and those that do
	peers   []netlinkx.Key  // added by hand
	sysctls map[string]bool // keys that were changed by hand
	tamper  tamper
}

func (m *meddler) settle(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// outside adds things of others to a host: a second card that may have what a
// tunnel wants, their routes in tables and their rules.
func (m *meddler) outside() {
	if m.rnd.IntN(2) == 0 {
		addrs := []string{"10.70.0.1/24", "10.8.0.9/24", "fd00::9/64", "192.168.7.1/25"}
		m.AddLink(netlinkx.Link{Name: "eth7", MTU: 1500, Up: true}, netip.MustParsePrefix(addrs[m.rnd.IntN(len(addrs))]))
	}
	for range m.rnd.IntN(3) {
		dst := []string{"10.71.0.0/16", "192.168.8.0/24", "fd01::/16", "0.0.0.0/0"}[m.rnd.IntN(4)]
		table := []uint32{routes.TableMain, 1234, 51820, 200}[m.rnd.IntN(4)]
		r := netlinkx.InstalledRoute{Route: routes.Route{Dst: netip.MustParsePrefix(dst), Table: table}, Plain: true}
		if owner, err := m.RouteOwner(context.Background(), r.Route); err == nil && owner != "" {
			continue
		}
		m.AddRoute("eth0", r)
	}
	for range m.rnd.IntN(2) {
		m.rule()
	}
}

func (m *meddler) rule() {
	r := routes.Rule{Family: []routes.Family{routes.V4, routes.V6}[m.rnd.IntN(2)], Priority: 400 + uint32(m.rnd.IntN(9)), Table: []uint32{51820, 1234, 77}[m.rnd.IntN(3)]}
	if have, _ := m.Rules(context.Background()); slices.ContainsFunc(have, func(h netlinkx.InstalledRule) bool { return h.Rule == r }) {
		return
	}
	m.AddRule(netlinkx.InstalledRule{Rule: r, Plain: true})
	m.lines = append(m.lines, fmt.Sprintf("ip -%d rule add %s proto 0", r.Family, r))
}

// pick returns one of a list, and whether there is any.
func pick[T any](rnd *rand.Rand, from []T) (x T, ok bool) {
	if len(from) == 0 {
		return x, false
	}
	return from[rnd.IntN(len(from))], true
}

// meddle makes one change on a host where wg0 is up.
func (m *meddler) meddle(spec *Spec) {
	ctx := context.Background()
	switch m.rnd.IntN(16) {
	case 0:
		if a, ok := pick(m.rnd, spec.Addresses); ok && !m.alone(a) {
			gone(m.T, m.AddressDel(ctx, "wg0", a))
		}
	case 1:
		if r, ok := pick(m.rnd, spec.Routes); ok {
			gone(m.T, m.RouteDel(ctx, "wg0", r))
		}
	case 2:
		if r, ok := pick(m.rnd, spec.Rules); ok {
			gone(m.T, m.RuleDel(ctx, r))
		}
	case 3:
		m.rule()
	case 4:
		a := netip.MustParsePrefix([]string{"10.77.0.1/32", "10.8.0.77/24", "10.8.1.77/16"}[m.rnd.IntN(3)])
		if link, _ := m.Link(ctx, "wg0"); link.MTU >= routes.MinIPv6MTU && m.rnd.IntN(3) == 0 {
			a = netip.MustParsePrefix("fd00::77/64")
		}
		if m.AddressAdd(ctx, "wg0", a) == nil {
			m.onLink = append(m.onLink, fmt.Sprintf("ip address add %s dev wg0", a))
		}
	case 5:
		r := routes.Route{Dst: netip.MustParsePrefix([]string{"10.78.0.0/16", "192.168.8.0/24", "10.9.9.0/24"}[m.rnd.IntN(3)]), Table: []uint32{routes.TableMain, 51820, 1234}[m.rnd.IntN(3)]}
		if owner, err := m.RouteOwner(ctx, r); err == nil && owner != "" {
			return
		}
		m.AddRoute("wg0", netlinkx.InstalledRoute{Route: r, Plain: true})
		m.onLink = append(m.onLink, fmt.Sprintf("ip route add %s dev wg0 proto boot", r))
	case 6:
		l, err := m.Link(ctx, "wg0")
		m.settle(err)
		// Below what IPv6 needs the kernel takes it all away, which is no drift of ours.
		if mtu := 1280 + m.rnd.IntN(200); l.MTU >= routes.MinIPv6MTU {
			m.settle(m.LinkSet(ctx, "wg0", mtu, true))
		}
	case 7:
		if r, ok := m.firewalls["wg0"]; ok && m.rnd.IntN(2) == 0 {
			applied := r.Text()
			if applied == m.tamper.now {
				applied = m.tamper.applied
			}
			m.firewalls["wg0"] = m.tampered(r)
			m.tamper = tamper{m.firewalls["wg0"].Text(), applied}
			return
		}
		gone(m.T, fakeFirewall{m.fakeHost}.Apply(ctx, firewall.Ruleset{Interface: "wg0"}))
	case 8:
		if at, ok := pick(m.rnd, droppingPlaces); ok {
			delete(m.passages[at], "wg0")
		}
	case 9:
		delete(m.resolvers, "wg0")
		if m.rnd.IntN(2) == 0 && !spec.DNS.Empty() {
			m.resolvers["wg0"] = dns.Settings{Interface: "wg0", Servers: []netip.Addr{netip.MustParseAddr("9.9.9.9")}}
		}
	case 10:
		key := []string{SrcValidMark, "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"}[m.rnd.IntN(3)]
		m.settle(m.SetSysctl(ctx, key, fmt.Sprint(m.rnd.IntN(2))))
		m.sysctls[key] = true
	default:
		m.EditDevice("wg0", m.meddleDevice)
	}
}

// A tamper is what somebody made of our rules, as text, and what was applied. To
// undo puts the latter back. Once other rules are applied there is none, even if
// these should read like what somebody had made of the last ones.
type tamper struct{ now, applied string }

// tampered is a ruleset as somebody else would rather have it.
func (m *meddler) tampered(r firewall.Ruleset) firewall.Ruleset {
	switch {
	case len(r.PortForwards) > 0 && m.rnd.IntN(2) == 0:
		r.PortForwards = slices.Clone(r.PortForwards[1:])
	case len(r.Masquerade) > 0 && m.rnd.IntN(2) == 0:
		r.Masquerade = nil
	case r.KillSwitch.Mark != 0 && m.rnd.IntN(2) == 0:
		r.KillSwitch.Excluded = append(slices.Clone(r.KillSwitch.Excluded), netip.MustParsePrefix("198.18.0.0/15"))
	default:
		r.RestoreMark ^= 0x5a
	}
	if r.Empty() {
		r.RestoreMark = 0x5b
	}
	return r
}

// meddleDevice is what "wg set" and traffic may do.
func (m *meddler) meddleDevice(d *netlinkx.Device) {
	p, any := (*netlinkx.Peer)(nil), len(d.Peers) > 0
	if any {
		p = &d.Peers[m.rnd.IntN(len(d.Peers))]
	}
	switch n := m.rnd.IntN(10); {
	case n == 0:
		d.FwMark = uint32(m.rnd.IntN(3))
	case n == 1:
		d.PrivateKey = netlinkx.Secret{1, byte(m.rnd.IntN(3))}.Clamped()
		d.PublicKey = d.PrivateKey.PublicKey()
	case n == 2:
		d.ListenPort = uint16(40000 + m.rnd.IntN(9))
	case n < 5:
		k := netlinkx.Key{byte('x' + m.rnd.IntN(3))}
		if slices.ContainsFunc(d.Peers, func(p netlinkx.Peer) bool { return p.PublicKey == k }) {
			return
		}
		a := netip.MustParsePrefix([]string{"10.79.0.0/16", "10.80.0.0/16", "10.81.0.0/16"}[k[0]-'x'])
		d.Peers = append(d.Peers, netlinkx.Peer{PublicKey: k, AllowedIPs: []netip.Prefix{a}, PersistentKeepalive: 7})
		m.peers = append(m.peers, k)
	case !any || slices.Contains(m.peers, p.PublicKey):
	case n == 5:
		p.PresharedKey = netlinkx.Secret{byte(m.rnd.IntN(2))}
	case n == 6:
		p.PersistentKeepalive = uint16(m.rnd.IntN(3))
	case n == 7:
		p.Endpoint = netip.MustParseAddrPort("198.51.100.7:1234")
	case n == 8 && len(p.AllowedIPs) > 0:
		p.AllowedIPs = slices.Clone(p.AllowedIPs[1:])
	default:
		k := p.PublicKey
		d.Peers = slices.DeleteFunc(d.Peers, func(p netlinkx.Peer) bool { return p.PublicKey == k })
	}
}

// alone reports whether no other address of the family is on the link: the
// kernel takes all routes of others along with the last one.
func (m *meddler) alone(a netip.Prefix) bool {
	have, err := m.Addresses(context.Background(), "wg0")
	m.settle(err)
	return !slices.ContainsFunc(have, func(b netlinkx.Address) bool { return b.Prefix != a && b.Prefix.Addr().Is4() == a.Addr().Is4() })
}

// gone passes over what was not there.
func gone(t *testing.T, err error) {
	t.Helper()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// foreignPeers are those lines of the host that tell of peers added by hand.
func (m *meddler) foreignPeers() []string {
	d, err := m.Device(context.Background(), "wg0")
	m.settle(err)
	d.Peers = slices.DeleteFunc(d.Peers, func(p netlinkx.Peer) bool { return !slices.Contains(m.peers, p.PublicKey) })
	var out []string
	for _, p := range d.Peers {
		out = append(out, fmt.Sprintf("%s %v %d %v", p.PublicKey, p.Endpoint, p.PersistentKeepalive, p.AllowedIPs))
	}
	slices.Sort(out)
	return out
}

// reload goes to a file by a whole session, whose change number fault fails.
// It reports whether the tunnel is now as the file says.
func (m *meddler) reload(cfg *config.Config, fault int) (want *Spec, err error) {
	ctx := context.Background()
	s, err := Begin(ctx, m.host(), "wg0", quiet, func(string) {})
	m.settle(err)
	defer s.End()
	endpoints, err := Lookup{}.Endpoints(ctx, fakeNames{}, cfg)
	m.settle(err)
	if want, err = s.Resolve(ctx, cfg, endpoints, Options{Backend: config.BackendKernel}); err != nil {
		return nil, err
	}
	steps := Plan(want, s.Have)
	m.failAt = 0
	if fault > 0 {
		m.failNext(fault)
	}
	err = s.Apply(ctx, Record{Config: "wg0.conf", Digest: cfg.Digest(), Spec: want, Sealable: Sealable(cfg)}, steps)
	met := fault > 0 && m.failAt == 0
	m.failAt = 0
	if failed := (*StepError)(nil); met && errors.As(err, &failed) && !errors.Is(failed.Err, errInjected) {
		// Something of others was in the way, and then the way back failed: what
		// is left is told, and is another test's, of two faults.
		m.SkipNow()
	}
	if err != nil && !Residue(err) {
		return want, err
	}
	if err != nil {
		m.Fatalf("%s\nleft something: %v\non\n%s", strings.ReplaceAll(texts(steps), "; ", "\n"), err, m)
	}
	return want, nil
}

// crossesFamily reports whether on the way from one tunnel to another, or back,
// a link loses its last address of a family or all its IPv6: the kernel takes
// what others put there along. What it had is what was on the link, for whoever
// deletes a primary address may have taken the secondary ones with it.
func crossesFamily(want, last *Spec, had []netip.Prefix) bool {
	has := func(addrs []netip.Prefix, is func(netip.Addr) bool) bool {
		return slices.ContainsFunc(addrs, func(a netip.Prefix) bool { return is(a.Addr()) })
	}
	return min(want.MTU, last.MTU) < routes.MinIPv6MTU || has(want.Addresses, netip.Addr.Is4) != has(had, netip.Addr.Is4) || has(want.Addresses, netip.Addr.Is6) != has(had, netip.Addr.Is6)
}

// onWG0 are the addresses of the tunnel's link, if it is there.
func (m *meddler) onWG0() (out []netip.Prefix) {
	have, err := m.Addresses(context.Background(), "wg0")
	gone(m.T, err)
	for _, a := range have {
		out = append(out, a.Prefix)
	}
	return out
}

// From a host with things of others and a tunnel that others have changed, a
// reload to another file and back leads there or leaves all as it was, whichever
// change on the way fails; what is foreign stays, and down leaves nothing but
// that.
func FuzzDrift(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(seed, seed*seed, byte(seed))
	}
	dir := memoryDir(f)
	f.Fuzz(func(t *testing.T, first, second uint64, fault byte) { drifts(t, dir, first, second, fault) })
}

// drifts is one such walk.
func drifts(t *testing.T, dir string, first, second uint64, fault byte) {
	h := newFakeHostAt(t, dir)
	_ = h.records.Remove("wg0")
	m := &meddler{T: t, fakeHost: h, rnd: rand.New(rand.NewPCG(first, second)), sysctls: map[string]bool{}}
	m.outside()
	clean := m.String()
	cfgs := m.files()
	if len(cfgs) < 2 {
		return // as of two forwards of one port
	}
	var last *Spec
	for round, cfg := range []*config.Config{cfgs[0], cfgs[1], cfgs[0]} {
		if last != nil {
			for range 1 + m.rnd.IntN(4) {
				m.meddle(last)
			}
		}
		if fault > 0 {
			last = m.failing(cfg, last, 1+(int(fault)+round*7)%16)
		}
		last = m.whole(cfg, last)
	}
	if last == nil {
		if after := m.String(); after != clean {
			t.Fatalf("nothing came up (-before +after):\n%s", cmp.Diff(clean, after))
		}
		return
	}
	for range m.rnd.IntN(3) {
		m.meddle(last)
	}
	if err := takeDown(t, h, "wg0"); err != nil {
		t.Fatal(err)
	}
	if left := m.beyond(clean); left != "" {
		t.Fatalf("after down (-before +after):\n%s", left)
	}
}

// seen is the host's text, but of two equal IPv4 routes the kernel's: beside
// that, which an address makes, there is no way back for ours, nor a need. Rules
// are shown as they were applied, whatever became of them.
func (m *meddler) seen() string {
	text := m.String()
	if r, ok := m.firewalls["wg0"]; ok && r.Text() == m.tamper.now {
		text = strings.Replace(text, m.tamper.now, m.tamper.applied, 1)
	}
	lines := strings.Split(text, "\n")
	return strings.Join(slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		route, ours := strings.CutSuffix(line, " dev wg0 proto 87")
		return ours && slices.Contains(lines, route+" dev wg0 proto kernel # and more")
	}), "\n")
}

// failing goes from a tunnel to a file so that change number k fails, if there
// are so many, and returns what stands afterwards.
func (m *meddler) failing(cfg *config.Config, last *Spec, k int) *Spec {
	m.Helper()
	before, had := m.seen(), m.onWG0()
	want, err := m.reload(cfg, k)
	if err == nil {
		m.tamper = tamper{}
	}
	after := m.seen()
	if last != nil && want != nil && crossesFamily(want, last, had) {
		before, after, m.onLink = withoutOnLink(before, before), withoutOnLink(after, before), nil
	}
	if err == nil {
		return want
	}
	if after != before {
		m.Fatalf("change %d failed with %v, (-before +after):\n%s", k, err, cmp.Diff(before, after))
	}
	return last
}

// whole goes from a tunnel to a file, or leaves all as it is where something of
// others is in the way.
func (m *meddler) whole(cfg *config.Config, last *Spec) *Spec {
	m.Helper()
	before, had := m.seen(), m.onWG0()
	var peers []string
	if last != nil {
		peers = m.foreignPeers()
	}
	want, err := m.reload(cfg, 0)
	if err == nil {
		m.tamper = tamper{}
	}
	after := m.seen()
	crossed := last != nil && want != nil && crossesFamily(want, last, had)
	if crossed {
		m.onLink = nil
	}
	if err != nil {
		if crossed {
			before, after = withoutOnLink(before, before), withoutOnLink(after, before)
		}
		if after != before {
			m.Fatalf("refused with %v, (-before +after):\n%s", err, cmp.Diff(before, after))
		}
		return last
	}
	for _, l := range slices.Concat(m.lines, m.onLink) {
		// What is gone before is what others took from each other.
		if strings.Contains(before, l+"\n") && !strings.Contains(after, l+"\n") {
			m.Fatalf("%q is gone:\n%s", l, after)
		}
	}
	if last != nil {
		if now := m.foreignPeers(); !slices.Equal(now, peers) {
			m.Fatalf("peers of others were %q, are %q", peers, now)
		}
	}
	return want
}

// withoutOnLink is a host's text without what others put on the link, and what
// the kernel makes of that, and without our routes in whose place others had
// theirs before: once the kernel has taken those, ours come back.
func withoutOnLink(text, before string) string {
	theirs := strings.Split(before, "\n")
	return strings.Join(slices.DeleteFunc(strings.Split(text, "\n"), func(line string) bool {
		if route, ours := strings.CutSuffix(line, " dev wg0 proto 87"); ours && slices.Contains(theirs, route+" dev wg0 proto boot") {
			return true
		}
		return strings.HasSuffix(line, "dev wg0 proto boot") || strings.Contains(line, "dev wg0 proto kernel") || strings.HasSuffix(line, "dev wg0") && strings.Contains(line, "77")
	}), "\n")
}

// files are two configs of which each is one.
func (m *meddler) files() (out []*config.Config) {
	for range 2 {
		file := anyFile(m.rnd)
		m.Log(file)
		cfg, _, err := config.Parse("wg0.conf", strings.NewReader(file))
		if err == nil {
			out = append(out, cfg)
		}
	}
	return out
}

// beyond is how the host differs from one that was clean, but for what others
// did.
func (m *meddler) beyond(clean string) string {
	theirs := func(line string) bool {
		if key, ok := strings.CutPrefix(line, "sysctl -w "); ok {
			key, _, _ = strings.Cut(key, "=")
			return m.sysctls[key]
		}
		return slices.Contains(m.lines, line)
	}
	without := func(text string) []string { return slices.DeleteFunc(strings.Split(text, "\n"), theirs) }
	return cmp.Diff(without(clean), without(m.String()))
}
