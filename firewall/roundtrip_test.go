// SPDX-License-Identifier: MIT

package firewall

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// listed returns what nft lists, or Text, without the way elements are broken
// into lines.
func listed(text string) []string {
	for strings.Contains(text, ",\n\t\t\t ") {
		before, after, _ := strings.Cut(text, ",\n\t\t\t ")
		text = before + ", " + strings.TrimLeft(after, " ")
	}
	return strings.Split(strings.TrimSpace(text), "\n")
}

// checkRoundTrip applies a ruleset and asks nft whether it is what Text says,
// and whether nft takes that text.
func checkRoundTrip(t *testing.T, fw *Firewall, r Ruleset) {
	t.Helper()
	mustApply(t, fw, r)
	wantApplied(t, fw, r)
	text := r.Text()
	if diff := cmp.Diff(listed(text), listed(sh(t, "nft list ruleset"))); diff != "" {
		t.Errorf("listed (-Text +nft):\n%s", diff)
	}
	file := filepath.Join(t.TempDir(), "text.nft")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sh(t, "nft delete table inet "+TableName(r.Interface)+"; nft -c -f "+file)
}

func TestNFTablesListsText(t *testing.T) {
	for name, r := range goldens {
		t.Run(name, func(t *testing.T) {
			fw := openNFT(t)
			checkRoundTrip(t, fw, r)
		})
	}
}

// Any ruleset is one that nft reads, and lists as Text has it.
func TestNFTablesListsAnyText(t *testing.T) {
	notEmulated(t)
	fw := openNFT(t)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 4))
	for range 40 {
		r := randomRuleset(rnd)
		if r.Empty() {
			continue
		}
		checkRoundTrip(t, fw, r)
		if t.Failed() {
			t.Fatalf("seed %d: %+v", seed, r)
		}
	}
}

func randomRuleset(rnd *rand.Rand) Ruleset {
	r := Ruleset{Interface: "wg0"}
	coin := func() bool { return rnd.IntN(2) == 0 }
	prefix := func() netip.Prefix {
		if coin() {
			return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + rnd.IntN(220)), byte(rnd.Int()), byte(rnd.Int()), byte(rnd.Int())}), 1+rnd.IntN(32)).Masked()
		}
		var a [16]byte
		for i := range a {
			a[i] = byte(rnd.Int())
		}
		a[0] = 0xfd
		return netip.PrefixFrom(netip.AddrFrom16(a), 1+rnd.IntN(128)).Masked()
	}
	if coin() {
		r.KillSwitch.Mark, r.RestoreMark = rnd.Uint32()|1, 7
		for range rnd.IntN(20) {
			r.KillSwitch.Excluded = append(r.KillSwitch.Excluded, prefix())
		}
	}
	if coin() {
		r.Masquerade = []Masquerade{{Out: "eth0", Family: []Family{0, 4, 6}[rnd.IntN(3)]}}
		r.Clamp = Clamp{On: true, Size: uint16(rnd.IntN(2) * 1300)}
	}
	next := 1
	for range rnd.IntN(30) {
		f := PortForward{Protocol: TCP, First: uint16(next), Count: 1 + rnd.IntN(5), To: prefix().Addr(), KeepSource: coin()}
		if f.ToFirst = f.First; coin() {
			f.ToFirst = uint16(1 + rnd.IntN(60000))
		}
		if coin() {
			f.Protocol = UDP
		}
		if coin() {
			f.On = "eth0"
		}
		next += f.Count + rnd.IntN(2)
		r.PortForwards = append(r.PortForwards, f)
	}
	for range rnd.IntN(3) {
		r.Extra = append(r.Extra, extra[rnd.IntN(len(extra))])
	}
	return r
}

// A thousand forwards are one rule and a map, and a full range of 65,534
// shifted ports is still taken.
func TestNFTablesManyForwards(t *testing.T) {
	fw := openNFT(t)
	r := Ruleset{Interface: "wg0"}
	for i := range 1000 {
		r.PortForwards = append(r.PortForwards, PortForward{
			Protocol: TCP, First: uint16(10000 + i), Count: 1, To: addr(fmt.Sprintf("10.8.%d.%d", i/250, 1+i%250)), ToFirst: 22,
		})
	}
	mustApply(t, fw, r)
	wantApplied(t, fw, r)
	if n := r.Count(); n != 3 {
		t.Errorf("%d rules, want one to come in, one for the host and one for the way back", n)
	}
	if n := strings.Count(sh(t, "nft list map inet wgctl-wg0 tcp4"), " . 22"); n != 1000 {
		t.Errorf("%d elements, want 1000", n)
	}
	r.PortForwards = []PortForward{{Protocol: UDP, First: 1, Count: 65534, To: addr("10.8.0.2"), ToFirst: 2}}
	mustApply(t, fw, r)
	wantApplied(t, fw, r)
	mustApply(t, fw, r)
	mustApply(t, fw, Ruleset{Interface: "wg0"})
	if left := sh(t, "nft list ruleset"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// What somebody does to an element is seen as well.
func TestNFTablesSeesChangedElements(t *testing.T) {
	fw := openNFT(t)
	for _, c := range []struct{ ruleset, tamper string }{
		{"relay", "add element inet wgctl-wg0 tcp4 { 23 : 10.8.0.2 . 23 }"},
		{"relay", "delete element inet wgctl-wg0 tcp4 { 2222 }"},
		{"relay", "delete element inet wgctl-wg0 tcp4-ranges-eth0 { 8000-8010 }"},
		{"killswitch", "add element inet wgctl-wg0 excluded4 { 8.8.8.8 }"},
		{"killswitch", "add set inet wgctl-wg0 more { type ipv4_addr; }"},
	} {
		r := goldens[c.ruleset]
		mustApply(t, fw, r)
		wantApplied(t, fw, r)
		sh(t, "nft '"+c.tamper+"'")
		wantInstalled(t, fw, "wg0", Installed{Digest: changed, Mark: r.mark(), KillSwitch: !r.KillSwitch.IsZero()})
	}
}
