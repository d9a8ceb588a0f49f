// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A rig is a host with a file that makes up take every kind of step, and with
// the two states that it may be found in between runs.
type rig struct {
	*Host
	lines    []string // more for the file
	down, up string   // shapes
	upTakes  time.Duration
	view     func() string  // what others show that belongs to the shape; or nil
	passing  *regexp.Regexp // lines that don't; or nil
}

// newRig makes a rig, in which all programs have made the folders they keep.
func newRig(t testing.TB, lines ...string) *rig {
	t.Helper()
	Need(t, "resolvconf", "bash", "nft", "wg")
	r := &rig{Host: newTunnelHost(t, "h"), lines: lines}
	r.WriteFile(configOf("wg0"), fullTunnel(t, 0, append(lines, "ListenPort = 51820", "DNS = 10.8.0.53, fd08::53, corp.example",
		"PreUp = ip link show %i >/dev/null", "PostUp = ip rule show >/dev/null",
		"PreDown = ip link show >/dev/null", "PostDown = ip rule show >/dev/null")...))
	wgctlOK(r.Host, "up", "wg0")
	wgctlOK(r.Host, "down", "wg0")
	WaitFor(t, 5*time.Second, "the process of the device to end", func() bool { return len(r.Processes()) == 0 })
	r.down = r.shape()
	begin := time.Now()
	wgctlOK(r.Host, "up", "wg0")
	r.upTakes = time.Since(begin)
	r.up = r.shape()
	wgctlOK(r.Host, "down", "wg0")
	if diff := r.comesTo(r.down); diff != "" {
		t.Fatalf("down leaves without any fault: %s", diff)
	}
	return r
}

// accidental are lines of a snapshot that differ from run to run: the
// link-local address that the kernel makes up for a TUN, and the process that
// injects. A file of a lock that nobody holds is no lock: whoever is killed
// leaves it, and the next to lock removes it.
var accidental = regexp.MustCompile(`(?m)^.*( fe80::[0-9a-f]|\.test (error|kill|term|int|hang|E[A-Z]+) |/wgctl/\.host\.lock$).*\n`)

// inodeKept is the number in the name of what is kept of /etc/resolv.conf by a
// copy. The file's own second name has none, and does as well: where link(2) is
// refused the tunnel comes up all the same.
var inodeKept = regexp.MustCompile(`(\.before-wgctl)\.\d+(-)`)

func (r *rig) shape() string {
	r.t.Helper()
	shape := accidental.ReplaceAllString(r.Snapshot(), "")
	shape = inodeKept.ReplaceAllString(shape, "$1$2")
	if r.view != nil {
		shape += "== view\n" + r.view() + "\n"
	}
	if r.passing != nil {
		shape = r.passing.ReplaceAllString(shape, "")
	}
	return shape
}

// comesTo waits until the host has a shape, and returns the difference if it
// does not come to that.
func (r *rig) comesTo(want string) string {
	r.t.Helper()
	deadline := time.Now().Add(Timeout(5 * time.Second))
	for {
		now := r.shape()
		if now == want {
			return ""
		}
		if time.Now().After(deadline) {
			return "the host is not as it should be:\n" + Diff(want, now)
		}
		time.Sleep(Timeout(20 * time.Millisecond))
	}
}

// isUp returns what is wrong with the tunnel, as others see it and as wgctl
// does; then it takes it down.
func (r *rig) isUp() string {
	r.t.Helper()
	if diff := r.comesTo(r.up); diff != "" {
		return diff
	}
	if s := statuses(r.Host)["wg0"]; s.State != "up" || len(s.Drift)+len(s.Foreign) > 0 {
		return fmt.Sprintf("status: %+v", s)
	}
	if out := r.Wgctl("down", "wg0"); out.Code != 0 {
		return "afterwards: " + out.String()
	}
	return r.comesTo(r.down)
}

// reset brings the host back after a failed check; a new one if that fails.
func (r *rig) reset() *rig {
	r.t.Helper()
	r.Wgctl("down", "wg0")
	if r.comesTo(r.down) != "" {
		return newRig(r.t, r.lines...)
	}
	return r
}

