// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A wgPair is two hosts on one cable, 192.0.2.0/24 and fd00:aa::/64, each with
// a device that was made and is driven by the names wg and wireguard-go. The
// first host is .1 and ::1 outside and 10.0.0.1 inside, the second likewise.
type wgPair struct {
	hosts [2]*Host
	keys  [2]keyPair
	wg    string
}

func newWgPair(t *testing.T) *wgPair {
	t.Helper()
	p := &wgPair{hosts: [2]*Host{newTunnelHost(t, "a"), newTunnelHost(t, "b")}, wg: As(t, "wg")}
	Connect(t, p.hosts[0].At("eth0", "192.0.2.1/24", "fd00:aa::1/64"), p.hosts[1].At("eth0", "192.0.2.2/24", "fd00:aa::2/64"))
	for i := range p.hosts {
		p.keys[i] = newKeyPair(t)
	}
	for i, h := range p.hosts {
		makeDevice(t, h, "wg0")
		h.WriteFile("/run/key", p.keys[i].private)
		p.set(i, "listen-port", "51820", "private-key", "/run/key", "peer", p.keys[1-i].public, "allowed-ips", inside(1-i)+"/32")
		h.Sh("ip address add " + inside(i) + "/24 dev wg0; ip link set wg0 up")
	}
	return p
}

// guestTurn ends a test in the guest that has the other share of such tests.
func guestTurn(t *testing.T, turn int) {
	t.Helper()
	shares := []string{"even", "odd"}
	if !slices.Contains(guestShare(t, shares), shares[turn]) {
		t.Skip("runs in the other guest")
	}
}

// makeDevice makes a device by the name of wireguard-go where the kernel has
// none.
func makeDevice(t *testing.T, h *Host, name string) {
	t.Helper()
	if Backend() == Kernel {
		h.Must("ip", "link", "add", name, "type", "wireguard")
	} else {
		h.Must(As(t, "wireguard-go"), name)
	}
}

func inside(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }

// set is wg set wg0 on one of the hosts.
func (p *wgPair) set(i int, words ...string) {
	p.hosts[i].t.Helper()
	p.hosts[i].Must(append([]string{p.wg, "set", "wg0"}, words...)...)
}

// peer is what a host's device says of a key, for a parameter of wg show.
func (p *wgPair) peer(i int, param, key string) string {
	p.hosts[i].t.Helper()
	for line := range strings.Lines(p.hosts[i].Must(p.wg, "show", "wg0", param).Stdout) {
		if rest, ok := strings.CutPrefix(line, key+"\t"); ok {
			return strings.TrimSuffix(rest, "\n")
		}
	}
	return "no such peer"
}

// aim gives the first host an endpoint of the second, and pings there.
func (p *wgPair) aim(endpoint string) {
	p.hosts[0].t.Helper()
	p.set(0, "peer", p.keys[1].public, "endpoint", endpoint)
	p.hosts[0].MustPing(inside(1))
}

// The promise: a peer is found where it was heard last: behind another port,
// another address, another family; and it is answered from the address that
// it contacted.
func TestWgRoaming(t *testing.T) {
	guestTurn(t, 0)
	p := newWgPair(t)
	heard := func(want string) {
		t.Helper()
		if got := p.peer(1, "endpoints", p.keys[0].public); got != want {
			t.Errorf("the peer was heard at %s, want %s", got, want)
		}
		p.hosts[1].MustPing(inside(0))
	}
	p.aim("192.0.2.2:51820")
	heard("192.0.2.1:51820")
	p.set(0, "listen-port", "9999")
	p.hosts[0].MustPing(inside(1))
	heard("192.0.2.1:9999")
	p.hosts[0].Sh("ip address add 192.0.2.11/24 dev eth0; ip address del 192.0.2.1/24 dev eth0; ip address replace 192.0.2.11/24 dev eth0")
	p.aim("192.0.2.2:51820")
	heard("192.0.2.11:9999")
	p.aim("[fd00:aa::2]:51820")
	heard("[fd00:aa::1]:9999")

	p.hosts[1].Sh("ip address add 192.0.2.22/24 dev eth0; ip address add fd00:aa::22/64 dev eth0 nodad")
	for _, contacted := range []string{"192.0.2.22:51820", "[fd00:aa::22]:51820", "192.0.2.2:51820", "[fd00:aa::2]:51820"} {
		p.aim(contacted)
		if got := p.peer(0, "endpoints", p.keys[1].public); got != contacted {
			t.Errorf("%s was contacted, and the answer came from %s", contacted, got)
		}
	}
}

