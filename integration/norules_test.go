// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
)

// On a kernel without policy routing, which knows no message about rules, a split
// tunnel lives its life, and a full one is refused before the first step.
func TestNoPolicyRouting(t *testing.T) {
	t.Parallel()
	onceForAll(t)
	h := newTunnelHost(t, "h")
	const getRule = ", type 34)" // RTM_GETRULE
	without := func(args ...string) Output {
		t.Helper()
		i := h.Inject(Fault{Kind: "EOPNOTSUPP", At: EveryCall, Names: getRule}, args...)
		if i.Hit == "" {
			t.Errorf("%v asked for no rules", args)
		}
		return i.Output
	}
	h.WriteFile(configOf("wg0"), splitTunnel(t))
	for _, args := range [][]string{{"up", "wg0"}, {"status", "wg0"}, {"reload", "wg0"}, {"down", "wg0"}} {
		if out := without(args...); out.Code != 0 {
			t.Fatal(out)
		}
	}
	before := shapeOf(h)
	h.WriteFile(configOf("wg0"), fullTunnel(t, 0))
	out := without("up", "wg0")
	if out.Code != 1 || strings.Contains(out.Stderr, "[#]") || strings.Count(out.Stderr, "\n") != 1 ||
		!strings.Contains(out.Stderr, "AllowedIPs: 0.0.0.0/0 takes a table and rules of its own: this kernel has no policy routing for IPv4 (CONFIG_IP_MULTIPLE_TABLES)") {
		t.Error(out)
	}
	if now := shapeOf(h); now != before {
		t.Errorf("it left:\n%s\nbefore:\n%s", now, before)
	}
	if out := without("check", "--host"); !strings.Contains(out.Stdout, "policy routing:") || !strings.Contains(out.Stdout, "no: this kernel has no policy routing") ||
		!strings.Contains(out.Stdout+out.Stderr, "[host-policy-routing]") {
		t.Error(out)
	}
}

// On a kernel without any IPv6, which has neither its sockets nor its parameters,
// a tunnel of IPv4 lives its life, a full one too, and what a file has of IPv6 is
// refused with its line before the first step.
func TestNoIPv6(t *testing.T) {
	t.Parallel()
	onceForAll(t)
	h := newTunnelHost(t, "h")
	h.Must("mount", "-t", "tmpfs", "none", "/proc/sys/net/ipv6")
	without := func(args ...string) Injected {
		t.Helper()
		return h.Inject(Fault{Kind: "EAFNOSUPPORT", At: EveryCall, Names: "socket(family 10)"}, args...) // AF_INET6
	}
	full := fullTunnel(t, 0)
	for _, file := range []string{splitTunnel(t), strings.NewReplacer(", fd08:0::2/64", "", ", ::/0", "").Replace(full)} {
		h.WriteFile(configOf("wg0"), file)
		before := h.Snapshot()
		for _, args := range [][]string{{"up", "wg0"}, {"status", "wg0"}, {"reload", "wg0"}, {"down", "wg0"}} {
			if out := without(args...); out.Code != 0 {
				t.Fatal(out)
			} else if args[0] == "up" && out.Hit == "" {
				t.Error("no socket of IPv6 was asked for")
			}
		}
		h.Unchanged(before)
	}
	h.WriteFile(configOf("wg0"), full)
	before := h.Snapshot()
	out := without("up", "wg0")
	if out.Code != 1 || strings.Contains(out.Stderr, "[#]") ||
		!strings.Contains(out.Stderr, "Address: fd08::2/64 is an IPv6 address, and this kernel has no IPv6\n") ||
		!strings.Contains(out.Stderr, "AllowedIPs: ::/0 needs an IPv6 route, and this kernel has no IPv6\n") {
		t.Error(out)
	}
	h.Unchanged(before)
}
