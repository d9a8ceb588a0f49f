// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const uapiSocket = "/var/run/wireguard/wg0.sock"

// goneCompletely waits until nothing of a device wg0 is left in the host.
func goneCompletely(h *Host) {
	h.t.Helper()
	WaitFor(h.t, 10*time.Second, "wg0 to be gone", func() bool { return leftOfWG0(h) == "" })
}

func leftOfWG0(h *Host) string {
	var left []string
	if h.Run("ip", "link", "show", "dev", "wg0").Code == 0 {
		left = append(left, "link")
	}
	if h.Exists(uapiSocket) {
		left = append(left, "socket")
	}
	for _, p := range h.Processes() {
		if strings.HasSuffix(p, " wg0") {
			left = append(left, p)
		}
	}
	return strings.Join(left, ", ")
}

// Called as wireguard-go it takes that one's words: exit 0 and the usage line
// for wrong ones, exit 1 where it can't set up, one line that says why, and no
// banner.
func TestWireguardGoWords(t *testing.T) {
	Only(t, Userspace) // the same in a guest, but for its time
	h := NewHost(t, "host")
	tool := As(t, "wireguard-go")
	version := h.Must(tool, "--version")
	if !regexp.MustCompile(`^wireguard-go v[0-9.]+\n\nUserspace WireGuard daemon for linux-`).MatchString(version.Stdout) || version.Stderr != "" {
		t.Errorf("%v", version)
	}
	for _, words := range [][]string{{}, {"-f"}, {"--foreground", "a", "b"}, {"a", "b"}, {"--help"}, {"wg0", "--version"}} {
		out := h.Must(append([]string{tool}, words...)...)
		if out.Stderr != "" || out.Stdout != "Usage: "+tool+" [-f/--foreground] INTERFACE-NAME\n" {
			t.Errorf("%q: %v", words, out)
		}
	}
	h.Must("ip", "tuntap", "add", "dev", "taken", "mode", "tun")
	for _, words := range [][]string{{"taken"}, {"-f", "taken"}, {"a-name-of-16-byte"}, {"-f", "../wg0"}} {
		out := h.Fails(1, append([]string{tool}, words...)...)
		if out.Stdout != "" || strings.Count(out.Stderr, "\n") != 1 || !strings.HasPrefix(out.Stderr, "wireguard-go: ") {
			t.Errorf("%q: %v", words, out)
		}
	}
	for variable, says := range map[string]string{"WG_TUN_FD=x": "descriptor", "WG_TUN_FD=0x3": "descriptor", "WG_TUN_FD=1": "as a TUN", "WG_UAPI_FD=1": "UAPI socket"} {
		out := h.Fails(1, "env", variable, tool, "-f", "wg0")
		if strings.Count(out.Stderr, "\n") != 1 || !strings.Contains(out.Stderr, says) {
			t.Errorf("%s: %v", variable, out)
		}
	}
	if left := leftOfWG0(h); left != "" {
		t.Errorf("left: %s", left)
	}
}

// It returns when the device answers, leaves a process of its own name, and
// link, socket and process end together, whichever ends first.
func TestWireguardGoDaemon(t *testing.T) {
	Only(t, Userspace) // the same in a guest, but for its time
	Need(t, "wg", "pgrep", "pkill")
	h := NewHost(t, "host")
	tool := As(t, "wireguard-go")
	for _, end := range []string{"pkill -x wireguard-go", "pkill -INT -f '^wireguard-go wg0'", "ip link del wg0", "rm " + uapiSocket} {
		out := h.Must(tool, "wg0")
		// At once, without a wait.
		h.Must("wg", "set", "wg0", "listen-port", "5182", "fwmark", "0x7")
		if shown := h.Must("wg", "show", "wg0"); !strings.Contains(shown.Stdout, "listening port: 5182") {
			t.Errorf("%v", shown)
		}
		if out.Stdout != "" || out.Stderr != "" {
			t.Errorf("it speaks: %v", out)
		}
		if link := h.Must("ip", "-d", "link", "show", "dev", "wg0").Stdout; !strings.Contains(link, "mtu 1420") || strings.Contains(link, "alias") {
			t.Errorf("the link: %s", link)
		}
		if mode := h.Must("stat", "-c", "%F %a", uapiSocket).Stdout; mode != "socket 600\n" {
			t.Errorf("the socket: %s", mode)
		}
		if p := h.Processes(); !slices.Contains(p, "wireguard-go wg0") {
			t.Errorf("processes: %q", p)
		}
		h.Must("pgrep", "-x", "wireguard-go")
		if again := h.Fails(1, tool, "wg0"); !strings.Contains(again.Stderr, "file exists") {
			t.Errorf("a second one: %v", again)
		}
		h.Must("wg", "show", "wg0")
		h.Sh(end)
		goneCompletely(h)
	}
}

