// SPDX-License-Identifier: MIT

package integration

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Reload drops nothing: a thousand reloads at random between a dozen files go
// by while a ping, one TCP connection and others that come and go run through a
// peer that none of them changes. Not a packet of the ping is lost, there is no
// handshake but by the protocol's timer, the peer's counters only grow, and after each
// reload the tunnel is what a fresh up of that file makes.
func TestReloadUnderTraffic(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	files := p.dozen(t)[:rounds(12, 7)]
	fresh := make([]string, len(files))
	for i, file := range files {
		p.write(file)
		wgctlOK(p.near, "up", "wg0")
		fresh[i] = settled(p.near)
		if i < len(files)-1 {
			wgctlOK(p.near, "down", "wg0")
		}
	}
	p.near.MustPing("10.8.0.1")
	port := p.near.Must("wg", "show", "wg0", "listen-port").Stdout

	ping := p.near.Start("ping", "-n", "-i", fmt.Sprint(Timeout(10*time.Millisecond).Seconds()), "10.8.0.1")
	seen := p.session()
	shakes := p.countHandshakes()
	stream := p.startStream()
	var stop atomic.Bool
	var transfers atomic.Int64
	var transferring sync.WaitGroup
	endTransfers := func() {
		stop.Store(true)
		transferring.Wait()
	}
	defer endTransfers() // no transfer may outlive the test
	transferring.Go(func() {
		for ; !stop.Load(); transfers.Add(1) {
			Transfer(p.near, p.far, "10.8.0.1:5001", int64(rounds(4<<20, 1<<20)))
			time.Sleep(100 * time.Millisecond) // encryption leaves no processor to the reloads
		}
	})
	last, rnd := len(files)-1, seeded(t)
	for n := range rounds(1000, 12) {
		i := rnd.IntN(len(files))
		p.write(files[i])
		out := p.near.Wgctl("reload", "--yes", "wg0")
		if out.Code != 0 {
			t.Fatalf("reload %d, from file %d to %d: %v", n, last, i, out)
		}
		if got := comesToLook(p.near, fresh[i]); got != fresh[i] {
			t.Fatalf("reload %d, from file %d to %d: %v\nnot as after a fresh up:\n%s", n, last, i, out, Diff(fresh[i], got))
		}
		seen = p.goesOn(seen, fmt.Sprintf("reload %d, from file %d to %d", n, last, i))
		last = i
	}
	endTransfers()
	if transfers.Load() == 0 {
		t.Error("no transfer ended")
	}
	// The answers go on to the end.
	_, before := lostPings(ping.Output().Stdout)
	WaitFor(t, 10*time.Second, "one more answer", func() bool {
		_, top := lostPings(ping.Output().Stdout)
		return top > before
	})
	ping.Signal(syscall.SIGINT)
	out := ping.Wait(20 * time.Second)
	sent := regexp.MustCompile(`(\d+) packets transmitted`).FindStringSubmatch(out.Stdout)
	missing, top := lostPings(out.Stdout)
	if n, err := strconv.Atoi(append(sent, "", "")[1]); err != nil || len(missing) > 0 || top == 0 || top < n-50 {
		t.Errorf("of the ping's %v packets the last that was answered is %d, and lost are %v", sent, top, missing)
	}
	t.Logf("%d packets of the ping, none lost; %d bytes by one connection", top, stream())
	shakes(seen)
	if now := p.near.Must("wg", "show", "wg0", "listen-port").Stdout; now != port {
		t.Errorf("the port was %s and is %s", port, now)
	}
}

// lostPings are the numbers below the highest answered, top, that have no answer.
func lostPings(text string) (missing []int, top int) {
	seen := map[int]bool{}
	for _, m := range regexp.MustCompile(`icmp_seq=(\d+) ttl=`).FindAllStringSubmatch(text, -1) {
		n, _ := strconv.Atoi(m[1])
		seen[n] = true
		top = max(top, n)
	}
	for n := 1; n <= top; n++ {
		if !seen[n] {
			missing = append(missing, n)
		}
	}
	return missing, top
}

// A session is what wg tells of near's session with far.
type session struct {
	first, shake int // seconds: the first handshake that was seen, and the latest
	begun        int // the latest that was no repetition
	again        int // how many repetitions there were since
	more         int // how many were seen after the first
	rx, tx       int // bytes
}

func (p *pair) session() (s session) {
	p.near.t.Helper()
	columns := strings.Split(firstLine(p.near.Must("wg", "show", "wg0", "dump").Stdout, p.farKey.public), "\t")
	if len(columns) != 8 {
		p.near.t.Fatalf("far is no peer: %q", columns)
	}
	for i, n := range []*int{&s.shake, &s.rx, &s.tx} {
		*n, _ = strconv.Atoi(columns[4+i])
	}
	s.first, s.begun = s.shake, s.shake
	return s
}

