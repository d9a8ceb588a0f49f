// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A wgCase is a line of shell that calls wg, by the real one and by ours, each
// on a device of its own that is the same at the start. Exit status, standard
// output and the device's dump afterwards must be equal, and standard error
// but for what withoutValues says. Where ours goes another way on purpose, or
// Debian's wg is too old, ours says what it must do instead.
type wgCase struct {
	sh   string
	ours *wgResult
	why  string // of ours
}

// A wgResult is what one run left. In a wgCase, a dump of "" is the device as
// it was.
type wgResult struct {
	code           int
	stdout, stderr string
	dump           string
}

const (
	wgPrivate = "4GgaQCy68nzNsUE5aJ9fuLzHhB65tAlwbmA72MWnOm8="
	wgPublic  = "rlbInAj0qV69CysWPQY7KEBnKxpYCpaWqOs/dLevdWc="
	wgPSK     = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="
	wgKey1    = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
	wgKey2    = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="
	wgKey3    = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="
)

// wgBase is what each case starts from.
const wgBase = `[Interface]
PrivateKey = ` + wgPrivate + `
ListenPort = 51820
FwMark = 0x1
[Peer]
PublicKey = ` + wgKey1 + `
PresharedKey = ` + wgPSK + `
AllowedIPs = 10.0.0.1/32, fd00::/64
Endpoint = 192.0.2.1:5
[Peer]
PublicKey = ` + wgKey2 + `
AllowedIPs = 10.0.1.0/24
PersistentKeepalive = 25
`

// Lines of wgBase as dump prints it.
const (
	dumpDevice = wgPrivate + "\t" + wgPublic + "\t51820\t0x1"
	dumpPeer1  = wgKey1 + "\t" + wgPSK + "\t192.0.2.1:5\t10.0.0.1/32,fd00::/64\t0\t0\t0\toff"
	dumpPeer2  = wgKey2 + "\t(none)\t(none)\t10.0.1.0/24\t0\t0\t0\t25"
)

// The promise: our wg is Debian's wg, to the byte, with every verb and every
// odd value of a table of more than 150 cases: the exit status, what is
// printed, and what becomes of the device.
func TestLikeWg(t *testing.T) {
	oneGuest(t, "even")
	Need(t, "wg", "bash")
	all := wgCases()
	cases := all
	if slowness() > 1 { // each takes a second there: every other one, which is still more than 150
		cases = nil
		for i, c := range all {
			if i%wgGuestShare == 0 || c.ours != nil {
				cases = append(cases, c)
			}
		}
	}
	if len(cases) < 150 {
		t.Errorf("only %d cases", len(cases))
	}
	t.Logf("%d cases", len(cases))
	theirs, ours := newWgHost(t, "theirs"), newWgHost(t, "ours")
	real := strings.TrimSpace(theirs.Must("sh", "-c", "command -v wg").Stdout)
	theirs.Must("ln", "-s", real, "/run/path/wg")
	ours.Must("ln", "-s", Bin(t), "/run/path/wg")
	results := make(chan []wgResult)
	go func() {
		defer close(results) // also where the test fails in there
		results <- runWgCases(theirs, real, cases)
	}()
	got := runWgCases(ours, real, cases)
	want := <-results
	if t.Failed() {
		return
	}
	for i, c := range cases {
		compareWg(t, c, want[i], got[i])
	}
}

// wgGuestShare is the part of the cases that run where everything is slow.
const wgGuestShare = 2

func compareWg(t *testing.T, c wgCase, want, got wgResult) {
	t.Helper()
	want, got = withoutChosenPort(want), withoutChosenPort(got)
	want.stderr, got.stderr = withoutValues(want.stderr), withoutHelp(got.stderr)
	want.stdout, got.stdout = peersInOrder(withoutHelp(want.stdout)), peersInOrder(withoutHelp(got.stdout))
	if c.ours != nil {
		if want == got {
			t.Errorf("%s: the table says that it differs, but it doesn't (%s)", c.sh, c.why)
		}
		want = *c.ours
		if want.dump == "" {
			want.dump = wgDump(dumpDevice, dumpPeer1, dumpPeer2)
		}
	}
	if want != got {
		t.Errorf("%s (%s):\n--- want %d\n%s%s%s--- got %d\n%s%s%s", c.sh, c.why,
			want.code, want.stdout, want.stderr, want.dump, got.code, got.stdout, got.stderr, got.dump)
	}
}

// peersInOrder sorts the sections of a printed config: the userspace device
// gives its peers in another order each time.
func peersInOrder(text string) string {
	if Backend() != Userspace || !strings.Contains(text, "\n[Peer]\n") {
		return text
	}
	sections := strings.Split(strings.TrimSuffix(text, "\n"), "\n\n")
	slices.Sort(sections)
	return strings.Join(sections, "\n\n") + "\n"
}

