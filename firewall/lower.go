// SPDX-License-Identifier: MIT

package firewall

import "net/netip"

// The kill switch has chains of its own, so that no accept of another rule
// lets a packet past it. nftables needs one, where the link that a packet
// really leaves by is known, after all translation and rerouting. iptables
// can't tell there where a forwarded packet came in, and has two.
var (
	killOut     = Chain{killTable, "output"}
	killForward = Chain{killTable, "forward"}
	killAll     = Chain{killTable, "postrouting"}
)

const killTable = "kill"

// rules returns the rules that both backends have, in order: those of one
// chain count from the top.
func (r Ruleset) rules() []Rule {
	var out []Rule
	for _, a := range r.AntiSpoof {
		out = append(out, Rule{
			Chain: PreroutingRaw, Family: familyOf(a), In: r.link().not(), Destination: single(a),
			SourceType: NotLocal, Verdict: VerdictDrop, Comment: "anti-spoof",
		})
	}
	if r.RestoreMark != 0 {
		out = append(out,
			Rule{Chain: PostroutingMangle, Protocol: UDP, Mark: r.RestoreMark, Verdict: VerdictSaveMark, Comment: "save mark"},
			Rule{Chain: PreroutingMangle, Protocol: UDP, Verdict: VerdictRestoreMark, Comment: "restore mark"})
	}
	if r.Clamp.On {
		clamp := Rule{Chain: ForwardMangle, Protocol: TCP, SYN: true, Verdict: VerdictClamp, MSS: r.Clamp.Size, Comment: "clamp MSS"}
		in, to := clamp, clamp
		in.In, to.Out = r.link(), r.link()
		out = append(out, in, to)
	}
	return append(out, r.Extra...)
}

// nftRules returns the rules as nftables has them: forwarded ports in maps,
// excluded prefixes in sets.
func (r Ruleset) nftRules() []Rule {
	out := r.rules()
	for _, m := range r.forwardMaps() {
		out = append(out, m.rules()...)
	}
	out = append(out, r.returnPath()...)
	for _, m := range r.Masquerade {
		// Linux 5.6 and later know in postrouting where a packet came in.
		out = append(out, Rule{
			Chain: PostroutingNAT, Family: m.Family, In: r.link(), Out: Link{Name: m.Out},
			Verdict: VerdictMasquerade, Comment: "masquerade",
		})
	}
	if r.KillSwitch.IsZero() {
		return out
	}
	kill := r.killRules(killAll)
	kill = append(kill, Rule{Chain: killAll, In: r.link(), State: StateEstablished | StateRelated, Verdict: VerdictAccept, Comment: "replies to forwarded"})
	kill = append(kill, r.nameserverRules(killAll)...)
	for _, s := range r.excludedSets() {
		kill = append(kill, Rule{Chain: killAll, Family: familyOf(s.prefixes[0].Addr()), set: s.name, Verdict: VerdictAccept, Comment: "excluded"})
	}
	kill = append(kill, dhcp(killAll)...)
	kill = append(kill, Rule{Chain: killAll, Family: IPv6, Protocol: ICMPv6, set: linkTypesSet, Verdict: VerdictAccept, Comment: "neighbour discovery"})
	return append(append(out, kill...), killDrop(killAll))
}

// iptablesRules returns the rules as iptables has them.
func (r Ruleset) iptablesRules() []Rule {
	out := r.rules()
	for _, f := range r.PortForwards {
		out = append(out, f.rules()...)
	}
	out = append(out, r.returnPath()...)
	for _, m := range r.Masquerade {
		for _, p := range r.Sources {
			if f := familyOf(p.Addr()); m.Family == AnyFamily || m.Family == f {
				rule := Rule{Chain: PostroutingNAT, Family: f, Out: Link{Name: m.Out}, Source: Network{Prefix: p}, Verdict: VerdictMasquerade, Comment: "masquerade"}
				if p.Bits() == 0 {
					rule.Source = Network{}
				}
				out = append(out, rule)
			}
		}
	}
	if r.KillSwitch.IsZero() {
		return out
	}
	for _, chain := range []Chain{killOut, killForward} {
		out = append(out, r.killRules(chain)...)
		if chain == killForward {
			out = append(out, Rule{Chain: chain, In: r.link(), State: StateEstablished | StateRelated, Verdict: VerdictAccept, Comment: "replies to forwarded"})
		}
		out = append(out, r.nameserverRules(chain)...)
		for _, p := range r.KillSwitch.Excluded {
			out = append(out, Rule{Chain: chain, Family: familyOf(p.Addr()), Destination: Network{Prefix: p}, Verdict: VerdictAccept, Comment: "excluded"})
		}
		if chain == killOut {
			out = append(out, dhcp(chain)...)
			for _, t := range linkTypes {
				out = append(out, Rule{Chain: chain, Family: IPv6, Protocol: ICMPv6, ICMPType: t, Verdict: VerdictAccept, Comment: "neighbour discovery"})
			}
		}
		out = append(out, killDrop(chain))
	}
	return out
}

