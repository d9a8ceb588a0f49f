// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// witnessEnv marks the process that has a mount namespace of its own.
const witnessEnv = "WGCTL_TEST_CONFIG_WITNESS"

// TestAgreesWithWg gives the corpus to the real wg-quick and wg, which talk to
// a socket that writes down what they would set up. It runs again as a process
// with its own /run, so that the socket is nobody else's.
func TestAgreesWithWg(t *testing.T) {
	if os.Getenv(witnessEnv) != "" {
		witness(t)
		return
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAgreesWithWg$", "-test.v")
	cmd.Env = append(os.Environ(), witnessEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	for _, program := range []string{"wg", "wg-quick"} {
		if _, err := exec.LookPath(program); err != nil {
			skip(t, "no witness: %v", err)
		}
	}
	if os.Geteuid() != 0 {
		skip(t, "a mount namespace needs root")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// skip gives up on a test for a thing that isn't there, unless it has to be.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("WGCTL_TEST_STRICT") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// stricter are the bad files whose lines for wg are none or right: wg-quick
// would fail on them half way, or something else than meant would come up.
var stricter = []string{
	"address.conf", "addresstwice.conf", "blank.conf", "dns.conf", "empty.conf", "many.conf", "mtu.conf",
	"mtu4.conf", "mtu6.conf", "nul.conf", "peersonly.conf", "table.conf",
}

func witness(t *testing.T) {
	sock := fakeDevice(t)
	for _, path := range corpusFiles(t, "") {
		c, _, err := Load(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		request, err := setconf(t, sock, path)
		if err != nil {
			t.Errorf("%s: wg refuses it: %v", path, err)
			continue
		}
		if diff := cmp.Diff(uapi(t, c), request); diff != "" {
			t.Errorf("%s (-ours +wg's):\n%s", path, diff)
		}
	}
	var accepted []string
	for _, path := range corpusFiles(t, "bad") {
		if _, err := setconf(t, sock, path); err == nil {
			accepted = append(accepted, filepath.Base(path))
		}
	}
	if diff := cmp.Diff(stricter, accepted); diff != "" {
		t.Errorf("bad files that wg accepts (-expected +found):\n%s", diff)
	}
}

// fakeDevice listens where wg looks for the userspace device "witness". Every
// request is answered with success and sent to the channel.
func fakeDevice(t *testing.T) <-chan string {
	t.Helper()
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{{"", "/", "", syscall.MS_REC | syscall.MS_PRIVATE}, {"tmpfs", "/run", "tmpfs", 0}} {
		if err := syscall.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil {
			t.Fatalf("mounting on %s: %v", m.target, err)
		}
	}
	if err := os.Mkdir("/run/wireguard", 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", "/run/wireguard/witness.sock")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	requests := make(chan string, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			request := readRequest(conn)
			if strings.HasPrefix(request, "set=1\n") {
				requests <- request
			}
			_, _ = io.WriteString(conn, "errno=0\n\n")
			_ = conn.Close()
		}
	}()
	return requests
}

func readRequest(r io.Reader) string {
	var text []byte
	buf := make([]byte, 64<<10)
	for !bytes.HasSuffix(text, []byte("\n\n")) {
		n, err := r.Read(buf)
		text = append(text, buf[:n]...)
		if err != nil {
			break
		}
	}
	return string(text)
}

// setconf returns what wg makes of the lines that wg-quick leaves to it.
func setconf(t *testing.T, requests <-chan string, path string) ([]string, error) {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	stripped, err := exec.Command("wg-quick", "strip", path).Output()
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile("/run/stripped", stripped, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("wg", "setconf", "witness", "/run/stripped").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(<-requests), "\n")
	for i, l := range lines {
		if ip, ok := strings.CutPrefix(l, "allowed_ip="); ok { // a device masks it
			lines[i] = "allowed_ip=" + netip.MustParsePrefix(ip).Masked().String()
		}
	}
	return slices.DeleteFunc(lines, func(l string) bool { // "localhost", which wg has looked up
		return l == "endpoint=[::1]:51820" || l == "endpoint=127.0.0.1:51820"
	}), nil
}

// uapi returns a config as wg writes it to a device.
func uapi(t *testing.T, c *Config) []string {
	t.Helper()
	var key Secret
	if k := c.Interface.PrivateKey; k != nil {
		key = *k
	}
	var port Port
	if p := c.Interface.ListenPort; p != nil {
		port = *p
	}
	var mark uint32
	if m := c.Interface.FwMark; m != nil {
		mark = *m
	}
	out := []string{"set=1", "private_key=" + hex.EncodeToString(key[:]), fmt.Sprintf("listen_port=%d", number(t, port)),
		fmt.Sprintf("fwmark=%d", mark), "replace_peers=true"}
	for _, p := range c.Peers {
		out = append(out, "public_key="+hex.EncodeToString(p.PublicKey[:]))
		if p.PresharedKey != nil {
			out = append(out, "preshared_key="+hex.EncodeToString(p.PresharedKey[:]))
		}
		if a, err := netip.ParseAddr(p.Endpoint.Host); err == nil {
			out = append(out, "endpoint="+netip.AddrPortFrom(a, number(t, p.Endpoint.Port)).String())
		}
		if p.PersistentKeepalive != nil {
			out = append(out, fmt.Sprintf("persistent_keepalive_interval=%d", *p.PersistentKeepalive))
		}
		out = append(out, "replace_allowed_ips=true")
		for _, ip := range p.AllowedIPs {
			out = append(out, "allowed_ip="+ip.String())
		}
	}
	return out
}

func number(t *testing.T, p Port) uint16 {
	t.Helper()
	if p.Service == "" {
		return p.Number
	}
	n, err := net.LookupPort("udp", p.Service)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(n)
}
