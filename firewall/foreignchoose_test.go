// SPDX-License-Identifier: MIT

package firewall

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// save reads chains in the words of iptables-save, in the mode of a tool: "nft",
// "nft6", "legacy" or "legacy6".
func save(mode, text string) []ForeignChain {
	chains := parseLegacy(text, strings.HasSuffix(mode, "6"))
	for i := range chains {
		if strings.HasPrefix(mode, "nft") {
			chains[i].Kind = PlaceIPTables
		}
	}
	return chains
}

// nftChain is a base chain of nftables with that policy.
func nftChain(family, table, name, hook, policy string, rules ...ForeignRule) ForeignChain {
	return ForeignChain{
		Place: Place{Kind: PlaceNFT, Family: family, Table: table, Chain: name},
		Hook:  hook, Drop: policy == "drop", Rules: rules,
	}
}

var (
	always = func(o Outcome, chain ...string) ForeignRule {
		return ForeignRule{Always: true, Outcome: o, Chain: strings.Join(chain, "")}
	}
	sometimes = func(o Outcome, chain ...string) ForeignRule {
		return ForeignRule{Outcome: o, Chain: strings.Join(chain, "")}
	}
)

// ufwRules are what "ufw enable" makes, as far as it matters: before is what
// stands in FORWARD above, refuse in ufw-reject-forward.
func ufwRules(before, refuse string) string {
	return `*filter
:INPUT DROP
:FORWARD DROP
:OUTPUT ACCEPT
:ufw-before-forward -
:ufw-reject-forward -
:ufw-user-forward -
` + before + `-A INPUT -j ufw-before-input
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-reject-forward
-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
` + refuse + "COMMIT\n"
}

// firewalldChains are those of firewalld's nftables backend.
func firewalldChains(owned bool) []ForeignChain {
	chains := []ForeignChain{
		nftChain("inet", "firewalld", "filter_INPUT", "input", "accept", sometimes(OutcomeAccept), always(OutcomeJump, "filter_INPUT_ZONES"), always(OutcomeDrop)),
		nftChain("inet", "firewalld", "filter_FORWARD", "forward", "accept",
			sometimes(OutcomeAccept), sometimes(OutcomeDrop), always(OutcomeJump, "filter_FORWARD_ZONES"), always(OutcomeDrop)),
		nftChain("inet", "firewalld", "filter_FORWARD_ZONES", "", "", always(OutcomeGoto, "filter_FWD_public")),
		nftChain("inet", "firewalld", "filter_FWD_public", "", "", sometimes(OutcomeAccept)),
	}
	for i := range chains {
		chains[i].Owned = owned
	}
	return chains
}

// firewalldIPTables are the chains of firewalld over iptables: with
// IndividualCalls, or by one iptables-restore, they are the same.
const firewalldIPTables = `*filter
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
:FORWARD_direct -
:FORWARD_IN_ZONES -
:FWDI_public -
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -i lo -j ACCEPT
-A FORWARD -j FORWARD_direct
-A FORWARD -j FORWARD_IN_ZONES
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
-A FORWARD_IN_ZONES -g FWDI_public
COMMIT
`

