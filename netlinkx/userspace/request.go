// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
)

// A request is a connection that may idle between requests, but not in one. It
// answers GenerationRequest itself, and notes the requests that change the
// device: all but a get.
type request struct {
	net.Conn
	limit  time.Duration
	intake *intake

	inside  bool // part of a request was read, and no answer written since
	started bool // something was read
	in      section
	line    bool   // the line that comes next has begun
	back    []byte // was read, and is to be read again
	failed  error  // of reading, after that
	given   int    // requests that were handed on since the device had none
	noted   bool   // one of these changes the device
}

// A section is where in a request a stream of them is.
type section int

const (
	between section = iota
	inGet           // before its empty line
	inOther         // before the empty line of what may change the device
)

var getLine = []byte("get=1")

// Read reads, with a time limit inside a request.
func (r *request) Read(p []byte) (int, error) {
	begins := r.in == between && !r.line
	if begins {
		// The device asks for more, so it is done with all that it was given.
		r.settle()
	}
	n, err := r.receive(p)
	if !r.started && string(p[:n]) == GenerationRequest {
		_, err := r.Write(r.intake.changes.answer())
		if err == nil {
			err = io.EOF
		}
		return 0, err
	}
	r.started = r.started || n > 0
	if begins && n > 0 {
		r.intake.settle()
	}
	r.follow(p[:n]) // before the device sees any of it
	return n, err
}

// receive reads what was given back, and then what comes.
func (r *request) receive(p []byte) (int, error) {
	if len(r.back) > 0 || r.failed != nil {
		n := copy(p, r.back)
		clear(r.back[:n])
		if r.back = r.back[n:]; n > 0 {
			return n, nil
		}
		return 0, r.failed
	}
	var deadline time.Time
	if r.inside {
		deadline = time.Now().Add(r.limit)
	}
	if err := r.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := r.Conn.Read(p)
	r.inside = r.inside || n > 0
	return n, err
}

// mostEarly is how long a request may be that is answered early.
const mostEarly = 1 << 20

// whole returns the request that comes next, up to the empty line and what came with
// that. If it is none that sets something, or too long, or its rest doesn't come, it
// is what has come so far.
func (r *request) whole() []byte {
	b := make([]byte, 0, 4096)
	for {
		n, err := r.receive(b[len(b):cap(b)])
		seen := max(0, len(b)-1)
		b = b[:len(b)+n]
		r.failed = err
		known := min(len(b), len(setLine))
		if err != nil || string(b[:known]) != string(setLine[:known]) || bytes.Contains(b[seen:], []byte("\n\n")) {
			return b
		}
		if len(b) == cap(b) {
			if len(b) >= mostEarly {
				return b
			}
			more := make([]byte, len(b), min(8*len(b), mostEarly))
			copy(more, b)
			clear(b) // of keys
			b = more
		}
	}
}

// giveBack has Read give it first.
func (r *request) giveBack(b []byte) { r.back = b }

// forget clears what nobody has read again.
func (r *request) forget() { clear(r.back) }

// answer answers a request that was read whole, and reports whether there may be
// another.
func (r *request) answer(err error) bool {
	r.started = true
	code := int64(0)
	if refused := (*device.IPCError)(nil); errors.As(err, &refused) {
		code = refused.ErrorCode()
	} else if errno := unix.Errno(0); errors.As(err, &errno) {
		code = -int64(errno)
	} else if err != nil {
		code = -int64(unix.EIO)
	}
	_, err = fmt.Fprintf(r, "errno=%d\n\n", code)
	return err == nil && r.failed == nil
}

// Write writes, with a time limit always: nobody has to ask who won't listen.
func (r *request) Write(p []byte) (int, error) {
	r.inside = false
	if r.given == 1 && r.in == between && !r.line {
		r.settle() // whoever reads this answer may count on that
	}
	if err := r.SetWriteDeadline(time.Now().Add(r.limit)); err != nil {
		return 0, err
	}
	return r.Conn.Write(p)
}

// follow notes what is in a part of the stream. What it can't tell it takes for
// a change that goes on.
func (r *request) follow(p []byte) {
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte{'\n'})
		p = rest
		switch {
		case r.in == between && !r.line && ended && bytes.Equal(line, getLine):
			r.given++
			r.in = inGet
		case r.in == between:
			r.given++
			r.change()
		case len(line) > 0 && r.in == inGet: // the device refuses it
			r.change()
		case len(line) == 0 && !r.line && ended:
			r.in = between
		}
		r.line = !ended
	}
}

func (r *request) change() {
	r.in = inOther
	if !r.noted {
		r.noted = true
		r.intake.grow()
		r.intake.changes.begin()
	}
}

// settle says that no request of this connection is under way.
func (r *request) settle() {
	r.given = 0
	if r.noted {
		r.noted = false
		r.intake.changes.end()
	}
}