// errorLines are the lines in which wgctl says what went wrong.
func errorLines(o Output) []string {
	var lines []string
	for line := range strings.Lines(o.Stderr) {
		if rest, ok := strings.CutPrefix(line, "wgctl: "); ok && !strings.HasPrefix(rest, "warning: ") {
			lines = append(lines, strings.TrimSpace(rest))
		}
	}
	return lines
}

// A sweep runs a verb again and again, with one fault in each run, at calls all
// over it. check says what is wrong afterwards.
type sweep struct {
	kind, verb string
	runs       int
	check      func(r *rig, i Injected) string
}

// points are the calls that meet with a fault, out of all. Which ones changes
// from run to run; WGCTL_TEST_FAULTS is "all" for all, or the number of one, or
// "changes" for those that may change something.
func (s sweep) points(t *testing.T, all int) []int {
	first, step := 1, max(1, all/s.runs)
	switch only := os.Getenv("WGCTL_TEST_FAULTS"); only {
	case "":
		first += seeded(t).IntN(step)
	case "all", "changes":
		step = 1
	default:
		at, err := strconv.Atoi(only)
		if err != nil {
			t.Fatalf("WGCTL_TEST_FAULTS: %v", err)
		}
		return []int{at}
	}
	var at []int
	for ; first <= all; first += step {
		at = append(at, first)
	}
	return at
}

func (s sweep) run(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if s.verb == "down" {
		wgctlOK(r.Host, "up", "wg0")
	}
	plain := r.Inject(Fault{Kind: s.kind, Changes: onlyChanges()}, s.verb, "wg0")
	if plain.Code != 0 || plain.Calls == 0 {
		t.Fatalf("without a fault: %v", plain)
	}
	r = r.reset()
	codes, hits := map[int]int{}, 0
	for _, at := range s.points(t, plain.Calls) {
		if s.verb == "down" {
			wgctlOK(r.Host, "up", "wg0")
		}
		i := r.Inject(Fault{Kind: s.kind, At: at, Changes: onlyChanges()}, s.verb, "wg0")
		if wrong := s.check(r, i); wrong != "" {
			t.Errorf("%s at call %d, %s:\n%v\n%s", s.kind, at, i.Hit, i, wrong)
			r = r.reset()
		}
		codes[i.Code]++
		if i.Hit != "" {
			hits++
		}
	}
	t.Logf("%s of %s: %d of about %d calls; exit codes and how often: %v", s.kind, s.verb, hits, plain.Calls, codes)
	if hits == 0 {
		t.Error("no call met with a fault")
	}
}

// Each call of the system by which up learns and acts is made to fail, one in
// each run. Either the tunnel is whole all the same, or there is one line of
// error, exit status 1, and nothing is left. No run hangs.
func TestUpWithFailingCalls(t *testing.T) {
	oneGuest(t, "odd")
	sweep{FaultError, "up", rounds(40, 2), func(r *rig, i Injected) string {
		switch i.Code {
		case 0:
			r.tidy(i)
			return r.isUp()
		case 1:
			if n := len(errorLines(i.Output)); n != 1 {
				return fmt.Sprintf("%d lines of error", n)
			}
			r.tidy(i)
			return r.comesTo(r.down)
		}
		return "exit status"
	}}.run(t)
}

// tidy removes the one thing that can't be expected of wgctl: a file that it
// could not remove, or could not lock, because just that call failed.
func (r *rig) tidy(i Injected) {
	r.t.Helper()
	if strings.HasPrefix(i.Hit, "unlinkat(") || strings.HasPrefix(i.Hit, "flock(") {
		r.Sh("rm -f /run/wgctl/*.lock /run/wireguard/.*.new")
	}
}

