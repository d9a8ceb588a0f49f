// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/firewall"
)

var (
	dockerPlace  = firewall.Place{Kind: firewall.PlaceIPTables, Family: "ip", Table: "filter", Chain: "DOCKER-USER"}
	forwardPlace = firewall.Place{Kind: firewall.PlaceIPTables, Family: "ip", Table: "filter", Chain: "FORWARD"}
	legacyPlace  = firewall.Place{Kind: firewall.PlaceLegacy, Family: "ip6", Table: "filter", Chain: "FORWARD"}
	zonePlace    = firewall.Place{Kind: firewall.PlaceZone, Chain: "trusted"}
)

func TestPassageSteps(t *testing.T) {
	none := firewall.Passage{}
	all := firewall.Passage{Interface: "wg0", Accepts: firewall.ForwardAll("wg0")}
	ports := firewall.Passage{Interface: "wg0", Accepts: firewall.ForwardPorts("wg0")}
	stands := func(at firewall.Place, p firewall.Passage, wanted bool) firewall.Standing {
		return firewall.Standing{Place: at, Wanted: wanted, Digest: p.Digest(at), Tagged: at != zonePlace}
	}
	for _, c := range []struct {
		name       string
		last, want firewall.Passage
		have       []firewall.Standing
		steps      []string
	}{
		{"nothing is wanted", none, none, []firewall.Standing{stands(forwardPlace, none, true)}, nil},
		{
			"the first time", none, all, []firewall.Standing{stands(dockerPlace, none, true), stands(legacyPlace, none, true), stands(zonePlace, none, true)},
			[]string{
				`iptables -I DOCKER-USER (2 accepts, comment "wgctl: wg0")`,
				`ip6tables-legacy -I FORWARD (2 accepts, comment "wgctl: wg0")`,
				`firewall-cmd --zone=trusted --add-interface=wg0`,
			},
		},
		{"it stands", all, all, []firewall.Standing{stands(dockerPlace, all, true), stands(zonePlace, all, true)}, nil},
		{
			"another filter came", all, all, []firewall.Standing{stands(forwardPlace, all, true), stands(legacyPlace, none, true)},
			[]string{`ip6tables-legacy -I FORWARD (2 accepts, comment "wgctl: wg0")`},
		},
		{
			"Docker came: what is new stands before what goes", all, all, []firewall.Standing{stands(dockerPlace, none, true), stands(forwardPlace, all, false)},
			[]string{`iptables -I DOCKER-USER (2 accepts, comment "wgctl: wg0")`, `iptables -D FORWARD (comment "wgctl: wg0")`},
		},
		{
			"less is wanted", all, ports, []firewall.Standing{stands(forwardPlace, all, true), stands(zonePlace, all, true)},
			[]string{`iptables -I FORWARD (2 accepts, comment "wgctl: wg0")`, `firewall-cmd --zone=trusted --remove-interface=wg0`},
		},
		{
			"down", all, none, []firewall.Standing{stands(dockerPlace, all, true), stands(zonePlace, all, true)},
			[]string{`iptables -D DOCKER-USER (comment "wgctl: wg0")`, `firewall-cmd --zone=trusted --remove-interface=wg0`},
		},
		{
			"down without a record: the mark counts, a zone has none", none, none, []firewall.Standing{stands(dockerPlace, all, true), stands(zonePlace, all, true)},
			[]string{`iptables -D DOCKER-USER (comment "wgctl: wg0")`},
		},
	} {
		have := &State{Name: "wg0", Passage: c.have}
		p := planner{have: have, last: &Spec{Name: "wg0", Passage: c.last}, name: "wg0"}
		p.passages(c.want)
		var got []string
		for _, s := range p.steps {
			got = append(got, s.String())
			if back := s.Undo().Undo(); back.String() != s.String() {
				t.Errorf("%s: undone twice it is %s", c.name, back)
			}
		}
		if diff := cmp.Diff(c.steps, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestPassageOf(t *testing.T) {
	lifted := firewall.Rule{Chain: firewall.ForwardFilter, In: firewall.Link{Name: "wg0"}, Out: firewall.Link{Name: "eth0"}, Verdict: firewall.VerdictAccept, Comment: "from a hook"}
	for lines, want := range map[string][]firewall.Rule{
		"":                                      nil,
		"Forward = on":                          firewall.ForwardAll("wg0"),
		"Forward = off":                         nil,
		"Masquerade = eth0":                     firewall.ForwardAll("wg0"),
		"KillSwitch = on":                       nil,
		"ClampMSS = 1300":                       nil,
		"Masquerade = off":                      nil,
		"Masquerade = auto":                     firewall.ForwardAll("wg0"),
		"PortForward = tcp/2222 -> 10.8.0.2:22": firewall.ForwardPorts("wg0"),
		"PortForward = tcp/2222 -> 10.8.0.2:22\nForward = on":      firewall.ForwardAll("wg0"),
		"PortForward = tcp/2222 -> 10.8.0.2:22\nForward = off":     nil,
		"PortForward = tcp/2222 -> 10.8.0.2:22\nMasquerade = eth0": firewall.ForwardAll("wg0"),
	} {
		in := parse(t, "[Interface]\nPrivateKey = "+key("one")+"\nAddress = 10.8.0.1/24\n"+lines+"\n").Interface
		got := passageOf(in, firewall.Ruleset{Interface: "wg0"})
		if !slices.Equal(got.Accepts, want) {
			t.Errorf("%s: %+v, want %+v", lines, got.Accepts, want)
		}
	}
	own := firewall.Ruleset{Interface: "wg0", Extra: []firewall.Rule{
		lifted, {Chain: firewall.InputFilter, Verdict: firewall.VerdictAccept}, {Chain: firewall.ForwardFilter, Verdict: firewall.VerdictDrop},
	}}
	lifted.Comment = ""
	if got := passageOf(config.Interface{}, own); !slices.Equal(got.Accepts, []firewall.Rule{lifted}) {
		t.Errorf("of what hooks accept: %+v", got.Accepts)
	}
}

// The accepts that stand in other filters are found by their mark, and go,
// though the record and the link are lost.
func TestPassageWithoutRecord(t *testing.T) {
	ctx := context.Background()
	h := newFakeHost(t)
	// What forwarding was before only the record knew: that stays on.
	look := func() string {
		return strings.NewReplacer("sysctl -w net.ipv4.ip_forward=1\n", "", "sysctl -w net.ipv6.conf.all.forwarding=1\n", "").Replace(h.String())
	}
	before := look()
	if err := bring(t, h, "wg0", files[3], ""); err != nil {
		t.Fatal(err)
	}
	if up := h.String(); strings.Count(up, "2 accepts") != len(droppingPlaces) {
		t.Fatalf("Forward = on made no passage:\n%s", up)
	}
	if err := os.Remove(filepath.Join(h.records.Dir, "wg0.json")); err != nil {
		t.Fatal(err)
	}
	if err := h.LinkDel(ctx, "wg0"); err != nil {
		t.Fatal(err)
	}
	if err := takeDown(t, h, "wg0"); err != nil {
		t.Fatal(err)
	}
	if after := look(); after != before {
		t.Errorf("left (-before +after):\n%s", cmp.Diff(before, after))
	}
}
