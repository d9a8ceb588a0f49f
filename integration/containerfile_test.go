// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An image is what a Containerfile FROM scratch makes: files by their place in
// it, and what it runs.
type image struct {
	copies          [][2]string // from the source's folder, to the image
	entrypoint, cmd []string
	flags           []string // of the "podman run -d" in its comment, up to the image's name
	words           []string // and after it
}

// readImage plays the instructions; one that it doesn't know fails the test.
func readImage(t testing.TB, path string) (i image) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	list := func(s string) (words []string) {
		if err := json.Unmarshal([]byte(s), &words); err != nil {
			t.Fatalf("%s: %q is no list of words: %v", path, s, err)
		}
		return words
	}
	for line := range strings.Lines(string(text)) {
		what, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch words := strings.Fields(rest); {
		case what == "" || strings.HasPrefix(what, "#"):
		case what == "FROM" && rest == "scratch":
		case what == "COPY" && len(words) == 2 && filepath.IsAbs(words[1]):
			i.copies = append(i.copies, [2]string{words[0], words[1]})
		case what == "ENTRYPOINT":
			i.entrypoint = list(rest)
		case what == "CMD":
			i.cmd = list(rest)
		default:
			t.Fatalf("%s: nobody plays %q here", path, line)
		}
	}
	comment := strings.NewReplacer("#\t", "", "\\\n", "", "#", "").Replace(string(text))
	run := regexp.MustCompile(`(?m)^podman run -d (.*) wgctl (\S+)$`).FindStringSubmatch(comment)
	if run == nil {
		t.Fatalf("%s doesn't say how it is run", path)
	}
	i.flags, i.words = strings.Fields(run[1]), strings.Fields(run[2])
	return i
}

// contained lays the image out as /run/image of a mount namespace, with what
// docker and podman mount into each: /proc with a read-only /proc/sys, /sys, /dev
// and the three files of /etc. There is no /run. Then come the flags.
func (i image) contained(t testing.TB) (script string) {
	t.Helper()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("mkdir -p /run/image && mount -t tmpfs -o mode=755 tmpfs /run/image && cd /run/image")
	for _, c := range i.copies {
		from, err := filepath.Abs(filepath.Join("..", c[0]))
		if c[0] == "wgctl" {
			from, err = Bin(t), nil
		}
		if err != nil {
			t.Fatal(err)
		}
		line("mkdir -p .%s && cp %s .%s", filepath.Dir(c[1]), from, c[1])
	}
	line("mkdir -p proc sys dev etc && mount -t proc proc proc && mount --bind -o ro /proc/sys proc/sys")
	line("mount -t sysfs -o ro sysfs sys; mount -t tmpfs -o mode=755 tmpfs dev; mkdir dev/net")
	line("for d in null zero full random urandom; do touch dev/$d; mount --bind /dev/$d dev/$d; done")
	line("mkdir -p /run/given; for f in resolv.conf hosts hostname; do [ -e /run/given/$f ] || cp /etc/$f /run/given/$f 2>/dev/null || :>/run/given/$f; touch etc/$f; mount --bind /run/given/$f etc/$f; done")
	caps := "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap"
	known := []string{"-d", "--name"}
	for n := 0; n < len(i.flags); n++ {
		value := ""
		if n+1 < len(i.flags) {
			value = i.flags[n+1]
		}
		switch flag := i.flags[n]; {
		case flag == "--cap-add":
			caps += ",+" + strings.ToLower(value)
		case flag == "--device":
			line("touch .%[1]s; mount --bind %[1]s .%[1]s", value)
		case flag == "--sysctl": // set by the runtime, before /proc/sys is read-only
			key, v, _ := strings.Cut(value, "=")
			line("echo %s >/proc/sys/%s", v, strings.ReplaceAll(key, ".", "/"))
		case flag == "-v":
			p := strings.Split(value, ":")
			line("mkdir -p .%[2]s; mount --bind -o %[3]s %[1]s .%[2]s", p[0], p[1], p[2])
		case !slices.Contains(known, flag):
			t.Fatalf("nobody knows the flag %s here", flag)
		}
		n++
	}
	// The words to run are the script's own.
	line(`exec setpriv --bounding-set %s --inh-caps -all chroot . "$@"`, caps)
	return b.String()
}