// The promise: cryptokey routing. What a peer sends from an address that isn't
// its own is dropped, though the peer is heard; a prefix that another peer is
// given moves there, and comes back.
func TestWgAllowedIPsMove(t *testing.T) {
	guestTurn(t, 1)
	p := newWgPair(t)
	p.aim("192.0.2.2:51820")
	other := newKeyPair(t)
	arrive := func() int {
		t.Helper()
		c := p.hosts[1].CountUDP(inside(1) + ":5005")
		p.hosts[0].SendUDP(inside(1)+":5005", 5, time.Millisecond)
		p.hosts[0].SendUDP("192.0.2.2:5005", 1, 0) // bound inside: only to be later than the others
		return c.Stop()
	}
	if n := arrive(); n != 5 {
		t.Errorf("%d of 5 datagrams came from the peer's own address", n)
	}
	p.set(1, "peer", other.public, "allowed-ips", inside(0)+"/32")
	if got := p.peer(1, "allowed-ips", p.keys[0].public); got != "(none)" {
		t.Errorf("the prefix did not move: %s", got)
	}
	p.set(0, "listen-port", "9998")
	if n := arrive(); n != 0 {
		t.Errorf("%d datagrams came from an address that is another peer's", n)
	}
	if p.hosts[1].Run("ping", "-n", "-q", "-c", "1", "-W", "1", inside(0)).Code == 0 {
		t.Error("a peer answers that nobody is")
	}
	if got := p.peer(1, "endpoints", p.keys[0].public); got != "192.0.2.1:9998" {
		t.Errorf("the peer is not heard any more: %s", got)
	}
	p.set(1, "peer", other.public, "remove", "peer", p.keys[0].public, "allowed-ips", inside(0)+"/32")
	if n := arrive(); n != 5 {
		t.Errorf("%d of 5 datagrams came after the prefix was given back", n)
	}
}

