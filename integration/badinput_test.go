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
// never a wait for a writer or for the end of an endless file. All are tried
// with up, and with plan up.
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
				mishap{said: tt.said, errors: tt.errors}.holds(t, h.Wgctl(args...))
			}
			h.Unchanged(before)
			h.Sh("rm -rf /etc/wireguard/*")
		})
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

// What a large file of anything may cost: processor time, of which a loaded
// machine takes more for the same work, and memory in MiB.
const (
	largeTime   = 2 * time.Second
	largeMemory = 200
)

// largeVerbs are all that read a file.
var largeVerbs = []string{"plan up large", "check large", "strip large", "convert large", "diff large ./small.conf", "setconf wg9 /etc/wireguard/large.conf"}

// A large file costs little time and memory, whatever is in it and whoever
// reads it, and what is said of it fits on a page.
func TestLargeFile(t *testing.T) {
	onceForAll(t)
	h := newTunnelHost(t, "h")
	h.WriteFile("/small.conf", "[Interface]\n")
	fill := fmt.Sprintf(" | head -c %dM >>/etc/wireguard/large.conf", largeFile)
	good := fullTunnel(t, 0)
	for _, tt := range []struct {
		name, head, do string
		good           bool // it is a tunnel
		all            bool // of the verbs read it, not just plan
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
		{name: "peers with keys", head: good, do: "seq -f %042.0f0= 9999999 | sed 's/^/[Peer]\\nPublicKey=/'", all: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h.WriteFile("/etc/wireguard/large.conf", tt.head)
			h.Sh("(" + tt.do + ")" + fill)
			for i, words := range largeVerbs {
				if i > 0 && !tt.all {
					break
				}
				// What strip prints must not make this process large: a child's peak begins with its parent's.
				to := "/dev/stdout"
				if strings.HasPrefix(words, "strip") {
					to = "/dev/null"
				}
				p := h.Start(append([]string{"sh", "-c", "exec \"$@\" >" + to, "sh", Bin(t)}, strings.Fields(words)...)...)
				out := p.Wait(runLimit)
				took := p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
				peak := p.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss >> 10 // of nsenter's children too
				t.Logf("%s: %d MiB in %v of processor time with %d MiB of memory, %.100s", words, largeFile, took.Round(time.Millisecond), peak, out.Stderr)
				if took > 2*largeTime || peak > largeMemory {
					t.Errorf("%s: %d MiB took %v and %d MiB of memory", words, largeFile, took, peak)
				}
				verb, _, _ := strings.Cut(words, " ")
				n := len(errorLines(out))
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