// killRules are those that begin a chain of the kill switch.
func (r Ruleset) killRules(chain Chain) []Rule {
	rules := []Rule{{Chain: chain, Out: r.link(), Verdict: VerdictAccept, Comment: "by the tunnel"}}
	if chain != killForward {
		rules = append(rules,
			Rule{Chain: chain, Out: Link{Name: "lo"}, Verdict: VerdictAccept, Comment: "stays on the host"},
			Rule{Chain: chain, Protocol: UDP, Mark: r.KillSwitch.Mark, Verdict: VerdictAccept, Comment: "the tunnel itself"})
	}
	return rules
}

// nameserverRules close the ports of nameservers (RFC 1035, RFC 7858 section 3.1)
// in what is excluded. Where nothing is, they are closed with all others.
func (r Ruleset) nameserverRules(chain Chain) (rules []Rule) {
	if !r.KillSwitch.Resolver || len(r.KillSwitch.Excluded) == 0 {
		return nil
	}
	each := func(rule Rule) {
		for _, protocol := range []Protocol{UDP, TCP} {
			for _, n := range []uint16{53, 853} {
				rule.Chain, rule.Protocol, rule.DestinationPort = chain, protocol, Ports{First: n, Last: n}
				rules = append(rules, rule)
			}
		}
	}
	for _, a := range r.KillSwitch.Nameservers {
		each(Rule{Family: familyOf(a), Destination: Network{Prefix: netip.PrefixFrom(a, a.BitLen())}, Verdict: VerdictAccept, Comment: "nameserver of the tunnel"})
	}
	each(Rule{Verdict: VerdictDrop, Comment: "other nameservers"})
	return rules
}

// dhcp lets a link get and keep its addresses: RFC 2131 section 4.1, RFC 8415
// section 7.2.
func dhcp(chain Chain) []Rule {
	port := func(n uint16) Ports { return Ports{First: n, Last: n} }
	return []Rule{
		{Chain: chain, Family: IPv4, Protocol: UDP, SourcePort: port(68), DestinationPort: port(67), Verdict: VerdictAccept, Comment: "DHCP"},
		{Chain: chain, Family: IPv6, Protocol: UDP, SourcePort: port(546), DestinationPort: port(547), Verdict: VerdictAccept, Comment: "DHCPv6"},
	}
}

func killDrop(chain Chain) Rule {
	return Rule{Chain: chain, Verdict: VerdictDrop, Comment: "kill switch"}
}

// linkTypes are the messages of ICMPv6 without which a link has no IPv6: of
// multicast listeners (RFC 2710, RFC 3810), routers and neighbours (RFC 4861).
var linkTypes = []uint8{131, 132, 133, 134, 135, 136, 143}

// linkTypesSet is the set of linkTypes.
const linkTypesSet = "neighbour-discovery"

// rules returns a forward without a map: for what comes in, and for the host's
// own connections.
func (f PortForward) rules() []Rule {
	rule := Rule{
		Chain: PreroutingNAT, Family: familyOf(f.To), DestinationType: Local,
		Protocol: f.Protocol, DestinationPort: Ports{First: f.First, Last: f.last()},
		Verdict: VerdictDNAT, To: Target{Addr: f.To}, Comment: "forward",
	}
	if f.ToFirst != f.First {
		rule.To.First, rule.To.Last, rule.To.base = f.ToFirst, f.ToFirst+uint16(f.Count-1), f.First
	}
	own := rule
	if f.On != "" {
		rule.In = Link{Name: f.On}
	}
	own.Chain, own.Destination = OutputNAT, notLoopback(own.Family)
	return []Rule{rule, own}
}

func (f PortForward) last() uint16 { return f.First + uint16(f.Count-1) }

// notLoopback excludes what can't leave the host, whatever its target becomes.
func notLoopback(f Family) Network {
	if f == IPv4 {
		return Network{Prefix: netip.MustParsePrefix("127.0.0.0/8"), Not: true}
	}
	return Network{Prefix: netip.MustParsePrefix("::1/128"), Not: true}
}

// returnPath gives forwarded connections the host's own address in the tunnel,
// so that replies come back this way whatever default route the target has.
func (r Ruleset) returnPath() []Rule {
	var out []Rule
	for _, f := range r.PortForwards {
		if f.KeepSource {
			out = append(out, Rule{
				Chain: PostroutingNAT, Family: familyOf(f.To), Out: r.link(), Destination: single(f.To), State: StateDNAT,
				Protocol: f.Protocol, DestinationPort: Ports{First: f.ToFirst, Last: f.ToFirst + uint16(f.Count-1)},
				Verdict: VerdictAccept, Comment: "keep source",
			})
		}
	}
	if len(out) == len(r.PortForwards) {
		return nil // nothing to keep them from
	}
	return append(out, Rule{Chain: PostroutingNAT, Out: r.link(), State: StateDNAT, Verdict: VerdictMasquerade, Comment: "return path of forwards"})
}

func (r Ruleset) link() Link { return Link{Name: r.Interface} }

func (l Link) not() Link {
	l.Not = true
	return l
}

func single(a netip.Addr) Network { return Network{Prefix: netip.PrefixFrom(a, a.BitLen())} }
