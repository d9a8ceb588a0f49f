// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A wreck is a host on which commands are killed, with two files of one tunnel
// that differ in everything, and with the shapes that it may be found in at
// rest.
type wreck struct {
	*rig
	a, b   string // files
	asA    string // shapes: with a up, and with b
	asB    string
	rested string // what it was brought to last: "down", "a", "b", or "" if unknown
	names  string // the calls that it is killed at, or that fail; "" for all
}

// wreckFiles take every kind of step there is, and have no value in common.
func wreckFiles(t testing.TB) (a, b string) {
	t.Helper()
	secret := newKeyPair(t).private
	both := newKeyPair(t)
	a = interfaceSection(newKeyPair(t), guestDNS("Address = 10.8.0.2/24, fd08::2/64", "ListenPort = 51820", "MTU = 1400",
		"DNS = 10.8.0.53, fd08::53, corp.example", "Masquerade = auto", "KillSwitch = on",
		"PreUp = ip link show %i >/dev/null", "PostUp = sysctl -q -w net.ipv4.ip_forward=1", "PostUp = ip rule show >/dev/null",
		"PreDown = ip link show >/dev/null", "PostDown = ip rule show >/dev/null")...) +
		peerSection(both, "Endpoint = 192.0.2.1:51900", "AllowedIPs = 0.0.0.0/0, ::/0", "PersistentKeepalive = 25") +
		peerSection(newKeyPair(t), "Endpoint = [fd02::1]:51901", "PresharedKey = "+secret, "AllowedIPs = 10.8.1.0/24, fd08:1::/64")
	b = interfaceSection(newKeyPair(t), guestDNS("Address = 10.9.0.3/24, 10.9.0.4/24, fd09::3/64", "ListenPort = 51821", "MTU = 1300", "FwMark = 0x77",
		"DNS = 10.9.0.53, other.example", "ClampMSS = 1200", "PostUp = iptables -A FORWARD -i %i -j ACCEPT",
		"PostUp = ip link show %i >/dev/null", "PostUp = ip rule add from 10.99.0.0/16 table main", "PostDown = true")...) +
		peerSection(both, "Endpoint = 192.0.2.7:51907", "PresharedKey = "+newKeyPair(t).private, "AllowedIPs = 0.0.0.0/0, 10.9.7.0/24") +
		peerSection(newKeyPair(t), "AllowedIPs = 10.9.1.0/24, fd09:1::/64", "PersistentKeepalive = 7")
	return a, b
}

// guestDNS adds to the lines of an interface that wgctl itself writes resolv.conf,
// in a whole sweep of a guest: of what a tunnel takes there, two thirds are the
// thirty programs of resolvconf, which run the same whatever the kernel.
func guestDNS(lines ...string) []string {
	if slowness() > 1 && wholeSweep() {
		lines = append(lines, "DNSBackend = file")
	}
	return lines
}

func newWreck(t testing.TB, env ...string) *wreck {
	t.Helper()
	Need(t, "resolvconf", "bash", "nft", "wg")
	w := &wreck{rig: &rig{Host: newTunnelHost(t, "h")}, names: os.Getenv("WGCTL_TEST_CALLS")}
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		w.Setenv(name, value)
	}
	w.a, w.b = wreckFiles(t)
	w.Sh(`ip link add eth0 type veth peer name eth1
		for i in eth0 eth1; do ip link set $i addrgenmode none; ip link set $i up; done
		ip address add 192.0.2.2/24 dev eth0; ip address add fd02::2/64 dev eth0 nodad
		ip route add default via 192.0.2.1; ip -6 route add default via fd02::1`)
	w.learn()
	return w
}

// learn takes the shapes of the host. In the end b is up.
func (w *wreck) learn() {
	t := w.t
	t.Helper()
	w.tunnel(w.a)
	for _, verb := range []string{"up", "down"} { // resolvconf makes its folders
		wgctlOK(w.Host, verb, "wg0")
	}
	WaitFor(t, 5*time.Second, "the process of the device to end", func() bool {
		return !strings.Contains(strings.Join(w.Processes(), "\n"), "device-serve")
	})
	w.down = w.still()
	wgctlOK(w.Host, "up", "wg0")
	w.asA = w.still()
	w.tunnel(w.b)
	wgctlOK(w.Host, "reload", "--yes", "wg0")
	w.asB = w.still()
	wgctlOK(w.Host, "down", "wg0")
	if diff := w.comesTo(w.down); diff != "" {
		t.Fatalf("down leaves without any fault: %s", diff)
	}
	wgctlOK(w.Host, "up", "wg0")
	if diff := w.comesTo(w.asB); diff != "" {
		t.Fatalf("a reload and an up make different tunnels of one file: %s", diff)
	}
}

// still is the shape once the kernel has added what it adds in its own time.
func (w *wreck) still() string {
	w.t.Helper()
	WaitFor(w.t, 5*time.Second, "the addresses to settle", func() bool {
		return w.Must("ip", "-6", "address", "show", "tentative").Stdout == ""
	})
	before := w.shape()
	for {
		time.Sleep(Timeout(100 * time.Millisecond))
		now := w.shape()
		if now == before {
			return now
		}
		before = now
	}
}

func (w *wreck) tunnel(file string) { w.WriteFile(configOf("wg0"), file) }

