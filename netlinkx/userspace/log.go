// SPDX-License-Identifier: MIT

package userspace

import (
	"cmp"
	"fmt"
	"io"
	"log"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.zx2c4.com/wireguard/device"
)

// What an error may do before it is held back: a device of 10,000 peers
// without a route says the same thing 10,000 times every five seconds.
const (
	errorBurst    = 10               // lines at once
	errorInterval = 10 * time.Second // and then one line in
)

const (
	queueLength = 1024                   // lines that wait for a slow reader of the log
	flushLimit  = 500 * time.Millisecond // for them, at the end
)

// newLogger returns the log of a device, at the level that LOG_LEVEL names,
// and a function that waits a moment for what is still to be written.
func newLogger(o ServeOptions) (l *device.Logger, flush func()) {
	l = &device.Logger{Verbosef: device.DiscardLogf, Errorf: device.DiscardLogf}
	if o.LogLevel == "silent" {
		return l, func() {}
	}
	errorf, verbosef, flush := sinks(o)
	switch o.LogLevel {
	case "verbose", "debug":
		l.Verbosef = func(format string, args ...any) { verbosef(redact(fmt.Sprintf(format, args...))) }
	}
	held := &limiter{burst: errorBurst, interval: errorInterval}
	l.Errorf = func(format string, args ...any) {
		ok, dropped := held.allow(format)
		if !ok {
			return
		}
		text := redact(fmt.Sprintf(format, args...))
		if dropped > 0 {
			text = fmt.Sprintf("%s (and %d like it before)", text, dropped)
		}
		errorf(text)
	}
	return l, flush
}

// sinks returns where errors and the rest go. Where nobody sees whether a
// detached device's log is read, writing must not stop the device.
func sinks(o ServeOptions) (errorf, verbosef func(string), flush func()) {
	if !o.Detached {
		w := cmp.Or(o.Log, io.Discard)
		return writerSink(w, "ERROR: ", o.Interface), writerSink(w, "DEBUG: ", o.Interface), func() {}
	}
	q := newQueue(queueLength)
	if !o.NoJournal && journal.Enabled() {
		errorf, verbosef = journalSink(o.Interface, journal.PriErr), journalSink(o.Interface, journal.PriDebug)
	} else {
		errorf, verbosef = writerSink(os.Stdout, "ERROR: ", o.Interface), writerSink(os.Stdout, "DEBUG: ", o.Interface)
	}
	return q.through(errorf), q.through(verbosef), func() { q.flush(flushLimit) }
}

// A queue writes by a goroutine of its own, in order. What doesn't fit is lost.
type queue chan func()

func newQueue(length int) queue {
	q := make(queue, length)
	go func() {
		for write := range q {
			write()
		}
	}()
	return q
}

// through returns a sink that writes to another one by the queue.
func (q queue) through(sink func(string)) func(string) {
	return func(text string) {
		select {
		case q <- func() { sink(text) }:
		default:
		}
	}
}

// flush waits until all is written that was queued, but no longer than limit.
func (q queue) flush(limit time.Duration) {
	timeout := time.After(limit)
	written := make(chan struct{})
	select {
	case q <- func() { close(written) }:
	case <-timeout:
		return
	}
	select {
	case <-written:
	case <-timeout:
	}
}

// journalSink logs to the systemd journal: `journalctl -t wgctl INTERFACE=wg0`.
// A message that can't be delivered is lost; there is nobody to tell.
func journalSink(ifname string, p journal.Priority) func(string) {
	fields := map[string]string{"SYSLOG_IDENTIFIER": processName, "INTERFACE": ifname}
	return func(text string) { _ = journal.Send(text, p, fields) }
}

// writerSink logs in the form of wireguard-go.
func writerSink(w io.Writer, level, ifname string) func(string) {
	l := log.New(w, level+"("+ifname+") ", log.Ldate|log.Ltime)
	return func(text string) { l.Print(text) }
}

// What wireguard-go quotes of a request that it doesn't understand, and what
// may be a key, in hex or base64, whole or nearly.
var (
	quoted = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?s)(failed to parse line|invalid UAPI [a-z ]+:|invalid value:) .*`)
	})
	keyLike = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[A-Za-z0-9+/=]{32,}`) })
)

// redact takes out of a message what might be a key. wireguard-go itself logs
// peers by a short form, but quotes a line of the UAPI that it can't read.
func redact(text string) string {
	if strings.Contains(text, "invalid") || strings.Contains(text, "parse") {
		text = quoted().ReplaceAllString(text, "$1 (hidden)")
	}
	return keyLike().ReplaceAllString(text, "(hidden)")
}

// A limiter lets a burst of messages of one kind through, then one in an
// interval.
type limiter struct {
	burst    int
	interval time.Duration

	mu    sync.Mutex
	kinds map[string]*allowance
}

// An allowance is what one kind of message has left.
type allowance struct {
	left    int
	since   time.Time // from when the next one counts
	dropped int
}

// allow reports whether a message of this kind may be written, and if so how
// many were held back since the last one. Kinds are few: the formats that
// occur in the program's text.
func (l *limiter) allow(kind string) (ok bool, dropped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	a := l.kinds[kind]
	if a == nil {
		a = &allowance{left: l.burst, since: now}
		if l.kinds == nil {
			l.kinds = make(map[string]*allowance)
		}
		l.kinds[kind] = a
	}
	if earned := int(now.Sub(a.since) / l.interval); earned > 0 {
		a.left = min(l.burst, a.left+earned)
		a.since = a.since.Add(time.Duration(earned) * l.interval)
	}
	if a.left == 0 {
		a.dropped++
		return false, 0
	}
	a.left--
	dropped, a.dropped = a.dropped, 0
	return true, dropped
}