// withoutChosenPort names a port that the device chose: no two choose the same.
func withoutChosenPort(r wgResult) wgResult {
	device, _, _ := strings.Cut(r.dump, "\n")
	if f := strings.Split(device, "\t"); len(f) == 4 && len(f[2]) == 5 && !slices.Contains([]string{"51820", "65535"}, f[2]) {
		r.stdout, r.dump = strings.ReplaceAll(r.stdout, f[2], "chosen"), strings.ReplaceAll(r.dump, f[2], "chosen")
	}
	return r
}

// Keys are never repeated in a message, and of a line that isn't understood
// only the word before the "=" is.
var wgValues = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile("(Key is not the correct length or format): `[^']*'"), "$1"},
	{regexp.MustCompile("(Line unrecognized: `[^'=]+)=[^']+'"), "$1'"},
	{regexp.MustCompile("(Line unrecognized): `[^']*[A-Za-z0-9+/]{43}='"), "$1"},
	{regexp.MustCompile("(Line unrecognized): `=[^']*'"), "$1"},
	{regexp.MustCompile("(Invalid argument): [A-Za-z0-9+/]{43}="), "$1"},
}

func withoutValues(stderr string) string {
	for _, v := range wgValues {
		stderr = v.re.ReplaceAllString(stderr, v.with)
	}
	return withoutHelp(stderr)
}

// withoutHelp leaves the words of help texts out, which are each tool's own,
// and what a newer wg has in its usage line.
func withoutHelp(text string) string {
	if i := strings.Index(text, "\nAvailable subcommands:\n"); i >= 0 {
		text = text[:i]
	}
	return strings.ReplaceAll(text, "[+|-]", "")
}

func newWgHost(t *testing.T, name string) *Host {
	t.Helper()
	h := newTunnelHost(t, name)
	h.Must("mkdir", "-p", "/run/path", "/run/c")
	addDevice(h, "wg0")
	h.Must("ip", "link", "set", "wg0", "down") // a port is only a number then
	h.WriteFileMode("/etc/hosts", "127.0.0.1 localhost\n192.0.2.77 relay.example relay\n2001:db8::77 six.example\n", 0o644)
	h.WriteFile("/run/c/base", wgBase)
	for file, text := range map[string]string{
		"private": wgPrivate + "\n", "psk": wgPSK, "empty": "", "newline": "\n", "short": wgPSK[:43], "spaces": wgPSK + " \n\t\n",
		"trailing": wgPSK + "x", "two": wgPSK + "\n" + wgPSK, "leading": " " + wgPSK, "bad": strings.Repeat("a", 44),
		"nul": wgPSK + "\x00",
	} {
		h.WriteFile("/run/c/"+file, text)
	}
	return h
}

// addDevice makes a device, the embedded one where the kernel has none.
func addDevice(h *Host, name string) {
	h.t.Helper()
	if Backend() == Kernel {
		h.Must("ip", "link", "add", name, "type", "wireguard")
		return
	}
	h.WriteFile(configOf(name), "[Interface]\nTable = off\n")
	wgctlOK(h, "up", "--backend", "userspace", name)
}

// runWgCases runs them all in one shell. Programs are what costs time where
// everything is emulated: one or two besides the one under test for each case.
func runWgCases(h *Host, real string, cases []wgCase) []wgResult {
	var s strings.Builder
	fmt.Fprintf(&s, "export PATH=/run/path:$PATH K1=%s K2=%s K3=%s KSELF=%s WG_ENDPOINT_RESOLUTION_RETRIES=0\ncd /run/c\numask 022\n",
		wgKey1, wgKey2, wgKey3, wgPublic)
	fmt.Fprintf(&s, "base() { %s setconf wg0 base || exit 3; }\nbase\nwas=$(%s show wg0 dump)\n", real, real)
	for i, c := range cases {
		fmt.Fprintf(&s, "( %s\n) >out.%d 2>err.%d </dev/null\necho $? >code.%d\n%s show wg0 dump >dump.%d || exit 4\n[[ $(<dump.%d) == \"$was\" ]] || base\n",
			c.sh, i, i, i, real, i, i)
	}
	h.WriteFile("/run/c/script", s.String())
	out := h.Run("bash", "/run/c/script")
	results := make([]wgResult, len(cases))
	if out.Code != 0 {
		h.t.Errorf("%s: %v", h.Name, out)
		return results
	}
	for i := range cases {
		read := func(what string) string { return h.ReadFile(fmt.Sprintf("/run/c/%s.%d", what, i)) }
		code, err := strconv.Atoi(strings.TrimSpace(read("code")))
		if err != nil {
			h.t.Error(err)
		}
		lines := strings.Split(strings.TrimSuffix(read("dump"), "\n"), "\n")
		results[i] = wgResult{code, read("out"), read("err"), wgDump(lines...)}
	}
	return results
}

// wgDump sorts the peers: a device may give them in any order.
func wgDump(lines ...string) string {
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n") + "\n"
}

