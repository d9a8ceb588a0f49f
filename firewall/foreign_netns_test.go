// SPDX-License-Identifier: MIT

package firewall

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// filters is what all packet filters of this namespace have, as their own
// tools tell it, without counters.
func filters(t *testing.T) string {
	t.Helper()
	return sh(t, `{ nft -s list ruleset; iptables-nft-save; ip6tables-nft-save; iptables-legacy-save; ip6tables-legacy-save; } 2>/dev/null`+
		` | sed '/^#/d; s/\[[0-9]*:[0-9]*\]//'`)
}

// place puts the passage to every place of the host, and checks that it stands.
func place(t *testing.T, fo *Foreign, p Passage) []Standing {
	t.Helper()
	found, err := fo.Installed(t.Context(), p.Interface)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range found {
		if err := fo.Apply(t.Context(), s.Place, p); err != nil {
			t.Fatal(err)
		}
	}
	after, err := fo.Installed(t.Context(), p.Interface)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range after {
		if s.Digest != p.Digest(s.Place) {
			t.Errorf("%s: digest %q, want %q", s.Place, s.Digest, p.Digest(s.Place))
		}
	}
	return after
}

const (
	classicRules = `*filter
:INPUT ACCEPT
:FORWARD DROP
:OUTPUT ACCEPT
:DOCKER -
:DOCKER-ISOLATION-STAGE-1 -
:DOCKER-ISOLATION-STAGE-2 -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
`
	currentRules = `*filter
:INPUT ACCEPT
:FORWARD DROP
:OUTPUT ACCEPT
:DOCKER -
:DOCKER-BRIDGE -
:DOCKER-CT -
:DOCKER-FORWARD -
:DOCKER-INTERNAL -
:DOCKER-USER -
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-INTERNAL
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
COMMIT
`
	nftRules = `table inet filter {
	chain forward {
		type filter hook forward priority filter; policy accept;
		ct state established,related accept
		iifname "lan0" oifname "wan0" accept
		jump refuse
	}
	chain refuse { limit rate 5/minute log prefix "no: "; reject with icmpx admin-prohibited; }
}
table ip6 early6 {
	chain through {
		type filter hook forward priority -200; policy drop;
	}
}
`
)

func restore(rules string, programs ...string) string {
	var b strings.Builder
	for _, p := range programs {
		fmt.Fprintf(&b, "%s-restore <<'EOF'\n%sEOF\n", p, rules)
	}
	return b.String()
}

// foreignHosts are hosts with a packet filter that drops what is forwarded.
var foreignHosts = map[string]struct{ setup, trace string }{
	"iptables-nft with policy DROP": {
		"iptables-nft -P FORWARD DROP; ip6tables-nft -P FORWARD DROP",
		"forward: [nft=DROP ret=FORWARD,FORWARD6]",
	},
	"iptables-legacy with policy DROP": {
		"iptables-legacy -w -P FORWARD DROP; ip6tables-legacy -w -P FORWARD DROP",
		"forward: [iptables-legacy=DROP ret=legacy-FORWARD,legacy-FORWARD6]",
	},
	"a final REJECT, as Red Hat's iptables had": {
		"for i in iptables-nft ip6tables-nft; do $i -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT; $i -A FORWARD -j REJECT; done",
		"forward: [nft=REJECT ret=FORWARD,FORWARD6]",
	},
	"Docker, the classic chains": {
		restore(classicRules, "iptables-nft", "ip6tables-nft"),
		"forward: [nft=docker ret=docker-user,docker-user6]",
	},
	"Docker, the current chains": {
		restore(currentRules, "iptables-nft", "ip6tables-nft"),
		"forward: [nft=docker ret=docker-user,docker-user6]",
	},
	"Docker over iptables-legacy, and iptables-nft with policy DROP": {
		restore(classicRules, "iptables-legacy", "ip6tables-legacy") + "iptables-nft -P FORWARD DROP",
		"forward: [nft=DROP iptables-legacy=docker ret=FORWARD,legacy-docker-user,legacy-docker-user6]",
	},
	"nftables of the administrator's": {
		"nft -f - <<'EOF'\n" + nftRules + "EOF\n",
		"forward: [nft=ip6/early6/through,inet/filter/forward ret=ip6/early6/through,inet/filter/forward]",
	},
}

