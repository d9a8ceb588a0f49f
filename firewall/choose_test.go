// SPDX-License-Identifier: MIT

package firewall

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	nft4    = Tool{Path: "/usr/sbin/iptables"}
	nft6    = Tool{Path: "/usr/sbin/ip6tables", V6: true}
	legacy4 = Tool{Path: "/usr/sbin/iptables-legacy", Legacy: true}
	legacy6 = Tool{Path: "/usr/sbin/ip6tables-legacy", V6: true, Legacy: true}
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		facts       Facts
		name, trace string
		err         error
	}{
		{
			facts: Facts{Tools: found(nft4, nft6, legacy4)},
			name:  "nftables", trace: "firewall: [nf_tables=yes ret=nftables]",
		}, {
			facts: Facts{NFTables: unix.EPROTONOSUPPORT, Tools: found(legacy4, legacy6)},
			name:  "iptables-legacy",
			trace: "firewall: [nf_tables=EPROTONOSUPPORT iptables=/usr/sbin/iptables-legacy ip6tables=/usr/sbin/ip6tables-legacy ret=iptables-legacy]",
		}, { // the preferred programs can't work without nf_tables
			facts: Facts{NFTables: unix.EINVAL, Tools: found(nft4, nft6, legacy4)},
			name:  "iptables-legacy",
			trace: "firewall: [nf_tables=EINVAL skip=/usr/sbin/iptables(nf_tables) skip=/usr/sbin/ip6tables(nf_tables) iptables=/usr/sbin/iptables-legacy ip6tables=- ret=iptables-legacy]",
		}, {
			facts: Facts{NFTables: unix.EINVAL},
			name:  "none", trace: "firewall: [nf_tables=EINVAL iptables=- ret=none]", err: ErrNoBackend,
		}, {
			facts: Facts{NFTables: unix.EINVAL, Tools: found(nft4)},
			name:  "none", trace: "firewall: [nf_tables=EINVAL skip=/usr/sbin/iptables(nf_tables) iptables=- ret=none]", err: ErrNoBackend,
		}, { // not root
			facts: Facts{NFTables: unix.EPERM, Tools: found(nft4, legacy4)},
			name:  "none", trace: "firewall: [nf_tables=EPERM ret=none]", err: unix.EPERM,
		}, { // no room to ask in: that says nothing of what the kernel can
			facts: Facts{NFTables: unix.ENOBUFS, Tools: found(legacy4, legacy6)},
			name:  "none", trace: "firewall: [nf_tables=ENOBUFS ret=none]", err: unix.ENOBUFS,
		}, {
			facts: Facts{Force: "iptables", Tools: found(nft4, nft6, legacy4)},
			name:  "iptables-nft",
			trace: "firewall: [force=iptables iptables=/usr/sbin/iptables ip6tables=/usr/sbin/ip6tables ret=iptables-nft]",
		}, {
			facts: Facts{Force: "iptables", Tools: found(legacy4, legacy6, nft4, nft6)},
			name:  "iptables-legacy",
			trace: "firewall: [force=iptables iptables=/usr/sbin/iptables-legacy ip6tables=/usr/sbin/ip6tables-legacy ret=iptables-legacy]",
		}, {
			facts: Facts{Force: "iptables"},
			name:  "none", trace: "firewall: [force=iptables iptables=- ret=none]", err: ErrNoBackend,
		}, {
			facts: Facts{Force: "nftables", NFTables: unix.EINVAL, Tools: found(legacy4)},
			name:  "none", trace: "firewall: [force=nftables nf_tables=EINVAL ret=none]", err: unix.EINVAL,
		}, {
			facts: Facts{Force: "pf"},
			name:  "none", trace: "firewall: [force=pf ret=none]", err: unix.EINVAL,
		},
	} {
		name, trace, err := Choose(c.facts)
		if name != c.name || trace != c.trace || !errors.Is(err, c.err) {
			t.Errorf("%+v:\n got %s %s %v\nwant %s %s %v", c.facts, name, trace, err, c.name, c.trace, c.err)
		}
	}
}

// A host without a packet filter has no rules, which is all right for tunnels
// that want none.
func TestNoBackend(t *testing.T) {
	fw, _ := New(Facts{NFTables: unix.EINVAL})
	wantInstalled(t, fw, "wg0", Installed{})
	if err := fw.Apply(t.Context(), Ruleset{Interface: "wg0"}); err != nil {
		t.Errorf("removing what isn't there: %v", err)
	}
	if err := fw.Ready(); !errors.Is(err, ErrNoBackend) {
		t.Errorf("ready: %v", err)
	}
	if trace, err := fw.Choose(t.Context(), Ruleset{Interface: "wg0"}); trace != "" || err != nil {
		t.Errorf("choice for nothing: %s, %v", trace, err)
	}
	trace, err := fw.Choose(t.Context(), Ruleset{Interface: "wg0", RestoreMark: 1})
	if trace != "firewall: [nf_tables=EINVAL iptables=- ret=none]" || !errors.Is(err, ErrNoBackend) {
		t.Errorf("choice: %s, %v", trace, err)
	}
	err = fw.Apply(t.Context(), Ruleset{Interface: "wg0", RestoreMark: 1})
	const want = "applying firewall rules of wg0: choosing a firewall backend: no packet filter to program: the kernel has no nf_tables and iptables is not installed"
	if !errors.Is(err, ErrNoBackend) || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// found is the fact that these programs are there.
func found(tools ...Tool) func() []Tool { return func() []Tool { return tools } }

func TestDetectFindsBothModes(t *testing.T) {
	need(t, "iptables-nft", "iptables-legacy")
	f := Detect(t.Context())
	modes := map[bool]string{}
	for _, tool := range f.Tools() {
		if !tool.V6 {
			modes[tool.Legacy] = tool.Path
		}
	}
	if len(modes) != 2 {
		t.Errorf("tools %v, want iptables of both modes", f.Tools())
	}
}

// Where nf_tables could not be asked, nothing is said to stand or not to stand.
func TestInstalledWithoutAnAnswer(t *testing.T) {
	wants := map[unix.Errno]error{unix.EMFILE: unix.EMFILE, unix.EBUSY: unix.EBUSY, unix.EINVAL: nil, unix.EPERM: nil}
	if os.Geteuid() == 0 {
		wants[unix.EPERM] = unix.EPERM // where root is refused, rules may stand all the same
	}
	for errno, want := range wants {
		fw, _ := New(Facts{NFTables: errno})
		if _, err := fw.Installed(t.Context(), "wg0"); !errors.Is(err, want) {
			t.Errorf("%v: error %v, want %v", errno, err, want)
		}
	}
}