// bring brings the host to rest in a state.
func (w *wreck) bring(state string) {
	w.t.Helper()
	if w.rested == state {
		if state == "b" {
			w.tunnel(w.b)
		} else {
			w.tunnel(w.a)
		}
		return
	}
	w.tunnel(w.a)
	want := w.asA
	switch {
	case state == "down":
		want = w.down
		w.Wgctl("down", "wg0")
	case state == "b":
		want = w.asB
		w.tunnel(w.b)
		fallthrough
	default:
		wgctlOK(w.Host, "apply", "--yes", "wg0")
	}
	if diff := w.comesTo(want); diff != "" {
		w.t.Fatalf("bringing the host back to %q: %s", state, diff)
	}
	w.rested = state
}

// A crash is a command that is killed, and the one that comes after it.
type crash struct{ verb, next string }

// ready brings the host to where a command starts from, and returns its words.
func (w *wreck) ready(verb string) []string {
	w.t.Helper()
	words := []string{verb, "wg0"}
	switch verb {
	case "up":
		w.bring("down")
	case "down":
		w.bring("a")
	case "reload":
		w.bring("a")
		w.tunnel(w.b)
		words = []string{verb, "--yes", "wg0"}
	}
	w.rested = ""
	return words
}

// kill runs the command and kills it before one of the calls by which it
// changes something.
func (w *wreck) kill(verb string, at int) Injected {
	w.t.Helper()
	return w.Inject(Fault{Kind: FaultKill, At: at, Changes: true, Names: w.names}, w.ready(verb)...)
}

// heal runs the next command alone, and says what is wrong then.
func (w *wreck) heal(c crash) string {
	w.t.Helper()
	words := []string{c.next, "wg0"}
	if c.next == "reload" {
		words = []string{c.next, "--yes", "wg0"}
	}
	out := w.Wgctl(words...)
	idle := map[string]string{"up": "wg0 is up already", "down": "wg0 is not up", "reload": "wg0 is not up"}[c.next]
	refused := out.Code == 1 && strings.Contains(out.Stderr, idle)
	if out.Code != 0 && !refused {
		return out.String()
	}
	file, want := "a", w.asA
	if c.verb == "reload" {
		file, want = "b", w.asB
	}
	switch {
	case c.next == "down" || refused && c.next == "reload":
		file, want = "down", w.down
	case refused && c.verb == "reload" && w.shape() == w.asA: // it had not begun
		file, want = "a", w.asA
	}
	if diff := w.comesTo(want); diff != "" {
		return out.String() + "\n" + diff
	}
	if s := statuses(w.Host)["wg0"]; file != "down" && (s.State != "up" || len(s.Drift)+len(s.Foreign) > 0) {
		return fmt.Sprintf("%v\nstatus: %+v", out, s)
	}
	w.rested = file
	return ""
}

// Up, reload and down of a tunnel that has everything, killed before any of the
// calls by which they change something: then a down alone leads to the host as
// it was, an up alone to the whole tunnel, and so does a reload.
func TestCrashes(t *testing.T) {
	verbs := []string{"up", "reload", "down"}
	if slowness() > 1 && !wholeSweep() {
		verbs = guestShare(t, verbs[1:]) // TestUpKilled has up
	}
	for _, verb := range verbs {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := newWreck(t)
			plain := w.kill(verb, 0)
			if plain.Code != 0 || plain.Calls < 20 {
				t.Fatalf("without a fault: %v, %d calls", plain, plain.Calls)
			}
			n := 0
			for i, at := range crashPoints(t, plain.Calls, rounds(9, 2)) {
				nexts := []string{"down", "up", "reload"}
				if !wholeSweep() {
					nexts = nexts[i%3 : i%3+1]
				}
				for _, next := range nexts {
					killed := w.kill(verb, at)
					if killed.Hit == "" {
						continue
					}
					if n++; n%50 == 0 {
						t.Logf("killed %d times, at last before call %d of about %d", n, at, plain.Calls)
					}
					if wrong := w.heal(crash{verb, next}); wrong != "" {
						t.Errorf("%s killed at call %d, %s, then %s:\n%v\n%s", verb, at, killed.Hit, next, killed, wrong)
						w = newWreck(t)
					}
				}
			}
			t.Logf("%s has %d calls that change something; killed %d times", verb, plain.Calls, n)
			if n == 0 {
				t.Error("nothing was killed")
			}
		})
	}
}

// wholeSweep reports whether all faults are wanted instead of a sample.
func wholeSweep() bool { return os.Getenv("WGCTL_TEST_FAULTS") == "all" || onlyChanges() }

// onlyChanges reports whether all faults are wanted, but of errors only those at
// calls that may change something.
func onlyChanges() bool { return os.Getenv("WGCTL_TEST_FAULTS") == "changes" }

// crashPoints are the numbers of calls, from 1 to all or, as a sample, so many
// of them.
func crashPoints(t *testing.T, all, sample int) (at []int) {
	t.Helper()
	if wholeSweep() {
		for n := 1; n <= all; n++ {
			at = append(at, n)
		}
		return at
	}
	if only, err := strconv.Atoi(os.Getenv("WGCTL_TEST_FAULTS")); err == nil {
		return slices.Repeat([]int{only}, sample) // by each kind of fault, or next command
	}
	rnd := seeded(t)
	for range sample {
		at = append(at, 1+rnd.IntN(all))
	}
	return at
}

// seeded is a source of chance. Its seed is printed, and WGCTL_TEST_SEED sets it.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("WGCTL_TEST_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("WGCTL_TEST_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("WGCTL_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
