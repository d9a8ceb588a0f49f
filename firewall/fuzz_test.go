// SPDX-License-Identifier: MIT

package firewall

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables/userdata"
)

// entropy makes a source of random numbers of what the fuzzer chose, which
// goes on by itself where that ends.
type entropy struct {
	chosen []byte
	rest   *rand.PCG
}

func newEntropy(b []byte) *rand.Rand {
	return rand.New(&entropy{b, rand.NewPCG(uint64(len(b)), 1)})
}

func (e *entropy) Uint64() uint64 {
	if len(e.chosen) == 0 {
		return e.rest.Uint64()
	}
	// The generator goes by the upper bits, or by the lower 32.
	b := uint64(e.chosen[0])
	e.chosen = e.chosen[1:]
	return b<<56 | b<<24 | b
}

// anyRule changes some of a rule's fields to what may make no sense.
func anyRule(rnd *rand.Rand) Rule {
	r := extra[rnd.IntN(len(extra))]
	other := extra[rnd.IntN(len(extra))]
	for i, mask := 0, rnd.IntN(1<<12); i < 12; i++ {
		if mask>>i&1 == 0 {
			continue
		}
		switch i {
		case 0:
			r.Chain = other.Chain
		case 1:
			r.Family = other.Family
		case 2:
			r.In, r.Out = other.In, other.Out
		case 3:
			r.Source, r.Destination = other.Source, other.Destination
		case 4:
			r.SourceType, r.DestinationType = other.DestinationType, other.SourceType
		case 5:
			r.Protocol = Protocol(rnd.IntN(256))
		case 6:
			r.SourcePort, r.DestinationPort = other.SourcePort, other.DestinationPort
		case 7:
			r.State, r.Mark = other.State, uint32(rnd.IntN(256))
		case 8:
			r.Verdict, r.To = other.Verdict, other.To
		case 9:
			r.MSS, r.SYN = other.MSS, other.SYN
		case 10:
			r.ICMPType = other.ICMPType
		case 11:
			r.Comment, r.Counter = other.Comment, !r.Counter
		}
	}
	return r
}

// Any ruleset is refused, or it can be written in both languages; and what
// iptables is told, read as what iptables-save prints, is that ruleset.
func FuzzRuleset(f *testing.F) {
	f.Add([]byte{})
	for _, seed := range []uint64{1, 2, 3, 4} {
		f.Add(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, seed), ^seed))
	}
	f.Fuzz(func(t *testing.T, chosen []byte) {
		rnd := newEntropy(chosen)
		r := randomRuleset(rnd)
		for range rnd.IntN(4) {
			r.Extra = append(r.Extra, anyRule(rnd))
		}
		if r.validate() != nil {
			return
		}
		text := r.Text()
		if (text == "") != r.Empty() || strings.Count(text, "comment \"wgctl") != r.Count() {
			t.Fatalf("%d rules in\n%s", r.Count(), text)
		}
		// A diff is two more texts: not of each, for more of them.
		if len(chosen)%4 == 0 && Diff(r, r) != "" || r.canonical().Digest() != r.Digest() {
			t.Fatalf("%+v differs from itself", r)
		}
		checkSaved(t, r)
	})
}

// checkSaved reads what would be restored.
func checkSaved(t *testing.T, r Ruleset) {
	t.Helper()
	v4, v6 := r.iptablesState(false), r.iptablesState(true)
	states := []ipState{v4, v6}
	for i, want := range states {
		text := restoreText(r.Interface, ipState{}, want)
		states[i] = parseSave(strings.ReplaceAll(text, "\n-I ", "\n-A "), r.Interface)
		if !reflect.DeepEqual(states[i], want) {
			t.Fatalf("restored %+v, saved %+v by\n%s", want, states[i], text)
		}
		if again := restoreText(r.Interface, want, want); strings.Contains(again, "-D ") || strings.Contains(again, "-X ") {
			t.Fatalf("nothing to change:\n%s", again)
		}
		for line := range strings.Lines(restoreText(r.Interface, want, ipState{})) {
			if strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, "-I ") {
				t.Fatalf("removing adds %s", line)
			}
		}
	}
	if got := readIptables(r.Interface, states[0], &states[1]); got.Digest != r.Digest() && !v4.empty() {
		t.Fatalf("digest %s, want %s", got.Digest, r.Digest())
	}
}

// Whatever iptables-save prints, or stands in the comment of a rule: it is
// read, and what removes our rules or wg-quick's names only lines that there
// are.
func FuzzSave(f *testing.F) {
	for _, name := range []string{"full", "relay", "killswitch", "extra"} {
		r := goldens[name]
		f.Add(strings.ReplaceAll(restoreText("wg0", ipState{}, r.iptablesState(false)), "\n-I ", "\n-A "), userdata.AppendString(nil, userdata.TypeComment, r.chains()[0].rules[0].comment))
	}
	f.Add("*raw\n-A PREROUTING -m comment --comment \"wg-quick(8) rule for wg0\" -j DROP\nCOMMIT\n", []byte{0, 9, 'x'})
	f.Add("*filter\n:FORWARD DROP [0:0]\n:X - [0:0]\n-A FORWARD -g X\n-A X -m comment --comment \"wgctl: wg0\" -j RETURN\nCOMMIT\n", []byte{})
	f.Fuzz(func(t *testing.T, save string, udata []byte) {
		_, _ = findTag(comment(udata), "wg0")
		have := parseSave(save, "wg0")
		_ = readIptables("wg0", have, nil)
		_ = readIptables("wg0", have, &have)
		checkRemoval(t, save, restoreText("wg0", have, ipState{}))
		for _, c := range parseLegacy(save, false) {
			for _, r := range c.Rules {
				_ = plainRule(r.words)
			}
		}
		text, n := deleteOriginal(save, "wg0")
		if strings.Count("\n"+text, "\n-D ") != n {
			t.Fatalf("%d rules by\n%s", n, text)
		}
		checkRemoval(t, save, text)
	})
}

// checkRemoval holds that each line of a text takes away what the save has.
func checkRemoval(t *testing.T, save, text string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(save) {
		lines = append(lines, strings.TrimSpace(line))
	}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		rule, isRule := strings.CutPrefix(line, "-D")
		if isRule && !slices.Contains(lines, "-A"+rule) {
			t.Fatalf("%q removes what isn't there", line)
		}
		if !isRule && strings.HasPrefix(line, "-") && !strings.HasPrefix(line, "-X wgctl-wg0-") {
			t.Fatalf("%q does more than to remove", line)
		}
	}
}
