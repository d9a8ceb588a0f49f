// SPDX-License-Identifier: MIT

package tunnel

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// TestInjectedFailure goes from every file to every other, and from nothing to
// every file, and makes each change on the way fail once: the host must be
// exactly as before, and the same transition must then succeed.
func TestInjectedFailure(t *testing.T) {
	for _, half := range []bool{false, true} {
		for _, backend := range []config.Backend{config.BackendKernel, config.BackendUserspace} {
			t.Run(fmt.Sprintf("%s/half=%v", backend, half), func(t *testing.T) {
				t.Parallel()
				failures := 0
				for i := -1; i < len(files); i++ {
					for j := range files {
						if i != j {
							failures += failEach(t, i, j, backend, half)
						}
					}
				}
				t.Logf("%d failures injected, each undone", failures)
				if failures < 500 {
					t.Errorf("only %d failures were injected", failures)
				}
			})
		}
	}
}

func failEach(t *testing.T, i, j int, backend config.Backend, half bool) (failures int) {
	t.Helper()
	h := newFakeHost(t)
	if i >= 0 {
		if err := bring(t, h, "wg0", files[i], backend); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
	}
	before := h.String()
	for k := 1; ; k++ { // on the same host: it is as it was
		if half {
			h.FailHalf(k, errInjected)
		} else {
			h.failNext(k)
		}
		err := bring(t, h, "wg0", files[j], backend)
		if err == nil {
			return failures
		}
		failures++
		if !errors.Is(err, errInjected) || Residue(err) {
			t.Fatalf("from file %d to %d, change %d: error %v", i, j, k, err)
		}
		if after := h.String(); after != before {
			t.Fatalf("from file %d to %d, change %d failed with %q and left a difference\nbefore:\n%s\nafter:\n%s", i, j, k, err, before, after)
		}
	}
}

