// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/wgctl/wgctl/netlinkx"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the expected files")

const (
	wgKey1 = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	wgKey2 = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
)

func wgKey(n byte) (k [32]byte) {
	copy(k[:], bytes.Repeat([]byte{n}, 32))
	return k
}

// A wgHost has devices in memory, and notes what it is told to change.
type wgHost struct {
	names   []string
	devices map[string]netlinkx.Device
	broken  map[string]error
	changed map[string]netlinkx.DeviceChange
}

func (h *wgHost) DeviceNames(context.Context) ([]string, error) { return h.names, nil }

func (h *wgHost) Device(_ context.Context, name string) (netlinkx.Device, error) {
	if err := h.broken[name]; err != nil {
		return netlinkx.Device{}, err
	}
	d, ok := h.devices[name]
	if !ok {
		return netlinkx.Device{}, unix.ENODEV
	}
	return d, nil
}

func (h *wgHost) Configure(_ context.Context, name string, c netlinkx.DeviceChange) error {
	if _, ok := h.devices[name]; !ok {
		return unix.ENODEV
	}
	h.changed[name] = c
	return nil
}

// LookupHost knows a.example, has trouble with slow.example, and no other.
func (h *wgHost) LookupHost(_ context.Context, name string) ([]netip.Addr, error) {
	switch name {
	case "a.example":
		return []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("2001:db8::7")}, nil
	case "slow.example":
		return nil, &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	}
	return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}

func (h *wgHost) LookupPort(_ context.Context, service string) (uint16, error) {
	if service == "domain" {
		return 53, nil
	}
	return 0, errors.New("unknown service")
}

var wgClock = time.Unix(1_800_000_000, 0)

func newWgHost() *wgHost {
	p := netip.MustParsePrefix
	wg0 := netlinkx.Device{
		Name: "wg0", PrivateKey: wgKey(0x40), PublicKey: wgKey(9), ListenPort: 51820, FwMark: 0xca6c,
		Peers: []netlinkx.Peer{
			{PublicKey: wgKey(1), AllowedIPs: []netip.Prefix{p("10.0.0.1/32"), p("fd00::/64")}, Endpoint: netip.MustParseAddrPort("192.0.2.1:5"),
				LatestHandshake: wgClock.Add(-90061 * time.Second), ReceiveBytes: 1023, TransmitBytes: 5 << 20},
			{PublicKey: wgKey(2), PresharedKey: wgKey(3), PersistentKeepalive: 25},
			{PublicKey: wgKey(4), Endpoint: netip.MustParseAddrPort("[fe80::1%eth0]:51820"), AllowedIPs: []netip.Prefix{p("::1.2.3.4/128")},
				LatestHandshake: wgClock, ReceiveBytes: 0, TransmitBytes: 3 << 40},
			{PublicKey: wgKey(5), LatestHandshake: wgClock.Add(time.Hour), PersistentKeepalive: 65535, ReceiveBytes: 1 << 30},
		},
	}
	return &wgHost{
		names:   []string{"wg0", "wg1"},
		devices: map[string]netlinkx.Device{"wg0": wg0, "wg1": {Name: "wg1"}},
		changed: map[string]netlinkx.DeviceChange{},
	}
}

// A wgRun is what one run printed.
type wgRun struct {
	Code     int
	Out, Err string
}

func (h *wgHost) run(t *testing.T, env map[string]string, stdin string, args ...string) wgRun {
	t.Helper()
	var out, stderr bytes.Buffer
	w := newWg("wg", streams{strings.NewReader(stdin), &out, &stderr})
	w.open = func() (wgDevices, error) { return h, nil }
	w.hosts, w.now = h, func() time.Time { return wgClock }
	w.env = func(k string) string { return env[k] }
	code := w.main(context.Background(), args)
	return wgRun{code, out.String(), stderr.String()}
}

