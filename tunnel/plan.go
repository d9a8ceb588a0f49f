// SPDX-License-Identifier: MIT

package tunnel

import (
	"net/netip"
	"slices"

	"github.com/wgctl/wgctl/dns"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
	"golang.org/x/sys/unix"
)

// Plan returns the steps that lead from what is to what should be. A nil want
// takes the tunnel down, a kept one all but its kill switch. It is pure, and a tunnel that is as it should be
// makes an empty plan.
//
// Three states meet here: want, have, and what was last applied. What is there
// but in neither of the others is foreign and left alone.
func Plan(want *Spec, have *State) []Step {
	p := planner{want: want, have: have, last: have.Last(), name: have.Name}
	if p.last == nil {
		p.last = &Spec{Name: have.Name}
	}
	if want == nil || want.Kept {
		p.down()
	} else {
		p.up()
	}
	return p.steps
}

type planner struct {
	want  *Spec
	have  *State
	last  *Spec
	name  string
	steps []Step
	late  []Step // routes that come when addresses are gone
}

func (p *planner) add(s ...Step) { p.steps = append(p.steps, s...) }

// up makes the tunnel or changes it. The firewall comes first and goes last,
// because rules are what divert traffic; in each kind, what is new comes before
// what goes. But where no default route is wanted any more its rules go before
// the mark does: without the mark they would lead the tunnel into itself.
func (p *planner) up() {
	isNew := p.have.Link == nil
	if !p.want.Firewall.Empty() {
		p.firewall(p.want.Firewall)
	}
	if !p.want.takesDefault() {
		p.goneRules(p.want.Rules)
	}
	if isNew {
		if p.want.Backend == netlinkx.BackendUserspace {
			p.add(deviceStart{name: p.name, note: noteOf(p.want.Sysctls)})
		} else {
			p.add(linkAdd{name: p.name, note: noteOf(p.want.Sysctls)})
		}
		p.hooks(p.want.Hooks, "PreUp", p.want.Hooks.PreUp)
	}
	device := diffDevice(p.want.Device, p.have.Device, p.last.Device)
	p.device(isNew, device.set, device.setBack)
	grows, shrinks := p.crossesMTU6()
	if grows {
		p.link()
	}
	p.addresses()
	if !grows && !shrinks {
		p.link()
	}
	p.note()
	p.sysctls(p.want.Sysctls)
	if p.losesIPv4() {
		p.withoutIPv4()
	}
	p.routesAndRules()
	p.passages(p.want.Passage)
	p.dns(p.want.DNS)
	if p.want.takesDefault() {
		p.goneRules(p.want.Rules)
	}
	p.goneRoutes(p.want.Routes)
	p.goneAddresses()
	p.add(p.late...)
	if shrinks {
		p.link()
	}
	p.goneSysctls(p.want.Sysctls)
	p.device(isNew, device.drop, device.dropBack)
	if p.want.Firewall.Empty() {
		p.firewall(p.want.Firewall)
	}
	if isNew {
		p.hooks(p.want.Hooks, "PostUp", p.want.Hooks.PostUp)
	}
}

// down is the mirror of up. Routes and addresses go with the link; rules
// don't.
func (p *planner) down() {
	hooks := p.last.Hooks.only(p.last.OnDown())
	p.hooks(hooks, "PreDown", hooks.PreDown)
	p.dns(dns.Settings{Interface: p.name, Previous: p.last.DNS.Previous})
	p.passages(firewall.Passage{})
	p.goneRules(nil)
	userspace := p.last.Backend == netlinkx.BackendUserspace
	switch l := p.have.Link; {
	case l != nil && l.Ours:
		p.add(linkDel{name: p.name, userspace: userspace || l.Hung})
	case l == nil && p.have.Renamed != "":
		p.add(linkDel{name: p.name, userspace: userspace})
	case l == nil && userspace && p.have.Stale:
		p.add(socketDel{name: p.name})
	}
	p.goneDeadEnds()
	p.goneSysctls(nil)
	if p.want != nil {
		p.firewall(p.want.Firewall)
	} else {
		p.firewall(firewall.Ruleset{Interface: p.name})
	}
	p.hooks(hooks, "PostDown", hooks.PostDown)
}

