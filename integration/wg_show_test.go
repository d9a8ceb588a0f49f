// SPDX-License-Identifier: MIT

package integration

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// uapiDevice answers on the socket of a userspace device that has no link, as
// a device in another namespace does, with the text of a file.
func init() {
	roles["uapi-device"] = func(args []string) error {
		text, err := os.ReadFile(args[1])
		if err != nil {
			return err
		}
		l, err := net.Listen("unix", "/run/wireguard/"+args[0]+".sock")
		if err != nil {
			return err
		}
		fmt.Println("listening")
		for {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			lines := bufio.NewScanner(conn)
			for lines.Scan() && lines.Text() != "" {
			}
			_, _ = fmt.Fprintf(conn, "%serrno=0\n\n", text)
			_ = conn.Close()
		}
	}
}

// A uapiPeer is a peer of such a device, whatever no real device would have.
func uapiPeer(n int, lines ...string) string {
	return fmt.Sprintf("public_key=%064x\n", n+1) + strings.Join(lines, "\n") + "\n"
}

// handshake is one that many seconds ago.
func handshake(ago time.Duration) string {
	return fmt.Sprintf("last_handshake_time_sec=%d", time.Now().Add(-ago).Unix())
}

// The promise: what show prints for people is Debian's to the byte, colours
// and all: any handshake, any number of bytes, any address, any order.
func TestWgShowLikeWg(t *testing.T) {
	oneGuest(t, "odd")
	Need(t, "wg")
	h := newTunnelHost(t, "h")
	const day = 24 * time.Hour
	device := "private_key=" + strings.Repeat("40", 32) + "\nlisten_port=51820\nfwmark=51820\n"
	var peers []string
	// Numbers that don't change while the two programs run.
	for n, ago := range []time.Duration{-time.Hour, 365 * day, 400*day + 26*time.Hour, 3 * 365 * day} {
		peers = append(peers, uapiPeer(n, handshake(ago+time.Minute), fmt.Sprintf("rx_bytes=%d", 1<<(7*n)), "tx_bytes=0"))
	}
	for n, bytes := range []uint64{0, 1, 1023, 1024, 1025, 1<<20 - 1, 1 << 20, 1<<30 - 1, 1 << 30, 123456789012, 1<<40 - 1, 1 << 40, 1 << 50, 1<<63 - 1} {
		peers = append(peers, uapiPeer(100+n, fmt.Sprintf("last_handshake_time_sec=0\nrx_bytes=%d\ntx_bytes=%d", bytes, bytes/2+7)))
	}
	for n, seconds := range []int{1, 59, 60, 61, 3600, 3661, 7200, 65535} {
		peers = append(peers, uapiPeer(200+n, fmt.Sprintf("persistent_keepalive_interval=%d", seconds)))
	}
	for n, ip := range []string{"0.0.0.0/0", "::/0", "::1.2.3.4/128", "::1:0/112", "::ffff:1.2.3.4/128", "::ffff:0:0/96", "1:0:0:2::3/128", "2001:db8::/32", "fe80::1/64"} {
		peers = append(peers, uapiPeer(300+n, "allowed_ip="+ip, "allowed_ip=10.0.0.1/32"))
	}
	for n, e := range []string{"192.0.2.1:1", "[::1]:65535", "[fe80::1%lo]:5", "[::ffff:1.2.3.4]:5"} {
		peers = append(peers, uapiPeer(400+n, "preshared_key="+strings.Repeat("ab", 32), "endpoint="+e))
	}
	for name, text := range map[string]string{"many": device + strings.Join(peers, ""), "bare": "", "keyed": device} {
		h.WriteFile("/run/"+name, text)
		h.startRole("uapi-device", name, "/run/"+name).Expect(10*time.Second, "listening")
	}
	wg := As(t, "wg")
	for _, env := range []string{"WG_COLOR_MODE=always", "WG_HIDE_KEYS=never", "WG_COLOR_MODE=never"} {
		for _, args := range []string{"show many", "show bare", "show keyed", "showconf many", "showconf bare", "show many dump"} {
			words := append([]string{"env", env, "wg"}, strings.Fields(args)...)
			same(h, words, append([]string{"env", env, wg}, strings.Fields(args)...), func(s string) string { return s })
		}
	}
	all, ours := h.Must("wg", "show", "all", "dump"), h.Must(wg, "show", "all", "dump")
	if sortedLines(all.Stdout) != sortedLines(ours.Stdout) {
		t.Errorf("show all dump:\n%s", Diff(all.Stdout, ours.Stdout))
	}
}

