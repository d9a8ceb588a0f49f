// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// Names of systemd-resolved on the system bus: org.freedesktop.resolve1(5).
const (
	resolveName    = "org.freedesktop.resolve1"
	resolvePath    = dbus.ObjectPath("/org/freedesktop/resolve1")
	resolveManager = resolveName + ".Manager."
	resolveLink    = resolveName + ".Link"
)

// A bus is a connection to the system bus, on which nothing takes longer than
// busTimeout in all: not the connection, which may hang like any call, either.
type bus struct {
	conn *dbus.Conn
	ctx  context.Context
	end  context.CancelFunc
	with spoken
}

// A spoken is who is spoken to on which bus.
type spoken struct{ path, name string }

// hanging are those that did not answer, and when that was: who has waited for
// one of them does not wait again for the next call, so that a command takes not
// much longer than busTimeout, whatever it has to ask.
var hanging sync.Map

// hangsFor is how long who did not answer is not asked again.
const hangsFor = 3 * busTimeout

// openBus connects, to speak to who has a name. The caller must close the bus.
func openBus(ctx context.Context, path, name string) (*bus, error) {
	with := spoken{path, name}
	if since, ok := hanging.Load(with); ok && time.Since(since.(time.Time)) < hangsFor {
		return nil, fmt.Errorf("connecting to the system bus: %s did not answer before: %w", name, context.DeadlineExceeded)
	}
	ctx, end := context.WithTimeout(ctx, busTimeout)
	socket, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err != nil {
		end()
		return nil, fmt.Errorf("connecting to the system bus: %w", err)
	}
	deadline, _ := ctx.Deadline()
	err = socket.SetDeadline(deadline)
	var conn *dbus.Conn
	if err == nil {
		conn, err = dbus.NewConn(socket, dbus.WithContext(ctx))
	}
	if err != nil {
		end()
		return nil, errors.Join(fmt.Errorf("connecting to the system bus: %w", err), socket.Close())
	}
	b := &bus{conn, ctx, end, with}
	if err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err == nil {
		err = conn.Hello()
	}
	if err != nil {
		err = b.explain("connecting to the system bus", err)
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bus) close() {
	_ = b.conn.Close() // nothing is left to be sent
	b.end()
}

// explain says of a call that failed what it was, and that time was up if it
// was: the connection's own words for that vary.
func (b *bus) explain(what string, err error) error {
	deadline, _ := b.ctx.Deadline()
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || !time.Now().Before(deadline) {
		if !time.Now().Before(deadline) {
			hanging.Store(b.with, time.Now())
		}
		return fmt.Errorf("%s: no answer within %s: %w", what, busTimeout, context.DeadlineExceeded)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// manager calls a method of systemd-resolved's.
func (b *bus) manager(method string, args ...any) error {
	call := b.conn.Object(resolveName, resolvePath).CallWithContext(b.ctx, resolveManager+method, 0, args...)
	if call.Err != nil {
		return b.explain(method+" of systemd-resolved", call.Err)
	}
	return nil
}

// link reads a property of a link from systemd-resolved.
func (b *bus) link(index int, property string, out any) error {
	what := property + " of systemd-resolved"
	var path dbus.ObjectPath
	call := b.conn.Object(resolveName, resolvePath).CallWithContext(b.ctx, resolveManager+"GetLink", dbus.FlagNoAutoStart, int32(index))
	if err := call.Store(&path); err != nil {
		return b.explain(what, err)
	}
	var v dbus.Variant
	call = b.conn.Object(resolveName, path).CallWithContext(b.ctx, "org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, resolveLink, property)
	if err := call.Store(&v); err != nil {
		return b.explain(what, err)
	}
	if err := v.Store(out); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// askResolved asks the bus for systemd-resolved, which is started if it can be
// and is to be. One that could be counts as one that answers.
func askResolved(ctx context.Context, path string, start bool) Answer {
	b, err := openBus(ctx, path, resolveName)
	if errors.Is(err, context.DeadlineExceeded) {
		return AnswerHangs
	}
	if err != nil {
		return AnswerNo
	}
	defer b.close()
	if !start && b.owner(resolveName) == "" {
		var names []string
		err := b.conn.BusObject().CallWithContext(b.ctx, "org.freedesktop.DBus.ListActivatableNames", 0).Store(&names)
		if err == nil && !slices.Contains(names, resolveName) {
			return AnswerNo
		}
		return b.answer(resolveName, err)
	}
	return b.answer(resolveName, b.peer("Ping").Err)
}

// answer says what came of a first call to a name.
func (b *bus) answer(name string, err error) Answer {
	switch {
	case err == nil && b.elsewhere(name):
		return AnswerElsewhere
	case err == nil:
		return AnswerYes
	case errors.Is(b.explain("", err), context.DeadlineExceeded):
		return AnswerHangs
	}
	return AnswerNo
}

func (b *bus) peer(method string) *dbus.Call {
	return b.conn.Object(resolveName, resolvePath).CallWithContext(b.ctx, "org.freedesktop.DBus.Peer."+method, 0)
}

// elsewhere reports whether who has a name runs in another network namespace:
// systemd-resolved would take one of its own links for ours, which has the same
// index, and NetworkManager would send its own host's look-ups to our tunnel.
func (b *bus) elsewhere(name string) bool {
	var pid uint32
	err := b.conn.BusObject().CallWithContext(b.ctx, "org.freedesktop.DBus.GetConnectionUnixProcessID", 0, name).Store(&pid)
	if err != nil {
		return false
	}
	var own, theirs unix.Stat_t
	if unix.Stat("/proc/thread-self/ns/net", &own) != nil || unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &theirs) != nil {
		return false
	}
	return own.Ino != theirs.Ino
}

// seenElsewhere is elsewhere for whom we have no connection to yet. That of the
// host runs where the first process does.
func seenElsewhere(ctx context.Context, path, name string) bool {
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return false
	}
	if first, err := os.Readlink("/proc/1/ns/net"); err == nil && first == own {
		return false
	}
	b, err := openBus(ctx, path, name)
	if err != nil {
		return false
	}
	defer b.close()
	return b.elsewhere(name)
}

// unknownMethod reports whether a call failed because systemd-resolved is too
// old to have the method, or the property.
func unknownMethod(err error) bool {
	e := dbus.Error{}
	return errors.As(err, &e) && (strings.HasSuffix(e.Name, ".UnknownMethod") || strings.HasSuffix(e.Name, ".UnknownProperty"))
}
