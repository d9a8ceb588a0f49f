// SPDX-License-Identifier: MIT

package userspace

import (
	"io"
	"net"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// handle is what wireguard-go's IpcHandle makes of a connection, as far as its
// reads and writes go: request by request, of which it reads all that there is.
func handle(r *request, read chan<- struct{}) {
	var in [4096]byte
	text := ""
	for {
		n, err := r.Read(in[:])
		if err != nil {
			close(read)
			return
		}
		text += string(in[:n])
		read <- struct{}{}
		for {
			_, rest, whole := strings.Cut(text, "\n\n")
			if !whole {
				break
			}
			text = rest
			if _, err := io.WriteString(r, "errno=0\n\n"); err != nil {
				close(read)
				return
			}
		}
	}
}

// A device's generation changes with whatever isn't a get, from before the device
// sees any of it, and is told to nobody until it is done.
func TestGeneration(t *testing.T) {
	c := newIntake()
	generation := func() string {
		here, there := net.Pipe()
		defer here.Close()
		r := &request{Conn: there, limit: time.Minute, intake: c}
		go func() {
			defer there.Close()
			var p [64]byte
			if n, err := r.Read(p[:]); n > 0 || err == nil {
				t.Errorf("the device is given %q, %v", p[:n], err)
			}
		}()
		if _, err := io.WriteString(here, GenerationRequest); err != nil {
			t.Error(err)
		}
		answer, _ := io.ReadAll(here)
		return string(answer)
	}
	const busy = "errno=-16\n\n"
	first := generation()
	if !strings.HasPrefix(first, "generation="+c.changes.instance) || !strings.HasSuffix(first, "\nerrno=0\n\n") {
		t.Fatalf("answer %q", first)
	}
	other := newChanges()
	if other.instance == c.changes.instance {
		t.Error("two devices have one name")
	}
	for _, test := range []struct {
		name    string
		parts   []string
		changes bool
		open    bool // something goes on after the last part
	}{
		{"nothing", nil, false, false},
		{"a get", []string{"get=1\n\n"}, false, false},
		{"gets", []string{"get=1\n\n", "get=1\n\n"}, false, false},
		{"gets at once", []string{"get=1\n\nget=1\n\n"}, false, false},
		{"a get in two parts", []string{"get=1\n", "\n"}, false, false},
		{"a get in odd parts", []string{"get", "=1\n\n"}, true, false},
		{"a set", []string{"set=1\nfwmark=1\n\n"}, true, false},
		{"a set of nothing", []string{"set=1\n\n"}, true, false},
		{"a set in parts", []string{"set=1\nfw", "mark=1", "\n", "\n"}, true, false},
		{"a set after a get", []string{"get=1\n\nset=1\nfwmark=1\n\n"}, true, false},
		{"a set before a get", []string{"set=1\nfwmark=1\n\n", "get=1\n\n"}, true, false},
		{"half a set", []string{"set=1\nfwmark=1\n"}, true, true},
		{"half a set after a get", []string{"get=1\n\nset=1\n"}, true, true},
		{"a get with more to it", []string{"get=1\nset=1\n"}, true, true},
		{"nonsense", []string{"x"}, true, true},
		{"a generation late", []string{"get=1\n\n", GenerationRequest}, true, false},
	} {
		before := generation()
		here, there := net.Pipe()
		r := &request{Conn: there, limit: time.Minute, intake: c}
		read := make(chan struct{})
		go func() {
			handle(r, read)
			r.settle()
			there.Close()
		}()
		answered := make(chan int)
		go func() {
			answer, _ := io.ReadAll(here)
			answered <- strings.Count(string(answer), "errno=0\n\n")
		}()
		for _, p := range test.parts {
			if _, err := io.WriteString(here, p); err != nil {
				t.Fatal(err)
			}
			<-read
		}
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			now := generation()
			if test.open {
				if now != busy {
					t.Errorf("%s: %q while it goes on", test.name, now)
				}
				break
			}
			if now != busy {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: busy for ever", test.name)
			}
		}
		here.Close()
		for range read {
		}
		<-answered
		if now := settledGeneration(generation); (now != before) != test.changes {
			t.Errorf("%s: before %q, after %q", test.name, before, now)
		}
	}
}