func TestChoosePlaces(t *testing.T) {
	dropped := "*filter\n:INPUT ACCEPT\n:FORWARD DROP\n:OUTPUT ACCEPT\nCOMMIT\n"
	accepted := "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n"
	add := func(lists ...[]ForeignChain) ForeignFacts { return ForeignFacts{Chains: slices.Concat(lists...)} }
	for _, c := range []struct {
		name  string
		facts ForeignFacts
		trace string
	}{
		{"no other packet filter", ForeignFacts{}, ""},
		{"iptables that was only looked at", add(save("nft", accepted), save("legacy", accepted)), ""},
		{"iptables-nft with policy DROP", add(save("nft", dropped)), "nft=DROP ret=FORWARD"},
		{"both families", add(save("nft", dropped), save("nft6", dropped)), "nft=DROP ret=FORWARD,FORWARD6"},
		{"iptables-legacy with policy DROP", add(save("legacy", dropped), save("legacy6", accepted)), "iptables-legacy=DROP ret=legacy-FORWARD"},
		{"iptables-legacy with rules and no program", ForeignFacts{Legacy: "unreadable"}, "iptables-legacy=unreadable ret=none"},
		{
			"policy ACCEPT with a final REJECT, as Red Hat's iptables had",
			add(save("nft", "*filter\n:FORWARD ACCEPT\n-A FORWARD -i virbr0 -j ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\nCOMMIT\n")),
			"nft=REJECT ret=FORWARD",
		}, {
			"policy DROP behind an accept of everything",
			add(save("nft", "*filter\n:FORWARD DROP\n-A FORWARD -m comment --comment \"let all\" -j ACCEPT\nCOMMIT\n")), "",
		}, {
			"drops under conditions only",
			add(save("nft", "*filter\n:FORWARD ACCEPT\n-A FORWARD -m conntrack --ctstate INVALID -j DROP\n-A FORWARD -s 203.0.113.0/24 -j REJECT\nCOMMIT\n")), "",
		}, {
			"a log before the policy", add(save("legacy", "*filter\n:FORWARD DROP\n-A FORWARD -j LOG --log-prefix x\nCOMMIT\n")),
			"iptables-legacy=DROP ret=legacy-FORWARD",
		},
		{"Docker, the classic chains", add(save("nft", classicRules)), "nft=docker ret=docker-user"},
		{"Docker, the current chains, both families", add(save("nft", currentRules), save("nft6", currentRules)), "nft=docker ret=docker-user,docker-user6"},
		{
			"Docker before 17.06, without DOCKER-USER",
			add(save("legacy", "*filter\n:FORWARD DROP\n:DOCKER -\n:DOCKER-ISOLATION -\n-A FORWARD -j DOCKER-ISOLATION\n-A FORWARD -o docker0 -j DOCKER\nCOMMIT\n")),
			"iptables-legacy=docker ret=legacy-FORWARD",
		}, {
			"Docker with ip-forward-no-drop", add(save("nft", strings.Replace(currentRules, ":FORWARD DROP", ":FORWARD ACCEPT", 1))), "",
		}, {
			"Docker in iptables-legacy, from before an upgrade, and in iptables-nft",
			add(save("nft", currentRules), save("legacy", classicRules)), "nft=docker iptables-legacy=docker ret=docker-user,legacy-docker-user",
		}, {
			"Docker 28 guards its containers in raw",
			add(save("nft", currentRules), save("nft", "*raw\n:PREROUTING ACCEPT\n-A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP\nCOMMIT\n")),
			"nft=docker raw=docker ret=docker-user",
		}, {
			"Docker 29 over nftables drops nothing by default",
			add([]ForeignChain{nftChain("ip", "docker-bridges", "filter-FORWARD", "forward", "accept", sometimes(OutcomeJump, "filter-forward-in__docker0"))}), "",
		}, {
			"DOCKER-USER that nothing leads to", add(save("nft", "*filter\n:FORWARD DROP\n:DOCKER-USER -\nCOMMIT\n")), "nft=docker ret=FORWARD",
		}, {
			"a reject above DOCKER-USER", add(save("nft", strings.Replace(classicRules, "-A FORWARD -j DOCKER-USER\n", "-A FORWARD -j REJECT\n-A FORWARD -j DOCKER-USER\n", 1))),
			"nft=docker ret=FORWARD",
		},
		{"ufw", add(save("nft", ufwRules("", ""))), "nft=ufw input=ufw ret=FORWARD"},
		{"ufw that rejects", add(save("legacy", ufwRules("", "-A ufw-reject-forward -j REJECT --reject-with icmp-port-unreachable\n"))), "iptables-legacy=ufw input=ufw ret=legacy-FORWARD"},
		{"ufw after Docker", add(save("nft", strings.Replace(ufwRules("-A FORWARD -j DOCKER-USER\n", ""), ":FORWARD DROP\n", ":FORWARD DROP\n:DOCKER-USER -\n", 1))), "nft=docker,ufw input=docker,ufw ret=docker-user"},
		{
			"ufw that rejects, above Docker",
			add(save("nft", strings.Replace(ufwRules("", "-A ufw-reject-forward -j REJECT\n-A FORWARD -j DOCKER-USER\n"), ":FORWARD DROP\n", ":FORWARD DROP\n:DOCKER-USER -\n", 1))),
			"nft=docker,ufw input=docker,ufw ret=FORWARD",
		}, {
			"ufw installed but disabled",
			add(save("nft", strings.NewReplacer(":FORWARD DROP", ":FORWARD ACCEPT", ":INPUT DROP", ":INPUT ACCEPT").Replace(ufwRules("", "")))), "",
		},
		{"firewalld", add(firewalldChains(false)), "nft=firewalld input=firewalld ret=inet/firewalld/filter_FORWARD"},
		{
			"firewalld that owns its table", ForeignFacts{Chains: firewalldChains(true), Firewalld: true},
			"nft=firewalld firewalld=running input=firewalld ret=firewalld-trusted",
		}, {
			"firewalld that owns its table, with the tunnel in a zone", ForeignFacts{Chains: firewalldChains(true), Firewalld: true, Zone: "internal"},
			"nft=firewalld firewalld=running zone=internal input=firewalld ret=none",
		}, {
			"an owned table whose firewalld does not answer", ForeignFacts{Chains: firewalldChains(true)}, "nft=firewalld input=firewalld ret=none",
		}, {
			"firewalld over iptables, with IndividualCalls", ForeignFacts{Chains: save("legacy", firewalldIPTables), Firewalld: true},
			"iptables-legacy=firewalld firewalld=running ret=firewalld-direct",
		}, {
			"chains of a firewalld that was killed", add(save("nft", firewalldIPTables)), "nft=firewalld ret=FORWARD",
		}, {
			"firewalld beside Docker", add(firewalldChains(false), save("nft", currentRules)),
			"nft=firewalld,docker input=firewalld ret=inet/firewalld/filter_FORWARD,docker-user",
		}, {
			"nft chains at other priorities, two of which drop",
			add([]ForeignChain{
				nftChain("inet", "filter", "forward", "forward", "drop", sometimes(OutcomeAccept)),
				nftChain("inet", "late", "forward", "forward", "accept", always("")),
				nftChain("ip6", "early", "forward", "forward", "accept", always(OutcomeJump, "no")),
				nftChain("ip6", "early", "no", "", "", sometimes(OutcomeReturn), always(""), always(OutcomeDrop)),
			}),
			"nft=inet/filter/forward,ip6/early/forward ret=inet/filter/forward,ip6/early/forward",
		}, {
			"OpenWrt's fw4",
			add([]ForeignChain{
				nftChain("inet", "fw4", "forward", "forward", "drop", sometimes(OutcomeAccept), sometimes(OutcomeJump, "forward_lan"), always(OutcomeJump, "handle_reject")),
				nftChain("inet", "fw4", "handle_reject", "", "", sometimes(OutcomeDrop), always(OutcomeDrop)),
			}),
			"nft=inet/fw4/forward ret=inet/fw4/forward",
		}, {
			"a chain that returns before its drop",
			add([]ForeignChain{
				nftChain("inet", "a", "forward", "forward", "accept", always(OutcomeJump, "b"), always(OutcomeAccept)),
				nftChain("inet", "a", "b", "", "", always(OutcomeReturn), always(OutcomeDrop)),
			}), "",
		}, {
			"a torn dump with a loop",
			add([]ForeignChain{
				nftChain("inet", "a", "forward", "forward", "drop", always(OutcomeJump, "b")),
				nftChain("inet", "a", "b", "", "", always(OutcomeJump, "b"), always(OutcomeJump, "gone")),
			}),
			"nft=inet/a/forward ret=inet/a/forward",
		}, {
			"input closed, forwarding open",
			add(save("nft", "*filter\n:INPUT DROP\n:FORWARD ACCEPT\nCOMMIT\n")), "input=DROP ret=none",
		}, {
			"accepts of our own change nothing",
			add(save("nft", "*filter\n:FORWARD DROP\n-A FORWARD -i wg0 -m comment --comment \"wgctl: wg0\" -j ACCEPT\nCOMMIT\n")), "nft=DROP ret=FORWARD",
		},
	} {
		want := c.trace
		if want != "" {
			want = fmt.Sprintf("forward: [%s]", c.trace)
		}
		if got := ChoosePlaces(c.facts).Trace; got != want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, want)
		}
	}
}

