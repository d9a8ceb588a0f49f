// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// splitTunnel is a file with no default route, of a peer that nobody is.
func splitTunnel(t testing.TB, lines ...string) string {
	return interfaceSection(newKeyPair(t), append([]string{"Address = 10.8.0.2/24"}, lines...)...) +
		peerSection(newKeyPair(t), "AllowedIPs = 10.77.0.0/16")
}

// Hooks run in the order of the file, at the moments of wg-quick: PreUp with
// the link there and down, PostUp with the tunnel whole, PreDown before
// anything goes, PostDown with the link gone; with %i replaced everywhere, the
// shell's variables, the caller's folder, its standard input, and bash's ways.
func TestHooks(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.Must("mkdir", "/run/log", "/run/here")
	h.WriteFile(configOf("wg0"), splitTunnel(t,
		"PreUp = echo pre-up %i $INTERFACE $CONFIG_FILE >>/run/log/%i",
		"PreUp = ip -br address show dev %i | grep -c 10.8 >>/run/log/%i || true",
		"PostUp = echo post-up $(pwd) $(cat) $LC_ALL >>/run/log/%i",
		"PostUp = ip route show dev %i | grep -c 10.77 >>/run/log/%i # not a comment that is cut: %i",
		"PostUp = a=(x y); [[ ${a[1]} == y ]] && v='  trim'; echo bash \"${v##*([[:space:]])}\" $(cat <(echo sub)) >>/run/log/%i",
		"PreDown = ip route show dev %i | grep -c 10.77 >>/run/log/%i",
		"PreDown = echo pre-down >>/run/log/%i",
		"PostDown = ip link show dev %i 2>/dev/null || echo gone >>/run/log/%i",
		"PostDown = echo post-down >>/run/log/%i",
	))
	before := h.Snapshot()
	out := h.RunInput("from the caller", "sh", "-c", "cd /run/here && exec "+Bin(t)+" up wg0")
	if out.Code != 0 {
		t.Fatal(out)
	}
	// What is printed is what runs, in order.
	printed := steps(out.Stderr)
	first := slices.IndexFunc(printed, func(s string) bool { return strings.HasPrefix(s, "echo pre-up wg0 $INTERFACE") })
	if first < 1 || !strings.Contains(printed[first-1], "wg0") || !strings.HasSuffix(printed[len(printed)-2], ": wg0") {
		t.Errorf("printed steps: %q", printed)
	}
	wgctlOK(h, "down", "wg0")
	want := "pre-up wg0 wg0 " + configOf("wg0") + "\n0\n" +
		"post-up /run/here from the caller C\n1\nbash trim sub\n" +
		"1\npre-down\ngone\npost-down\n"
	if got := h.ReadFile("/run/log/wg0"); got != want {
		t.Errorf("hooks left\n%s\nwant\n%s", got, want)
	}
	h.Must("rm", "/run/log/wg0")
	h.Unchanged(before)
}

// Hooks run under set -e and pipefail: the first command that fails ends the
// hook, and a failing PreUp or PostUp rolls everything back, exits 1 and is
// named; what earlier hooks did is said to remain.
func TestHookFails(t *testing.T) {
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	for _, hook := range []string{
		"PreUp = false",
		"PostUp = false; echo unreached",
		"PostUp = false | cat; echo unreached",
		"PostUp = exit 7",
		"PostUp = unknown-command-of-nobody",
	} {
		phase, _, _ := strings.Cut(hook, " ")
		h.WriteFile(configOf("wg0"), splitTunnel(t, "PreUp = echo first ran", hook, "PostUp = echo unreached", "PostDown = echo unreached"))
		out := wgctlFails(h, 1, "up", "wg0")
		said(t, out.Stderr, "wgctl: running "+phase+" hook: ", "hint: this hook had run, and what it did was not undone: PreUp = echo first ran")
		if strings.Contains(out.Stdout, "unreached") {
			t.Errorf("%s: the hook went on: %v", hook, out)
		}
		h.Unchanged(before)
	}
}

// A failing PreDown or PostDown does not stop the down: all is gone, and the
// exit status is 1.
func TestDownHookFails(t *testing.T) {
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	for _, phase := range []string{"PreDown", "PostDown"} {
		h.WriteFile(configOf("wg0"), fullTunnel(t, 0, phase+" = false", phase+" = echo the next ran"))
		wgctlOK(h, "up", "wg0")
		out := wgctlFails(h, 1, "down", "wg0")
		said(t, out.Stderr, "wgctl: running "+phase+" hook: ")
		said(t, out.Stdout, "the next ran")
		h.Unchanged(before)
		if len(statuses(h)) != 0 {
			t.Errorf("%s: the tunnel is still there", phase)
		}
	}
}