// Each call by which down acts is made to fail. Down ends well all the same, or
// says that the tunnel is as it was, or what is left; then a second one ends
// well.
func TestDownWithFailingCalls(t *testing.T) {
	oneGuest(t, "even")
	sweep{FaultError, "down", rounds(25, 2), func(r *rig, i Injected) string {
		r.tidy(i)
		switch i.Code {
		case 0:
			return r.comesTo(r.down)
		case 1:
			if len(errorLines(i.Output)) == 0 {
				return "no line of error"
			}
			// A hook that fails does not stop a down.
			if strings.Contains(i.Stderr, "Down hook: ") {
				return r.comesTo(r.down)
			}
			return r.isUp()
		case 3:
			if len(errorLines(i.Output)) == 0 {
				return "no line of error"
			}
			if out := r.Wgctl("down", "wg0"); out.Code != 0 {
				return out.String()
			}
			return r.comesTo(r.down)
		}
		return "exit status"
	}}.run(t)
}

// SIGTERM and SIGINT at any moment of up undo it, unless it is done by then.
func TestUpTerminated(t *testing.T) {
	oneGuest(t, "odd")
	sweep{FaultTerm, "up", rounds(25, 2), afterSignal}.run(t)
}

func TestUpInterrupted(t *testing.T) {
	onceForAll(t) // to the program it is one signal or the other
	sweep{FaultInt, "up", 25, afterSignal}.run(t)
}

func afterSignal(r *rig, i Injected) string {
	switch i.Code {
	case 0:
		return r.isUp()
	case 1:
		if n := len(errorLines(i.Output)); n != 1 {
			return fmt.Sprintf("%d lines of error", n)
		}
	case 128 + int(syscall.SIGTERM), 128 + int(syscall.SIGINT): // it had not even begun
	default:
		return "exit status"
	}
	return r.comesTo(r.down)
}

// killRounds is how often up, and down, is killed.
func killRounds() int { return rounds(30, 4) }

// An up that is killed at any moment leaves a state from which a down alone
// leads to the host as it was, and an up alone to the whole tunnel. Likewise a
// down.
func TestUpKilled(t *testing.T)   { killed(t, "up", killRounds()) }
func TestDownKilled(t *testing.T) { killed(t, "down", killRounds()) }

// Likewise where resolv.conf is written by wgctl itself.
func TestUpKilledWithFile(t *testing.T) {
	Only(t, Userspace)
	killed(t, "up", 16, "DNSBackend = file")
}

func TestDownKilledWithFile(t *testing.T) {
	Only(t, Userspace)
	killed(t, "down", 16, "DNSBackend = file")
}

func killed(t *testing.T, verb string, rounds int, lines ...string) {
	t.Parallel()
	r := newRig(t, lines...)
	codes, rnd := map[string]int{}, seeded(t)
	for n := range rounds {
		if verb == "down" {
			wgctlOK(r.Host, "up", "wg0")
		}
		// Half of the rounds at one of the system calls, the others at a
		// moment: while another program works, wgctl makes no call.
		var at, next string
		var out Output
		if n%2 == 0 {
			i := r.Inject(Fault{Kind: FaultKill, At: 1 + rnd.IntN(350)}, verb, "wg0")
			at, out = i.Hit, i.Output
		} else {
			wait := time.Duration(rnd.Int64N(int64(r.upTakes)))
			p := r.Start(Bin(t), verb, "wg0")
			time.Sleep(wait)
			p.Signal(syscall.SIGKILL)
			at, out = wait.String(), p.Wait(20*time.Second)
		}
		next = []string{"down", "up"}[n/2%2]
		if wrong := r.afterKill(next); wrong != "" {
			t.Errorf("%s killed at %s, then %s:\n%v\n%s", verb, at, next, out, wrong)
			r = r.reset()
		}
		codes[fmt.Sprintf("%s, then %s: %d", verb, next, out.Code)]++
	}
	t.Log("how often:", codes)
}

// afterKill lets one command find its way.
func (r *rig) afterKill(next string) string {
	r.t.Helper()
	out := r.Wgctl(next, "wg0")
	idle := map[string]string{"up": "wg0 is up already", "down": "wg0 is not up"}[next]
	if out.Code != 0 && !(out.Code == 1 && strings.Contains(out.Stderr, idle)) {
		return out.String()
	}
	wrong := ""
	if next == "up" {
		wrong = r.isUp()
	} else {
		wrong = r.comesTo(r.down)
	}
	if wrong != "" {
		return out.String() + "\n" + wrong
	}
	return ""
}
