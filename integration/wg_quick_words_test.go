// SPDX-License-Identifier: MIT

package integration

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A quickCase is a line of shell that calls wg-quick, by the original and by
// ours, in hosts that are the same. Exit status and standard output are equal;
// so is standard error, where usage texts count by their first line alone,
// printed commands as a set, and hints not at all. What ours does differently
// is written out.
type quickCase struct {
	sh   string
	ours string // its standard error; "" is the original's
	why  string
}

var quickCases = []quickCase{
	{sh: "wg-quick"}, {sh: "wg-quick up"}, {sh: "wg-quick bogus split"}, {sh: "wg-quick up split x"}, {sh: "wg-quick Up split"},
	{sh: "wg-quick -h"}, {sh: "wg-quick --help"}, {sh: "wg-quick help"}, {sh: "wg-quick help x"},
	{sh: "wg-quick up nosuch"}, {sh: "wg-quick down nosuch"}, {sh: "wg-quick save nosuch"}, {sh: "wg-quick strip nosuch"},
	{sh: "cd /run && wg-quick up ./nosuch.conf"}, {sh: "cd /run && wg-quick up ./wg0"}, {sh: "cd /run && wg-quick up ./sixteencharacter.conf"},
	{sh: "cd /run && wg-quick up './a b.conf'"}, {sh: "wg-quick up 'a b'"}, {sh: "wg-quick up ''"},
	{sh: "cd /etc/wireguard && wg-quick up split.conf"}, // needs a slash
	{sh: "wg-quick down split"}, {sh: "wg-quick save split"}, {sh: "wg-quick strip split"}, {sh: "wg-quick strip unknown"}, {sh: "wg-quick strip /run/link.conf"},
	{sh: "wg-quick strip world"}, {sh: "wg-quick strip full | wg addconf nosuch /dev/stdin"},
	{sh: "wg-quick up all", ours: "wg-quick: The config file must be a valid interface name, followed by .conf\n", why: "a trap: sysctls call so what is for all links"},
	{sh: "wg-quick up bool", ours: "wg-quick: /etc/wireguard/bool.conf:5: [Interface] SaveConfig: \"yes\" is neither true nor false\n", why: "it says where"},
	{sh: "wg-quick up unknown", ours: "wg-quick: /etc/wireguard/unknown.conf:5: [Interface] Foo: unknown key\n", why: "before anything is touched"},
	{sh: "wg-quick up split"}, {sh: "wg-quick up split"}, {sh: "wg-quick up /etc/wireguard/split.conf"}, {sh: "wg-quick down split"}, {sh: "wg-quick down split"},
	{sh: "wg-quick up full"}, {sh: "wg-quick down full"}, {sh: "wg-quick up table"}, {sh: "wg-quick down table"},
	{sh: "wg-quick up /run/link.conf"}, {sh: "ip link show dev link >/dev/null && wg-quick down /run/link.conf"},
	{sh: "wg-quick up saved"}, {sh: "wg set saved peer " + wgKey2 + " allowed-ips 10.6.0.0/16; wg-quick down saved; grep -c " + wgKey2 + " /etc/wireguard/saved.conf"},
}

// The promise: scripts that read what wg-quick prints, and how it ends, read
// the same from ours.
func TestWgQuickWords(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "bash")
	theirs, ours := quickWordsHost(t, "theirs"), quickWordsHost(t, "ours")
	inPath(ours, "wg-quick")
	for _, c := range quickCases {
		want, got := theirs.Run("sh", "-c", c.sh), ours.Run("sh", "-c", c.sh)
		if c.sh == "wg-quick down split" { // the next one must not find it still there
			waitForOriginal(theirs, "split")
		}
		if got.Code != want.Code || got.Stdout != want.Stdout {
			t.Errorf("%s: theirs %v\nours %v", c.sh, want, got)
		}
		words, said := quickWords(want.Stderr), quickWords(got.Stderr)
		if c.ours != "" {
			if words == said {
				t.Errorf("%s: the table says that it differs, but it doesn't", c.sh)
			}
			words = c.ours
		}
		if words != said {
			t.Errorf("%s (%s):\n--- want\n%s--- got\n%s", c.sh, c.why, words, said)
		}
	}
}

