// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// foreign is a ruleset of the host's own, which has to stay to the byte. Its
// table's name begins like that of ours.
const foreign = `nft -f - <<EOF
table inet wgctl-wg00 {
	chain c {
		type filter hook input priority 5; policy accept;
		counter comment "wgctl: wg0 mark 0x1 digest 00"
	}
}
table ip filter {
	set s { type ipv4_addr; elements = { 10.0.0.1 }; }
	chain input {
		type filter hook input priority filter; policy drop;
		ip saddr @s accept
	}
}
EOF`

func openNFT(t *testing.T) *Firewall {
	t.Helper()
	enterNetns(t)
	need(t, "nft", "ip")
	fw, trace, err := Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := "firewall: [nf_tables=yes ret=nftables]"; trace != want {
		skip(t, "no nf_tables here: %s, %v", trace, fw.Ready())
	}
	return fw
}

func mustApply(t *testing.T, fw *Firewall, r Ruleset) {
	t.Helper()
	if err := fw.Apply(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// wantApplied asks for all of r.
func wantApplied(t *testing.T, fw *Firewall, r Ruleset) {
	t.Helper()
	wantInstalled(t, fw, r.Interface, Installed{Digest: r.Digest(), Mark: r.mark(), KillSwitch: !r.KillSwitch.IsZero()})
}

func wantInstalled(t *testing.T, fw *Firewall, name string, want Installed) {
	t.Helper()
	got, err := fw.Installed(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("installed: %+v, want %+v", got, want)
	}
}

// What the kernel holds is what Text said, in nft's own words; and nft reads
// its own words again.
func TestNFTablesGolden(t *testing.T) {
	fw := openNFT(t)
	for name, r := range goldens {
		mustApply(t, fw, r)
		got := sh(t, "nft list ruleset")
		if diff := cmp.Diff(listed(golden(t, name)), listed(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		wantApplied(t, fw, r)
		sh(t, "nft list ruleset > /dev/shm/wgctl-test.$$; nft flush ruleset; nft -f /dev/shm/wgctl-test.$$; rm /dev/shm/wgctl-test.$$")
		if again := sh(t, "nft list ruleset"); again != got {
			t.Errorf("%s: nft reads its own listing as\n%s", name, again)
		}
		if slices.Contains([]string{"full", "anti-spoof", "mark"}, name) { // others have matches that nft merges
			wantApplied(t, fw, r)
		}
		mustApply(t, fw, Ruleset{Interface: r.Interface})
	}
}

func TestNFTablesReplaceAndRemove(t *testing.T) {
	fw := openNFT(t)
	sh(t, foreign)
	before := sh(t, "nft list ruleset")
	wantInstalled(t, fw, "wg0", Installed{})
	mustApply(t, fw, Ruleset{Interface: "wg0"}) // nothing there: no error

	r := goldens["full"]
	for i := range 10 {
		r.RestoreMark = uint32(1 + i)
		mustApply(t, fw, r)
	}
	if n := strings.Count(sh(t, "nft list tables"), "table inet wgctl-wg0\n"); n != 1 {
		t.Errorf("%d tables after ten replacements", n)
	}
	wantApplied(t, fw, r)
	if got, want := sh(t, "nft list ruleset"), before+r.Text(); got != want {
		t.Errorf("ruleset (-want +got):\n%s", cmp.Diff(want, got))
	}
	for range 2 {
		mustApply(t, fw, Ruleset{Interface: "wg0"})
		if after := sh(t, "nft list ruleset"); after != before {
			t.Errorf("after removal (-want +got):\n%s", cmp.Diff(before, after))
		}
	}
	wantInstalled(t, fw, "wg0", Installed{})
}

func TestNFTablesBadRuleKeepsTheOldTable(t *testing.T) {
	fw := openNFT(t)
	r := goldens["full"]
	mustApply(t, fw, r)
	before := sh(t, "nft list ruleset")

	bad := Ruleset{Interface: "wg0", RestoreMark: 7}.chains()
	bad[1].rules[0].terms = append(bad[1].rules[0].terms, term{exprs: []expr.Any{
		&expr.Lookup{SourceRegister: reg1, SetName: "there-is-no-such-set"},
	}})
	sets, chains := render("wg0", nil, bad)
	err := nft{}.replace(t.Context(), "wg0", sets, chains)
	if err == nil || !strings.Contains(err.Error(), "programming table inet wgctl-wg0") {
		t.Errorf("error %v", err)
	}
	if after := sh(t, "nft list ruleset"); after != before {
		t.Errorf("after the bad batch (-want +got):\n%s", cmp.Diff(before, after))
	}
	wantApplied(t, fw, r)
}

func TestNFTablesSeesChanges(t *testing.T) {
	fw := openNFT(t)
	r := goldens["full"]
	for name, c := range map[string]struct {
		tamper string
		mark   uint32
	}{
		"rule added":        {"nft add rule inet wgctl-wg0 premangle accept", r.RestoreMark},
		"rule deleted":      {"nft delete rule inet wgctl-wg0 premangle handle $(nft -a list chain inet wgctl-wg0 premangle | sed -n 's/.*restore mark.* handle //p')", r.RestoreMark},
		"chain flushed":     {"nft flush chain inet wgctl-wg0 postmangle", r.RestoreMark},
		"tagged rule gone":  {"nft flush chain inet wgctl-wg0 preraw", 0},
		"chain deleted":     {"nft flush chain inet wgctl-wg0 premangle; nft delete chain inet wgctl-wg0 premangle", r.RestoreMark},
		"table flushed":     {"nft flush table inet wgctl-wg0", 0},
		"chain added":       {"nft add chain inet wgctl-wg0 x", r.RestoreMark},
		"other address":     {"nft replace rule inet wgctl-wg0 preraw handle $(nft -a list chain inet wgctl-wg0 preraw | sed -n 's/.*ip6.* handle //p') iifname != wg0 ip6 daddr fd00::2 fib saddr type != local drop", r.RestoreMark},
		"policy":            {"nft chain inet wgctl-wg0 premangle '{ policy drop; }'", r.RestoreMark},
		"table made asleep": {"nft add table inet wgctl-wg0 '{ flags dormant; }'", r.RestoreMark},
	} {
		mustApply(t, fw, r)
		sh(t, c.tamper)
		got, err := fw.Installed(t.Context(), "wg0")
		if want := (Installed{Digest: changed, Mark: c.mark}); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
		}
		mustApply(t, fw, r)
		wantApplied(t, fw, r)
	}
	sh(t, "nft delete table inet wgctl-wg0")
	wantInstalled(t, fw, "wg0", Installed{})
}

// The first table of a tunnel deletes none, which the kernel would be slow to
// forget; one that is there is replaced.
func TestNFTablesFirst(t *testing.T) {
	fw := openNFT(t)
	told := filepath.Join(t.TempDir(), "monitor")
	deleted := func(do func()) bool {
		t.Helper()
		monitor := exec.CommandContext(t.Context(), "stdbuf", "-oL", "nft", "monitor")
		out, err := os.Create(told)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		monitor.Stdout = out
		if err := monitor.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = monitor.Process.Kill(), monitor.Wait() }()
		text := ""
		hears := func(what, by string) {
			for deadline := time.Now().Add(2 * time.Minute); !strings.Contains(text, what); time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("nft monitor tells nothing of %q: %s", what, text)
				}
				sh(t, by)
				b, err := os.ReadFile(told)
				if err != nil {
					t.Fatal(err)
				}
				text = string(b)
			}
		}
		hears("add table ip begin", "nft 'add table ip begin; delete table ip begin'")
		do()
		hears("add table ip end", "nft 'add table ip end; delete table ip end'")
		return strings.Contains(text, "delete table inet wgctl-wg0")
	}
	r := goldens["full"]
	if deleted(func() { mustApply(t, fw, r) }) {
		t.Error("a table is deleted where there was none")
	}
	wantApplied(t, fw, r)
	r.RestoreMark++
	if !deleted(func() { mustApply(t, fw, r) }) {
		t.Error("a table that is replaced isn't deleted: this test tells nothing")
	}
	// Who finds that somebody was quicker leaves that table alone.
	c, err := (*line)(nil).take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseLasting()
	c.CreateTable(ownTable("wg0"))
	if err := (nft{}).fill(c, ownTable("wg0"), nil, nil); !errors.Is(err, unix.EEXIST) {
		t.Errorf("making a table that there is: %v", err)
	}
	wantApplied(t, fw, r)
}