// The promise: keys change under traffic. The device shakes hands at once with
// the new key, and a device that gets the key of a peer of its own loses that
// peer, and doesn't take it again.
func TestWgKeyChange(t *testing.T) {
	guestTurn(t, 1)
	p := newWgPair(t)
	p.aim("192.0.2.2:51820")
	traffic := p.hosts[0].StartUDP(inside(1)+":5005", 5*time.Millisecond)
	received := func() int {
		t.Helper()
		n, err := strconv.Atoi(strings.Fields(p.peer(1, "transfer", p.keys[0].public))[0])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for range rounds(3, 2) {
		old := p.keys[0]
		p.keys[0] = newKeyPair(t)
		p.hosts[0].WriteFile("/run/key", p.keys[0].private)
		// In this order: an initiation that nobody understands is repeated
		// after five seconds only.
		p.set(1, "peer", p.keys[0].public, "allowed-ips", inside(0)+"/32", "peer", old.public, "remove")
		p.set(0, "private-key", "/run/key")
		p.hosts[0].MustPing(inside(1))
		if was := received(); was == 0 {
			t.Error("nothing came with the new key")
		}
	}
	if out := traffic.Stop(); out.Code != 128+15 && out.Code != 0 {
		t.Errorf("the sender: %v", out)
	}

	// Its own key is no peer's: the device silently leaves that peer out.
	p.hosts[1].WriteFile("/run/other", p.keys[0].private)
	p.set(1, "private-key", "/run/other")
	for range 2 {
		if got := p.hosts[1].Must(p.wg, "show", "wg0", "peers").Stdout; got != "" {
			t.Errorf("a device is its own peer: %s", got)
		}
		p.set(1, "peer", p.keys[0].public, "allowed-ips", "10.0.0.9/32")
	}
	p.set(1, "private-key", "/run/key", "peer", p.keys[0].public, "allowed-ips", inside(0)+"/32", "endpoint", "192.0.2.1:51820")
	p.hosts[1].MustPing(inside(0)) // from the side that has forgotten its session
}

// The promise: keys that are none are set and shown as wg does it, and nothing
// is sent for them: the zero key, and the points of low order that X25519
// makes nothing of. Beside them a good key is heard of. Who has the wrong key,
// or the wrong preshared key, gets no session.
func TestWgInvalidKeys(t *testing.T) {
	guestTurn(t, 0)
	p := newWgPair(t)
	port := func(i int) string { return fmt.Sprintf("192.0.2.2:%d", 1111+i) }
	bad := []string{
		"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", // 0
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", // 1
		"7P///////////////////////////////////////38=", // p-1
		"7f///////////////////////////////////////38=", // p
		"7v///////////////////////////////////////38=", // p+1
		"4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=", // order 8
	}
	p.set(0, "peer", p.keys[1].public, "remove")
	noise, control := p.hosts[1].CountUDP(port(0)), p.hosts[1].CountUDP(port(1))
	for _, key := range bad {
		p.set(0, "peer", key, "persistent-keepalive", "1", "endpoint", port(0))
	}
	good := newKeyPair(t).public
	p.set(0, "peer", good, "persistent-keepalive", "1", "endpoint", port(1))
	if shown := strings.Fields(p.hosts[0].Must(p.wg, "show", "wg0", "peers").Stdout); len(shown) != len(bad)+1 {
		t.Errorf("peers: %q", shown)
	}
	// The first initiation is sent at once, and the good key's was the last.
	WaitFor(t, 10*time.Second, "an initiation", func() bool { return p.peer(0, "transfer", good) != "0\t0" })
	if n := noise.Stop(); n != 0 {
		t.Errorf("%d packets for keys that are none", n)
	}
	if n := control.Stop(); n == 0 {
		t.Error("no packet for a good key")
	}

	refused := func(what string) {
		t.Helper()
		if p.hosts[0].Run("ping", "-n", "-q", "-c", "1", "-W", "1", inside(1)).Code == 0 {
			t.Errorf("%s: there is a session", what)
		}
		if got := p.peer(1, "latest-handshakes", p.keys[0].public); got != "0" {
			t.Errorf("%s: a handshake at %s", what, got)
		}
	}
	p.hosts[0].WriteFile("/run/psk", wgPSK)
	p.hosts[0].WriteFile("/run/other", newKeyPair(t).private)
	p.set(0, "peer", p.keys[1].public, "allowed-ips", inside(1)+"/32", "endpoint", "192.0.2.2:51820", "preshared-key", "/run/psk")
	refused("a preshared key that the peer lacks")
	p.set(0, "private-key", "/run/other", "peer", p.keys[1].public, "preshared-key", "/dev/null")
	refused("a key that the peer doesn't know")
	p.set(0, "private-key", "/dev/null")
	if got := p.hosts[0].Must(p.wg, "show", "wg0", "private-key").Stdout; got != "(none)\n" {
		t.Errorf("the zero key: %q", got)
	}
	refused("no key")
	// Only what was wrong was refused.
	p.set(0, "private-key", "/run/key")
	p.hosts[0].MustPing(inside(1))
}

// The promise: with a persistent keepalive a peer behind NAT makes itself
// heard, and stays reachable, without a packet of its own.
func TestWgPersistentKeepalive(t *testing.T) {
	guestTurn(t, 0)
	Need(t, "nft")
	p := newWgPair(t)
	lan := NewHost(t, "lan")
	Connect(t, lan.At("eth0", "192.168.1.2/24"), p.hosts[0].At("eth1", "192.168.1.1/24"))
	p.hosts[0].Forward()
	p.hosts[0].Sh("nft 'add table ip nat; add chain ip nat post { type nat hook postrouting priority srcnat; }; add rule ip nat post oifname eth0 masquerade'")
	lan.Sh("ip route add default via 192.168.1.1; mkdir -p -m 700 /run/wireguard")
	makeDevice(t, lan, "wg0")
	lan.WriteFile("/run/key", p.keys[0].private)
	p.set(0, "listen-port", "0", "peer", p.keys[1].public, "remove") // the port is the other's to keep
	lan.Must(p.wg, "set", "wg0", "private-key", "/run/key", "listen-port", "5000")
	lan.Sh("ip address add " + inside(0) + "/24 dev wg0; ip link set wg0 up")
	lan.Must(p.wg, "set", "wg0", "peer", p.keys[1].public, "allowed-ips", inside(1)+"/32", "endpoint", "192.0.2.2:51820", "persistent-keepalive", "1")

	received := func() int {
		n, _ := strconv.Atoi(strings.Fields(p.peer(1, "transfer", p.keys[0].public))[0])
		return n
	}
	for range rounds(3, 2) {
		was := received()
		WaitFor(t, 15*time.Second, "a keepalive", func() bool { return received() > was })
	}
	if got := p.peer(1, "endpoints", p.keys[0].public); got != "192.0.2.1:5000" {
		t.Errorf("the peer is heard at %s, not where it is translated to", got)
	}
	p.hosts[1].MustPing(inside(0))
}

// The promise: a device keeps the socket of the network namespace in which it
// was made, wherever its link goes; a program that has only the tunnel reaches
// the peer by it. It goes with the namespace that it is in.
func TestWgLinkMoves(t *testing.T) {
	guestTurn(t, 1)
	p := newWgPair(t)
	a := p.hosts[0]
	p.set(0, "peer", p.keys[1].public, "endpoint", "192.0.2.2:51820")
	a.Sh("ip netns add inner; ip link set wg0 netns inner; ip -n inner address add " + inside(0) + "/24 dev wg0; ip -n inner link set wg0 up")
	ping := func() Output {
		return a.Run("ip", "netns", "exec", "inner", "ping", "-n", "-q", "-c", "2", "-W", fmt.Sprint(Timeout(5*time.Second).Seconds()), inside(1))
	}
	if out := ping(); out.Code != 0 {
		t.Errorf("%v", out)
	}
	said(t, p.peer(1, "endpoints", p.keys[0].public), "192.0.2.1:51820")
	said(t, a.Must("ip", "netns", "exec", "inner", p.wg, "show", "wg0", "endpoints").Stdout, p.keys[1].public+"\t192.0.2.2:51820")
	// The port is bound out here, and stays so when it changes.
	a.Must("ip", "netns", "exec", "inner", p.wg, "set", "wg0", "listen-port", "51999")
	if out := ping(); out.Code != 0 {
		t.Errorf("%v", out)
	}
	said(t, p.peer(1, "endpoints", p.keys[0].public), "192.0.2.1:51999")
	a.Sh("ip netns del inner")
	WaitFor(t, 10*time.Second, "the device to go", func() bool { return a.Must(p.wg, "show", "interfaces").Stdout == "" })
}

// The promise: a mark keeps the device's own packets out of a tunnel that takes
// the default route, over IPv4 and IPv6; without it they would go round.
func TestWgFwmark(t *testing.T) {
	Only(t, Userspace) // in a guest full tunnels show it
	p := newWgPair(t)
	a, b := p.hosts[0], p.hosts[1]
	b.Sh("ip address add 198.51.100.1/32 dev lo; ip address add 2001:db8:100::1/128 dev lo nodad; ip address add 10.99.0.1/32 dev lo")
	a.Sh(`ip route add default via 192.0.2.2; ip route add default via fd00:aa::2
		sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
		for f in -4 -6; do
			ip $f route add default dev wg0 table 51820
			ip $f rule add not fwmark 51820 table 51820
			ip $f rule add table main suppress_prefixlength 0
		done`)
	p.set(0, "peer", p.keys[1].public, "allowed-ips", "0.0.0.0/0,::/0")
	for _, endpoint := range []string{"198.51.100.1:51820", "[2001:db8:100::1]:51820"} {
		p.set(0, "fwmark", "51820", "peer", p.keys[1].public, "endpoint", endpoint)
		a.MustPing("10.99.0.1")
		p.set(0, "fwmark", "off") // the session goes on
		if a.Run("ping", "-n", "-q", "-c", "1", "-W", "1", "10.99.0.1").Code == 0 {
			t.Errorf("%s: without a mark packets come through: the test shows nothing", endpoint)
		}
		p.set(0, "fwmark", "51820")
		// What went round without a mark may still come, from an address inside.
		WaitFor(t, 10*time.Second, "the peer to be heard from outside by "+endpoint, func() bool {
			a.MustPing("10.99.0.1")
			got := p.peer(1, "endpoints", p.keys[0].public)
			return got == "192.0.2.1:51820" || got == "[fd00:aa::1]:51820"
		})
	}
}