func quickWordsHost(t *testing.T, name string) *Host {
	t.Helper()
	h, _ := bothQuick(t, name)
	underlay(h)
	useResolvconf(h)
	head := "# head\n[Interface]\nPrivateKey = " + wgPrivate + "\nAddress = 10.8.0.2/24, fd08::2/64\n"
	peer := "[Peer] # a peer\nPublicKey = " + wgKey1 + "\nEndpoint = 192.0.2.1:5\nAllowedIPs = "
	for file, text := range map[string]string{
		"split":   head + "DNS = 10.8.0.1, a.example\nPreUp = echo %i\nPostUp = echo $INTERFACE\nPreDown = true\nPostDown = true\n" + peer + "10.9.0.0/16, fd09::/64, 10.8.0.9/32\n",
		"full":    head + peer + "0.0.0.0/0, ::/0, 10.77.0.0/16\n",
		"table":   head + "Table = 77\nMTU = 1400\n" + peer + "0.0.0.0/0, ::/0, 10.77.0.0/16\n",
		"bool":    head + "SaveConfig = yes\n",
		"unknown": head + "Foo = yes\n",
		"saved":   head + "SaveConfig = true\n" + peer + "10.9.0.0/16\n",
	} {
		h.WriteFile(configOf(file), text)
	}
	h.WriteFileMode(configOf("world"), head, 0o644)
	h.Sh("chmod 755 /etc/wireguard; touch /run/wg0 /run/sixteencharacter.conf '/run/a b.conf'; ln -s /etc/wireguard/split.conf /run/link.conf")
	return h
}

// Of wg-quick's printed commands: what is of a newer wg-quick than Debian's, or
// is there once in ours for both families, or not at all.
var quickSteps = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`^\[#\] wg setconf`), "[#] wg addconf"},
	{regexp.MustCompile(`^\[#\] ip link add.*`), ""}, // ours knows that the kernel can't
	{regexp.MustCompile(`^\[#\] (\S*/)?wireguard-go .*`), "[#] wireguard-go"},
	{regexp.MustCompile(`^\[#\] wg set \S+ fwmark .*`), ""},                         // ours is in addconf
	{regexp.MustCompile(`^\[#\] wg showconf .*`), ""},                               // ours only if there is something to save
	{regexp.MustCompile(`^\[#\] sysctl -q net.ipv4.conf.all.src_valid_mark=0`), ""}, // ours puts it back
	{regexp.MustCompile(`^\[#\] nft delete table .*`), "[#] nft -f /dev/fd/63"},
	{regexp.MustCompile(`^[ │┌└].*`), ""}, // a banner
	{regexp.MustCompile(`^(hint: |Error: Unknown device type|Cannot find device).*`), ""},
	{regexp.MustCompile(`^(Usage: wg-quick .*)`), "$1"},
}

func quickWords(stderr string) string {
	if usage, _, ok := strings.Cut(stderr, "\n\n"); ok && strings.HasPrefix(usage, "Usage: ") {
		return usage + "\n"
	}
	var steps, rest []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSuffix(line, "\n")
		for _, s := range quickSteps {
			line = s.re.ReplaceAllString(line, s.with)
		}
		switch {
		case line == "":
		case !strings.HasPrefix(line, "[#] "):
			rest = append(rest, line+"\n")
		case !slices.Contains(steps, line+"\n"):
			steps = append(steps, line+"\n")
		}
	}
	slices.Sort(steps)
	return strings.Join(append(rest, steps...), "")
}

// A user who isn't root is sent through sudo, with the same words; where there
// is none, it is said.
func TestWgQuickBecomesRoot(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "setpriv")
	h := NewHost(t, "h")
	h.Must("mkdir", "-p", "/run/path", "/run/sudo")
	h.Must("cp", Bin(t), "/run/path/wg-quick")
	h.WriteFileMode("/run/sudo/sudo", "#!/bin/sh\nfor a; do echo \"<$a>\"; done\n", 0o755)
	const nobody = "setpriv --reuid 65534 --clear-groups env PATH="
	out := h.Must("sh", "-c", nobody+"/run/sudo:/run/path:/usr/bin wg-quick strip 'a b'")
	if want := "<-p>\n<[?] wg-quick must be run as root. Please enter the password for %u to continue: >\n<-->\n</run/path/wg-quick>\n<strip>\n<a b>\n"; out.Stdout != want {
		t.Errorf("sudo gets %v", out)
	}
	if out := h.Run("sh", "-c", nobody+"/run/path:/usr/bin wg-quick up wg0"); out.Code != 1 || out.Stderr != "wg-quick: wg-quick must be run as root\n" {
		t.Errorf("without sudo: %v", out)
	}
}
