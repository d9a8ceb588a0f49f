// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/wgctl/wgctl/config"
	"github.com/wgctl/wgctl/firewall"
	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/routes"
)

// guarded is a file with a kill switch.
var guarded = `[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/24
KillSwitch = on
[Peer]
PublicKey = ` + key("a") + `
AllowedIPs = 0.0.0.0/0
Endpoint = peer.example:51820`

// takeDownKeeping takes a tunnel down but for its kill switch.
func takeDownKeeping(t *testing.T, h *fakeHost) error {
	t.Helper()
	s, err := Begin(context.Background(), h.host(), "wg0", quiet, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer s.End()
	s.KeepKillSwitch = true
	return s.Down(context.Background(), nil, nil)
}

// stands fails the test at once when the kill switch is gone.
func (h *fakeHost) stands(t *testing.T) {
	h.Fake.OnCall = func(verb string) error {
		if h.firewalls["wg0"].KillSwitch.IsZero() {
			t.Errorf("%s without a kill switch", verb)
		}
		return h.change()
	}
}

// A kill switch is there before every change that up makes to the kernel's
// network, and after every one that down makes; and while what a deleted link
// left is cleared away.
func TestKillSwitchStandsThroughout(t *testing.T) {
	h := newFakeHost(t)
	clean := h.String()
	h.stands(t)
	up := func() {
		t.Helper()
		if err := bring(t, h, "wg0", guarded, config.BackendKernel); err != nil {
			t.Fatal(err)
		}
	}
	up()
	h.DropLink("wg0")
	up()
	if err := takeDownKeeping(t, h); err != nil {
		t.Fatal(err)
	}
	up()
	if err := takeDown(t, h, "wg0"); err != nil {
		t.Fatal(err)
	}
	if after := h.String(); after != clean {
		t.Errorf("after down\n%s\nbefore\n%s", after, clean)
	}
}

// An up that fails, wherever, leaves the kill switch that stood before it as it
// was; and so does one of a file that has none, until it succeeds.
func TestUpFailsBackToKillSwitch(t *testing.T) {
	for _, file := range []string{guarded, files[0]} {
		for k := 1; ; k++ {
			h := newFakeHost(t)
			clean := h.String()
			if err := bring(t, h, "wg0", guarded, config.BackendKernel); err != nil {
				t.Fatal(err)
			}
			if err := takeDownKeeping(t, h); err != nil {
				t.Fatal(err)
			}
			before := h.String()
			if !strings.Contains(before, "chain killswitch") || strings.Contains(before, "dev wg0") {
				t.Fatalf("kept:\n%s", before)
			}
			h.failNext(k)
			err := bring(t, h, "wg0", file, config.BackendKernel)
			if err == nil {
				if stands := !h.firewalls["wg0"].KillSwitch.IsZero(); stands != (file == guarded) {
					t.Errorf("the kill switch stands after up: %t", stands)
				}
				if err := takeDown(t, h, "wg0"); err != nil || h.String() != clean {
					t.Errorf("down: %v\n%s", err, h)
				}
				break
			}
			if !errors.Is(err, errInjected) || h.String() != before {
				t.Fatalf("change %d: %v\n%s", k, err, cmp.Diff(before, h.String()))
			}
		}
	}
}

// Behind a kill switch no name is looked up: the endpoint is that of the last
// time, as long as the file says the same.
func TestEndpointsBehindKillSwitch(t *testing.T) {
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", guarded, config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	if err := takeDownKeeping(t, h); err != nil {
		t.Fatal(err)
	}
	have, err := Observe(t.Context(), h.host(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	if got := have.Status().State; got != "down, and its kill switch stands" {
		t.Errorf("state %q", got)
	}
	for file, want := range map[string]string{guarded: "192.0.2.77:51820", strings.Replace(guarded, "peer.example", "other.example", 1): "invalid AddrPort"} {
		if got := have.Settled()(parse(t, file).Peers[0]); got.String() != want {
			t.Errorf("endpoint %s, want %s", got, want)
		}
	}
}

// resolved is the Spec of a file on a host, or the error.
func resolvedFrom(t *testing.T, h *fakeHost, name, file string) (*Spec, error) {
	t.Helper()
	have, err := Observe(t.Context(), h.host(), name, SharedSysctls...)
	if err != nil {
		t.Fatal(err)
	}
	cfg := parse(t, file)
	return Resolve(t.Context(), h.host(), cfg, make([]netip.AddrPort, len(cfg.Peers)), have, Options{})
}

func TestMasqueradeAuto(t *testing.T) {
	file := "[Interface]\nAddress = 10.8.0.1/24, fd08::1/64\nMasquerade = auto\n"
	h := newFakeHost(t)
	_, err := resolvedFrom(t, h, "wg0", file)
	const want = "wg0.conf:3: [Interface] Masquerade: auto follows the default route, and this host has none outside of the tunnel: name the interface"
	if err == nil || err.Error() != want {
		t.Errorf("without a default route: %v", err)
	}
	for _, c := range []struct {
		route, link string
		want        []firewall.Masquerade
	}{
		{"::/0", "eth1", []firewall.Masquerade{{Out: "eth1", Family: firewall.IPv6}}},
		{"0.0.0.0/0", "eth0", []firewall.Masquerade{{Out: "eth0", Family: firewall.IPv4}, {Out: "eth1", Family: firewall.IPv6}}},
	} {
		h.AddLink(netlinkx.Link{Name: "eth1", Up: true})
		h.AddRoute(c.link, netlinkx.InstalledRoute{Route: routes.Route{Dst: netip.MustParsePrefix(c.route), Table: routes.TableMain}})
		s, err := resolvedFrom(t, h, "wg0", file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, s.Firewall.Masquerade); diff != "" {
			t.Errorf("with %s dev %s (-want +got):\n%s", c.route, c.link, diff)
		}
	}
}

// A port of the host leads to one place: another tunnel's is refused.
func TestForwardOfAnotherTunnel(t *testing.T) {
	h := newFakeHost(t)
	file := "[Interface]\nAddress = 10.8.0.1/24\nPortForward = tcp/2222 -> 10.8.0.2:22\n"
	if err := bring(t, h, "wg0", file, config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	_, err := resolvedFrom(t, h, "wg1", "[Interface]\nAddress = 10.9.0.1/24\nPortForward = tcp/2000-3000 -> 10.9.0.2\n")
	const want = "wg0.conf:3: [Interface] PortForward: tcp/2222 is forwarded by wg0"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := resolvedFrom(t, h, "wg1", "[Interface]\nAddress = 10.9.0.1/24\nPortForward = udp/2000-3000 -> 10.9.0.2\n"); err != nil {
		t.Errorf("another protocol: %v", err)
	}
}
