// SPDX-License-Identifier: MIT

package userspace

import (
	"bytes"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
)

// An intake stands between a device that begins and those who send it requests.
//
// wireguard-go multiplies on Curve25519 for each new peer before it answers, which
// takes 1,000 of them some 0.1 s (NewPeer in its device/peer.go). As long as a
// device has met no packet, a request for peers that it can't refuse is answered
// as soon as it was read, and carried out after that: one at a time, so that little
// waits. Whatever comes later waits for it, be it a packet or a request: the device
// is as if it had answered late, and who brings it up needn't wait.
//
// The device comes up with the first request, so that it needn't open sockets twice
// where that says which port.
type intake struct {
	dev     operations // set before serve is called
	changes changes

	grown atomic.Bool // the device met a packet, or a request that isn't known here: no more is answered early
	clear atomic.Bool // and nothing is carried out any more
	begun sync.Once
	ready chan struct{} // closed when the device has come up

	mu       sync.Mutex    // also of changes to grown and clear
	peers    int           // the most that the device can have of what was taken in
	underWay chan struct{} // closed when the request that is carried out is done; nil: none is
}

// operations are what a device is asked to do here: a device.Device.
type operations interface {
	IpcSetOperation(r io.Reader) error
	Up() error
}

// newIntake returns the intake of a device that comes, and isn't up yet.
func newIntake() *intake {
	return &intake{changes: newChanges(), ready: make(chan struct{})}
}

// begin brings the device up, if it wasn't yet, after it was given its own fields
// by set, which may be nil. A port that can't be had then is unix.EADDRINUSE, if the
// device is up on another.
func (i *intake) begin(set func() error) (err error) {
	i.begun.Do(func() {
		defer close(i.ready)
		if set != nil {
			err = set()
		}
		if up := i.dev.Up(); up != nil && set != nil && err == nil {
			if err = i.dev.Up(); err == nil { // which forgot the port
				err = unix.EADDRINUSE
			}
		}
		set = nil
	})
	if set != nil {
		err = set()
	}
	return err
}

// serve answers requests of a connection early for as long as that may be, and
// reports whether the device is to go on with the connection.
func (i *intake) serve(r *request) bool {
	for !i.grown.Load() {
		whole := r.whole()
		if len(whole) == 0 {
			return false // the other end is gone
		}
		kind, peers := kindOf(whole)
		switch {
		case kind == ownFields:
			if !r.answer(i.own(whole)) {
				return false
			}
		case kind == peersOnly && i.take(whole, peers):
			if !r.answer(nil) {
				return false
			}
		default:
			r.giveBack(whole)
			_ = i.begin(nil)
			return true
		}
	}
	_ = i.begin(nil)
	return true
}

// own has the device carry out a request for its own fields.
func (i *intake) own(request []byte) error {
	i.settle()
	i.changes.begin()
	defer i.changes.end()
	return i.begin(func() error { return i.carryOut(request) })
}

// take takes a request in that is for so many peers, unless it is too late for
// that, or they may be too many.
func (i *intake) take(request []byte, peers int) bool {
	_ = i.begin(nil)
	i.mu.Lock()
	for i.underWay != nil {
		done := i.underWay
		i.mu.Unlock()
		<-done
		i.mu.Lock()
	}
	defer i.mu.Unlock()
	if i.grown.Load() || i.peers+peers > device.MaxPeers {
		return false
	}
	i.peers += peers
	i.changes.begin()
	i.changes.end()
	done := make(chan struct{})
	i.underWay = done
	go func() {
		if err := i.carryOut(request); err != nil { // and the device logs it
			i.changes.begin() // it isn't what they were told it is
			i.changes.end()
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.underWay = nil
		i.clear.Store(i.grown.Load())
		close(done)
	}()
	return true
}

var setLine = []byte("set=1\n")

func (i *intake) carryOut(request []byte) error {
	defer clear(request) // of keys
	return i.dev.IpcSetOperation(bytes.NewReader(request[len(setLine):]))
}

// settle waits until the device has carried out what was taken in.
func (i *intake) settle() {
	i.mu.Lock()
	done := i.underWay
	i.mu.Unlock()
	if done != nil {
		<-done
	}
}

// meet is told that there are packets for the device, and lets nothing be taken in any
// more. It returns when the device has what was before, or when stop is closed.
func (i *intake) meet(stop <-chan struct{}) {
	for !i.clear.Load() {
		i.mu.Lock()
		done := i.underWay
		i.grown.Store(true)
		i.clear.Store(done == nil)
		i.mu.Unlock()
		if done == nil {
			return
		}
		select {
		case <-done:
		case <-stop:
			return
		}
	}
}

// grow is told of a request that goes to the device itself.
func (i *intake) grow() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.grown.Store(true)
	i.clear.Store(i.underWay == nil)
}

// end returns when nothing is carried out any more, and nothing will be.
func (i *intake) end() {
	i.grow()
	i.settle()
}

// A kind is what a request is about, as far as an intake cares.
type kind int

const (
	something kind = iota // else
	ownFields             // of the device, and no more
	peersOnly             // which the device can't refuse, unless there are too many
)

// kindOf looks at a request. What is ownFields or peersOnly is so in each of its
// lines, as wireguard-go takes them (device/uapi.go); peers are how many it adds at
// most.
func kindOf(request []byte) (k kind, peers int) {
	lines, ok := bytes.CutPrefix(request, setLine)
	if !ok || len(lines) == 0 {
		return something, 0
	}
	for {
		line, rest, ended := bytes.Cut(lines, []byte{'\n'})
		if !ended {
			return something, 0
		}
		if lines = rest; len(line) == 0 {
			break
		}
		key, value, _ := bytes.Cut(line, []byte{'='})
		switch {
		case k != ownFields && string(key) == "public_key":
			k = peersOnly
			peers++
		case k == something:
			k = ownFields
		}
		if k == ownFields && !isOwnValue(string(key), value) || k == peersOnly && !isPeerValue(string(key), value) {
			return something, 0
		}
	}
	if len(lines) > 0 { // of another request
		return something, 0
	}
	return k, peers
}

// isOwnValue makes no string of a key, which couldn't be cleared.
func isOwnValue(key string, value []byte) bool {
	switch key {
	case "private_key":
		return isHexKey(value)
	case "replace_peers":
		return string(value) == "true"
	case "listen_port":
		return isNumber(string(value), 16)
	case "fwmark":
		return isNumber(string(value), 32)
	}
	return false
}

func isPeerValue(key string, value []byte) bool {
	switch key {
	case "public_key", "preshared_key":
		return isHexKey(value)
	case "endpoint":
		_, err := netip.ParseAddrPort(string(value))
		return err == nil
	case "persistent_keepalive_interval":
		return isNumber(string(value), 16)
	case "allowed_ip":
		_, err := netip.ParsePrefix(string(value))
		return err == nil
	case "replace_allowed_ips", "update_only", "remove":
		return string(value) == "true"
	}
	return false
}

func isHexKey(s []byte) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 2*device.NoisePublicKeySize
}

func isNumber(s string, bits int) bool {
	_, err := strconv.ParseUint(s, 10, bits)
	return err == nil
}