// What is forwarded for the tunnel passes as long as the passage stands, and
// the other filters are to the byte what they were when it is gone.
func TestForeignPassage(t *testing.T) {
	notEmulated(t)
	for name, host := range foreignHosts {
		t.Run(name, func(t *testing.T) {
			c := newCrossing(t)
			c.forwards("without any filter", true)
			sh(t, host.setup)
			fw, _, err := Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fo := fw.Foreign()
			before := filters(t)
			c.forwards("before", false)
			p := Passage{Interface: "wg0", Accepts: ForwardAll("wg0")}
			if choice, err := fo.Choose(t.Context(), p); err != nil || choice.Trace != host.trace || choice.Notes != nil {
				t.Errorf("choice %+v, %v\nwant  %s", choice, err, host.trace)
			}
			first := place(t, fo, p)
			c.forwards("with the passage", true)
			stands := filters(t)
			if again := place(t, fo, p); !slices.Equal(first, again) || filters(t) != stands {
				t.Errorf("the second time:\n%s", cmp.Diff(stands, filters(t)))
			}
			place(t, fo, Passage{Interface: "wg0"})
			c.forwards("after", false)
			if diff := cmp.Diff(before, filters(t)); diff != "" {
				t.Errorf("left behind (-before +after):\n%s", diff)
			}
		})
	}
}

// A tunnel that has port forwards and no more gets just what was led there
// through the other filters, and its answers.
func TestForeignPassageOfPortForwards(t *testing.T) {
	notEmulated(t)
	for _, name := range []string{"iptables-legacy with policy DROP", "Docker, the current chains", "nftables of the administrator's"} {
		t.Run(name, func(t *testing.T) {
			c := newCrossing(t)
			sh(t, foreignHosts[name].setup)
			sh(t, `nft -f - <<'EOF'
table inet led {
	chain prerouting {
		type nat hook prerouting priority dstnat;
		ip daddr 192.168.7.1 meta l4proto udp dnat ip to 10.8.0.2
		ip6 daddr fd07::1 meta l4proto udp dnat ip6 to fd00::2
	}
}
EOF`)
			fw, _, err := Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ways := append(c.ways(),
				way{"led", c.lan, c.far, "192.168.7.1", "10.8.0.2"}, way{"led6", c.lan, c.far, "fd07::1", "fd00::2"})
			if got := c.open(ways); got != nil {
				t.Errorf("before: open are %v", got)
			}
			place(t, fw.Foreign(), Passage{Interface: "wg0", Accepts: ForwardPorts("wg0")})
			if got, want := c.open(ways, "led", "led6"), []string{"led", "led6"}; !slices.Equal(got, want) {
				t.Errorf("open are %v, want %v", got, want)
			}
			c.answers("192.168.7.1:6000", "10.8.0.2:6000")
			place(t, fw.Foreign(), Passage{Interface: "wg0"})
			if got := c.open(ways); got != nil {
				t.Errorf("after: open are %v", got)
			}
		})
	}
}

// Tunnels share a chain, and each takes away its own accepts only; what
// somebody has flushed or moved is put right by the next run.
func TestForeignPassagesOfTwoTunnels(t *testing.T) {
	notEmulated(t)
	for name, host := range foreignHosts {
		t.Run(name, func(t *testing.T) {
			enterNetns(t)
			need(t, "nft", "iptables-nft", "iptables-legacy")
			sh(t, host.setup)
			fw, _, err := Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fo, before := fw.Foreign(), filters(t)
			one := Passage{Interface: "wg0", Accepts: ForwardAll("wg0")}
			place(t, fo, one)
			alone := filters(t)
			two := Passage{Interface: "wg1", Accepts: append(ForwardPorts("wg1"), ForwardAll("wg1")...)}
			place(t, fo, two)
			place(t, fo, Passage{Interface: "wg0"})
			place(t, fo, one)
			for _, p := range []Passage{one, two} {
				found, err := fo.Installed(t.Context(), p.Interface)
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range found {
					if s.Digest != p.Digest(s.Place) {
						t.Errorf("%s at %s: digest %q, want %q", p.Interface, s.Place, s.Digest, p.Digest(s.Place))
					}
				}
			}
			place(t, fo, Passage{Interface: "wg1"})
			if diff := cmp.Diff(alone, filters(t)); diff != "" {
				t.Errorf("without wg1 (-before +after):\n%s", diff)
			}
			place(t, fo, Passage{Interface: "wg0"})
			if diff := cmp.Diff(before, filters(t)); diff != "" {
				t.Errorf("without both (-before +after):\n%s", diff)
			}
		})
	}
}

// While others keep changing the ruleset, what is read belongs together and
// what is written goes to the chain as it was read.
func TestForeignPassageInTraffic(t *testing.T) {
	notEmulated(t)
	enterNetns(t)
	need(t, "nft", "iptables-nft")
	sh(t, restore(currentRules, "iptables-nft"))
	fw, _, err := Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := filters(t)
	off := filepath.Join(t.TempDir(), "off")
	noise := exec.Command("sh", "-c", `until [ -e "$0" ]; do nft add table inet noise; nft delete table inet noise; sleep 0.03; done`, off)
	noise.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := noise.Start(); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		place(t, fw.Foreign(), Passage{Interface: "wg0", Accepts: ForwardAll("wg0")})
		place(t, fw.Foreign(), Passage{Interface: "wg0"})
	}
	// Ended by itself, it has taken its table away; killed, the kernel may yet add it.
	if err := errors.Join(os.WriteFile(off, nil, 0o600), noise.Wait()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, filters(t)); diff != "" {
		t.Errorf("left behind (-before +after):\n%s", diff)
	}
}

