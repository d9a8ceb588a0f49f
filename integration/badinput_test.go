// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Without root, without a device, without a backend: one line that says what is
// missing, before anything is done.
func TestUpUnable(t *testing.T) {
	onceForAll(t)
	Need(t, "setpriv")
	nobody := []string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", Bin(t)}
	t.Run("not root", func(t *testing.T) {
		h := newTunnelHost(t, "h")
		m := mishap{}
		m.prepare(t, h)
		before := h.Snapshot()
		for _, verb := range []string{"up", "down", "status"} {
			m.said = []string{"wgctl: " + verb + " needs root", "hint: sudo wgctl " + verb}
			m.holds(t, h.Run(append(nobody, verb, "wg0")...))
		}
		h.Unchanged(before)
	})
	const noTUN = "mount -t tmpfs none /dev/net"
	all := []mishap{
		{name: "no TUN device", do: noTUN, lines: []string{"Backend = userspace"}, said: []string{"/dev/net/tun", "load the module tun"}},
		{name: "no TUN device by flag", do: noTUN, args: []string{"up", "--backend=userspace", "wg0"}, said: []string{"/dev/net/tun"}},
		{name: "unknown backend", lines: []string{"Backend = quantum"}, said: []string{"wg0.conf:4: [Interface] Backend: ", "quantum", "auto, kernel and userspace"}},
		{name: "unknown backend by flag", args: []string{"up", "--backend=quantum", "wg0"}, code: 2, said: []string{"quantum", "auto, kernel or userspace"}},
	}
	if Backend() == Userspace {
		all = append(all,
			mishap{name: "no module", lines: []string{"Backend = kernel"}, said: []string{"this kernel has no WireGuard", "Backend = auto"}},
			mishap{name: "no module by flag", args: []string{"up", "--backend", "kernel", "wg0"}, said: []string{"this kernel has no WireGuard"}},
			mishap{name: "neither module nor TUN", do: noTUN, said: []string{"this kernel has no WireGuard", "/dev/net/tun"}})
	}
	mishaps(t, all)
}