// What a new wg can that Debian's can't: allowed IPs by sign, in words and in
// files, where the device has other peers and other prefixes.
func TestWgIncrementalAllowedIPs(t *testing.T) {
	h := newWgHost(t, "h")
	wg := As(t, "wg")
	ips := func(peer string) string {
		for line := range strings.Lines(h.Must("wg", "show", "wg0", "allowed-ips").Stdout) {
			if rest, ok := strings.CutPrefix(line, peer+"\t"); ok {
				words := strings.Fields(rest)
				slices.Sort(words)
				return strings.Join(words, " ")
			}
		}
		return "no such peer"
	}
	for _, tt := range []struct{ list, want1, want2 string }{
		{"+10.9.0.0/16", "10.0.0.1/32 10.9.0.0/16 fd00::/64", "10.0.1.0/24"},
		{"-10.0.0.1/32", "fd00::/64", "10.0.1.0/24"},
		{"-10.0.0.1", "fd00::/64", "10.0.1.0/24"},
		{"-10.0.1.0/24", "10.0.0.1/32 fd00::/64", "10.0.1.0/24"}, // another's
		{"-10.7.0.0/24", "10.0.0.1/32 fd00::/64", "10.0.1.0/24"}, // nobody's
		{"+10.0.1.0/24", "10.0.0.1/32 10.0.1.0/24 fd00::/64", "(none)"},
		{"+fd01::/64,-fd00::/64,10.2.0.0/16", "10.0.0.1/32 10.2.0.0/16 fd01::/64", "10.0.1.0/24"},
		{"-fd00::/64,+fd00::/64", "10.0.0.1/32 fd00::/64", "10.0.1.0/24"},
		{"-10.0.0.1,-fd00::/64", "(none)", "10.0.1.0/24"},
		{"10.3.0.0/16", "10.3.0.0/16", "10.0.1.0/24"},
	} {
		h.Must("wg", "setconf", "wg0", "/run/c/base")
		h.Must(wg, "set", "wg0", "peer", wgKey1, "allowed-ips", tt.list)
		if got1, got2 := ips(wgKey1), ips(wgKey2); got1 != tt.want1 || got2 != tt.want2 {
			t.Errorf("set %s: peer 1 has %q, peer 2 has %q", tt.list, got1, got2)
		}
		h.Must("wg", "setconf", "wg0", "/run/c/base")
		h.WriteFile("/run/c/signed", "[Peer]\nPublicKey = "+wgKey1+"\nAllowedIPs = "+tt.list+"\n")
		h.Must(wg, "addconf", "wg0", "/run/c/signed")
		if got1, got2 := ips(wgKey1), ips(wgKey2); got1 != tt.want1 || got2 != tt.want2 {
			t.Errorf("addconf %s: peer 1 has %q, peer 2 has %q", tt.list, got1, got2)
		}
	}
}

// A file that can't be read isn't an empty one. Debian's wg takes it for one,
// and wipes the device.
func TestWgUnreadableFile(t *testing.T) {
	h := newWgHost(t, "h")
	h.Must("wg", "setconf", "wg0", "/run/c/base")
	before := h.Must("wg", "show", "wg0", "dump").Stdout
	for _, verb := range []string{"setconf", "addconf", "syncconf"} {
		out := h.Fails(1, As(t, "wg"), verb, "wg0", "/run")
		if out.Stderr != "Unable to read configuration: Is a directory\nConfiguration parsing error\n" {
			t.Errorf("%v", out)
		}
	}
	if after := h.Must("wg", "show", "wg0", "dump").Stdout; sortedLines(after) != sortedLines(before) {
		t.Errorf("the device changed:\n%s", after)
	}
}

func sortedLines(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// For interfaces that aren't there, and without privileges, wg's messages.
func TestWgErrorNumbers(t *testing.T) {
	h := newWgHost(t, "h")
	// Where nobody can run it, too.
	h.Must("cp", Bin(t), "/run/path/wg")
	h.Must("chmod", "755", "/run/wireguard")
	missing, other, denied := "No such device", "Operation not supported", "Operation not permitted"
	if Backend() == Userspace {
		missing, other, denied = "Protocol not supported", "Protocol not supported", "Permission denied"
	}
	const nobody = "setpriv --reuid 65534 --clear-groups "
	for line, want := range map[string]string{
		"% show nosuch":                     "Unable to access interface: " + missing,
		"% show lo":                         "Unable to access interface: " + other,
		"% showconf nosuch":                 "Unable to access interface: " + missing,
		"% set nosuch listen-port 1":        "Unable to modify interface: " + missing,
		"% setconf lo /run/c/base":          "Unable to modify interface: " + other,
		"% syncconf lo /run/c/base":         "Unable to retrieve current interface configuration: " + other,
		nobody + "% show":                   "Unable to access interface wg0: " + denied,
		nobody + "% show wg0":               "Unable to access interface: " + denied,
		nobody + "% set wg0 listen-port 99": "Unable to modify interface: " + denied,
	} {
		for _, tool := range []string{"wg", "/run/path/wg"} {
			if out := h.Fails(1, strings.Fields(strings.Replace(line, "%", tool, 1))...); out.Stderr != want+"\n" || out.Stdout != "" {
				t.Errorf("%v\nwant %s", out, want)
			}
		}
	}
}