func (p *planner) firewall(next firewall.Ruleset) {
	if next.Digest() != p.have.Firewall.Digest {
		prev := firewall.Ruleset{}
		if p.have.Firewall.Digest != "" {
			prev = p.last.Firewall
		}
		prev.Interface = p.name
		p.add(firewallSet{next: next, prev: prev})
	}
}

func (p *planner) dns(next dns.Settings) {
	differs := !next.Equal(p.have.DNS) && !(next.Empty() && p.have.DNS.Empty())
	next.Others = p.have.DNS.Others
	next.Stays = p.have.Link != nil && p.want != nil && !p.want.Kept
	next.GiveBack = p.have.DNS.Bare(dns.Without(dns.Without(p.last.DNS.Aside, next.Aside), p.have.heldAside()))
	if differs || next.GoAround(p.have.DNS) || len(next.GiveBack) > 0 || p.have.halfTold && (next.Empty() || next.Backend == dns.BackendResolvconf) {
		prev := p.have.DNS
		prev.Interface, prev.Stale, prev.Altered = p.name, false, false
		prev.Previous, prev.Stays = next.Previous, next.Stays
		prev.Aside, prev.GiveBack = next.GiveBack, next.ToSetAside()
		p.add(dnsSet{next: next, prev: prev, mayFail: p.want != nil && p.want.DNSMayFail})
	}
}

func (p *planner) device(isNew bool, next, prev netlinkx.DeviceChange) {
	if next.PrivateKey == nil && next.ListenPort == nil && next.FwMark == nil && len(next.Peers) == 0 {
		return
	}
	verb := "set"
	if isNew {
		verb = "addconf"
	}
	p.add(deviceSet{name: p.name, verb: verb, next: next, prev: prev})
}

// crossesMTU6 reports whether the MTU of a link that is there grows to what
// IPv6 needs, or shrinks below it. Below, the kernel takes all IPv6 addresses
// off the link and no new ones (addrconf_notify): they come after the one and
// go before the other, so that the way back has them too.
func (p *planner) crossesMTU6() (grows, shrinks bool) {
	if p.have.Link == nil {
		return false, false
	}
	now, then := p.have.Link.MTU >= routes.MinIPv6MTU, p.want.MTU >= routes.MinIPv6MTU
	return !now && then, now && !then
}

func (p *planner) link() {
	s := linkSet{name: p.name, mtu: p.want.MTU, up: true}
	if l := p.have.Link; l != nil {
		if l.Up && l.MTU == s.mtu {
			return
		}
		s.prevMTU, s.prevUp = l.MTU, l.Up
	}
	p.add(s)
}

func (p *planner) sysctls(want []Sysctl) {
	for _, c := range want {
		now, ok := p.have.sysctl(c.Key)
		if !ok {
			now = c.Previous
		}
		if now != c.Value {
			p.add(sysctlSet{key: c.Key, value: c.Value, previous: now, tunnel: p.name})
		}
	}
}

// goneSysctls puts back what no tunnel needs any more, unless somebody else
// has changed it meanwhile.
func (p *planner) goneSysctls(want []Sysctl) {
	for _, c := range p.last.Sysctls {
		stays := slices.ContainsFunc(want, func(w Sysctl) bool { return w.Key == c.Key })
		now, ok := p.have.sysctl(c.Key)
		if stays || !ok || p.have.held(c.Key) || now != c.Value || c.Previous == c.Value {
			continue
		}
		p.add(sysctlSet{key: c.Key, value: c.Previous, previous: now, tunnel: p.name, release: true})
	}
}

func (p *planner) routesAndRules() {
	installed := make(map[routes.Route]bool, len(p.have.Routes))
	for _, r := range slices.Concat(p.have.DeadEnds, p.have.Routes) {
		if r.Plain {
			installed[r.Route] = true
		}
	}
	for _, r := range p.want.Routes {
		switch {
		case installed[r], p.madeByKernel(r):
		case p.inTheWay(r):
			p.late = append(p.late, routeAdd{link: p.name, route: r})
		default:
			p.add(routeAdd{link: p.name, route: r})
		}
	}
	ours := p.ourRules()
	for _, r := range p.want.Rules {
		if !ours[r] {
			p.add(ruleAdd{rule: r})
		}
	}
}