// TestTransitions walks through the files in order and at random. However a
// tunnel came to be what its file says, it must be what a fresh one is, and a
// second application must change nothing.
func TestTransitions(t *testing.T) {
	fresh := make([]string, len(files))
	for i, f := range files {
		h := newFakeHost(t)
		clean := h.String()
		if err := bring(t, h, "wg0", f, config.BackendKernel); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
		fresh[i] = normal(h)
		calls := h.calls
		if err := bring(t, h, "wg0", f, config.BackendKernel); err != nil {
			t.Fatalf("file %d again: %v", i, err)
		}
		if h.calls != calls {
			t.Errorf("file %d: the second application made %d changes", i, h.calls-calls)
		}
		if err := takeDown(t, h, "wg0"); err != nil {
			t.Fatalf("file %d: down: %v", i, err)
		}
		if after := h.String(); after != clean {
			t.Errorf("file %d: after down\n%s\nbefore up\n%s", i, after, clean)
		}
	}
	h := newFakeHost(t)
	walk := make([]int, 0, 500)
	for i := range files {
		walk = append(walk, i)
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for len(walk) < cap(walk) {
		walk = append(walk, rnd.IntN(len(files)))
	}
	for n, i := range walk {
		if err := bring(t, h, "wg0", files[i], config.BackendKernel); err != nil {
			t.Fatalf("step %d, file %d: %v", n, i, err)
		}
		if got := normal(h); got != fresh[i] {
			t.Fatalf("step %d: file %d gives\n%s\nfresh it is\n%s", n, i, got, fresh[i])
		}
	}
}

// normal is the host without what a reload rightly keeps: the live port, an
// endpoint that the device can't forget, the metric of priorities.
func normal(h *fakeHost) string {
	var out []string
	for _, line := range strings.Split(h.String(), "\n") {
		words := strings.Fields(line)
		for i := range words {
			if i > 0 && (words[i-1] == "listen-port" || words[i-1] == "endpoint") {
				words[i] = "*"
			}
		}
		line = strings.Join(words, " ")
		line = strings.ReplaceAll(line, " endpoint *", "")
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func TestReloadKeepsTheLiveDevice(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[1], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	roamed := netip.MustParseAddrPort("198.51.100.7:1234")
	h.EditDevice("wg0", func(d *netlinkx.Device) { d.Peers[0].Endpoint = roamed; d.ListenPort = 40000 })
	portless := strings.Replace(files[1], "ListenPort = 51820\n", "", 1)
	portless = strings.Replace(portless, "DNS = 10.8.0.1, corp.example", "DNS = 10.8.0.5", 1)
	if err := bring(t, h, "wg0", portless, config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	d, err := h.Device(t.Context(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	if d.Peers[0].Endpoint != roamed || d.ListenPort != 40000 || d.FwMark != 51820 {
		t.Errorf("endpoint %v, port %d, mark %#x", d.Peers[0].Endpoint, d.ListenPort, d.FwMark)
	}
}

// TestForeignThingsStay adds what somebody else might, and reloads and takes
// down around it.
func TestForeignThingsStay(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[1], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if err := h.AddressAdd(ctx, "wg0", netip.MustParsePrefix("10.77.0.1/32")); err != nil {
		t.Fatal(err)
	}
	h.AddRoute("wg0", netlinkx.InstalledRoute{Route: routes.Route{Dst: netip.MustParsePrefix("10.78.0.0/16"), Table: routes.TableMain}, Plain: true})
	h.AddRule(netlinkx.InstalledRule{Rule: routes.Rule{Family: routes.V4, Priority: 500, Table: 51820}, Plain: true})
	have, err := Observe(ctx, h.host(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	st := have.Status()
	want := []string{"address 10.77.0.1/32", "route 10.78.0.0/16 dev wg0", "rule -4 table 51820 priority 500"}
	if !slices.Equal(st.Foreign, want) || len(st.Drift) != 0 {
		t.Errorf("foreign %q, drift %+v; want %q and none", st.Foreign, st.Drift, want)
	}
	if err := bring(t, h, "wg0", files[0], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"10.77.0.1/32", "10.78.0.0/16", "priority 500"} {
		if !strings.Contains(h.String(), line) {
			t.Errorf("%s is gone after a reload:\n%s", line, h)
		}
	}
	if err := takeDown(t, h, "wg0"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(h.String(), "priority 500") {
		t.Error("the foreign rule is gone after down")
	}
}

func TestDrift(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[1], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	before := h.String()
	for _, err := range []error{
		h.RouteDel(ctx, "wg0", routes.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Table: 51820}),
		h.AddressDel(ctx, "wg0", netip.MustParsePrefix("fd00::2/64")),
		h.LinkSet(ctx, "wg0", 1300, true),
		h.RuleDel(ctx, routes.Rule{Family: routes.V6, Priority: 32765, Table: 51820, Mark: 51820, Invert: true}),
		h.SetSysctl(ctx, SrcValidMark, "0"),
		fakeFirewall{h}.Apply(ctx, firewall.Ruleset{Interface: "wg0"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h.EditDevice("wg0", func(d *netlinkx.Device) { d.FwMark = 7; d.PrivateKey = netlinkx.Secret{1} })
	have, err := Observe(ctx, h.host(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, d := range have.Status().Drift {
		steps = append(steps, d.What+": "+d.Step)
	}
	got := strings.Join(steps, "\n")
	want := `missing: nft -f - (table inet wgctl-wg0: 4 rules)
changed: wg set wg0 private-key (hidden) fwmark 0xca6c
missing: ip address add fd00::2/64 dev wg0
changed: ip link set wg0 mtu 1420 up
changed: sysctl -w net.ipv4.conf.all.src_valid_mark=1
missing: ip route add 0.0.0.0/0 dev wg0 table 51820
missing: ip -6 rule add not fwmark 0xca6c table 51820 priority 32765`
	if got != want {
		t.Errorf("drift\n%s\nwant\n%s", got, want)
	}
	if err := bring(t, h, "wg0", files[1], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	if after := h.String(); after != before {
		t.Errorf("after putting it right\n%s\nbefore\n%s", after, before)
	}
}

// TestSharedSysctl has two full tunnels, in every order of going: the first
// leaves the other's rules and the parameter alone, the last puts it back.
func TestSharedSysctl(t *testing.T) {
	for _, order := range [][]string{{"wg0", "wg1"}, {"wg1", "wg0"}} {
		h := newFakeHost(t)
		clean := h.String()
		second := strings.Replace(files[1], "ListenPort = 51820", "ListenPort = 51821", 1)
		if err := errors.Join(bring(t, h, "wg0", files[1], ""), bring(t, h, "wg1", second, "")); err != nil {
			t.Fatal(err)
		}
		if err := takeDown(t, h, order[0]); err != nil {
			t.Fatal(err)
		}
		rules := strings.Count(h.String(), "rule add") - strings.Count(clean, "rule add")
		if v, _ := h.Sysctl(t.Context(), SrcValidMark); v != "1" || rules != 4 {
			t.Errorf("%s down: %s=%s, %d rules left", order[0], SrcValidMark, v, rules)
		}
		if err := takeDown(t, h, order[1]); err != nil {
			t.Fatal(err)
		}
		if after := h.String(); after != clean {
			t.Errorf("both down\n%s\nbefore\n%s", after, clean)
		}
	}
}

// TestLeftovers makes a host as a crash, a dead device, a deleted link or a
// lost record would leave it: down alone and up alone both get it right.
func TestLeftovers(t *testing.T) {
	breakIt := map[string]func(*testing.T, *fakeHost){
		"link deleted": func(_ *testing.T, h *fakeHost) { h.DropLink("wg0") },
		"record lost": func(t *testing.T, h *fakeHost) {
			if err := h.records.Remove("wg0"); err != nil {
				t.Fatal(err)
			}
		},
		"record and link lost": func(t *testing.T, h *fakeHost) {
			h.DropLink("wg0")
			// The parameter's previous value is known to these two alone.
			if err := errors.Join(h.records.Remove("wg0"), h.SetSysctl(t.Context(), SrcValidMark, "0")); err != nil {
				t.Fatal(err)
			}
		},
		"killed half way up": func(t *testing.T, h *fakeHost) {
			r, err := h.records.Load("wg0")
			if err != nil {
				t.Fatal(err)
			}
			r.Phase = PhaseChanging
			if err := h.records.Save(r); err != nil {
				t.Fatal(err)
			}
			delete(h.resolvers, "wg0")
		},
	}
	for name, broken := range breakIt {
		for _, verb := range []string{"down", "up"} {
			t.Run(name+"/"+verb, func(t *testing.T) {
				h := newFakeHost(t)
				clean := h.String()
				if err := bring(t, h, "wg0", files[1], ""); err != nil {
					t.Fatal(err)
				}
				whole := h.String()
				broken(t, h)
				want, run := clean, func() error { return takeDown(t, h, "wg0") }
				if verb == "up" {
					want, run = whole, func() error { return bring(t, h, "wg0", files[1], "") }
				}
				if err := run(); err != nil {
					t.Fatal(err)
				}
				if got := h.String(); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		}
	}
}

func TestDownKeepsGoing(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[1], ""); err != nil {
		t.Fatal(err)
	}
	h.noDNS = true
	err := takeDown(t, h, "wg0")
	if !errors.Is(err, errInjected) || !Residue(err) {
		t.Errorf("error %v", err)
	}
	if s := h.String(); strings.Contains(s, "wg0 type") || !strings.Contains(s, "record wg0 down") {
		t.Errorf("after a failed step of down\n%s", s)
	}
	h.noDNS = false
	if err := takeDown(t, h, "wg0"); err != nil {
		t.Errorf("second down: %v", err)
	}
}

// A step that was taken, though it is said to have failed, is undone as well.
func TestLostAnswer(t *testing.T) {
	h := newFakeHost(t)
	clean := h.String()
	h.lost = true
	if err := bring(t, h, "wg0", files[1], ""); !errors.Is(err, errInjected) || Residue(err) {
		t.Errorf("error %v", err)
	}
	if after := h.String(); after != clean {
		t.Errorf("left\n%s", after)
	}
}

// A step of down that fails once is taken once more.
func TestDownTriesAgain(t *testing.T) {
	h := newFakeHost(t)
	clean := h.String()
	for k, steps := 1, 1; k <= steps; k++ {
		if err := bring(t, h, "wg0", files[1], ""); err != nil {
			t.Fatal(err)
		}
		before := h.calls
		h.failNext(k)
		if err := takeDown(t, h, "wg0"); err != nil {
			t.Errorf("change %d of down failed once: %v", k, err)
		}
		if after := h.String(); after != clean {
			t.Errorf("change %d of down failed once: left\n%s", k, after)
		}
		if k == 1 {
			steps = h.calls - before - 1
		}
	}
}

func TestHooksOnce(t *testing.T) {
	h := newFakeHost(t)
	if err := errors.Join(bring(t, h, "wg0", files[9], ""), bring(t, h, "wg0", files[9], ""), takeDown(t, h, "wg0")); err != nil {
		t.Fatal(err)
	}
	want := []string{"PreUp: echo pre wg0", "PostUp: echo post wg0", "PreDown: echo predown wg0", "PostDown: echo postdown wg0"}
	if !slices.Equal(h.hooks, want) {
		t.Errorf("hooks %q, want %q", h.hooks, want)
	}
}
