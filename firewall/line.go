// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"fmt"
	"sync"

	"github.com/google/nftables"
)

// A line is how one Firewall talks to nf_tables: by connections of the network
// namespace of the thread that made them, of which one is kept from a question
// to the next, as to make one takes as long as an answer. A nil line keeps none.
type line struct {
	mu   sync.Mutex
	idle *nftables.Conn
}

// take returns a connection, which is to be given back. It has no socket options:
// any of them switches the library's sizing of buffers off, and then a large
// batch is refused.
func (l *line) take(ctx context.Context) (*nftables.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if l != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if c := l.idle; c != nil {
			l.idle = nil
			return c, nil
		}
	}
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, fmt.Errorf("connecting to nf_tables: %w", err)
	}
	return c, nil
}

// give takes back a connection that met with an error or nil. After an error
// more of the answer may be under way, or a transaction begun.
func (l *line) give(c *nftables.Conn, err error) {
	if l != nil && err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.idle == nil {
			l.idle = c
			return
		}
	}
	_ = c.CloseLasting()
}

// close closes the connection that is kept.
func (l *line) close() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.idle == nil {
		return nil
	}
	c := l.idle
	l.idle = nil
	return c.CloseLasting()
}
