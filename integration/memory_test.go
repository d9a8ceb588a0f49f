// SPDX-License-Identifier: MIT

package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A memoryCount is how often a key is in a process's memory: as its 32 bytes, as
// the text of a file, and as UAPI has it.
type memoryCount struct{ raw, base64, hex int }

func (c memoryCount) String() string {
	return fmt.Sprintf("%d raw, %d base64, %d hex", c.raw, c.base64, c.hex)
}

// keysIn counts keys, in base64, in all that a process of the host can read.
func keysIn(t *testing.T, h *Host, pid string, keys []string) []memoryCount {
	t.Helper()
	memory := readMemory(t, h, pid)
	out := make([]memoryCount, 0, len(keys))
	for _, text := range keys {
		raw, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		// The last character but one depends on what follows the key: 42 are its own.
		out = append(out, memoryCount{bytes.Count(memory, raw), bytes.Count(memory, []byte(text[:42])), bytes.Count(memory, []byte(hex.EncodeToString(raw)))})
	}
	return out
}

func readMemory(t *testing.T, h *Host, pid string) (all []byte) {
	t.Helper()
	maps, err := os.ReadFile(h.path("/proc/" + pid + "/maps"))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(h.path("/proc/" + pid + "/mem"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mem.Close() }()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || mode[0] != 'r' || to-from > 512<<20 {
			continue
		}
		part := make([]byte, to-from)
		n, _ := mem.ReadAt(part, from) // what isn't there can't be read
		all = append(all, part[:n]...)
	}
	if len(all) < 1<<20 {
		t.Fatalf("only %d bytes of process %s can be read", len(all), pid)
	}
	return all
}

// ours are the processes of wgctl on a host, by what they were called with, but
// for those of the embedded device.
func ours(h *Host, words string) (pids []string) {
	list, _ := os.ReadDir(h.path("/proc"))
	for _, e := range list {
		b, err := os.ReadFile(h.path("/proc/" + e.Name() + "/cmdline"))
		if line := strings.ReplaceAll(string(b), "\x00", " "); err == nil && (strings.HasPrefix(line, Bin(h.t)+" "+words) || strings.HasPrefix(line, "wgctl "+words)) {
			pids = append(pids, e.Name())
		}
	}
	return pids
}

// TestKeysInMemory looks for keys in the memory of every process that has had
// them, while it waits: SECURITY.md says how far they are cleared. Nobody's has
// their text, neither that of a file nor that of a message to a device; how often
// the 32 bytes are left, of which Go makes copies, is told.
func TestKeysInMemory(t *testing.T) {
	onceForAll(t)
	t.Parallel()
	h := newTunnelHost(t, "h")
	underlay(h)
	const gate = "touch /run/waits; while [ -e /run/gate ]; do sleep 0.02; done"
	k := make([]keyPair, 6)
	for i := range k {
		k[i] = newKeyPair(t)
	}
	peer := newKeyPair(t)
	file := func(own keyPair, psk keyPair, lines ...string) string {
		return interfaceSection(own, append(lines, "Address = 10.8.0.2/24")...) +
			peerSection(peer, "PresharedKey = "+psk.private, "Endpoint = 192.0.2.1:51900", "AllowedIPs = 10.9.0.0/16")
	}
	m := memory{t, h}
	waits := func(words ...string) *Process {
		h.Sh("rm -f /run/waits; touch /run/gate")
		p := h.Start(words...)
		WaitFor(t, 20*time.Second, "the hook of "+strings.Join(words[1:], " "), func() bool { return h.Exists("/run/waits") })
		return p
	}
	ends := func(p *Process) {
		h.Sh("rm -f /run/gate")
		if out := p.Wait(runLimit); out.Code != 0 {
			t.Fatal(out)
		}
	}

	h.WriteFile(configOf("wg0"), file(k[0], k[1], "PostUp = "+gate))
	p := waits(Bin(t), "up", "wg0")
	m.holdsNoText(1, "up", "up wg0", k[0].private, k[1].private)
	if Backend() == Userspace {
		// wireguard-go reads messages as strings: those stay until Go uses their place.
		if c := m.counts("device-serve wg0", k[0].private)[0]; c.raw == 0 || c.base64 != 0 {
			t.Errorf("the device itself: %v: a look that sees nothing proves nothing", c)
		}
	}
	ends(p)

	// An agent stays, and after a reload has no use for the keys of before.
	wgctlOK(h, "down", "wg0")
	h.WriteFile(configOf("wg0"), file(k[0], k[1]))
	agent := h.Start(Bin(t), "run", "wg0")
	wait := func(own keyPair) {
		WaitFor(t, 20*time.Second, "the device's key", func() bool {
			return strings.TrimSpace(h.Run("wg", "show", "wg0", "public-key").Stdout) == own.public && strings.Contains(h.ReadFile("/run/wgctl/wg0.json"), `"phase":"up"`)
		})
	}
	wait(k[0])
	m.holdsNoText(looking, "run", "run wg0", k[0].private, k[1].private)
	h.WriteFile(configOf("wg0"), file(k[2], k[3]))
	agent.Signal(syscall.SIGHUP)
	wait(k[2])
	m.holdsNoText(looking, "run, after a reload", "run wg0", k[0].private, k[1].private, k[2].private, k[3].private)
	record := h.ReadFile("/run/wgctl/wg0.json")
	for _, pair := range k {
		raw, _ := base64.StdEncoding.DecodeString(pair.private)
		if strings.Contains(record, pair.private[:42]) || strings.Contains(record, hex.EncodeToString(raw)) || strings.Contains(record, string(raw)) {
			t.Error("the record has a key")
		}
	}

	// What reads a key and then waits for its own output to be taken, or for more.
	h.WriteFile("/run/key", k[4].private+"\n")
	h.Must("chmod", "600", "/run/key")
	h.Sh("mkfifo /run/more")
	for verb, words := range map[string]string{
		"set":     `set wg0 private-key /run/key peer ` + peer.public + ` preshared-key /run/more`,
		"setconf": `setconf wg0 /run/more`,
	} {
		reader := h.Start(append([]string{Bin(t)}, strings.Fields(words)...)...)
		feeder := h.Start("sh", "-c", "exec 9>/run/more; printf '[Interface]\\nPrivateKey = "+k[4].private+"\\n' >&9; touch /run/fed; while [ -e /run/fed ]; do sleep 0.02; done")
		WaitFor(t, 20*time.Second, "the pipe to be read", func() bool { return h.Exists("/run/fed") })
		time.Sleep(50 * time.Millisecond) // until it was
		if verb == "set" {
			m.holdsNoText(1, verb, verb+" wg0", k[4].private)
		} else if c := m.counts(verb+" wg0", k[4].private)[0]; c.base64 > 1 {
			t.Errorf("setconf in the middle of its file: %v, more than what it reads into", c)
		}
		h.Sh("rm -f /run/fed")
		feeder.Wait(runLimit)
		reader.Wait(runLimit)
	}
	agent.Signal(syscall.SIGTERM)
	agent.Wait(runLimit)
}

