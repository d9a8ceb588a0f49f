// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ourNames puts all three names before every other program of the host.
func ourNames(h *Host) {
	h.t.Helper()
	for _, tool := range []string{"wg", "wg-quick", "wireguard-go"} {
		inPath(h, tool)
	}
}

const wgQuickUnit = "/lib/systemd/system/wg-quick@.service"

// unitLine returns the command of a directive of wg-quick's unit for an
// instance, as the installed package has it.
func unitLine(t *testing.T, directive, instance string) string {
	t.Helper()
	text, err := os.ReadFile(wgQuickUnit)
	if err != nil {
		unable(t, "%v", err)
	}
	m := regexp.MustCompile(`(?m)^` + directive + `=(.*)$`).FindStringSubmatch(string(text))
	if m == nil {
		t.Fatalf("%s has no %s", wgQuickUnit, directive)
	}
	return strings.ReplaceAll(m[1], "%i", instance)
}

// The promise: the unit of Debian's package works unchanged where its programs
// are ours: its Start, Reload and Stop lines as written, with only our three
// names in PATH (and bash, where the line names it), in its environment. A
// reload takes a new peer in and keeps the session of the old one.
func TestUnitOfWgQuick(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "bash")
	s := newSite(t)
	environment := unitLine(t, "Environment", "wg0")
	unit := func(h *Host, directive string) Output {
		t.Helper()
		return h.Must("env", "-i", "PATH=/run/path", environment, "/bin/sh", "-c", "exec "+unitLine(t, directive, "wg0"))
	}
	for _, h := range []*Host{s.client, s.hub} {
		ourNames(h)
		for _, tool := range []string{"wg", "wg-quick"} {
			h.Must("mount", "--bind", Bin(t), "/usr/bin/"+tool)
		}
		said(t, h.Must("/usr/bin/wg", "--version").Stdout, "wgctl")
		said(t, h.Must("/usr/bin/wg-quick", "--help").Stderr, "wgctl")
	}
	before := s.hub.Snapshot()
	file := strings.Replace(s.hubFile(), "Name = laptop\n", "", 1)
	s.hub.WriteFile(configOf("wg0"), file)
	s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", splitAllowed))
	unit(s.hub, "ExecStart")
	unit(s.client, "ExecStart")
	s.client.MustPing(hubInside4)
	shake, bytes := handshakeAndBytes(s.hub, s.clientKey)
	late := newKeyPair(t)
	s.hub.WriteFile(configOf("wg0"), file+peerSection(late, "AllowedIPs = 10.8.0.99/32"))
	if out := unit(s.hub, "ExecReload"); out.Stdout+out.Stderr != "" {
		t.Errorf("it speaks: %v", out)
	}
	said(t, s.hub.Must("wg", "show", "wg0", "latest-handshakes").Stdout, late.public+"\t0")
	if h, b := handshakeAndBytes(s.hub, s.clientKey); shake == 0 || h < shake || b < bytes {
		t.Errorf("the client's session: handshake at %d and %d bytes before, %d and %d now", shake, bytes, h, b)
	}
	s.client.MustPing(hubInside4)
	unit(s.client, "ExecStop")
	unit(s.hub, "ExecStop")
	s.hub.Unchanged(before)
}