// inTheWay reports whether the kernel has the route itself, of an address that
// is about to go.
func (p *planner) inTheWay(r routes.Route) bool {
	return r.Table == routes.TableMain && slices.ContainsFunc(p.have.Addresses, func(a netip.Prefix) bool {
		return a.Masked() == r.Dst && p.goes(a)
	})
}

// madeByKernel reports whether the kernel has made the same route of an address
// that somebody else has put on the link, and that stays, or makes it when the
// link comes up: of IPv4 there is no place for another one then, and none is
// missing.
func (p *planner) madeByKernel(r routes.Route) bool {
	if r.Table != routes.TableMain || r.Metric != 0 || !r.Dst.Addr().Is4() {
		return false
	}
	stays := slices.ContainsFunc(p.have.Addresses, func(a netip.Prefix) bool {
		return a.Masked() == r.Dst && !a.IsSingleIP() && !p.goes(a)
	})
	if p.have.Link == nil || !p.have.Link.Up {
		return stays
	}
	// An address may have none (noprefixroute), and one with a peer has that of its
	// peer.
	return (stays || !p.inTheWay(r)) && slices.ContainsFunc(p.have.Routes, func(have netlinkx.InstalledRoute) bool {
		return have.Protocol == unix.RTPROT_KERNEL && have.Route == r
	})
}

// ourRules are those in the kernel that carry our protocol number.
func (p *planner) ourRules() map[routes.Rule]bool {
	ours := map[routes.Rule]bool{}
	for _, r := range p.have.Rules {
		if r.Plain && r.Protocol == netlinkx.Protocol {
			ours[r.Rule] = true
		}
	}
	return ours
}

// goneRules removes those that were last applied and aren't to be kept, and of
// a pair first the one that diverts.
func (p *planner) goneRules(keep []routes.Rule) {
	ours := p.ourRules()
	for _, r := range slices.Backward(p.last.Rules) {
		if ours[r] && !slices.Contains(keep, r) {
			p.add(ruleDel{rule: r})
		}
	}
}

// goneRoutes removes those that were last applied and aren't to be kept.
func (p *planner) goneRoutes(keep []routes.Route) {
	kept := make(map[routes.Route]bool, len(keep))
	for _, r := range keep {
		kept[r] = true
	}
	there := map[routes.Route]bool{}
	for _, r := range slices.Concat(p.have.DeadEnds, p.have.Routes) {
		if r.Plain && r.Protocol == netlinkx.Protocol {
			there[r.Route] = true
		}
	}
	for _, r := range slices.Backward(p.last.Routes) {
		if there[r] && !kept[r] {
			p.add(routeDel{link: p.name, route: r})
		}
	}
}

func (p *planner) addresses() {
	p.promotion(true)
	for _, a := range p.want.Addresses {
		if slices.Contains(p.have.Addresses, a) {
			continue
		}
		// The kernel has an IPv6 address on a link once, whatever its prefix
		// length (ipv6_chk_addr in ipv6_add_addr): the old one has to go first.
		for _, old := range p.have.Addresses {
			if a.Addr().Is6() && old.Addr() == a.Addr() && p.goes(old) {
				p.add(addressDel{link: p.name, prefix: old})
			}
		}
		p.makeWay(a)
		p.add(addressAdd{link: p.name, prefix: a})
	}
}

// makeWay takes away the route that the kernel will make itself of an address,
// and in whose place the old one couldn't come back.
func (p *planner) makeWay(a netip.Prefix) {
	i := slices.IndexFunc(p.have.Routes, func(r netlinkx.InstalledRoute) bool {
		return r.Plain && r.Protocol == netlinkx.Protocol && r.Table == routes.TableMain && r.Dst == a.Masked() &&
			slices.Contains(p.last.Routes, r.Route) && !slices.Contains(p.want.Routes, r.Route)
	})
	if i < 0 {
		return
	}
	p.add(routeDel{link: p.name, route: p.have.Routes[i].Route})
	have := *p.have
	have.Routes = slices.Delete(slices.Clone(have.Routes), i, i+1)
	p.have = &have
}

// goes reports whether an address was ours and isn't wanted any more.
func (p *planner) goes(a netip.Prefix) bool {
	return slices.Contains(p.last.Addresses, a) && slices.Contains(p.have.Addresses, a) && !slices.Contains(p.want.Addresses, a)
}