// Where there is no bash, nor any other shell, hooks run in wgctl's own, bash's
// ways included, and nothing is said of that.
func TestHooksWithoutBash(t *testing.T) {
	h := newTunnelHost(t, "h")
	h.Hide("bash")
	h.Must("mkdir", "/run/log")
	h.WriteFile(configOf("wg0"), splitTunnel(t,
		"PreUp = a=(one two); [[ ${a[1]} == two ]] && echo ${#a[@]} $INTERFACE ${CONFIG_FILE##*/}",
		"PostUp = read -r x < <(ip -br link show dev %i); echo \"${x%% *}\" >/run/log/%i",
		"PostUp = false | cat; echo unreached || true"))
	before := h.Snapshot()
	out := wgctlFails(h, 1, "up", "wg0")
	if out.Stdout != "2 wg0 wg0.conf\n" || strings.Contains(out.Stderr, "bash") {
		t.Errorf("hooks printed %q, %q", out.Stdout, out.Stderr)
	}
	said(t, out.Stderr, "wgctl: running PostUp hook: exit status 1")
	if got := h.ReadFile("/run/log/wg0"); got != "wg0\n" {
		t.Errorf("a hook wrote %q", got)
	}
	h.Must("rm", "/run/log/wg0")
	h.Unchanged(before)
}

// The text of a hook is on nobody's command line and in nobody's environment,
// where every user of the host could read it.
func TestHookTextIsPrivate(t *testing.T) {
	h := newTunnelHost(t, "h")
	const secret = "hush-hush-hush"
	for _, shell := range []string{"bash", "wgctl's own"} {
		if shell != "bash" {
			h.Hide("bash")
		}
		h.WriteFile(configOf("wg0"), splitTunnel(t, "PostUp = : "+secret+"; sleep 1000"))
		p := h.Start(Bin(t), "up", "wg0")
		waitForSleep(h)
		found := 0
		dir, err := os.ReadDir(h.path("/proc"))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range dir {
			for _, file := range []string{"cmdline", "environ"} {
				b, err := os.ReadFile(h.path("/proc/" + e.Name() + "/" + file))
				if err == nil && len(b) > 0 {
					found++
				}
				if strings.Contains(string(b), secret) {
					t.Errorf("%s: /proc/%s/%s shows the hook: %q", shell, e.Name(), file, b)
				}
			}
		}
		if found < 6 {
			t.Errorf("%s: only %d files of processes were read", shell, found)
		}
		h.Must("pkill", "-KILL", "-x", "sleep")
		if out := p.Wait(20 * time.Second); out.Code != 1 {
			t.Errorf("want exit 1: %v", out)
		}
	}
}

// With SaveConfig down writes what wg changed into the file, after the PreDown
// hooks, and keeps every other line, comments first of all; what wgctl chose
// for this once (mark, port) stays out.
func TestSaveConfig(t *testing.T) {
	Need(t, "wg")
	h := newTunnelHost(t, "h")
	own, first, gone, fresh := newKeyPair(t), newKeyPair(t), newKeyPair(t), newKeyPair(t)
	file := fmt.Sprintf(`# The office.
[Interface]
PrivateKey = %s # never show this
Address = 10.8.0.2/24
SaveConfig = true
PreDown = wg set %%i peer %s persistent-keepalive 21
[Peer] # of the office
# Name = office
PublicKey = %s
Endpoint = localhost:51820 # a name
AllowedIPs = 0.0.0.0/0, ::/0

[Peer]
PublicKey = %s
AllowedIPs = 10.99.0.0/16
`, own.private, first.public, first.public, gone.public)
	h.WriteFileMode(configOf("wg0"), file, 0o640)
	before := h.Snapshot()
	wgctlOK(h, "up", "wg0")
	h.Must("wg", "set", "wg0", "peer", first.public, "allowed-ips", "10.66.0.0/16,fd66::/64", "peer", gone.public, "remove",
		"peer", fresh.public, "allowed-ips", "10.55.0.1/32", "endpoint", "192.0.2.7:4000")
	wgctlOK(h, "down", "wg0")
	want := fmt.Sprintf(`# The office.
[Interface]
PrivateKey = %s # never show this
Address = 10.8.0.2/24
SaveConfig = true
PreDown = wg set %%i peer %s persistent-keepalive 21
[Peer] # of the office
# Name = office
PublicKey = %s
Endpoint = localhost:51820 # a name
AllowedIPs = 10.66.0.0/16, fd66::/64
PersistentKeepalive = 21

[Peer]
PublicKey = %s
Endpoint = 192.0.2.7:4000
AllowedIPs = 10.55.0.1/32
`, own.private, first.public, first.public, fresh.public)
	got := h.ReadFile(configOf("wg0"))
	if d := Diff(want, got); d != "" {
		t.Errorf("saved file:\n%s", d)
	}
	if mode := h.Must("stat", "-c", "%a", configOf("wg0")).Stdout; mode != "640\n" {
		t.Errorf("mode of the saved file: %s", mode)
	}
	if list := h.Must("ls", "-A", "/etc/wireguard").Stdout; list != "wg0.conf\n" {
		t.Errorf("files left: %s", list)
	}
	h.Unchanged(before)

	// Nothing to save leaves the file as it is.
	h.WriteFile(configOf("wg0"), strings.ReplaceAll(file, "PreDown", "# PreDown"))
	unsaved := h.ReadFile(configOf("wg0"))
	wgctlOK(h, "up", "wg0")
	if out := wgctlOK(h, "down", "wg0"); strings.Contains(out.Stderr, "showconf") || h.ReadFile(configOf("wg0")) != unsaved {
		t.Errorf("the file was written for nothing: %v\n%s", out, Diff(unsaved, h.ReadFile(configOf("wg0"))))
	}
	h.Unchanged(before)
}
