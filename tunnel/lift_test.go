// SPDX-License-Identifier: MIT

package tunnel

import (
	"slices"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/tunnel/hook"
)

// hub is a file with the hooks that everybody has, and some more.
func hub(lines ...string) string {
	return "[Interface]\nPrivateKey = " + key("one") + "\nAddress = 10.8.0.1/24\n" + strings.Join(lines, "\n") +
		"\n[Peer]\nPublicKey = " + key("a") + "\nAllowedIPs = 10.8.0.2/32\n"
}

const (
	hubUp    = "PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE"
	hubDown  = "PostDown = iptables -D FORWARD -i %i -j ACCEPT; iptables -t nat -D POSTROUTING -o eth0 -j MASQUERADE"
	hubInput = "PostUp = iptables -A INPUT -p udp --dport 51820 -j ACCEPT"
)

// Lifted hooks are part of the tunnel: nothing is run for them, neither up nor
// down, and all of it goes with the tunnel.
func TestLiftedHooks(t *testing.T) {
	h := newFakeHost(t)
	before := h.String()
	file := hub("PreUp = sysctl -w net.ipv4.ip_forward=1", hubUp, hubInput, "PostUp = ip rule add from 10.9.0.0/16 table 200", hubDown,
		"PostDown = echo gone", "PostDown = ip rule del from 10.9.0.0/16 table 200")
	if err := bring(t, h, "wg0", file, ""); err != nil {
		t.Fatal(err)
	}
	up := h.String()
	for _, want := range []string{
		`meta nfproto ipv4 oifname "eth0" counter packets 0 bytes 0 masquerade`,
		`iifname "wg0" meta nfproto ipv4 counter packets 0 bytes 0 accept`,
		"ip -4 rule add from 10.9.0.0/16 table 200 priority 32765 proto 87",
		"sysctl -w net.ipv4.ip_forward=1",
	} {
		if !strings.Contains(strings.ReplaceAll(up, `oifname "eth0" meta nfproto ipv4`, `meta nfproto ipv4 oifname "eth0"`), want) {
			t.Errorf("no %q in\n%s", want, up)
		}
	}
	if want := []string{"PostUp: iptables -A INPUT -p udp --dport 51820 -j ACCEPT"}; !slices.Equal(h.hooks, want) {
		t.Errorf("hooks that ran: %q, want %q", h.hooks, want)
	}
	if err := bring(t, h, "wg0", file, ""); err != nil {
		t.Fatal(err)
	}
	if again := h.String(); again != up {
		t.Errorf("after a reload of the same\n%s\nbefore\n%s", again, up)
	}
	h.hooks = nil
	if err := takeDown(t, h, "wg0"); err != nil {
		t.Fatal(err)
	}
	if want := []string{"PostDown: echo gone"}; !slices.Equal(h.hooks, want) {
		t.Errorf("hooks that ran: %q, want %q", h.hooks, want)
	}
	if after := h.String(); after != before {
		t.Errorf("after down\n%s\nbefore\n%s", after, before)
	}
}

// The mode is the file's, else the caller's, and native if nobody says.
func TestHookMode(t *testing.T) {
	for _, tt := range []struct {
		line  string
		quick bool
		runs  int
	}{
		{"", false, 0},
		{"", true, 2},
		{"Hooks = native", true, 0},
		{"Hooks = shell", false, 2},
		{"Hooks = off", false, 0},
	} {
		h := newFakeHost(t)
		up := liftResolved(t, h, hub(hubUp, hubDown, tt.line), Options{Quick: tt.quick})
		if got := len(up.Hooks.lines()); got != tt.runs {
			t.Errorf("%q, %t: %d hooks are run, want %d", tt.line, tt.quick, got, tt.runs)
		}
		if lifted := tt.runs == 0 && tt.line != "Hooks = off"; up.Lifted.IsZero() == lifted || len(up.Firewall.Extra) == 0 == lifted {
			t.Errorf("%q, %t: lifted %+v", tt.line, tt.quick, up.Lifted)
		}
		if len(up.Verdicts) != 2 {
			t.Errorf("%q, %t: verdicts %v", tt.line, tt.quick, up.Verdicts)
		}
	}
}

func liftResolved(t *testing.T, h *fakeHost, file string, o Options) *Spec {
	t.Helper()
	ctx := t.Context()
	cfg := parse(t, file)
	have, err := Observe(ctx, h.host(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	endpoints, err := Lookup{}.Endpoints(ctx, h.host().Names, cfg)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Resolve(ctx, h.host(), cfg, endpoints, have, o)
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// A tunnel that came up with its hooks in the shell stays so: what they did is
// there, and nothing of it may be there twice, or be left behind on down.
func TestReloadKeepsHooks(t *testing.T) {
	h := newFakeHost(t)
	shell := hub("Hooks = shell", hubUp, hubDown)
	if err := bring(t, h, "wg0", shell, ""); err != nil {
		t.Fatal(err)
	}
	if err := bring(t, h, "wg0", hub(hubUp, hubDown), ""); err != nil {
		t.Fatal(err)
	}
	if len(h.firewalls["wg0"].Extra) != 0 {
		t.Errorf("lifted as well:\n%s", h)
	}
	h.hooks = nil
	if err := takeDown(t, h, "wg0"); err != nil {
		t.Fatal(err)
	}
	if len(h.hooks) != 1 {
		t.Errorf("hooks that ran on down: %q", h.hooks)
	}
}

// A reload lifts new lines, keeps those that are lifted whatever new lines the
// shell would run, and leaves to the shell what it has run.
func TestReloadLifts(t *testing.T) {
	h := newFakeHost(t)
	const drop = "PostUp = iptables -A FORWARD -i %i -o %i -j DROP"
	const wide = "PostUp = iptables -A FORWARD -o %i -j ACCEPT"
	fates := func(file string) (out []hook.Fate) {
		for _, v := range liftResolved(t, h, file, Options{}).Verdicts {
			out = append(out, v.Fate)
		}
		return out
	}
	if err := bring(t, h, "wg0", hub(hubUp), ""); err != nil {
		t.Fatal(err)
	}
	if got := fates(hub(hubUp, drop, wide)); !slices.Equal(got, []hook.Fate{hook.Lift, hook.Run, hook.Lift}) {
		t.Errorf("a line that is lifted, one that would run, and a new one: %v", got)
	}
	if err := takeDown(t, h, "wg0"); err != nil {
		t.Fatal(err)
	}
	if err := bring(t, h, "wg0", hub(hubUp, drop), ""); err != nil {
		t.Fatal(err)
	}
	if got := fates(hub(hubUp)); !slices.Equal(got, []hook.Fate{hook.Run}) {
		t.Errorf("a line that ran: %v", got)
	}
}

// Without a record the marks in the kernel are enough to take lifted rules away.
func TestLiftedRecordLost(t *testing.T) {
	h := newFakeHost(t)
	before := h.String()
	if err := bring(t, h, "wg0", hub("PostUp = ip rule add from 10.9.0.0/16 table 200; ip route add default dev %i table 200"), ""); err != nil {
		t.Fatal(err)
	}
	if err := h.records.Remove("wg0"); err != nil {
		t.Fatal(err)
	}
	if err := takeDown(t, h, "wg0"); err != nil {
		t.Fatal(err)
	}
	if after := h.String(); after != before {
		t.Errorf("after down\n%s\nbefore\n%s", after, before)
	}
}
