// SPDX-License-Identifier: MIT

package tunnel

import (
	"context"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/wgctl/wgctl/config"
)

// key makes the text of a key from a word.
func key(word string) string {
	var k [32]byte
	copy(k[:], word)
	return base64.StdEncoding.EncodeToString(k[:])
}

// files are a dozen configs that differ in everything that a plan can change.
var files = []string{
	`[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/24
[Peer]
PublicKey = ` + key("a") + `
AllowedIPs = 10.8.0.0/24, 192.168.7.0/24
Endpoint = 192.0.2.1:51820`,
	`[Interface]
PrivateKey = ` + key("one") + `
ListenPort = 51820
Address = 10.8.0.2/24, fd00::2/64
DNS = 10.8.0.1, corp.example
[Peer]
PublicKey = ` + key("a") + `
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 192.0.2.1:51820
PersistentKeepalive = 25`,
	`[Interface]
PrivateKey = ` + key("two") + `
ListenPort = 51821
Address = 10.8.0.3/24, 10.8.0.2/24
[Peer]
PublicKey = ` + key("b") + `
PresharedKey = ` + key("psk") + `
AllowedIPs = 192.168.7.0/24
[Peer]
PublicKey = ` + key("a") + `
AllowedIPs = 10.8.0.0/24`,
	`[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/16, fd00::2/48
MTU = 1400
Forward = on
Table = 1234
[Peer]
PublicKey = ` + key("c") + `
AllowedIPs = 0.0.0.0/0, 10.9.0.0/16
Endpoint = peer.example:domain`,
	`[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/24
FwMark = 0x42
KillSwitch = on
ExcludedIPs = 192.168.0.0/16, 10.0.0.0/8
[Peer]
PublicKey = ` + key("a") + `
AllowedIPs = 0.0.0.0/0
Endpoint = 192.0.2.2:51820`,
	`[Interface]
Address = 172.16.0.1/32
Table = off`,
	`[Interface]
PrivateKey = ` + key("one") + `
Address = fd00::2/64
KillSwitch = on
[Peer]
PublicKey = ` + key("a") + `
AllowedIPs = ::/0
Endpoint = [2001:db8::1]:51820`,
	`[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/24, 10.8.0.3/24, 10.8.0.4/24
DNS = 10.8.0.1
PortForward = tcp/2222 -> 10.8.0.2:22
[Peer]
PublicKey = ` + key("a") + `
AllowedIPs = 10.8.0.0/24
[Peer]
PublicKey = ` + key("b") + `
AllowedIPs = 192.168.7.0/24
[Peer]
PublicKey = ` + key("c") + `
AllowedIPs = 192.168.8.0/24`,
	`[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.3/24, 10.8.0.4/24
DNS = 10.8.0.9
[Peer]
PublicKey = ` + key("c") + `
AllowedIPs = 192.168.7.0/24, 192.168.8.0/24, 192.168.9.0/24`,
	`[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/24
PreUp = echo pre %i
PostUp = echo post %i
PreDown = echo predown %i
PostDown = echo postdown %i
[Peer]
PublicKey = ` + key("d") + `
AllowedIPs = 10.99.0.0/16, 0.0.0.0/0
PersistentKeepalive = 10`,
	`[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/24
MTU = 576
[Peer]
PublicKey = ` + key("a") + `
AllowedIPs = 10.8.0.0/24`,
	`[Interface]
PrivateKey = ` + key("three") + `
Address = 10.8.0.2/24, fd00::2/64
Masquerade = eth7
PortForward = udp/7000-7003 -> 10.8.0.7:8000-8003 on eth7
KillSwitch = on
[Peer]
PublicKey = ` + key("a") + `
AllowedIPs = 10.8.0.0/24
[Peer]
PublicKey = ` + key("b") + `
AllowedIPs = 0.0.0.0/1, 128.0.0.0/1, ::/1, 8000::/1`,
	`[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/24
MTU = 1300
[Peer]
PublicKey = ` + key("b") + `
PresharedKey = ` + key("other") + `
AllowedIPs = 10.8.0.0/24
PersistentKeepalive = off`,
	`[Interface]
PrivateKey = ` + key("one") + `
Address = 10.8.0.2/24
PreUp = sysctl -w net.ipv4.ip_forward=1
PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE
PostUp = ip rule add from 10.9.0.0/16 table 200; ip route add default dev %i table 200
PostUp = echo post %i
PostDown = iptables -t nat -D POSTROUTING -o eth0 -j MASQUERADE
[Peer]
PublicKey = ` + key("b") + `
AllowedIPs = 10.8.0.0/24, 0.0.0.0/0`,
}

func parse(t testing.TB, text string) *config.Config {
	t.Helper()
	cfg, _, err := config.Parse("wg0.conf", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func quiet(Step) {}

// bring makes the tunnel what the file says, whether it is up or not.
func bring(t testing.TB, h *fakeHost, name, file string, backend config.Backend) error {
	t.Helper()
	return bringOn(t, h.host(), name, file, backend)
}

func bringOn(t testing.TB, host *Host, name, file string, backend config.Backend) error {
	t.Helper()
	ctx := context.Background()
	cfg := parse(t, file)
	endpoints, err := Lookup{}.Endpoints(ctx, host.Names, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Begin(ctx, host, name, quiet, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer s.End()
	if !s.Have.Up() && !s.Resume() {
		if err := s.Clear(ctx); err != nil {
			return err
		}
	}
	want, err := s.Resolve(ctx, cfg, endpoints, Options{Backend: backend})
	if err != nil {
		t.Fatal(err)
	}
	return s.Apply(ctx, Record{Config: "wg0.conf", Digest: cfg.Digest(), Spec: want, Sealable: Sealable(cfg)}, Plan(want, s.Have))
}

func takeDown(t testing.TB, h *fakeHost, name string) error {
	t.Helper()
	ctx := context.Background()
	s, err := Begin(ctx, h.host(), name, quiet, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer s.End()
	return s.Down(ctx, nil, nil)
}