// Where a place is missing, or does more than was asked for, a note says so.
func TestPlaceNotes(t *testing.T) {
	foreignOwner := nftChain("inet", "theirs", "forward", "forward", "drop")
	foreignOwner.Owned = true
	for note, f := range map[string]ForeignFacts{
		"": {Chains: slices.Concat(firewalldChains(false), save("nft", currentRules))},
		"iptables-legacy has rules here and its programs are not installed: they may drop what is forwarded": {Legacy: "unreadable"},
		"table inet theirs drops what is forwarded, and only the program that owns it can let it pass":       {Chains: []ForeignChain{foreignOwner}},
		"table inet firewalld drops what is forwarded, and only the program that owns it can let it pass":    {Chains: firewalldChains(true)},
		"firewalld has the interface in zone dmz: what that zone does not forward is dropped":                {Chains: firewalldChains(true), Firewalld: true, Zone: "dmz"},
		"firewalld takes the interface into zone trusted: the tunnel reaches the host itself too, and other zones open no connection into the tunnel": {
			Chains: firewalldChains(true), Firewalld: true,
		},
	} {
		if got := strings.Join(ChoosePlaces(f).Notes, "; "); got != note {
			t.Errorf("%q, want %q", got, note)
		}
	}
}

func TestStandings(t *testing.T) {
	const ours = `-i wg0 -m comment --comment "wgctl: wg0" -j ACCEPT`
	p := Passage{Interface: "wg0", Accepts: ForwardAll("wg0")[:1]}
	at := func(chain string) Place {
		return Place{Kind: PlaceLegacy, Family: "ip", Table: "filter", Chain: chain}
	}
	good := p.Digest(at("FORWARD"))
	for _, c := range []struct {
		name, rules string
		want        []Standing
	}{
		{"nothing there yet", ":FORWARD DROP\n", []Standing{{at("FORWARD"), true, "", true}}},
		{"it stands", ":FORWARD DROP\n-A FORWARD " + ours, []Standing{{at("FORWARD"), true, good, true}}},
		{"it stands behind what drops", ":FORWARD ACCEPT\n-A FORWARD -j REJECT\n-A FORWARD " + ours, []Standing{{at("FORWARD"), true, changed, true}}},
		{
			"it stands twice", ":FORWARD DROP\n-A FORWARD " + ours + "\n-A FORWARD " + ours,
			[]Standing{{at("FORWARD"), true, digestOf(plainRules([]string{ours, ours})), true}},
		},
		{"the policy was changed to ACCEPT: it may stay", ":FORWARD ACCEPT\n-A FORWARD " + ours, []Standing{{at("FORWARD"), true, good, true}}},
		{
			"Docker came: it moves", ":FORWARD DROP\n:DOCKER-USER -\n-A FORWARD -j DOCKER-USER\n-A FORWARD " + ours,
			[]Standing{{at("DOCKER-USER"), true, "", true}, {at("FORWARD"), false, good, true}},
		},
		{
			"Docker's own return stands above it", ":FORWARD DROP\n:DOCKER-USER -\n-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -j RETURN\n-A DOCKER-USER " + ours,
			[]Standing{{at("DOCKER-USER"), true, changed, true}},
		},
		{"of another tunnel", ":FORWARD ACCEPT\n" + strings.ReplaceAll("-A FORWARD "+ours, "wg0", "wg1"), nil},
	} {
		f := ForeignFacts{Chains: parseLegacy("*filter\n"+c.rules+"\nCOMMIT\n", false)}
		if got := f.standings("wg0"); !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%+v\nwant\n%+v", c.name, got, c.want)
		}
	}
}