// same fails the test unless two commands print the same of a device: the second
// what the first prints before it or after it, line by line, as seconds pass and
// bytes come.
func same(h *Host, theirs, ours []string, order func(string) string) {
	h.t.Helper()
	for range 50 {
		before, got, after := h.Must(theirs...), h.Must(ours...), h.Must(theirs...)
		if between(order(before.Stdout), order(got.Stdout), order(after.Stdout)) && before.Stderr == got.Stderr {
			return
		}
		if order(before.Stdout) != order(after.Stdout) {
			continue
		}
		if order(before.Stdout) != order(got.Stdout) || before.Stderr != got.Stderr {
			h.t.Errorf("%v:\n%s%s", ours, Diff(order(before.Stdout), order(got.Stdout)), got.Stderr)
		}
		return
	}
	h.t.Errorf("%v never prints the same twice", theirs)
}

// between reports whether each line of a text is that of the text before it or of
// the one after it.
func between(before, text, after string) bool {
	a, b, c := strings.Split(before, "\n"), strings.Split(text, "\n"), strings.Split(after, "\n")
	if len(a) != len(b) || len(c) != len(b) {
		return false
	}
	for i := range b {
		if b[i] != a[i] && b[i] != c[i] {
			return false
		}
	}
	return true
}

// The promise: on a device with sessions and traffic, every form of show is
// Debian's, and the peer with the latest handshake comes first.
func TestWgShowLikeWgLive(t *testing.T) {
	Need(t, "wg")
	s := newSite(t)
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", splitAllowed)+peerSection(newKeyPair(t), "AllowedIPs = 10.77.0.0/16"))
	wgctlOK(s.hub, "up", "wg0")
	wgctlOK(s.client, "up", "wg0")
	s.client.MustPing(hubInside4)
	wg := As(t, "wg")
	for _, args := range []string{"", "show wg0", "show wg0 transfer", "show wg0 latest-handshakes", "show wg0 endpoints", "show wg0 dump", "showconf wg0"} {
		order := sortedLines // the device gives its peers in any order
		if args == "" || args == "show wg0" {
			order = func(s string) string { return s }
		}
		same(s.client, append([]string{"wg"}, strings.Fields(args)...), append([]string{wg}, strings.Fields(args)...), order)
	}
	shown := s.client.Must(wg).Stdout
	said(t, shown, "latest handshake: ", " received, ", "endpoint: "+hubEndpoint4+":51820")
	if first, _, _ := strings.Cut(shown[strings.Index(shown, "peer: ")+6:], "\n"); first != s.hubKey.public {
		t.Errorf("the peer with a handshake isn't the first:\n%s", shown)
	}
	wgctlOK(s.client, "down", "wg0")
	wgctlOK(s.hub, "down", "wg0")
}

// wgctl show is wg's, with the names that the file has for peers.
func TestWgctlShow(t *testing.T) {
	h := newTunnelHost(t, "h")
	named := newKeyPair(t)
	h.WriteFile(configOf("wg0"), interfaceSection(newKeyPair(t), "ListenPort = 51820")+
		peerSection(named, "# friendly_name = Ada's laptop", "AllowedIPs = 10.8.0.2/32"))
	wgctlOK(h, "up", "wg0")
	wg := As(t, "wg")
	plain, withNames := h.Must(wg).Stdout, wgctlOK(h, "show").Stdout
	if want := strings.Replace(plain, named.public, named.public+" (Ada's laptop)", 1); want != withNames || want == plain {
		t.Errorf("wg:\n%s\nwgctl show:\n%s", plain, withNames)
	}
	for _, args := range []string{"show wg0 dump", "show all peers", "showconf wg0", "show interfaces"} {
		words := strings.Fields(args)
		if a, b := h.Must(append([]string{wg}, words...)...).Stdout, wgctlOK(h, words...).Stdout; a != b {
			t.Errorf("%s:\n%s\n%s", args, a, b)
		}
	}
	for args, want := range map[string]string{
		"show nosuch":               "wgctl: unable to access interface: ",
		"set wg0 peer x":            "wgctl: key is not the correct length or format\n",
		"setconf wg0 /nosuch":       "wgctl: open /nosuch: no such file or directory\n",
		"set wg0 fwmark 0x":         "wgctl: fwmark is neither 0/off nor 0-0xffffffff: `0x'\n",
		"syncconf nosuch /dev/null": "wgctl: unable to modify interface: ",
	} {
		if out := wgctlFails(h, 1, strings.Fields(args)...); !strings.HasPrefix(out.Stderr, want) || out.Stdout != "" {
			t.Errorf("%v", out)
		}
	}
	for _, args := range []string{"show a b c", "showconf", "set wg0", "genkey x"} {
		said(t, wgctlFails(h, 2, strings.Fields(args)...).Stderr, "wgctl: ", "hint: wgctl help ")
	}
	wgctlOK(h, "down", "wg0")
}