// A kernel without nf_tables has the old iptables; others than root see nothing
// of either, and a lack of memory is no sign of anything.
func TestForeignWithoutNFTables(t *testing.T) {
	enterNetns(t)
	legacy := tools(t, "legacy")
	sh(t, "iptables-nft -P FORWARD DROP; iptables-legacy -w -P FORWARD DROP")
	p := Passage{Interface: "wg0", Accepts: ForwardAll("wg0")}
	for why, want := range map[unix.Errno]struct {
		trace string
		err   error
	}{
		0:                    {"forward: [nft=DROP iptables-legacy=DROP ret=FORWARD,legacy-FORWARD]", nil},
		unix.EPROTONOSUPPORT: {"forward: [iptables-legacy=DROP ret=legacy-FORWARD]", nil},
		unix.EPERM:           {"", nil},
		unix.ENOBUFS:         {"", unix.ENOBUFS},
	} {
		facts := Facts{Tools: found(legacy...)}
		if why != 0 {
			facts.NFTables = why
		}
		fw, _ := New(facts)
		choice, err := fw.Foreign().Choose(t.Context(), p)
		if choice.Trace != want.trace || !errors.Is(err, want.err) {
			t.Errorf("%v: %+v, %v, want %+v", why, choice, err, want)
		}
	}
}

// The rules of our own iptables backend carry the same comment: they are no
// passage, and no other filter.
func TestForeignBesideOwnIPTables(t *testing.T) {
	for _, mode := range []string{"nft", "legacy"} {
		t.Run(mode, func(t *testing.T) {
			fw, both := openIPTables(t, mode)
			own := Ruleset{
				Interface: "wg0", AntiSpoof: addrs("10.8.0.1", "fd00::1"), KillSwitch: KillSwitch{Mark: 7},
				Extra: []Rule{{Chain: ForwardFilter, In: Link{Name: "wg0"}, Verdict: VerdictDrop, Comment: "x"}},
			}
			mustApply(t, fw, own)
			fo := fw.Foreign()
			if found, err := fo.Installed(t.Context(), "wg0"); err != nil || found != nil {
				t.Errorf("our own rules count as %+v, %v", found, err)
			}
			for _, tool := range both {
				sh(t, tool.Path+" -P FORWARD DROP")
			}
			before := ipSave(t, both)
			if found := place(t, fo, Passage{Interface: "wg0", Accepts: ForwardAll("wg0")}); len(found) != 2 {
				t.Errorf("places: %+v", found)
			}
			wantInstalled(t, fw, "wg0", Installed{Digest: own.Digest(), Mark: 7, KillSwitch: true})
			place(t, fo, Passage{Interface: "wg0"})
			if after := ipSave(t, both); after != before {
				t.Errorf("left (-before +after):\n%s", cmp.Diff(before, after))
			}
		})
	}
}

// A table that a running program owns is seen as such: the kernel lets nobody
// else write to it, and a note says so before anything is tried.
func TestForeignOwnedTable(t *testing.T) {
	enterNetns(t)
	owner, err := nftables.New(nftables.AsLasting())
	if err != nil {
		skip(t, "no nf_tables here: %v", err)
	}
	defer owner.CloseLasting()
	drop := nftables.ChainPolicyDrop
	table := owner.AddTable(&nftables.Table{Name: "theirs", Family: nftables.TableFamilyINet, Flags: nftables.TableFlagOwner})
	owner.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	if err := owner.Flush(); err != nil {
		skip(t, "the kernel has no owned tables: %v", err)
	}
	fw, _, err := Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := Passage{Interface: "wg0", Accepts: ForwardAll("wg0")}
	choice, err := fw.Foreign().Choose(t.Context(), p)
	want := PlaceChoice{
		Trace: "forward: [nft=inet/theirs/forward ret=none]",
		Notes: []string{"table inet theirs drops what is forwarded, and only the program that owns it can let it pass"},
	}
	if diff := cmp.Diff(want, choice); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	at := Place{Kind: PlaceNFT, Family: "inet", Table: "theirs", Chain: "forward"}
	if err := fw.Foreign().Apply(t.Context(), at, p); !errors.Is(err, unix.EPERM) {
		t.Errorf("writing to it: %v, want EPERM", err)
	}
}