// A variable that is set to something else than 1 means nothing: the device
// goes to the background and answers.
func TestWireguardGoForegroundUnset(t *testing.T) {
	Only(t, Userspace) // the same in a guest, but for its time
	Need(t, "wg")
	h := NewHost(t, "host")
	tool := As(t, "wireguard-go")
	for _, value := range []string{"", "0", "yes"} {
		h.Must("env", "WG_PROCESS_FOREGROUND="+value, tool, "wg0")
		h.Must("wg", "set", "wg0", "fwmark", "5")
		h.Must("ip", "link", "del", "wg0")
		goneCompletely(h)
	}
}

// In the foreground, by a word or by the variable, it stays until a signal or
// the end of the link, and exits 0.
func TestWireguardGoForeground(t *testing.T) {
	Need(t, "wg")
	h := NewHost(t, "host")
	tool := As(t, "wireguard-go")
	for _, c := range []struct {
		name string
		args []string
		end  func(p *Process)
	}{
		{"-f, SIGTERM", []string{tool, "-f", "wg0"}, func(p *Process) { p.Signal(syscall.SIGTERM) }},
		{"--foreground, SIGINT", []string{tool, "--foreground", "wg0"}, func(p *Process) { p.Signal(syscall.SIGINT) }},
		{"the variable, link deleted", []string{"env", "WG_PROCESS_FOREGROUND=1", tool, "wg0"}, func(*Process) { h.Must("ip", "link", "del", "wg0") }},
	} {
		p := h.Start(c.args...)
		WaitFor(t, 10*time.Second, c.name+": device", func() bool { return h.Run("wg", "show", "wg0").Code == 0 })
		if !p.Running() {
			t.Errorf("%s: it went to the background: %v", c.name, p.Output())
		}
		c.end(p)
		if out := p.Wait(10 * time.Second); out.Code != 0 || out.Stdout+out.Stderr != "" {
			t.Errorf("%s: %v", c.name, out)
		}
		goneCompletely(h)
	}
}

// LOG_LEVEL is obeyed, in wireguard-go's form, on standard output; a daemon
// without it holds nothing of its caller's open.
func TestWireguardGoLog(t *testing.T) {
	Only(t, Userspace) // the same in a guest, but for its time
	Need(t, "wg")
	h := NewHost(t, "host")
	tool := As(t, "wireguard-go")
	for level, want := range map[string]bool{"verbose": true, "debug": true, "error": false, "silent": false, "": false} {
		p := h.Start("env", "LOG_LEVEL="+level, tool, "-f", "wg0")
		WaitFor(t, 10*time.Second, "device", func() bool { return h.Run("wg", "set", "wg0", "fwmark", "1").Code == 0 })
		p.Signal(syscall.SIGTERM)
		out := p.Wait(10 * time.Second)
		for _, line := range []string{"UAPI listener started", "UAPI: Updating fwmark", "Shutting down"} {
			if got := regexp.MustCompile(`(?m)^DEBUG: \(wg0\) .*` + line + `$`).MatchString(out.Stdout); got != want {
				t.Errorf("LOG_LEVEL=%s: %q in the log: %v: %v", level, line, got, out)
			}
		}
		goneCompletely(h)
	}
	h.Sh("LOG_LEVEL=verbose " + tool + " wg0 >/run/log 2>&1")
	h.Must("wg", "set", "wg0", "fwmark", "1")
	h.Must("ip", "link", "del", "wg0")
	goneCompletely(h)
	if log := h.ReadFile("/run/log"); !strings.Contains(log, "DEBUG: (wg0) ") || !strings.Contains(log, "Updating fwmark") {
		t.Errorf("the daemon's log: %q", log)
	}
}

func init() { roles["with-descriptors"] = withDescriptors }