// The promise: our wg-quick and the real wg are at home with one another, and
// strip prints what the original's does, to the byte.
func TestOurWgQuickWithRealWg(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "wg", "wg-quick", "bash")
	s := newSite(t)
	for _, h := range []*Host{s.client, s.hub} {
		inPath(h, "wg-quick")
		said(t, h.Must("wg-quick", "help").Stderr, "wgctl")
	}
	before := s.client.Snapshot()
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	file := strings.Replace(s.clientFile(hubEndpoint4+":51820", fullAllowed, "# first", "MTU = 1400 # last", "SaveConfig = true", "PostUp = echo '#' %i"), "AllowedIPs", " # mine\nallowedips ", 1)
	s.client.WriteFile(configOf("wg0"), file)
	for _, h := range []*Host{s.hub, s.client} {
		h.Must("wg-quick", "up", "wg0")
	}
	s.insideAnswers()
	s.internetIsReachedThrough()
	if ours, theirs := s.client.Must("wg-quick", "strip", "wg0"), s.client.Must("/usr/bin/wg-quick", "strip", "wg0"); ours.Stdout != theirs.Stdout {
		t.Errorf("strip:\n%s", Diff(theirs.Stdout, ours.Stdout))
	}
	late := newKeyPair(t)
	s.client.Must("wg", "set", "wg0", "peer", late.public, "allowed-ips", "10.99.0.0/16", "persistent-keepalive", "21")
	s.client.Must("wg-quick", "save", "wg0")
	said(t, s.client.ReadFile(configOf("wg0")), "# first", late.public, "PersistentKeepalive = 21", "Endpoint = "+hubEndpoint4+":51820")
	s.client.Must("wg", "set", "wg0", "peer", late.public, "remove")
	s.client.Must("wg-quick", "down", "wg0")
	if saved := s.client.ReadFile(configOf("wg0")); strings.Contains(saved, late.public) || strings.Contains(saved, "FwMark") {
		t.Errorf("saved on down:\n%s", saved)
	}
	s.client.Must("rm", configOf("wg0"))
	s.client.Unchanged(before)
	s.hub.Must("wg-quick", "down", "wg0")
}

// The promise: as wg, syncconf is wg's syncconf also where that hurts: what
// the file of a full tunnel doesn't say is reset, the mark and the port first
// of all. Debian's does the same on the other host.
func TestWgSyncconfOfFullTunnel(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "wg", "bash")
	dumps := map[string]string{}
	for _, who := range []string{"ours", "theirs"} {
		h := newTunnelHost(t, who)
		underlay(h)
		inPath(h, "wg-quick")
		if who == "ours" {
			inPath(h, "wg")
		}
		h.WriteFile(configOf("wg0"), "[Interface]\nPrivateKey = "+wgPrivate+"\nAddress = 10.8.0.2/24\n[Peer]\nPublicKey = "+wgKey1+
			"\nAllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = 192.0.2.1:5\nPersistentKeepalive = 25\n")
		h.Must("wg-quick", "up", "wg0")
		if got := h.Must("wg", "show", "wg0", "fwmark").Stdout; got != "0xca6c\n" {
			t.Errorf("%s: the mark is %q", who, got)
		}
		was := h.Must("wg", "show", "wg0", "listen-port").Stdout
		h.Must("bash", "-c", "wg syncconf wg0 <(wg-quick strip wg0)")
		now := strings.TrimSpace(h.Must("wg", "show", "wg0", "listen-port").Stdout)
		if now+"\n" == was || now == "0" {
			t.Errorf("%s: the port was %sand is %s", who, was, now)
		}
		dumps[who] = regexp.MustCompile(`\t\d+\t\d+\t\d+\t25\n`).ReplaceAllString(
			strings.Replace(h.Must("wg", "show", "wg0", "dump").Stdout, "\t"+now+"\t", "\tchosen\t", 1), "\t25\n")
		said(t, wgctlOK(h, "status", "wg0").Stdout, "wg set wg0 fwmark 0xca6c")
		h.Must("wg-quick", "down", "wg0")
	}
	said(t, dumps["theirs"], "\tchosen\toff\n")
	if dumps["ours"] != dumps["theirs"] {
		t.Error(Diff(dumps["theirs"], dumps["ours"]))
	}
}