// variety is a passage with every match that a rule can have.
func variety() Passage {
	net := func(s string, not bool) Network { return Network{Prefix: netip.MustParsePrefix(s), Not: not} }
	rules := []Rule{
		{In: Link{Name: "wg0"}, Out: Link{Name: "eth", Pattern: true}},
		{In: Link{Name: "wg0", Not: true}, Out: Link{Name: "a-long_name.123"}, State: StateNew | StateInvalid},
		{Out: Link{Name: "wg0"}, State: StateEstablished | StateRelated},
		{Out: Link{Name: "wg0"}, State: StateDNAT},
		{In: Link{Name: "wg0"}, Family: IPv4, Source: net("10.8.0.0/23", false), Destination: net("10.9.0.7/32", true)},
		{In: Link{Name: "wg0"}, Family: IPv6, Source: net("fd00::/61", true), Destination: net("fd07::2/128", false)},
		{In: Link{Name: "wg0"}, Family: IPv6},
		{In: Link{Name: "wg0"}, Protocol: TCP, DestinationPort: Ports{First: 22, Last: 22}},
		{In: Link{Name: "wg0"}, Protocol: TCP, SourcePort: Ports{First: 1024, Last: 65535}, DestinationPort: Ports{First: 80, Last: 90, Not: true}},
		{In: Link{Name: "wg0"}, Protocol: TCP, SYN: true},
		{In: Link{Name: "wg0"}, Protocol: UDP, SourcePort: Ports{First: 53, Last: 53, Not: true}},
		{In: Link{Name: "wg0"}, Protocol: 47},
		{In: Link{Name: "wg0"}, Family: IPv4, Protocol: ICMP, ICMPType: 8},
		{In: Link{Name: "wg0"}, Family: IPv6, Protocol: ICMPv6, ICMPType: 128},
		{In: Link{Name: "wg0"}, SourceType: Local},
		{In: Link{Name: "wg0"}, DestinationType: NotLocal},
		{In: Link{Name: "wg0"}, Mark: 0xca6c},
		{}, // as guides have it
	}
	for i := range rules {
		rules[i].Chain, rules[i].Verdict = ForwardFilter, VerdictAccept
	}
	return Passage{Interface: "wg0", Accepts: rules}
}

// Whatever a rule matches, the tools whose chains it stands in list it as they
// would if they had put it there themselves.
func TestForeignAcceptsReadWell(t *testing.T) {
	notEmulated(t)
	for _, mode := range []string{"nft", "legacy"} {
		t.Run("iptables-"+mode, func(t *testing.T) {
			enterNetns(t)
			p := variety()
			if mode == "nft" { // see Passage.check
				p.Accepts = slices.DeleteFunc(p.Accepts, func(r Rule) bool { return r.ICMPType != 0 })
			}
			both := tools(t, mode)
			for _, tool := range both {
				sh(t, tool.Path+" -P FORWARD DROP")
			}
			fw, _, err := Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			place(t, fw.Foreign(), p)
			for _, tool := range both {
				family := familyIP
				if tool.V6 {
					family = familyIP6
				}
				// What iptables makes of the same words, in a chain of its own.
				sh(t, tool.Path+" -N witness")
				for _, rule := range p.iptablesRules(family) {
					sh(t, tool.Path+" -A witness "+rule)
				}
				save := sh(t, tool.Path+"-save")
				var got, want []string
				for line := range strings.Lines(save) {
					if rule, ok := strings.CutPrefix(line, "-A FORWARD "); ok {
						got = append(got, rule)
					} else if rule, ok := strings.CutPrefix(line, "-A witness "); ok {
						want = append(want, rule)
					}
				}
				if diff := cmp.Diff(want, got); diff != "" || len(got) != len(p.at(family)) {
					t.Errorf("%s (-iptables +ours):\n%s", tool, diff)
				}
			}
		})
	}
	t.Run("nft", func(t *testing.T) {
		enterNetns(t)
		need(t, "nft")
		p := variety()
		sh(t, "nft add table inet filter; nft 'add chain inet filter forward { type filter hook forward priority 0; policy drop; }'")
		fw, _, err := Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		place(t, fw.Foreign(), p)
		got := sh(t, "nft -s list chain inet filter forward")
		for _, r := range p.Accepts {
			r.Verdict = ""
			words := make([]string, 0, 8)
			for _, term := range r.terms() {
				if term.text != "" {
					words = append(words, term.text)
				}
			}
			line := strings.Join(append(words, `counter accept comment "wgctl: wg0"`), " ")
			if !strings.Contains(got, "\t\t"+line+"\n") {
				t.Errorf("no %s in\n%s", line, got)
			}
		}
		// nft takes what it prints.
		sh(t, "nft list ruleset | sed '1i flush ruleset' | nft -c -f -")
	})
}