// Files that are none, or not of WireGuard: one line each, nothing touched, and
// never a wait for a writer or for the end of an endless file, nor much memory.
// All are tried with up, and with plan up; TestBadFilesOfAllVerbs has the others.
func TestBadFiles(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	good := fullTunnel(t, 0)
	const conf = "/etc/wireguard/bad.conf"
	tests := []struct {
		name, do string
		content  string
		said     []string
		errors   int
	}{
		{name: "missing", said: []string{conf + ": no such file or directory", "hint: "}},
		{name: "a folder", do: "mkdir " + conf, said: []string{conf + ": is a directory"}},
		{name: "empty", do: "touch " + conf, said: []string{conf + ": is empty"}},
		{name: "NUL bytes", content: strings.Replace(good, "Address", "Addr\x00ess", 1), said: []string{conf + ":3: ", "NUL"}},
		{name: "nothing but NUL bytes", do: "truncate -s 1000 " + conf, errors: 2, said: []string{conf + ":1: line has a NUL byte", "has no [Interface] section"}},
		{name: "UTF-16", do: "printf '\\377\\376[\\0I\\0' >" + conf, said: []string{conf}},
		{name: "a pipe that nobody writes to", do: "mkfifo " + conf, said: []string{conf + ": is empty"}},
		{name: "endless", do: "ln -s /dev/zero " + conf, said: []string{conf + ": is neither a regular file nor a pipe"}},
		{name: "a terminal's twin", do: "ln -s /dev/null " + conf, said: []string{conf + ": is neither a regular file nor a pipe"}},
		{name: "a loop of links", do: "ln -s bad2.conf " + conf + "; ln -s bad.conf /etc/wireguard/bad2.conf", said: []string{conf + ": too many levels of symbolic links"}},
		{name: "a link to nowhere", do: "ln -s /nowhere " + conf, said: []string{conf + ": no such file or directory"}},
		{name: "the same address twice", content: strings.Replace(good, "Address = ", "Address = 10.8.0.2/24, ", 1),
			said: []string{conf + ":3: [Interface] Address: ", `"10.8.0.2/24" has been given`}},
		{name: "a name for a table that nobody has", content: strings.Replace(good, "Address", "Table = nowhere\nAddress", 1),
			said: []string{conf + ":3: [Interface] Table: ", `"nowhere"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.content != "" {
				h.WriteFile(conf, tt.content)
			}
			h.Sh(tt.do + "\n:")
			before := h.Snapshot()
			for _, args := range [][]string{{"up", "bad"}, {"plan", "up", "bad"}} {
				mishap{said: tt.said, errors: tt.errors}.holds(t, measured(t, h, args...))
			}
			h.Unchanged(before)
			h.Sh("rm -rf /etc/wireguard/*")
		})
	}
}

// The same files for all other verbs that read one, and under the names of other
// tools: one clear line, which names the file where those tools name it, at
// little memory. A pipe without a writer is for wg to wait for, as wg does.
func TestBadFilesOfAllVerbs(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	h.WriteFile("/etc/wireguard/small.conf", "[Interface]\n")
	h.Must("sh", "-ec", "mkdir -p /run/bin9; cd /run/bin9; for f in wg wg-quick; do ln -s \"$1\" $f; done", "sh", Bin(t))
	good := fullTunnel(t, 0)
	const conf = "/etc/wireguard/bad.conf"
	for _, tt := range []struct{ name, do, content, said string }{
		{"a folder", "mkdir " + conf, "", "is a directory"},
		{"NUL bytes", "", strings.Replace(good, "Address", "\x00ListenPort", 1), "NUL"},
		{"invalid UTF-8", "", strings.Replace(good, "Address", "\xff\xc0\x80", 1), ""},
		{"a pipe that nobody writes to", "mkfifo " + conf, "", "is empty"},
		{"endless", "ln -s /dev/zero " + conf, "", "is neither a regular file nor a pipe"},
		{"a loop of links", "ln -s bad2.conf " + conf + "; ln -s bad.conf /etc/wireguard/bad2.conf", "", "too many levels of symbolic links"},
		{"a line of 50 MB", "head -c 50M /dev/zero | tr '\\0' x >" + conf, "", "line is longer than 8 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.Sh("rm -rf /etc/wireguard/bad*")
			if tt.content != "" {
				h.WriteFile(conf, tt.content)
			}
			h.Sh(tt.do + "\n:")
			before := h.Snapshot()
			for _, words := range []string{
				"apply bad", "reload bad", "run bad", "plan reload bad", "check bad", "strip bad", "convert bad", "diff bad small", "diff small bad",
				"lab up " + conf, "lab graph " + conf, "lab down " + conf,
				"setconf wg9 " + conf, "addconf wg9 " + conf, "syncconf wg9 " + conf, "set wg9 private-key " + conf,
				"/run/bin9/wg setconf wg9 " + conf, "/run/bin9/wg syncconf wg9 " + conf, "/run/bin9/wg-quick up bad", "/run/bin9/wg-quick strip bad",
			} {
				args, bin := strings.Fields(words), Bin(t)
				if strings.HasPrefix(words, "/") {
					bin, args = args[0], args[1:]
				}
				reader := strings.Contains(bin, "bin9/wg") || strings.Contains(args[0], "conf") || args[0] == "set"
				if reader && strings.HasPrefix(tt.do, "mkfifo") && !strings.HasSuffix(bin, "wg-quick") {
					continue
				}
				out := measuredAs(t, h, bin, args...)
				said := out.Stderr + out.Stdout // where check says it
				lines := strings.Count(said, "\n")
				switch {
				case args[0] == "strip" && (tt.content != "" || strings.HasPrefix(tt.do, "mkfifo")): // which looks at nothing
				case out.Code == 0, lines == 0, lines > 4:
					t.Errorf("%s: exit status %d, %d lines: %.500s", words, out.Code, lines, said)
				case !reader && args[0] != "lab" && args[0] != "reload" && args[0] != "plan" && args[0] != "convert" &&
					!strings.Contains(said, tt.said) && !strings.Contains(said, "is larger than 32 MiB"):
					t.Errorf("%s: does not say %q: %.500s", words, tt.said, said)
				}
			}
			h.Unchanged(before)
		})
	}
}

// A file that is written to while it is read is refused, by whoever reads it.
func TestFileChangesMeanwhile(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	h.WriteFile("/etc/wireguard/small.conf", "[Interface]\n")
	const conf = "/etc/wireguard/bad.conf"
	h.WriteFile(conf, fullTunnel(t, 0))
	h.Sh("yes '# nothing' | head -c 30M >>" + conf)
	const only = "/etc/wireguard/wg.conf" // with what is wg's
	h.Sh("{ echo '[Interface]'; yes '# nothing' | head -c 30M; } >" + only)
	writer := h.Start("sh", "-c", "while :; do echo '#' >>"+conf+"; echo '#' >>"+only+"; done")
	defer writer.Signal(syscall.SIGKILL)
	for _, words := range []string{"plan up bad", "up bad", "apply bad", "check bad", "strip bad", "convert bad", "diff bad small", "setconf wg9 " + only} {
		out := measured(t, h, strings.Fields(words)...)
		for n := 0; n < 10 && out.Code == 0; n++ { // the writer had no processor meanwhile
			out = measured(t, h, strings.Fields(words)...)
		}
		if said := strings.ToLower(out.Stderr + out.Stdout); out.Code == 0 || strings.Count(said, "\n") > 4 || !strings.Contains(said, "has changed while it was read") && !strings.Contains(said, "is larger than 32 mib") {
			t.Errorf("%s: %.500v", words, out)
		}
	}
}

// A byte order mark, CRLF and no newline at the end are no faults.
func TestOddFilesComeUp(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	good := fullTunnel(t, 0)
	before := h.Snapshot()
	for name, content := range map[string]string{
		"bom":  "\ufeff" + good,
		"crlf": strings.ReplaceAll(good, "\n", "\r\n"),
		"end":  strings.TrimRight(good, "\n"),
	} {
		h.WriteFile(configOf(name), content)
		wgctlOK(h, "up", name)
		whole(h, name)
		wgctlOK(h, "down", name)
		h.Unchanged(before)
	}
}

// What can't be the name of an interface is refused before it is used in a
// path, a rule or a hook; what can't be understood of the command line is exit
// status 2.
func TestBadWords(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	before := h.Snapshot()
	for _, verb := range []string{"up", "down", "plan up"} {
		for _, name := range []string{
			"sixteencharacter", "..", ".", "all", "default", "a/b", "../wg0", "wg%d", "wg 0", "wg0;id", "$(id)", "`id`", "wg0|id", "wg0\nx", "wg\x7f", "wgé", "",
			"./sixteencharacter.conf", "./..conf", "./all.conf", "./wg%d.conf", "./wg 0.conf", "./$(id).conf", "./.conf", "/etc/wireguard/", "-x",
		} {
			m := mishap{}
			if strings.HasPrefix(name, "-") {
				m.code = 2
			}
			t.Run(fmt.Sprintf("%s %q", verb, name), func(t *testing.T) {
				m.holds(t, h.Wgctl(append(strings.Fields(verb), name)...))
			})
		}
		m := mishap{said: []string{`"-x"`}}
		m.holds(t, h.Wgctl(append(strings.Fields(verb), "--", "-x")...))
	}
	// All others that take a name, and under other names: none does anything.
	h.Must("sh", "-ec", "mkdir -p /run/bin9; cd /run/bin9; for f in wg wg-quick wireguard-go; do ln -s \"$1\" $f; done", "sh", Bin(t))
	h.WriteFile("/run/key", newKeyPair(t).private+"\n")
	for _, name := range []string{"sixteencharacter", "..", "a/b", "../wg0", "wg%d", "wg 0", "wg0;id", "$(id)", "`id`", "wg0|id", "wg0\nx", "wg\x7f", "*", "wg0&", "<wg0", "~", "\\wg0", "'wg0'"} {
		for _, words := range []string{
			"apply NAME", "reload NAME", "plan reload NAME", "plan down NAME", "run NAME", "save NAME", "strip NAME", "status NAME", "check NAME", "convert NAME",
			"diff NAME NAME", "show NAME", "showconf NAME", "set NAME listen-port 1", "setconf NAME /run/key", "addconf NAME /run/key", "syncconf NAME /run/key",
			"exec NAME true", "lab down NAME", "device-serve NAME",
			"/run/bin9/wg show NAME", "/run/bin9/wg set NAME listen-port 1", "/run/bin9/wg showconf NAME",
			"/run/bin9/wg-quick up NAME", "/run/bin9/wg-quick down NAME", "/run/bin9/wg-quick save NAME", "/run/bin9/wg-quick strip NAME", "/run/bin9/wireguard-go NAME",
		} {
			t.Run(fmt.Sprintf("%s %q", words, name), func(t *testing.T) {
				args := strings.Fields(words)
				for i := range args {
					args[i] = strings.ReplaceAll(args[i], "NAME", name)
				}
				if !strings.HasPrefix(words, "/") {
					args = append([]string{Bin(t)}, args...)
				}
				out := h.Run(args...)
				if n := strings.Count(out.Stderr, "\n"); out.Code == 0 || n == 0 || n > 2 || out.Stdout != "" {
					t.Errorf("want a refusal in a line: %v", out)
				}
				if strings.Contains(out.Stderr, "uid=") || strings.ContainsAny(out.Stderr, "\x7f\x1b") {
					t.Errorf("what it says: %q", out.Stderr)
				}
			})
		}
	}
	h.Sh("rm -r /run/bin9 /run/key")
	for _, words := range []string{
		"frobnicate", "up", "down", "plan", "plan sideways wg0", "up --frobnicate wg0", "up -q wg0", "up --backend", "--frobnicate", "status --jason",
	} {
		t.Run(words, func(t *testing.T) { mishap{code: 2}.holds(t, h.Wgctl(strings.Fields(words)...)) })
	}
	if out := h.Wgctl(); out.Code != 0 || !strings.Contains(out.Stdout, "wgctl up wg0") || out.Stderr != "" {
		t.Errorf("no words at all: want help: %v", out)
	}
	h.Unchanged(before)
}

// largeFile is in MiB.
const largeFile = 100

// largeMemory is what a file of anything may cost, in MiB.
const largeMemory = 200

// measured runs wgctl and holds the memory that it took at its most. The time is
// told, and bounded only as far as it shows a hang: a loaded machine takes any.
func measured(t *testing.T, h *Host, words ...string) Output {
	t.Helper()
	return measuredAs(t, h, Bin(t), words...)
}

// measuredAs is measured under another name.
func measuredAs(t *testing.T, h *Host, bin string, words ...string) Output {
	t.Helper()
	// What strip prints must not make this process large: a child's peak begins with its parent's.
	to := "/dev/stdout"
	if words[0] == "strip" {
		to = "/dev/null"
	}
	p := h.Start(append([]string{"sh", "-c", "exec \"$@\" >" + to, "sh", bin}, words...)...)
	out := p.Wait(runLimit)
	took := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
	peak := p.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10
	t.Logf("%s: %v of processor time, %d MiB of memory, %.100s", strings.Join(words, " "), took.Round(time.Millisecond), peak, out.Stderr)
	if peak > largeMemory {
		t.Errorf("%s: %d MiB of memory, more than %d", strings.Join(words, " "), peak, largeMemory)
	}
	return out
}

// largeVerbs are all that read a file.
var largeVerbs = []string{
	"plan up large", "check large", "strip large", "convert large", "diff large ./small.conf", "lab graph /etc/wireguard/large.conf",
	"setconf wg9 /etc/wireguard/large.conf",
}

// A large file costs little memory, whatever is in it and whoever
// reads it, and what is said of it fits on a page.
func TestLargeFile(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	h.WriteFile("/small.conf", "[Interface]\n")
	h.Must("sh", "-ec", "mkdir -p /run/bin9; cd /run/bin9; for f in wg wg-quick; do ln -sf \"$1\" $f; done", "sh", Bin(t))
	fill := fmt.Sprintf(" | head -c %dM >>/etc/wireguard/large.conf", largeFile)
	good := fullTunnel(t, 0)
	for _, tt := range []struct {
		name, head, do string
		good           bool   // it is a tunnel
		all            bool   // of the verbs read it, not just plan
		crowd          string // the key of which there are too many
	}{
		{name: "garbage", do: "cat /dev/urandom"},
		{name: "one line", do: "tr '\\0' x </dev/zero", all: true},
		{name: "NUL", head: "[Interface]\n", do: "cat /dev/zero"},
		{name: "empty lines", do: "tr '\\0' '\\n' </dev/zero"},
		{name: "empty lines of CRLF", do: "yes \"$(printf '\\r')\""},
		{name: "short comments", head: good, do: "yes '#'", good: true, all: true},
		{name: "names in comments", head: good, do: "yes '# Name = x'", good: true},
		{name: "unknown keys", head: good, do: "yes 'Nonsense = 1'"},
		{name: "invalid values", head: "[Interface]\n", do: "yes 'MTU = x'"},
		{name: "one value again", head: "[Interface]\n", do: "yes 'MTU = 1400'"},
		{name: "empty values", head: "[Interface]\n", do: "yes 'MTU ='"},
		{name: "sections", do: "yes '[Interface]'", all: true},
		{name: "peers", head: "[Interface]\n", do: "yes '[Peer]'"},
		{name: "50 MB to a line", head: good, do: "for i in 1 2; do head -c 50M /dev/zero | tr '\\0' x; echo; done"},
		{name: "invalid UTF-8", head: "[Interface]\n", do: "yes \"$(printf '\\377\\300\\200')\""},
		{name: "a million sections", head: "[Interface]\n", do: "seq -f '[Section%.0f]' 9999999"},
		{name: "allowed IPs", head: good, do: "yes 'AllowedIPs = 10.0.0.0/8, 10.0.0.0/8, 10.0.0.0/8, 10.0.0.0/8'", all: true, crowd: "AllowedIPs"},
		{name: "addresses", head: "[Interface]\n", do: "seq -f 'Address = fd00::%.0f' 9999999", crowd: "Address"},
		{name: "excluded networks", head: "[Interface]\n", do: "yes 'ExcludedIPs = 10.0.0.0/8'", crowd: "ExcludedIPs"},
		{name: "hooks", head: "[Interface]\n", do: "yes 'PostUp = true'", all: true, crowd: "PostUp"},
		{name: "long hooks", head: "[Interface]\n", do: "yes \"PostUp = $(head -c 100k /dev/zero | tr '\\0' x)\"", crowd: "PostUp"},
		{name: "peers with keys", head: good, do: "seq -f %042.0f0= 9999999 | sed 's/^/[Peer]\\nPublicKey=/'", all: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.WriteFile("/etc/wireguard/large.conf", tt.head)
			h.Sh("(" + tt.do + ")" + fill)
			if tt.crowd == "AllowedIPs" {
				for _, bin := range []string{Bin(t), "/run/bin9/wg"} {
					for _, verb := range []string{"setconf", "addconf", "syncconf"} {
						out := measuredAs(t, h, bin, verb, "wg9", "/etc/wireguard/large.conf")
						if out.Code != 1 || strings.Count(out.Stderr, "\n") != 2 || !strings.Contains(strings.ToLower(out.Stderr), "line 524296: allowedips is one of more than 2097152") {
							t.Errorf("%s %s: %v", bin, verb, out)
						}
					}
				}
			}
			for i, words := range largeVerbs {
				if i > 0 && !tt.all {
					break
				}
				out := measured(t, h, strings.Fields(words)...)
				verb, _, _ := strings.Cut(words, " ")
				n := len(errorLines(out))
				if tt.crowd != "" && verb == "plan" && (n != 1 || !strings.Contains(out.Stderr, tt.crowd+": ") || !strings.Contains(out.Stderr, "/large.conf:")) {
					t.Errorf("%s: %d lines of error, not one of %s: %.500v", words, n, tt.crowd, out.Stderr)
				}
				if out.Code > 1 || n > 101 || len(out.Stderr) > 64<<10 || len(out.Stdout) > 64<<10 {
					t.Errorf("%s: exit status %d, %d lines of error: %.500v", words, out.Code, n, out.Stderr)
				}
				// What is a tunnel is one, and what isn't is refused with a reason.
				if verb == "plan" && (out.Code != min(1, n) || tt.good != (n == 0)) {
					t.Errorf("%s: exit status %d, %d lines of error: %.500v", words, out.Code, n, out.Stderr)
				}
			}
		})
	}
}
