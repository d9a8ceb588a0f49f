// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// checked is what "wgctl check --json" says.
type checked struct {
	Findings []struct {
		Rule, Severity string
	}
	Host map[string]any
}

func (c checked) rules() (out []string) {
	for _, f := range c.Findings {
		if !slices.Contains(out, f.Rule) {
			out = append(out, f.Rule)
		}
	}
	slices.Sort(out)
	return out
}

// check runs "wgctl check" with words, whatever it finds.
func checkWith(h *Host, words ...string) (c checked) {
	h.t.Helper()
	out := h.Wgctl(append([]string{"check", "--json"}, words...)...)
	if err := json.Unmarshal([]byte(out.Stdout), &c); err != nil {
		h.t.Fatalf("%v\n%s", err, out)
	}
	return c
}

// linkSettles waits until a link that has just been plugged in is as it will be.
func linkSettles(h *Host) {
	h.t.Helper()
	WaitFor(h.t, 10*time.Second, "eth0", func() bool {
		return strings.Contains(h.Run("ip", "-6", "address", "show", "dev", "eth0", "scope", "link", "-tentative").Stdout, "fe80::")
	})
}

// What check calls an error is one: the tunnel doesn't come up, or carries
// nothing; and with what the rule says to do it does. It sees by links, routes,
// ports and parameters of a real host, and nothing of that changes the host.
func TestCheckIsRight(t *testing.T) {
	Only(t, Userspace) // rules don't know what serves the device
	hub := newTunnelHost(t, "hub")
	hubKey, key := newKeyPair(t), newKeyPair(t)
	h := newTunnelHost(t, "checked")
	Connect(t, hub.At("eth0", "192.0.2.1/24", "2001:db8:1::1/64"), h.At("eth0", "192.0.2.2/24", "2001:db8:1::2/64"))
	h.Sh("ip route add default via 192.0.2.1; ip route add default via 2001:db8:1::1; ip address add 127.0.0.1/8 dev lo || true")
	linkSettles(h)
	hub.WriteFile(configOf("wg0"), interfaceSection(hubKey, "Address = 10.8.0.1/24", "ListenPort = 51820")+
		peerSection(key, "AllowedIPs = 10.8.0.2/32"))
	wgctlOK(hub, "up", "wg0")
	lines := func(l ...string) []string { return l }
	for _, c := range []struct {
		rule      string
		setup     string
		bad, good []string // of [Interface]; in place of Address where there is one
		ips       string   // of the peer in both
		undo      string
		comesUp   bool // and carries nothing
	}{
		{rule: "route-taken", setup: "ip route add 10.20.0.0/16 via 192.0.2.1", good: lines("RouteMetric = 50"), ips: ", 10.20.0.0/16", undo: "ip route del 10.20.0.0/16"},
		{rule: "name-taken", setup: "ip link add wg0 type veth peer name wg0peer", undo: "ip link del wg0"},
		{rule: "ipv6-disabled", setup: "sysctl -qw net.ipv6.conf.default.disable_ipv6=1", bad: lines("Address = 10.8.0.2/24, fd08::2/64"), undo: "sysctl -qw net.ipv6.conf.default.disable_ipv6=0"},
		{rule: "hooks-untrusted", setup: "chmod 0660 /etc/wireguard/wg0.conf; chgrp 65534 /etc/wireguard/wg0.conf", bad: lines("PostUp = true"), undo: "true"},
		{rule: "address-taken", setup: "ip address add 10.8.0.2/32 dev eth0", undo: "ip address del 10.8.0.2/32 dev eth0", comesUp: true},
		{rule: "endpoint-in-allowed-ips", setup: "true", good: lines("ExcludedIPs = 192.0.2.1/32"), ips: ", 192.0.2.1/32", undo: "true", comesUp: true},
	} {
		t.Run(c.rule, func(t *testing.T) {
			file := func(own []string) string {
				if !slices.ContainsFunc(own, func(l string) bool { return strings.HasPrefix(l, "Address") }) {
					own = append(own, "Address = 10.8.0.2/24")
				}
				return interfaceSection(key, own...) +
					peerSection(hubKey, "Endpoint = 192.0.2.1:51820", "AllowedIPs = 10.8.0.0/24"+c.ips, "PersistentKeepalive = 25")
			}
			h.WriteFile(configOf("wg0"), file(c.bad))
			h.Sh(c.setup)
			before := h.Snapshot()
			if got := checkWith(h, "wg0").rules(); !slices.Contains(got, c.rule) {
				t.Errorf("check finds %v", got)
			}
			h.Unchanged(before)
			wgctlFails(h, 1, "check", "wg0")
			switch {
			case !c.comesUp:
				wgctlFails(h, 1, "up", "wg0")
			case c.rule == "endpoint-in-allowed-ips":
				wgctlOK(h, "up", "wg0")
				if h.Ping("10.8.0.1") {
					t.Error("with its endpoint inside the tunnel carries traffic all the same")
				}
				wgctlOK(h, "down", "wg0")
			}
			h.WriteFile(configOf("wg0"), file(c.good))
			if c.good == nil {
				h.Sh(c.undo)
			}
			h.Must("chmod", "0600", configOf("wg0"))
			if got := checkWith(h, "wg0").rules(); len(got) > 0 {
				t.Errorf("mended, check finds %v", got)
			}
			wgctlOK(h, "check", "wg0")
			wgctlOK(h, "up", "wg0")
			WaitFor(t, 20*time.Second, "an answer from inside", func() bool { return h.Ping("10.8.0.1") })
			wgctlOK(h, "check", "wg0") // what is up doesn't clash with itself
			wgctlOK(h, "down", "wg0")
			if c.good != nil {
				h.Sh(c.undo)
			}
		})
	}
}

