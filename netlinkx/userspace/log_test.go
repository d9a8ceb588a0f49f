// SPDX-License-Identifier: MIT

package userspace

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogLevel(t *testing.T) {
	for level, want := range map[string]struct{ errors, rest bool }{
		"":        {true, false},
		"error":   {true, false},
		"unknown": {true, false},
		"silent":  {false, false},
		"debug":   {true, true},
		"verbose": {true, true},
	} {
		var out strings.Builder
		l, _ := newLogger(ServeOptions{Interface: "wg0", LogLevel: level, Log: &out})
		l.Errorf("bad %d", 1)
		l.Verbosef("talk %d", 2)
		if got := strings.Contains(out.String(), "ERROR: (wg0) "); got != want.errors {
			t.Errorf("LOG_LEVEL=%s: errors %v, want %v", level, got, want.errors)
		}
		if got := strings.Contains(out.String(), "DEBUG: (wg0) "); got != want.rest {
			t.Errorf("LOG_LEVEL=%s: the rest %v, want %v", level, got, want.rest)
		}
	}
}

func TestLogHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		l, _ := newLogger(ServeOptions{Interface: "wg0", Log: &out})
		lines := func() int {
			n := strings.Count(out.String(), "\n")
			return n
		}
		for peer := range 1000 {
			l.Errorf("peer %d - Failed to send", peer)
		}
		if lines() != errorBurst {
			t.Fatalf("%d lines of 1000, want %d", lines(), errorBurst)
		}
		l.Errorf("another kind")
		if lines() != errorBurst+1 {
			t.Error("one kind holds back another")
		}
		time.Sleep(errorInterval)
		for peer := range 5 {
			l.Errorf("peer %d - Failed to send", peer)
		}
		if lines() != errorBurst+2 || !strings.Contains(out.String(), "peer 0 - Failed to send (and 990 like it before)") {
			t.Errorf("after an interval:\n%s", out.String())
		}
		time.Sleep(100 * errorInterval)
		out.Reset()
		for range 1000 {
			l.Errorf("peer %d - Failed to send", 1)
		}
		if lines() != errorBurst {
			t.Errorf("after a long rest %d lines, want %d", lines(), errorBurst)
		}
	})
}

// A reader that stands still stops nobody, and gets in order what fits.
func TestLogQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(3)
		defer close(q)
		var got strings.Builder
		resume := make(chan struct{})
		log := q.through(func(text string) { <-resume; got.WriteString(text) })
		log("0")
		synctest.Wait() // the writer holds it
		for _, text := range []string{"1", "2", "3", "4"} {
			log(text)
		}
		start := time.Now()
		q.flush(time.Second)
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("flush waited %v for a reader that stands still, want its limit", waited)
		}
		close(resume)
		synctest.Wait()
		q.flush(time.Second)
		if got.String() != "0123" {
			t.Errorf("written: %q", got.String())
		}
	})
}

func TestRedact(t *testing.T) {
	const key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	for in, want := range map[string]string{
		`IPC error -71: failed to parse line "private_keyc0ffee"`: "IPC error -71: failed to parse line (hidden)",
		"invalid UAPI operation: " + key + "\n":                   "invalid UAPI operation: (hidden)",
		"IPC error -22: invalid UAPI peer key: preshared_kye":     "IPC error -22: invalid UAPI peer key: (hidden)",
		"something about " + key + " here":                        "something about (hidden) here",
		"peer(yAnz…fBmk) - Sending handshake initiation":          "peer(yAnz…fBmk) - Sending handshake initiation",
		"invalid argument, port 51820, [2001:db8:1:2:3:4:5:6]:1":  "invalid argument, port 51820, [2001:db8:1:2:3:4:5:6]:1",
	} {
		if got := redact(in); got != want {
			t.Errorf("redact(%q) = %q, want %q", in, got, want)
		}
	}
}
