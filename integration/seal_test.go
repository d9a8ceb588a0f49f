// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// A reload that has nothing to do looks at no single peer, and so might miss
// what somebody changed. It doesn't, whatever that is, and puts it right; and
// where there is nothing it says so, and writes nothing.
func TestReloadUnderSeal(t *testing.T) {
	t.Parallel()
	Need(t, "wg", "nft", "strace")
	h := newTunnelHost(t, "h")
	keys := []keyPair{newKeyPair(t), newKeyPair(t), newKeyPair(t)}
	file := interfaceSection(newKeyPair(t), "Address = 10.8.0.1/24, fd08::1/64", "ListenPort = 51820")
	for i, k := range keys {
		file += peerSection(k, fmt.Sprintf("AllowedIPs = 10.8.0.%d/32, 10.9.%d.0/24, fd09:%d::/64", i+10, i, i),
			fmt.Sprintf("Endpoint = 192.0.2.%d:51820", i+1), "PersistentKeepalive = 25", "PresharedKey = "+newKeyPair(t).private)
	}
	h.WriteFile(configOf("wg0"), file)
	wgctlOK(h, "up", "wg0")
	before := settled(h)
	quiet := func() bool { return strings.Contains(wgctlOK(h, "reload", "wg0").Stderr, "nothing to change") }
	if !quiet() {
		t.Fatal("a reload right after up has something to do")
	}
	a, b := keys[0].public, keys[1].public
	for _, tampering := range []string{
		"wg genpsk > /tmp/psk; wg set wg0 peer " + a + " preshared-key /tmp/psk",
		"wg set wg0 peer " + a + " preshared-key /dev/null",
		"wg set wg0 peer " + a + " persistent-keepalive 24",
		"wg set wg0 peer " + a + " allowed-ips 10.8.0.10/32,10.9.0.0/24,10.9.1.0/24,fd09:0::/64", // one of b's
		"wg set wg0 peer " + a + " allowed-ips 10.8.0.10/32,10.9.0.0/24",
		"wg set wg0 peer " + b + " remove",
		"wg set wg0 peer " + b + " remove; wg set wg0 peer " + a + " remove",
		"ip route delete 10.9.1.0/24 dev wg0",
		"ip route delete 10.9.1.0/24 dev wg0; ip route add 10.9.1.0/24 dev lo",
		"ip -6 route delete fd09:2::/64 dev wg0",
		"ip address delete 10.8.0.1/24 dev wg0; ip route add 10.8.0.0/24 dev wg0",
		"ip link set wg0 mtu 1400",
		"nft delete table inet wgctl-wg0",
		"wg genkey > /tmp/key; wg set wg0 private-key /tmp/key",
		"wg set wg0 listen-port 51999",
	} {
		h.Sh(tampering)
		if strings.Contains(tampering, "dev lo") {
			h.Sh("ip route delete 10.9.1.0/24 dev lo") // a reload would fail: the place was taken
		}
		if quiet() {
			t.Errorf("reload overlooks: %s", tampering)
		}
		h.Sh("ip route delete 10.8.0.0/24 dev wg0 proto boot 2>/dev/null || true")
		if now := comesToLook(h, before); now != before {
			t.Errorf("after %q a reload makes it\n%s\nand it was\n%s", tampering, now, before)
		}
		if !quiet() {
			t.Errorf("after %q a second reload has something to do", tampering)
		}
	}
	// What changes nothing of the tunnel may change the file.
	for _, edit := range []string{"echo '# x' >> ", "sed -i 's/# x/# y/' ", "sed -i 's/^ListenPort/# listens here\\nListenPort/' ", "touch "} {
		h.Sh(edit + configOf("wg0"))
		for range 2 { // the first may seal anew
			if !quiet() {
				t.Errorf("after %q there is something to do", edit)
			}
		}
	}
	h.Sh("sed -i 's/10.9.2.0/10.9.3.0/' " + configOf("wg0"))
	if quiet() {
		t.Error("a byte of an allowed IP is overlooked")
	}
	if Backend() == Userspace { // strace asks netlink_diag, which the guests don't have, what a socket is
		writesNothing(t, h)
	}
}

// writing is what strace shows of a message that changes something.
var writing = regexp.MustCompile(`nlmsg_type=(RTM_(NEW|DEL|SET)|NFNL_SUBSYS_NFTABLES<<8\|NFT_MSG_(NEW|DEL))|"set=1`)

// writesNothing counts the writes of a reload that has nothing to do, and of
// one that has.
func writesNothing(t *testing.T, h *Host) {
	t.Helper()
	reload := func() int {
		h.Sh("strace -f -qq -s 64 -e trace=sendto,sendmsg,write -o /tmp/trace " + Bin(t) + " reload wg0")
		return len(writing.FindAllString(h.ReadFile("/tmp/trace"), -1))
	}
	if n := reload(); n != 0 {
		t.Errorf("a reload without anything to do wrote %d times:\n%s", n, h.ReadFile("/tmp/trace"))
	}
	if trace := h.ReadFile("/tmp/trace"); strings.Contains(trace, `"get=1`) || !strings.Contains(trace, `"wgctl-generation=1`) {
		t.Errorf("a device that was not changed is read:\n%s", trace)
	}
	h.Sh("ip route delete 10.9.1.0/24 dev wg0; wg set wg0 peer " + strings.Fields(h.Must("wg", "show", "wg0", "peers").Stdout)[0] + " persistent-keepalive 3")
	if n := reload(); n == 0 {
		t.Error("a reload that puts a route back wrote nothing: this test tells nothing")
	}
}