// A host that lacks something is told so by name, and one that has all has
// nothing to hear; the port that a socket has is seen.
func TestCheckHost(t *testing.T) {
	Only(t, Userspace)
	h := newTunnelHost(t, "lacking")
	Connect(t, h.At("eth0", "192.0.2.2/24"), NewHost(t, "beside").At("eth0", "192.0.2.1/24"))
	h.Must("ip", "route", "add", "default", "via", "192.0.2.1")
	linkSettles(h)
	before := h.Snapshot()
	whole := checkWith(h, "--host").rules()
	h.Unchanged(before)
	if slices.ContainsFunc(whole, func(r string) bool { return r != "host-wireguard" && r != "host-folder" }) {
		t.Errorf("on a whole host: %v", whole)
	}
	// What was found is printed, whatever the rules say of it.
	text := h.Wgctl("check", "--host").Stdout
	for _, row := range []string{
		`kernel's WireGuard: +(yes|no: .+)`, `embedded device: +yes`, `packet filter: +firewall: \[.*ret=nftables\]`, `others drop: +nothing that is forwarded`,
		`policy routing: +yes`, `IPv6: +yes`, `resolver: +dns: \[.*ret=\S+\]`, `records: +/run/wgctl`, `kernel parameters: +can be set`,
		`  net\.ipv4\.ip_forward: +0`, `  net\.ipv6\.conf\.all\.forwarding: +0`, `  net\.ipv4\.conf\.all\.rp_filter: +[0-2]`, `clock: +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC`,
	} {
		if !regexp.MustCompile(`(?m)^` + row + `$`).MatchString(text) {
			t.Errorf("no line %s in\n%s", row, text)
		}
	}
	for _, c := range []struct{ rule, setup, undo string }{
		{"host-forward-drop", "nft 'add table ip theirs; add chain ip theirs forward { type filter hook forward priority 0; policy drop; }'", "nft delete table ip theirs"},
		{"host-ipv6", "sysctl -qw net.ipv6.conf.default.disable_ipv6=1", "sysctl -qw net.ipv6.conf.default.disable_ipv6=0"},
		{"host-sysctls", "mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys", "umount /proc/sys"},
		{"host-run-dir", "mount -t tmpfs -o ro,mode=700 none /run/wgctl", "umount /run/wgctl"},
		{"host-folder", "chmod 0755 /etc/wireguard", "chmod 0700 /etc/wireguard"},
		{"host-clock", "mkdir -p /etc/wireguard; touch -d 2100-01-01 /etc/wireguard/later.conf", "rm /etc/wireguard/later.conf"},
		{"host-tun", "mount -t tmpfs none /dev/net", "umount /dev/net"},
	} {
		h.Sh("mkdir -p -m 700 /etc/wireguard; chmod 700 /etc/wireguard; " + c.setup)
		if got := checkWith(h, "--host").rules(); !slices.Contains(got, c.rule) {
			t.Errorf("%s: check finds %v", c.rule, got)
		}
		h.Sh(c.undo)
		if got := checkWith(h, "--host").rules(); slices.Contains(got, c.rule) {
			t.Errorf("%s: undone, check finds %v", c.rule, got)
		}
	}
	h.Answer(":51820")
	h.WriteFile(configOf("wg0"), interfaceSection(newKeyPair(t), "Address = 10.8.0.2/24", "ListenPort = 51820")+
		peerSection(newKeyPair(t), "Endpoint = vpn.missing.invalid:51820", "AllowedIPs = 10.8.0.0/24"))
	h.WriteFile("/etc/hosts", "127.0.0.1 localhost\n192.0.2.1 vpn.example.com\n")
	if got := checkWith(h, "wg0", "--names").rules(); !slices.Equal(got, []string{"endpoint-name", "listen-port-taken"}) {
		t.Errorf("with a taken port and a name that nobody has: %v", got)
	}
	h.Sh("sed -i 's/missing.invalid/example.com/; s/^ListenPort.*//' /etc/wireguard/wg0.conf")
	if got := checkWith(h, "wg0", "--names").rules(); len(got) > 0 {
		t.Errorf("with a name of /etc/hosts: %v", got)
	}
	h.Sh("mkdir -p /etc/systemd/system; cd /etc/systemd/system; mkdir -p multi-user.target.wants; ln -s /x multi-user.target.wants/wg-quick@wg0.service; ln -s /x multi-user.target.wants/wgctl@wg0.service")
	if got := checkWith(h, "wg0").rules(); !slices.Equal(got, []string{"two-units"}) {
		t.Errorf("with two units: %v", got)
	}
	h.Must("rm", "/etc/systemd/system/multi-user.target.wants/wg-quick@wg0.service")
	// --fix closes the folder and the file.
	h.Sh("chmod 0755 /etc/wireguard; chmod 0644 /etc/wireguard/wg0.conf")
	said(t, h.Wgctl("check", "--all", "--host", "--fix").Stdout, "[#] chmod 0600 /etc/wireguard/wg0.conf\n", "[#] chmod 0700 /etc/wireguard\n")
	said(t, h.Must("stat", "-c", "%a", "/etc/wireguard", "/etc/wireguard/wg0.conf").Stdout, "700\n600\n")
}
