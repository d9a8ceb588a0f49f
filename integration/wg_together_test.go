// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// inPath puts a tool before all others in the host's PATH, as our wg.
func inPath(h *Host, tool string) {
	h.t.Helper()
	h.Must("mkdir", "-p", "/run/path")
	h.Must("ln", "-sf", Bin(h.t), "/run/path/"+tool)
	path := strings.TrimSpace(h.Must("sh", "-c", "echo $PATH").Stdout)
	h.Setenv("PATH", "/run/path:"+path)
}

// The promise: the real wg-quick doesn't notice that wg is ours: a tunnel goes
// up, carries traffic, is reloaded as its unit reloads it, saves its state and
// goes down.
func TestRealWgQuickWithOurWg(t *testing.T) {
	Need(t, "wg-quick", "bash")
	s := newSite(t)
	for _, h := range []*Host{s.client, s.hub} {
		inPath(h, "wg")
		said(t, h.Must("wg", "--version").Stdout, "wgctl")
	}
	if Backend() == Userspace { // one by its name, one by the variable
		inPath(s.client, "wireguard-go")
		s.hub.Setenv("WG_QUICK_USERSPACE_IMPLEMENTATION", WireguardGo(t))
	}
	before := s.client.Snapshot()
	hubFile := strings.Replace(s.hubFile(), "Name = laptop\n", "", 1) // a key of ours
	s.hub.WriteFile(configOf("wg0"), hubFile)
	s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", fullAllowed))
	s.hub.Must("wg-quick", "up", "wg0")
	s.client.Must("wg-quick", "up", "wg0")
	s.insideAnswers()
	s.internetIsReachedThrough()

	// ExecReload of wg-quick@.service; on the hub, as on a full tunnel it
	// clears the mark (wg-compat 1.2).
	late := newKeyPair(t)
	s.hub.WriteFile(configOf("wg0"), hubFile+peerSection(late, "AllowedIPs = 10.8.0.99/32"))
	shake, bytes := handshakeAndBytes(s.hub, s.clientKey)
	s.hub.Must("bash", "-c", "exec wg syncconf wg0 <(exec wg-quick strip wg0)")
	said(t, s.hub.Must("wg", "show", "wg0", "peers").Stdout, late.public, s.clientKey.public)
	if h, b := handshakeAndBytes(s.hub, s.clientKey); shake == 0 || h < shake || b < bytes {
		t.Errorf("the client's session: handshake at %d and %d bytes before, %d and %d now", shake, bytes, h, b)
	}
	s.client.MustPing(hubInside4)

	s.client.Must("wg-quick", "save", "wg0")
	if p := s.client.Processes(); Backend() == Userspace && !slices.Contains(p, "wireguard-go wg0") {
		t.Errorf("processes: %q", p)
	}
	said(t, s.client.ReadFile(configOf("wg0")), "PrivateKey = "+s.clientKey.private, "PublicKey = "+s.hubKey.public, "Endpoint = "+hubEndpoint4+":51820")
	s.client.Must("wg-quick", "down", "wg0")
	s.hub.Must("wg-quick", "down", "wg0")
	s.client.Sh("sysctl -qw net.ipv4.conf.all.src_valid_mark=0; rm -rf /run/wireguard; mkdir -m 700 /run/wireguard")
	s.client.Unchanged(before)
}

// The promise: the real wg drives the embedded device, and our wg upstream's
// wireguard-go; the two agree about what they read.
func TestWgAndForeignDevices(t *testing.T) {
	Only(t, Userspace)
	Need(t, "wg")
	h := newTunnelHost(t, "h")
	h.Start(WireguardGo(t), "-f", "theirs")
	h.WriteFile(configOf("ours"), "[Interface]\nTable = off\n")
	wgctlOK(h, "up", "--backend", "userspace", "ours")
	wg := As(t, "wg")
	WaitFor(t, 10*time.Second, "wireguard-go to answer", func() bool { return h.Run("wg", "show", "theirs").Code == 0 })
	for device, tools := range map[string][2]string{"ours": {"wg", wg}, "theirs": {wg, "wg"}} {
		writer, reader := tools[0], tools[1]
		h.WriteFile("/run/base", wgBase)
		h.Must(writer, "setconf", device, "/run/base")
		h.Must(writer, "set", device, "peer", wgKey3, "allowed-ips", "10.3.0.0/16,fd03::/16", "endpoint", "[2001:db8::3]:3", "persistent-keepalive", "33")
		h.Must(writer, "set", device, "peer", wgKey2, "remove")
		out := h.Must(reader, "show", device, "dump")
		said(t, out.Stdout, dumpDevice, dumpPeer1, wgKey3+"\t(none)\t[2001:db8::3]:3\t10.3.0.0/16,fd03::/16\t0\t0\t0\t33\n")
		if strings.Contains(out.Stdout, wgKey2) {
			t.Errorf("%s: a peer is still there: %v", device, out)
		}
		said(t, h.Must(wg, "show", "interfaces").Stdout, device)
		h.Must(writer, "set", device, "listen-port", "0") // the other needs it
	}
	wgctlOK(h, "down", "ours")
}