// withDescriptors runs a program with a TUN as descriptor 3 and a listening
// UAPI socket as descriptor 4, as a supervisor would that keeps both.
func withDescriptors(args []string) error {
	tun, err := unix.Open("/dev/net/tun", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	ifr, err := unix.NewIfreq("wg0")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(tun, unix.TUNSETIFF, ifr); err != nil {
		return fmt.Errorf("making a TUN: %w", err)
	}
	if err := os.MkdirAll("/var/run/wireguard", 0o700); err != nil {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: uapiSocket, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	sock, err := l.File()
	if err != nil {
		return err
	}
	// Out of the way first: either may be 3 or 4 already.
	for i, fd := range []int{tun, int(sock.Fd())} {
		if err := unix.Dup3(fd, 10+i, 0); err != nil {
			return err
		}
	}
	for i := range 2 {
		if err := unix.Dup3(10+i, 3+i, 0); err != nil {
			return err
		}
		unix.CloseOnExec(10 + i)
	}
	return unix.Exec(args[0], args, append(os.Environ(), "WG_TUN_FD=3", "WG_UAPI_FD=4"))
}

// A TUN and a socket that are handed over are served, in the foreground and by
// a daemon, under the TUN's own name whatever the word says.
func TestWireguardGoDescriptors(t *testing.T) {
	Need(t, "wg")
	h := NewHost(t, "host")
	tool := As(t, "wireguard-go")
	foreground := h.startRole("with-descriptors", tool, "-f", "another")
	WaitFor(t, 10*time.Second, "device", func() bool { return h.Run("wg", "set", "wg0", "fwmark", "9").Code == 0 })
	if out := h.Must("wg", "show", "wg0", "fwmark"); out.Stdout != "0x9\n" {
		t.Errorf("%v", out)
	}
	foreground.Signal(syscall.SIGTERM)
	if out := foreground.Wait(10 * time.Second); out.Code != 0 {
		t.Errorf("%v", out)
	}
	goneCompletely(h)

	if out := h.startRole("with-descriptors", tool, "another").Wait(20 * time.Second); out.Code != 0 || out.Stderr != "" {
		t.Fatalf("%v", out)
	}
	h.Must("wg", "set", "wg0", "fwmark", "10")
	if p := h.Processes(); !slices.Contains(p, "wireguard-go wg0") {
		t.Errorf("processes: %q", p)
	}
	h.Must("ip", "link", "del", "wg0")
	goneCompletely(h)
}

// The original wg-quick takes it for wireguard-go, on a machine without the
// module.
func TestWireguardGoUnderWgQuick(t *testing.T) {
	Only(t, Userspace)
	Need(t, "wg", "wg-quick")
	a, b := NewHost(t, "a"), NewHost(t, "b")
	Connect(t, a.At("eth0", "192.0.2.1/24"), b.At("eth0", "192.0.2.2/24"))
	tool := As(t, "wireguard-go")
	key := [2]string{strings.TrimSpace(a.Must("wg", "genkey").Stdout), strings.TrimSpace(a.Must("wg", "genkey").Stdout)}
	for i, h := range []*Host{a, b} {
		h.Setenv("WG_QUICK_USERSPACE_IMPLEMENTATION", tool)
		public := strings.TrimSpace(h.RunInput(key[1-i], "wg", "pubkey").Stdout)
		h.WriteFile("/etc/wireguard/wg0.conf", fmt.Sprintf("[Interface]\nPrivateKey = %s\nListenPort = 51820\nAddress = 10.0.0.%d/24\n"+
			"[Peer]\nPublicKey = %s\nAllowedIPs = 10.0.0.%d/32\nEndpoint = 192.0.2.%d:51820\n", key[i], i+1, public, 2-i, 2-i))
		h.Must("wg-quick", "up", "wg0")
	}
	a.MustPing("10.0.0.2")
	for _, h := range []*Host{a, b} {
		h.Must("wg-quick", "down", "wg0")
		goneCompletely(h)
	}
}

// It and the upstream wireguard-go understand each other, and an endpoint goes
// from IPv4 to IPv6 and back while they do.
func TestWireguardGoWithUpstream(t *testing.T) {
	Need(t, "wg")
	a, b := NewHost(t, "a"), NewHost(t, "b")
	Connect(t, a.At("eth0", "192.0.2.1/24", "fd00:aa::1/96"), b.At("eth0", "192.0.2.2/24", "fd00:aa::2/96"))
	tools := []string{As(t, "wireguard-go"), WireguardGo(t)}
	key := [2]string{a.Must("wg", "genkey").Stdout, a.Must("wg", "genkey").Stdout}
	public := [2]string{}
	for i := range key {
		public[i] = strings.TrimSpace(a.RunInput(key[i], "wg", "pubkey").Stdout)
	}
	for i, h := range []*Host{a, b} {
		h.Must(tools[i], "wg0")
		WaitFor(t, 10*time.Second, "device", func() bool { return h.Run("wg", "show", "wg0").Code == 0 })
		h.WriteFile("/run/key", key[i])
		h.Must("wg", "set", "wg0", "private-key", "/run/key", "listen-port", "51820",
			"peer", public[1-i], "allowed-ips", fmt.Sprintf("10.0.0.%d/32", 2-i))
		h.Must("ip", "address", "add", fmt.Sprintf("10.0.0.%d/24", i+1), "dev", "wg0")
		h.Must("ip", "link", "set", "wg0", "up")
	}
	ends := [][2]string{{"192.0.2.2:51820", "192.0.2.1:51820"}, {"[fd00:aa::2]:51820", "[fd00:aa::1]:51820"}}
	for i := range 6 {
		end := ends[i%2]
		a.Must("wg", "set", "wg0", "peer", public[1], "endpoint", end[0])
		a.MustPing("10.0.0.2")
		if got := strings.Fields(b.Must("wg", "show", "wg0", "endpoints").Stdout); len(got) != 2 || got[1] != end[1] {
			t.Errorf("after the endpoint is %s the other side sees %q, want %s", end[0], got, end[1])
		}
	}
}