// in runs a line, or the image's own command, in the image.
func (i image) in(h *Host, words ...string) []string {
	return append([]string{"unshare", "-m", "sh", "-ec", i.contained(h.t), "sh"}, words...)
}

// The image that the Containerfile describes, run as its comment says: it stays
// with the tunnel up, its nameservers in the resolv.conf that is mounted in, and
// takes both back when it is stopped. It has no /run, no shell, no library.
func TestContainerfile(t *testing.T) {
	t.Parallel()
	Only(t, Userspace)
	Need(t, "unshare", "chroot", "setpriv", "ping")
	i := readImage(t, "../packaging/container/Containerfile")
	a, b := newTunnelHost(t, "a"), newTunnelHost(t, "b")
	Connect(t, a.At("eth0", "10.0.0.1/24"), b.At("eth0", "10.0.0.2/24"))
	a.Must("ip", "route", "add", "default", "via", "10.0.0.2")
	a.Must("mkdir", "/run/image")
	aKey, bKey := newKeyPair(t), newKeyPair(t)
	a.WriteFile(configOf("wg0"), interfaceSection(aKey, "Address = 10.8.0.1/24", "DNS = 10.8.0.2, corp.example")+
		peerSection(bKey, "Endpoint = 10.0.0.2:51820", "AllowedIPs = 0.0.0.0/0", "PersistentKeepalive = 25"))
	b.WriteFile(configOf("wg0"), interfaceSection(bKey, "Address = 10.8.0.2/24", "ListenPort = 51820")+peerSection(aKey, "AllowedIPs = 10.8.0.1/32"))
	wgctlOK(b, "up", "wg0")
	a.Must("sh", "-c", "mkdir -p /run/given; echo nameserver 192.0.2.53 >/run/given/resolv.conf; echo 1 >/proc/sys/net/ipv4/conf/all/src_valid_mark")
	before := a.Snapshot()
	command := append(slices.Clone(i.entrypoint), i.words...)
	if !slices.Equal(i.words, i.cmd) {
		t.Errorf("by itself it runs %q, and its comment has %q", i.cmd, i.words)
	}
	p := a.Start(i.in(a, command...)...)
	WaitFor(t, 20*time.Second, "an answer through the tunnel", func() bool { return a.Ping("10.8.0.2") || !p.Running() })
	if !p.Running() {
		t.Fatalf("it did not stay: %v", p.Output())
	}
	said(t, a.ReadFile("/run/given/resolv.conf"), "nameserver 10.8.0.2", "search corp.example")
	p.Signal(syscall.SIGTERM)
	if out := p.Wait(20 * time.Second); out.Code != 0 {
		t.Errorf("%v", out)
	}
	if got := a.ReadFile("/run/given/resolv.conf"); got != "nameserver 192.0.2.53\n" {
		t.Errorf("resolv.conf was left as %q", got)
	}
	a.Sh("rm -f /run/given/hosts /run/given/hostname")
	a.Unchanged(before)

	// What takes a kernel parameter that isn't set names the flag that sets it,
	// and with the parameter set needs nothing more.
	a.WriteFile(configOf("wg0"), interfaceSection(aKey, "Address = 10.8.0.1/24", "Masquerade = on")+
		peerSection(bKey, "Endpoint = 10.0.0.2:51820", "AllowedIPs = 10.8.0.0/24"))
	before = a.Snapshot()
	if out := a.Run(i.in(a, "/wgctl", "up", "wg0")...); out.Code != 1 || !strings.Contains(out.Stderr, "--sysctl net.ipv4.ip_forward=1") {
		t.Errorf("without the right to set what forwards: %v", out)
	}
	a.Sh("rm -f /run/given/hosts /run/given/hostname")
	a.Unchanged(before)
	i.flags = append(i.flags, "--sysctl", "net.ipv4.ip_forward=1")
	p = a.Start(i.in(a, command...)...)
	WaitFor(t, 20*time.Second, "an answer through the tunnel", func() bool { return a.Ping("10.8.0.2") || !p.Running() })
	said(t, a.Must("nft", "list", "ruleset").Stdout, "masquerade")
	p.Signal(syscall.SIGTERM)
	if out := p.Wait(20 * time.Second); out.Code != 0 {
		t.Errorf("%v", out)
	}
}