func TestParseRule(t *testing.T) {
	for rule, want := range map[string]ForeignRule{
		`-j ACCEPT`: {Always: true, Outcome: OutcomeAccept},
		`-j DROP`:   {Always: true, Outcome: OutcomeDrop},
		`-j REJECT --reject-with icmp6-adm-prohibited`:       {Always: true, Outcome: OutcomeDrop},
		`-m comment --comment "a -j DROP" -j ACCEPT`:         {Always: true, Outcome: OutcomeAccept},
		`-m comment --comment word -g away`:                  {Always: true, Outcome: OutcomeGoto, Chain: "away"},
		`-i eth0 -j away`:                                    {Outcome: OutcomeJump, Chain: "away"},
		`-p tcp -m comment --comment "wgctl: wg0" -j ACCEPT`: {Ours: "wg0", Outcome: OutcomeAccept},
		`-m comment --comment "wgctl: wg0" -j wgctl-wg0-raw`: {Outcome: OutcomeJump, Chain: "wgctl-wg0-raw"},
		`-m comment --comment "wgctl: wg0; x" -j X`:          {Always: true, Outcome: OutcomeJump, Chain: "X"},
	} {
		want.words = rule
		if got := parseRule(rule); got != want {
			t.Errorf("%s:\n%+v\nwant\n%+v", rule, got, want)
		}
	}
}
