// SPDX-License-Identifier: MIT

package tunnel

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

var update = flag.Bool("update", false, "rewrite the expected steps in testdata/plan")

// TestPlans holds plans against testdata/plan/*.txtar. Each file has what is
// up (have.conf, if anything), what somebody did to the host since (host, the
// verbs of disturb), what is wanted (want.conf, or nothing for a down) and the
// steps expected, with what is foreign.
func TestPlans(t *testing.T) {
	paths, err := filepath.Glob("../testdata/plan/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no plans: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			part := map[string]string{}
			for _, f := range ar.Files {
				part[f.Name] = string(f.Data)
			}
			got := planText(t, part)
			if *update {
				setPart(ar, "steps", got)
				if err := os.WriteFile(path, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != part["steps"] {
				t.Errorf("steps\n%s\nwant\n%s", got, part["steps"])
			}
		})
	}
}

func setPart(ar *txtar.Archive, name, data string) {
	for i, f := range ar.Files {
		if f.Name == name {
			ar.Files[i].Data = []byte(data)
			return
		}
	}
	ar.Files = append(ar.Files, txtar.File{Name: name, Data: []byte(data)})
}

func planText(t *testing.T, part map[string]string) string {
	t.Helper()
	ctx := t.Context()
	h := newFakeHost(t)
	h.NoWireGuard = strings.Contains(part["host"], "no module")
	if have := part["have.conf"]; have != "" {
		if err := bring(t, h, "wg0", have, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(part["host"]), "\n") {
		disturb(t, h, line)
	}
	have, err := Observe(ctx, h.host(), "wg0", SrcValidMark)
	if err != nil {
		t.Fatal(err)
	}
	var want *Spec
	if file, ok := part["want.conf"]; ok {
		cfg := parse(t, file)
		endpoints, err := Lookup{}.Endpoints(ctx, fakeNames{}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		if want, err = Resolve(ctx, h.host(), cfg, endpoints, have, Options{}); err != nil {
			return fmt.Sprintf("error: %v\n", err)
		}
	}
	var b strings.Builder
	for _, s := range Plan(want, have) {
		fmt.Fprintln(&b, s)
	}
	for _, f := range have.Status().Foreign {
		fmt.Fprintln(&b, "foreign: "+f)
	}
	return b.String()
}

// disturb does to the host what somebody else might.
func disturb(t *testing.T, h *fakeHost, line string) {
	t.Helper()
	ctx := t.Context()
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(line, "#") || line == "no module" {
		return
	}
	prefix := func(i int) netip.Prefix { return netip.MustParsePrefix(words[i]) }
	var err error
	switch strings.Join(words[:2], " ") {
	case "address add":
		err = h.AddressAdd(ctx, "wg0", prefix(2))
	case "address delete":
		err = h.AddressDel(ctx, "wg0", prefix(2))
	case "route add":
		h.AddRoute("wg0", netlinkx.InstalledRoute{Route: routes.Route{Dst: prefix(2), Table: routes.TableMain}, Plain: true})
	case "route delete":
		err = h.RouteDel(ctx, "wg0", routes.Route{Dst: prefix(2), Table: routes.TableMain})
	case "link delete":
		h.DropLink("wg0")
	case "link down":
		err = h.LinkSet(ctx, "wg0", 0, false)
	case "record lost":
		err = h.records.Remove("wg0")
	case "peer roams":
		h.EditDevice("wg0", func(d *netlinkx.Device) { d.Peers[0].Endpoint = netip.MustParseAddrPort(words[2]) })
	case "tunnel wg1":
		second := "[Interface]\nPrivateKey = " + key("other") + "\nAddress = 10.66.0.1/24\n[Peer]\nPublicKey = " + key("z") + "\nAllowedIPs = 0.0.0.0/0, ::/0\n"
		err = bring(t, h, "wg1", second, config.BackendAuto)
	case "table 51820":
		h.AddRoute("eth0", netlinkx.InstalledRoute{Route: routes.Route{Dst: netip.MustParsePrefix("10.1.0.0/16"), Table: 51820}, Plain: true})
	case "rule 100":
		h.AddRule(netlinkx.InstalledRule{Rule: routes.Rule{Family: routes.V4, Priority: 100, Table: 9}, Plain: true})
	default:
		t.Fatalf("nobody knows how to %q", line)
	}
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}
