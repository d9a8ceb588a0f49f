// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrTooManyPeers is what a change fails with that would give an embedded
// device more peers than it can have.
var ErrTooManyPeers = errors.New("the embedded device takes 65,536 peers at the most; the kernel's takes 1,048,576")

// maxUAPIPeers is device.MaxPeers of wireguard-go. A change of so many peers
// that it may well be too much is worth a look at those that there are, which
// takes as long as adding as many, not to fail in its middle.
const (
	maxUAPIPeers  = 1 << 16
	worthCounting = maxUAPIPeers / 4
)

// A uapiDevice is a device by its socket.
type uapiDevice struct {
	path, name string
	tell       func() // is called before each request that changes it; nil: nobody counts
}

// A tally counts the requests that changed devices, by socket, from the first that a
// link with that number got.
type tally struct {
	mu sync.Mutex
	of map[string]told
}

type told struct {
	link     int
	requests uint64
}

func (t *tally) add(path string, link int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.of[path]
	if now.link != link {
		now = told{link: link}
	}
	now.requests++
	if t.of == nil {
		t.of = map[string]told{}
	}
	t.of[path] = now
}

// all reports whether a generation counts no other requests than these, if it is that
// of the link with the number.
func (t *tally) all(path, generation string) (link int, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.of[path]
	_, count, _ := strings.Cut(generation, "-")
	return now.link, now.requests > 0 && count == strconv.FormatUint(now.requests, 10)
}

// configure changes the device, but for RemoveAllowedIPs.
func (u uapiDevice) configure(ctx context.Context, c DeviceChange) error {
	get := func() (Device, error) { return uapiGet(ctx, u.path, u.name) }
	if len(c.Peers) > worthCounting && !(c.ReplacePeers && len(c.Peers) <= maxUAPIPeers) {
		if d, err := get(); err == nil && peersAfter(d, c) > maxUAPIPeers {
			return ErrTooManyPeers
		}
	}
	var request []byte
	for part := range parts(c, uapiPeers, uapiIPs) {
		if n := requestSize(part); n > cap(request) {
			request = make([]byte, 0, n)
		}
		request = appendRequest(request[:0], part)
		err := u.set(ctx, request)
		if errors.Is(err, unix.EINVAL) { // said of bad values as well, but those aren't sent
			if d, gerr := get(); gerr == nil && len(d.Peers) >= maxUAPIPeers {
				return ErrTooManyPeers
			}
		}
		if err != nil {
			return blame(part.Peers, err, func(c DeviceChange) error { return u.change(ctx, c) })
		}
	}
	return nil
}

// peersAfter returns how many peers d has after a change.
func peersAfter(d Device, c DeviceChange) int {
	there := make(map[Key]bool, len(d.Peers)+len(c.Peers))
	if !c.ReplacePeers {
		for _, p := range d.Peers {
			there[p.PublicKey] = true
		}
	}
	for _, p := range c.Peers {
		switch {
		case p.Remove:
			delete(there, p.PublicKey)
		case !p.UpdateOnly:
			there[p.PublicKey] = true
		}
	}
	return len(there)
}

// remove asks the device to remove allowed IPs by the flag.
func (u uapiDevice) remove(ctx context.Context, r removal) error {
	return u.change(ctx, r.change())
}

func (u uapiDevice) change(ctx context.Context, c DeviceChange) error {
	return u.set(ctx, appendRequest(make([]byte, 0, requestSize(c)), c))
}

// set sends a request, which is cleared then: there may be keys in it.
func (u uapiDevice) set(ctx context.Context, request []byte) error {
	defer clear(request)
	if u.tell != nil {
		u.tell()
	}
	return uapiDo(ctx, u.path, request, func([]byte, []byte) error { return nil })
}