// rekeyAfter is REKEY_AFTER_TIME, in seconds: the protocol renews a session no
// sooner.
const rekeyAfter = 120

// rekeyTimeout is REKEY_TIMEOUT, in seconds: an initiation, of a repetition too, is
// repeated then where its answer was quicker than who sent it: both devices start
// the timer after they have sent (SendHandshakeInitiation of wireguard-go's
// device/send.go, wg_packet_send_handshake_initiation of the kernel's send.c), and
// the answer has stopped none then. A processor that is busy makes this happen.
const rekeyTimeout = 5

// mostRepeats is how often in a row that happens: a device that begins anew at each
// reload sends one every 5 seconds as well, which is all that the protocol allows.
const mostRepeats = 2

// goesOn fails the test unless the session is the one that was seen last, or one
// that the protocol's timer has put in its place.
func (p *pair) goesOn(was session, when string) session {
	p.near.t.Helper()
	now := p.session()
	now.first, now.begun, now.again, now.more = was.first, was.begun, was.again, was.more
	since := now.shake - was.shake
	// The timer has some jitter. In a guest that stalls an answer may be late as
	// well, or there was another between two looks.
	repeats := 1
	if slowness() > 1 && since > rekeyTimeout+1 {
		repeats = 2
	}
	switch {
	case since == 0:
	case now.shake-was.begun >= rekeyAfter:
		now.begun, now.again = now.shake, 0
		now.more++
	case now.again+repeats <= mostRepeats && rekeyTimeout <= since && since <= repeats*(rekeyTimeout+1):
		now.again += repeats
		now.more += repeats
	default:
		p.near.t.Fatalf("%s: a new handshake after %d seconds", when, since)
	}
	if now.rx < was.rx || now.tx < was.tx {
		p.near.t.Fatalf("%s: the counters went from %d and %d back to %d and %d", when, was.rx, was.tx, now.rx, now.tx)
	}
	return now
}

// countHandshakes counts the initiations that cross the cable, in either
// direction, and returns what fails the test where there were more than a session
// that goes on has.
func (p *pair) countHandshakes() (enough func(session)) {
	p.far.t.Helper()
	// The first byte of a packet is its type, 1 an initiation, 2 the answer.
	rules := "table inet shakes {\n"
	for _, hook := range []string{"input", "output"} {
		rules += fmt.Sprintf("chain %[1]s { type filter hook %[1]s priority 0; udp length > 8 @th,64,8 1 udp sport 51820 counter; udp length > 8 @th,64,8 1 udp dport 51820 counter; }\n", hook)
	}
	if out := p.far.RunInput(rules+"}\n", "nft", "-f", "-"); out.Code != 0 {
		p.far.t.Fatalf("counting handshakes: %v", out)
	}
	return func(now session) {
		p.far.t.Helper()
		n := 0
		for _, m := range regexp.MustCompile(`counter packets (\d+)`).FindAllStringSubmatch(p.far.Must("nft", "list", "table", "inet", "shakes").Stdout, -1) {
			one, _ := strconv.Atoi(m[1])
			n += one
		}
		renewals := (int(time.Now().Unix()) - now.first) / rekeyAfter
		if most := max(2*renewals, now.more) + 1; n > most { // each once more, the first too
			p.far.t.Errorf("%d handshakes began in %d seconds", n, int(time.Now().Unix())-now.first)
		}
		// The control: what a session that is dropped does is counted.
		p.near.Sh("wg set wg0 peer " + p.farKey.public + " remove")
		wgctlOK(p.near, "reload", "--yes", "wg0")
		p.near.MustPing("10.8.0.1")
		if counted := p.far.Must("nft", "list", "table", "inet", "shakes").Stdout; !regexp.MustCompile(`counter packets [1-9]`).MatchString(counted) {
			p.far.t.Errorf("a dropped session's handshake is not counted:\n%s", counted)
		}
	}
}

// startStream opens one connection from near to far that carries a little all the
// time. What it returns ends it, and is the number of bytes that far has proved
// to have got.
func (p *pair) startStream() (end func() int) {
	p.near.t.Helper()
	const addr = "10.8.0.1:5002"
	sink := p.far.startRole("tcp-sink", addr)
	sink.Expect(20*time.Second, "listening")
	source := p.near.startRole("tcp-stream", addr)
	source.Expect(20*time.Second, "sending")
	return func() int {
		p.near.t.Helper()
		out := source.Stop()
		sent, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(out.Stdout, "sending\n")))
		if out.Code != 0 || err != nil || sent == 0 {
			p.near.t.Errorf("the one connection: %v", out)
		}
		if out := sink.Wait(20 * time.Second); out.Code != 0 {
			p.near.t.Errorf("the far end of the one connection: %v", out)
		}
		return sent
	}
}