// The pretty output of show, and showconf, to the byte.
func TestWgGolden(t *testing.T) {
	for name, tt := range map[string]struct {
		env  map[string]string
		args []string
	}{
		"show":     {nil, nil},
		"colours":  {map[string]string{"WG_COLOR_MODE": "always"}, []string{"show", "wg0"}},
		"keys":     {map[string]string{"WG_HIDE_KEYS": "never"}, []string{"show", "all"}},
		"showconf": {nil, []string{"showconf", "wg0"}},
		"help":     {nil, []string{"help"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := newWgHost().run(t, tt.env, "", tt.args...)
			if got.Code != 0 || got.Err != "" {
				t.Fatalf("%+v", got)
			}
			golden(t, filepath.Join("testdata", "wg", name+".golden"), got.Out)
		})
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

// What show prints for programs: every parameter, alone and of all devices.
func TestWgShowParameters(t *testing.T) {
	const private = "QEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEA="
	h := newWgHost()
	d := h.devices["wg0"]
	d.Peers = d.Peers[:2]
	h.devices["wg0"] = d
	public := d.PublicKey.String()
	for param, want := range map[string]string{
		"public-key":           public + "\n",
		"private-key":          private + "\n",
		"listen-port":          "51820\n",
		"fwmark":               "0xca6c\n",
		"peers":                wgKey1 + "\n" + wgKey2 + "\n",
		"preshared-keys":       wgKey1 + "\t(none)\n" + wgKey2 + "\tAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\n",
		"endpoints":            wgKey1 + "\t192.0.2.1:5\n" + wgKey2 + "\t(none)\n",
		"allowed-ips":          wgKey1 + "\t10.0.0.1/32 fd00::/64\n" + wgKey2 + "\t(none)\n",
		"latest-handshakes":    wgKey1 + "\t1799909939\n" + wgKey2 + "\t0\n",
		"transfer":             wgKey1 + "\t1023\t5242880\n" + wgKey2 + "\t0\t0\n",
		"persistent-keepalive": wgKey1 + "\toff\n" + wgKey2 + "\t25\n",
		"dump": private + "\t" + public + "\t51820\t0xca6c\n" +
			wgKey1 + "\t(none)\t192.0.2.1:5\t10.0.0.1/32,fd00::/64\t1799909939\t1023\t5242880\toff\n" +
			wgKey2 + "\tAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=\t(none)\t(none)\t0\t0\t0\t25\n",
	} {
		if got := h.run(t, nil, "", "show", "wg0", param); got != (wgRun{0, want, ""}) {
			t.Errorf("%s: %+v", param, got)
		}
		all := ""
		for line := range strings.Lines(want) {
			all += "wg0\t" + line
		}
		all += map[string]string{"public-key": "wg1\t(none)\n", "private-key": "wg1\t(none)\n", "listen-port": "wg1\t0\n",
			"fwmark": "wg1\toff\n", "dump": "wg1\t(none)\t(none)\t0\toff\n"}[param]
		if got := h.run(t, nil, "", "show", "all", param); got != (wgRun{0, all, ""}) {
			t.Errorf("all %s: %+v", param, got)
		}
	}
	if got := h.run(t, nil, "", "show", "interfaces"); got.Out != "wg0 wg1\n" {
		t.Errorf("%+v", got)
	}
}

// Exit codes and messages where something is wrong with words or devices.
func TestWgErrors(t *testing.T) {
	for _, tt := range []struct {
		args string
		code int
		err  string // standard error; the start of it, without a newline at the end
	}{
		{"bogus", 1, "Invalid subcommand: `bogus'\nUsage: wg <cmd> [<args>]"},
		{"version x", 1, "Invalid subcommand: `version'\nUsage:"},
		{"show a b c", 1, "Usage: wg show { <interface> | all | interfaces } [public-key | private-key"},
		{"show --help", 0, "Usage: wg show "},
		{"show interfaces x", 1, "Usage: wg show "},
		{"show wg9", 1, "Unable to access interface: No such device\n"},
		{"show wg0 bogus", 1, "Invalid parameter: `bogus'\nUsage: wg show "},
		{"show all bogus", 1, "Invalid parameter: `bogus'\nUsage: wg show "},
		{"showconf", 1, "Usage: wg showconf <interface>\n"},
		{"showconf wg9", 1, "Unable to access interface: No such device\n"},
		{"set wg0", 1, "Usage: wg set <interface> [listen-port <port>]"},
		{"set wg9 listen-port 5", 1, "Unable to modify interface: No such device\n"},
		{"set wg0 listen-port nosuch", 1, "Servname not supported for ai_socktype: `nosuch'\n"},
		{"set wg0 private-key /nosuch", 1, "fopen: No such file or directory\n"},
		{"set wg0 peer " + wgKey1 + " endpoint b.example:5", 1, "Name or service not known: `b.example:5'\n"},
		{"set wg0 peer " + wgKey1 + " endpoint a.example:nosuch", 1, "Servname not supported for ai_socktype: `a.example:nosuch'\n"},
		{"set wg0 peer " + wgKey1 + " allowed-ips 10.0.0.1/24", 0, "Warning: AllowedIP has nonzero host part: 10.0.0.1/24\n"},
		{"setconf wg0", 1, "Usage: wg setconf <interface> <configuration filename>\n"},
		{"setconf wg0 /nosuch", 1, "fopen: No such file or directory\n"},
		{"setconf wg0 /", 1, "Unable to read configuration: Is a directory\nConfiguration parsing error\n"},
		{"genkey x", 1, "Usage: wg genkey\n"},
		{"pubkey x", 1, "Usage: wg pubkey\n"},
		{"pubkey", 1, "wg: Key is not the correct length or format\n"},
	} {
		h := newWgHost()
		got := h.run(t, nil, "", strings.Split(tt.args, " ")...)
		whole := tt.err
		if !strings.HasSuffix(tt.err, "\n") {
			whole = got.Err
		}
		if got.Code != tt.code || got.Out != "" || !strings.HasPrefix(got.Err, tt.err) || got.Err != whole {
			t.Errorf("%s: %+v", tt.args, got)
		}
		if tt.code != 0 && len(h.changed) > 0 {
			t.Errorf("%s: changed something: %v", tt.args, h.changed)
		}
	}
}

// show all goes on after a device that can't be read, and fails only if none
// could be.
func TestWgShowAllBroken(t *testing.T) {
	h := newWgHost()
	h.broken = map[string]error{"wg0": unix.EPERM}
	got := h.run(t, nil, "", "show", "all", "listen-port")
	if got != (wgRun{0, "wg1\t0\n", "Unable to access interface wg0: Operation not permitted\n"}) {
		t.Errorf("%+v", got)
	}
	h.broken["wg1"] = unix.EPERM
	if got := h.run(t, nil, ""); got.Code != 1 || got.Out != "" || strings.Count(got.Err, "\n") != 2 {
		t.Errorf("%+v", got)
	}
	h.names = nil
	if got := h.run(t, nil, ""); got != (wgRun{}) {
		t.Errorf("without any interface: %+v", got)
	}
}

// A version that scripts understand: "wireguard-tools v" and a number.
func TestWgVersion(t *testing.T) {
	for _, word := range []string{"version", "--version", "-v"} {
		got := newWgHost().run(t, nil, "", word)
		if got.Code != 0 || !strings.HasPrefix(got.Out, "wireguard-tools v1.0.2026") || strings.Count(got.Out, "\n") != 1 {
			t.Errorf("%s: %+v", word, got)
		}
	}
}

// Keys: genkey clamps, pubkey agrees with RFC 7748 section 6.1 (Alice's).
func TestWgKeys(t *testing.T) {
	h := newWgHost()
	got := h.run(t, nil, "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n", "pubkey")
	if got != (wgRun{0, "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n", ""}) {
		t.Errorf("%+v", got)
	}
	for _, verb := range []string{"genkey", "genpsk"} {
		a, b := h.run(t, nil, "", verb), h.run(t, nil, "", verb)
		var k netlinkx.Key
		if err := k.UnmarshalText([]byte(strings.TrimSuffix(a.Out, "\n"))); err != nil || a.Out == b.Out || a.Code != 0 {
			t.Errorf("%s: %+v %+v: %v", verb, a, b, err)
		}
		if verb == "genkey" && (k[0]&7 != 0 || k[31]&0xc0 != 0x40) {
			t.Errorf("genkey: not clamped: %v", k)
		}
	}
}