// settledGeneration asks until no change is under way.
func settledGeneration(ask func() string) string {
	for {
		if now := ask(); !strings.HasPrefix(now, "errno=-") {
			return now
		}
		time.Sleep(time.Millisecond)
	}
}

// Garbage is collected again when a device was configured: not while changes come
// in or one goes on, but not never either.
func TestWhenQuiet(t *testing.T) {
	const quiet = 50 * time.Millisecond
	took := func(most time.Duration, during func(c *changes)) time.Duration {
		c := newChanges()
		start, done := time.Now(), make(chan struct{})
		go c.whenQuiet(t.Context(), quiet, most, func() { close(done) })
		during(&c)
		<-done
		return time.Since(start)
	}
	if d := took(time.Hour, func(*changes) {}); d < quiet {
		t.Errorf("quiet after %v", d)
	}
	if d := took(time.Hour, func(c *changes) {
		for range 10 {
			c.begin()
			c.end()
			time.Sleep(quiet / 2)
		}
	}); d < 5*quiet {
		t.Errorf("quiet after %v, while changes came in", d)
	}
	if d := took(time.Hour, func(c *changes) {
		c.begin()
		time.Sleep(5 * quiet)
		c.end()
	}); d < 5*quiet {
		t.Errorf("quiet after %v, while a change went on", d)
	}
	if d := took(4*quiet, func(c *changes) { c.begin() }); d < 4*quiet {
		t.Errorf("tired after %v", d)
	}
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	again := stopCollecting()
	off := debug.SetGCPercent(-1)
	again()
	if on := debug.SetGCPercent(77); off != -1 || on != 77 {
		t.Errorf("percent %d while stopped, and then %d", off, on)
	}
}

// The device itself tells its generation, and its reads go on as ever.
func TestGenerationOfDevice(t *testing.T) {
	if !isolated(t) {
		return
	}
	mustStart(t, "wg0")
	path := socketPath(SocketDir, "wg0")
	generation := func() string {
		return settledGeneration(func() string { return exchange(t, path, GenerationRequest) })
	}
	before := generation()
	if get := exchange(t, path, "get=1\n\n"); !strings.HasSuffix(get, "errno=0\n\n") || strings.Contains(get, "generation") {
		t.Errorf("a get is answered %q", get)
	}
	if now := generation(); now != before || !strings.HasPrefix(now, "generation=") {
		t.Errorf("generation %q, and after a get %q", before, now)
	}
	for _, set := range []string{"set=1\nfwmark=7\n\n", "set=1\nnonsense=1\n\n", "set=1\nfwmark=0\n\n"} {
		exchange(t, path, set)
		now := generation()
		if now == before {
			t.Errorf("after %q the generation is what it was", set)
		}
		before = now
	}
}

// A port that is taken is so from the first request on, however quickly that comes.
func TestPortTakenAtOnce(t *testing.T) {
	if !isolated(t) {
		return
	}
	conn, err := net.ListenPacket("udp", "0.0.0.0:4321")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	s := starter()
	for range 20 {
		if err := s.Prepare("wg0"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // it has come to wait
		if err := s.Start(t.Context(), "wg0"); err != nil {
			t.Fatal(err)
		}
		const taken = "errno=-98\n\n"
		if answer := exchange(t, socketPath(SocketDir, "wg0"), "set=1\nlisten_port=4321\n\n"); answer != taken {
			t.Fatalf("answer %q", answer)
		}
		run(t, "ip", "link", "del", "wg0")
		wantGone(t, "wg0")
	}
}

// exchange sends a request and returns the answer.
func exchange(t *testing.T, path, text string) string {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	var in [4096]byte
	for !strings.HasSuffix(out.String(), "\n\n") {
		n, err := conn.Read(in[:])
		out.Write(in[:n])
		if err != nil {
			break
		}
	}
	return out.String()
}