// The promise: what exporters make of "wg show all dump": each line of five
// fields is an interface, each of nine a peer of the interface before it, the
// numbers are numbers, and all is what the real wg prints.
func TestWgDumpForExporters(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "wg")
	h := newWgHost(t, "h")
	makeDevice(t, h, "wg1")
	makeDevice(t, h, "a.b_c=+-0123456") // the longest and oddest name
	h.Must("wg", "setconf", "wg0", "/run/c/base")
	h.WriteFile("/run/c/other", "[Peer]\nPublicKey = "+wgKey3+"\nEndpoint = [2001:db8::3]:3\n")
	h.Must("wg", "setconf", "wg1", "/run/c/other")
	ours, theirs := h.Must(As(t, "wg"), "show", "all", "dump").Stdout, h.Must("wg", "show", "all", "dump").Stdout
	if sortedLines(ours) != sortedLines(theirs) {
		t.Error(Diff(sortedLines(theirs), sortedLines(ours)))
	}
	peers, current := map[string][]string{}, ""
	number := regexp.MustCompile(`^[0-9]+$`)
	for line := range strings.Lines(ours) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		switch len(f) {
		case 5:
			if _, ok := peers[f[0]]; ok {
				t.Errorf("%s comes twice", f[0])
			}
			current, peers[f[0]] = f[0], []string{}
			if !number.MatchString(f[3]) || f[4] != "off" && !strings.HasPrefix(f[4], "0x") {
				t.Errorf("an interface: %q", f)
			}
		case 9:
			peers[current] = append(peers[current], f[1])
			if f[0] != current || slices.ContainsFunc(f[5:8], func(n string) bool { return !number.MatchString(n) }) {
				t.Errorf("a peer after %s: %q", current, f)
			}
			if _, err := strconv.Atoi(f[8]); err != nil && f[8] != "off" {
				t.Errorf("a keepalive: %q", f)
			}
		default:
			t.Errorf("%d fields: %q", len(f), line)
		}
	}
	slices.Sort(peers["wg0"])
	if got, want := fmt.Sprint(peers), fmt.Sprint(map[string][]string{"a.b_c=+-0123456": {}, "wg0": {wgKey1, wgKey2}, "wg1": {wgKey3}}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The promise: under watch(1) on a terminal, as administrators leave it open,
// wg shows what it shows in a pipe, plain, and in colours where those are
// asked for.
func TestWatchWg(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "watch")
	h := newWgHost(t, "h")
	inPath(h, "wg")
	h.Must("wg", "setconf", "wg0", "/run/c/base")
	h.Sh("mkdir /run/pts; mount -t devpts -o newinstance,ptmxmode=0666 pts /run/pts")
	h.Setenv("TERM", "xterm")
	for _, c := range []struct{ watch, colour string }{{"watch -t -n 60 wg show wg0", ""}, {"watch -t -c -n 60 WG_COLOR_MODE=always wg show wg0", "\x1b[32m"}} {
		// watch is ended when all of it is there: in the middle of painting it
		// leaves the rest out.
		words := []string{"interface", "wg0", wgPublic, "listening port", "51820", wgKey1, wgKey2, "10.0.0.1", "persistent keepalive"}
		out := h.startRole("terminal", append([]string{"/run/pts", strings.Join(words, "|")}, strings.Fields(c.watch)...)...).Wait(runLimit)
		screen := out.Stdout
		for _, word := range words {
			if !strings.Contains(screen, word) {
				t.Errorf("%s: %q is not on the screen:\n%q", c.watch, word, screen)
			}
		}
		if c.colour != "" && !regexp.MustCompile(`\x1b\[[0-9;]*3[1-7]`).MatchString(screen) {
			t.Errorf("%s: no colours:\n%q", c.watch, screen)
		}
		if c.colour == "" && regexp.MustCompile(`\x1b\[[0-9;]*3[1-7]m`).MatchString(screen) {
			t.Errorf("%s: colours:\n%q", c.watch, screen)
		}
	}
}

// A name that is too long for an interface is nobody's. Debian's wg cuts it off
// and changes the interface that it then finds.
func TestWgLongNames(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	h := newTunnelHost(t, "h")
	wg := As(t, "wg")
	makeDevice(t, h, "wg0123456789abc")
	h.Must(wg, "set", "wg0123456789abc", "listen-port", "7")
	for _, line := range []string{"set % listen-port 8", "setconf % /dev/null", "addconf % /dev/null", "syncconf % /dev/null", "show %", "showconf %"} {
		out := h.Fails(1, append([]string{wg}, strings.Fields(strings.Replace(line, "%", "wg0123456789abcdef", 1))...)...)
		said(t, out.Stderr, "Unable to ", "interface")
	}
	if got := h.Must(wg, "show", "wg0123456789abc", "listen-port").Stdout; got != "7\n" {
		t.Errorf("the port is %s", got)
	}
}
