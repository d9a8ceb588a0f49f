// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"io"
	"net"
	"time"
)

// A request is a connection that may idle between requests, but not in one. It
// answers GenerationRequest itself, and notes the requests that change the
// device: all but a get.
type request struct {
	net.Conn
	limit   time.Duration
	changes *changes

	inside  bool // part of a request was read, and no answer written since
	started bool // something was read
	in      section
	line    bool // the line that comes next has begun
	given   int  // requests that were handed on since the device had none
	noted   bool // one of these changes the device
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
	if r.in == between && !r.line {
		// The device asks for more, so it is done with all that it was given.
		r.settle()
	}
	var deadline time.Time
	if r.inside {
		deadline = time.Now().Add(r.limit)
	}
	if err := r.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	n, err := r.Conn.Read(p)
	if !r.started && string(p[:n]) == GenerationRequest {
		_, err := r.Write(r.changes.answer())
		if err == nil {
			err = io.EOF
		}
		return 0, err
	}
	r.started = r.started || n > 0
	r.inside = r.inside || n > 0
	r.follow(p[:n]) // before the device sees any of it
	return n, err
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
		r.changes.begin()
	}
}

// settle says that no request of this connection is under way.
func (r *request) settle() {
	r.given = 0
	if r.noted {
		r.noted = false
		r.changes.end()
	}
}