// memory looks into processes of a host.
type memory struct {
	t *testing.T
	h *Host
}

func (m memory) counts(words string, keys ...string) []memoryCount {
	m.t.Helper()
	pids := ours(m.h, words)
	if len(pids) != 1 {
		m.t.Fatalf("processes of %q: %v", words, pids)
	}
	counts := keysIn(m.t, m.h, pids[0], keys)
	for i, c := range counts {
		m.t.Logf("%s: key %d: %v", words, i, c)
	}
	return counts
}

// looking is how often one looks into a program that looks at its device at times:
// the text is there meanwhile.
const looking = 5

// holdsNoText fails the test if the text of a key is in memory at each of some
// looks.
func (m memory) holdsNoText(looks int, when, words string, keys ...string) {
	m.t.Helper()
	var left []string
	for try := 0; try == 0 || try < looks && len(left) > 0; try++ {
		time.Sleep(time.Duration(try) * 100 * time.Millisecond)
		left = nil
		for i, c := range m.counts(words, keys...) {
			if c.base64 != 0 || c.hex != 0 {
				left = append(left, fmt.Sprintf("the text of key %d is in memory: %v", i, c))
			}
		}
	}
	for _, text := range left {
		m.t.Errorf("%s: %s", when, text)
	}
}

// Who reads a key leaves no core, and others of the same user can't look into it:
// what belongs to root of a process of somebody else shows that it is not
// dumpable.
func TestNotDumpable(t *testing.T) {
	onceForAll(t)
	Need(t, "setpriv")
	h := newTunnelHost(t, "h")
	h.Sh("mkfifo -m 666 /run/in")
	owner := func(words ...string) string {
		p := h.Start(append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", `echo $$ >&2; exec "$@" </run/in`, "sh"}, words...)...)
		feeder := h.Start("sh", "-c", "exec 9>/run/in; touch /run/fed; while [ -e /run/fed ]; do sleep 0.02; done")
		WaitFor(t, 20*time.Second, "the pipe to be opened", func() bool { return h.Exists("/run/fed") })
		pid, name := "", filepath.Base(words[0])
		WaitFor(t, 20*time.Second, name+" to be executed", func() bool {
			pid = strings.TrimSpace(p.Output().Stderr)
			return pid != "" && strings.TrimSpace(h.Run("cat", "/proc/"+pid+"/comm").Stdout) == name
		})
		// It takes a moment to forbid it, and as long shows that cat doesn't.
		out := ""
		for deadline := time.Now().Add(Timeout(2 * time.Second)); out != "0" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			out = strings.TrimSpace(h.Sh("stat -c %u /proc/" + pid + "/environ").Stdout)
		}
		h.Sh("rm -f /run/fed")
		feeder.Wait(runLimit)
		p.Wait(runLimit)
		return out
	}
	if got := owner(Bin(t), "pubkey"); got != "0" {
		t.Errorf("wgctl pubkey belongs to user %s, and can be looked into", got)
	}
	if got := owner("cat"); got != "65534" {
		t.Errorf("cat belongs to user %s: the look shows nothing", got)
	}
}