// goneAddresses removes what isn't wanted any more.
func (p *planner) goneAddresses() {
	for _, a := range p.last.Addresses {
		succeeded := a.Addr().Is6() && slices.ContainsFunc(p.want.Addresses, func(w netip.Prefix) bool { return w.Addr() == a.Addr() })
		if p.goes(a) && !succeeded {
			p.add(addressDel{link: p.name, prefix: a})
		}
	}
	p.promotion(false)
}

// losesIPv4 reports whether the link had IPv4 addresses and is to have none.
func (p *planner) losesIPv4() bool {
	is4 := func(a netip.Prefix) bool { return a.Addr().Is4() }
	return slices.ContainsFunc(p.have.Addresses, is4) && !slices.ContainsFunc(p.want.Addresses, is4) &&
		!slices.ContainsFunc(p.have.Addresses, func(a netip.Prefix) bool { return is4(a) && !p.goes(a) })
}

// withoutIPv4 takes the last IPv4 address off the link. All its IPv4 routes go
// along (fib_disable_ip): so they are taken away before, which makes the way
// back whole, and those that are wanted come afterwards.
func (p *planner) withoutIPv4() {
	have := *p.have
	have.Routes, have.Addresses = nil, nil
	known := make(map[routes.Route]bool, len(p.last.Routes))
	for _, r := range slices.Concat(p.last.Routes, p.want.Routes) {
		known[r] = true
	}
	for _, r := range p.have.Routes {
		if r.Dst.Addr().Is4() && r.Protocol == unix.RTPROT_KERNEL {
			continue // of such an address
		}
		ours := r.Plain && r.Protocol == netlinkx.Protocol && known[r.Route]
		if r.Dst.Addr().Is6() || !ours {
			have.Routes = append(have.Routes, r)
			continue
		}
		p.add(routeDel{link: p.name, route: r.Route})
	}
	for _, a := range p.have.Addresses {
		if a.Addr().Is6() {
			have.Addresses = append(have.Addresses, a)
			continue
		}
		p.add(addressDel{link: p.name, prefix: a})
	}
	p.promotion(false)
	p.have = &have
}

// promotion brackets changes of addresses. Deleting the first IPv4 address of
// a network takes the others of that network along, unless the link promotes
// them (__inet_del_ifa): so it is made to, from before the first address comes
// until the last is gone, which makes it so for the way back too.
func (p *planner) promotion(on bool) {
	key := promoteSecondaries(p.name)
	now, ok := p.have.sysctl(key)
	left := now == "1" && p.have.cut != nil && p.have.cut.Promotes
	switch {
	case !ok, on && left:
	case left:
		p.add(sysctlSet{key: key, value: "0", previous: now})
	case now == "1" || !slices.ContainsFunc(p.last.Addresses, func(a netip.Prefix) bool {
		return a.Addr().Is4() && p.goes(a) && p.sharesNetwork(a)
	}):
	case on:
		p.add(sysctlSet{key: key, value: "1", previous: now})
	default:
		p.add(sysctlSet{key: key, value: now, previous: "1"})
	}
}

// promotes reports whether steps bracket changes of addresses.
func promotes(steps []Step, name string) bool {
	return slices.ContainsFunc(steps, func(s Step) bool {
		set, ok := s.(sysctlSet)
		return ok && set.key == promoteSecondaries(name)
	})
}

// promoteSecondaries is the parameter of a link that lets another address
// step in for a deleted one. A link's name may hold dots, hence the slashes.
func promoteSecondaries(link string) string {
	return "net/ipv4/conf/" + link + "/promote_secondaries"
}

func (p *planner) sharesNetwork(a netip.Prefix) bool {
	same := func(b netip.Prefix) bool { return b != a && b.Masked() == a.Masked() }
	return slices.ContainsFunc(p.want.Addresses, same) || slices.ContainsFunc(p.have.Addresses, same)
}

func (p *planner) hooks(h Hooks, phase string, commands []string) {
	if len(commands) == 0 {
		return
	}
	public := publicKeys(p.want, p.last)
	for _, c := range commands {
		p.add(hookRun{hook: Hook{Phase: phase, Command: c, Interface: p.name, Config: h.Config, Timeout: h.Timeout}, text: HideKeys(c, public)})
	}
}