// The promise: wg finds a userspace device whose link is in another network
// namespace, by its socket.
func TestWgFindsSocketsWithoutLinks(t *testing.T) {
	Only(t, Userspace)
	Need(t, "wg")
	h := newTunnelHost(t, "h")
	h.Start(WireguardGo(t), "-f", "away")
	WaitFor(t, 10*time.Second, "wireguard-go to answer", func() bool { return h.Run("wg", "show", "away").Code == 0 })
	h.Sh("ip netns add other; ip link set away netns other")
	wg := As(t, "wg")
	h.Must(wg, "set", "away", "listen-port", "51999", "fwmark", "7")
	for _, tool := range []string{"wg", wg} {
		if out := h.Must(tool, "show", "away", "fwmark"); out.Stdout != "0x7\n" {
			t.Errorf("%v", out)
		}
		if out := h.Must(tool, "show", "interfaces"); out.Stdout != "away\n" {
			t.Errorf("%v", out)
		}
	}
	// A socket that nobody answers on is nothing.
	h.Sh("ip -n other link del away; touch /run/wireguard/file.sock")
	WaitFor(t, 10*time.Second, "the device to go", func() bool { return h.Must(wg, "show", "interfaces").Stdout == "" })
}

// The promise: the completion scripts of wireguard-tools work with our wg and
// our wg-quick.
func TestBashCompletionOfWg(t *testing.T) {
	Need(t, "bash")
	const scripts = "/usr/share/bash-completion/completions/"
	h := newWgHost(t, "h")
	if !h.Exists(scripts+"wg") || !h.Exists(scripts+"wg-quick") {
		unable(t, "%swg is not installed", scripts)
	}
	ourNames(h)
	h.Must("wg", "setconf", "wg0", "/run/c/base")
	h.WriteFile(configOf("office"), "[Interface]\n")
	for line, want := range map[string]string{
		"wg-quick do":            "down",
		"wg-quick down ":         "wg0",
		"wg-quick up of":         "office",
		"wg s":                   "show showconf set setconf syncconf",
		"wg show ":               "wg0 all interfaces",
		"wg show wg0 p":          "public-key private-key peers preshared-keys persistent-keepalive",
		"wg set w":               "wg0",
		"wg set wg0 ":            "listen-port fwmark private-key peer",
		"wg set wg0 peer AQ":     wgKey1,
		"wg set wg0 peer x allo": "allowed-ips",
	} {
		words := lineWords(line)
		out := h.Must("bash", "-c", fmt.Sprintf(`complete() { :; }; compopt() { :; }; . %s; COMP_WORDS=(%s); COMP_CWORD=%d; COMPREPLY=(); _%s_completion; echo "${COMPREPLY[*]}"`,
			scripts+words[0], shellWords(words), len(words)-1, strings.ReplaceAll(words[0], "-", "_")))
		if got := strings.TrimSpace(out.Stdout); got != want {
			t.Errorf("%q completes to %q, want %q: %v", line, got, want, out)
		}
	}
}

// The promise: prometheus exporters read "wg show all dump" by columns: 5 for
// an interface and 9 for a peer, parted by tabs.
func TestWgDumpColumns(t *testing.T) {
	h := newWgHost(t, "h")
	h.Must("wg", "setconf", "wg0", "/run/c/base")
	for _, which := range []struct {
		name         string
		device, peer int
	}{{"all", 5, 9}, {"wg0", 4, 8}} {
		lines := strings.Split(strings.TrimSuffix(h.Must(As(t, "wg"), "show", which.name, "dump").Stdout, "\n"), "\n")
		if len(lines) != 3 {
			t.Fatalf("%q", lines)
		}
		for i, line := range lines {
			want := which.peer
			if i == 0 {
				want = which.device
			}
			if got := len(strings.Split(line, "\t")); got != want {
				t.Errorf("%s: %d columns, want %d: %q", which.name, got, want, line)
			}
		}
	}
}

// The promise: wg starts with little work of its own. How long that takes is a
// row of the benchmarks; what it consists of can be counted: the bytes that
// initialisers allocate, and the calls by which a runtime takes signals or gives
// them back, each with two threads that wait for each other.
func TestWgStartsWithLittle(t *testing.T) {
	Need(t, "strace")
	wg := As(t, "wg")
	traced := exec.Command(wg, "--version")
	traced.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	trace, err := traced.CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	allocated := 0
	for _, m := range regexp.MustCompile(`(?m)^init .* (\d+) bytes, \d+ allocs$`).FindAllSubmatch(trace, -1) {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		allocated += n
	}
	if allocated == 0 || allocated > 256<<10 {
		t.Errorf("wg --version: initialisers allocate %d bytes:\n%s", allocated, trace)
	}

	calls, err := exec.Command("strace", "-f", "-qq", "-e", "trace=rt_sigprocmask", "-e", "signal=none", wg, "--version").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, calls)
	}
	// A program that does nothing has 11, and wg up to 20, as it starts its threads.
	if n := strings.Count(string(calls), "rt_sigprocmask("); n == 0 || n > 40 {
		t.Errorf("wg --version makes %d calls about signals:\n%s", n, calls)
	}
}

// handshakeAndBytes are when a peer's latest handshake was, in seconds, and what
// came from it: a peer that is made anew has neither.
func handshakeAndBytes(h *Host, peer keyPair) (shake, bytes int) {
	h.t.Helper()
	line := strings.Split(firstLine(h.Must("wg", "show", "wg0", "dump").Stdout, peer.public), "\t")
	if len(line) != 8 {
		h.t.Fatalf("no such peer: %q", line)
	}
	shake, _ = strconv.Atoi(line[4])
	bytes, _ = strconv.Atoi(line[5])
	return shake, bytes
}