// Where nf_tables works and iptables has nothing of ours, nobody looks for its
// programs.
func TestNFTablesLooksForNoProgram(t *testing.T) {
	openNFT(t)
	looked := 0
	fw, _ := New(Facts{Tools: func() []Tool { looked++; return nil }})
	mustApply(t, fw, goldens["full"])
	wantApplied(t, fw, goldens["full"])
	if _, err := fw.Foreign().Facts(t.Context(), "wg0"); err != nil {
		t.Fatal(err)
	}
	mustApply(t, fw, Ruleset{Interface: "wg0"})
	wantInstalled(t, fw, "wg0", Installed{})
	if looked != 0 {
		t.Errorf("iptables was looked for %d times", looked)
	}
	sh(t, "nft 'add table ip6 raw; add chain ip6 raw "+chainName("wg0", 0)+"'")
	if _, err := fw.Installed(t.Context(), "wg0"); err != nil || looked == 0 {
		t.Errorf("nobody looks for who made a chain of ours: %v", err)
	}
}

// Names that nft has no syntax for are tables like any other to the kernel.
func TestNFTablesNames(t *testing.T) {
	fw := openNFT(t)
	for _, name := range []string{"_=+.-", "wg+", "-x", "0", "123456789012345"} {
		r := Ruleset{Interface: name, AntiSpoof: addrs("10.8.0.1"), RestoreMark: 7}
		mustApply(t, fw, r)
		wantApplied(t, fw, r)
		mustApply(t, fw, Ruleset{Interface: name})
	}
	if left := sh(t, "nft list ruleset"); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

func TestNFTablesCancelled(t *testing.T) {
	fw := openNFT(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fw.Apply(ctx, goldens["full"]); err == nil {
		t.Error("applied under a context that had ended")
	}
	if left := sh(t, "nft list ruleset"); left != "" {
		t.Errorf("left:\n%s", left)
	}
}

// A few hundred addresses are one batch still.
func TestNFTablesManyAddresses(t *testing.T) {
	fw := openNFT(t)
	r := Ruleset{Interface: "wg0"}
	for i := range 500 {
		r.AntiSpoof = append(r.AntiSpoof, addrs(fmt.Sprintf("10.8.%d.%d", i/250, 1+i%250))...)
	}
	mustApply(t, fw, r)
	wantApplied(t, fw, r)
	if n := strings.Count(sh(t, "nft list ruleset"), " drop comment "); n != 500 {
		t.Errorf("%d rules, want 500", n)
	}
}

// A listing that was made while the kernel moved the elements is made again.
func TestReadElements(t *testing.T) {
	whole := []nftables.SetElement{{Key: []byte{1}}, {Key: []byte{2}, IntervalEnd: true}, {Key: []byte{2}}, {Key: []byte{3}}}
	moved := []nftables.SetElement{whole[0], whole[1], whole[1], whole[3]}
	listings := [][]nftables.SetElement{moved, moved, whole}
	got, err := readElements(t.Context(), func() ([]nftables.SetElement, error) {
		next := listings[0]
		listings = listings[1:]
		return next, nil
	})
	if err != nil || len(listings) != 0 || !cmp.Equal(got, whole) {
		t.Errorf("%v, %v, with %d listings left", got, err, len(listings))
	}
	if _, err := readElements(t.Context(), func() ([]nftables.SetElement, error) { return nil, unix.EPERM }); !errors.Is(err, unix.EPERM) {
		t.Errorf("a listing that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := readElements(ctx, func() ([]nftables.SetElement, error) { return moved, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a listing without end: %v", err)
	}
}

// What is read at once after tens of thousands of elements were added is all
// of them.
func TestNFTablesReadsAfterManyElements(t *testing.T) {
	fw := openNFT(t)
	few := Ruleset{Interface: "wg0", PortForwards: []PortForward{{Protocol: TCP, First: 1, Count: 1000, To: addr("10.8.0.2"), ToFirst: 2}}}
	many := Ruleset{Interface: "wg0", PortForwards: []PortForward{{Protocol: UDP, First: 1, Count: 65534, To: addr("10.8.0.2"), ToFirst: 2}}}
	for range 4 {
		mustApply(t, fw, few)
		wantApplied(t, fw, few)
		mustApply(t, fw, many)
		wantApplied(t, fw, many)
	}
}
