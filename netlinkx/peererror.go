// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A PeersError says which peers of a change were refused. Those before the
// first may have been changed.
type PeersError struct {
	Failed []PeerFailure // at least one
}

// A PeerFailure is what the change of one peer failed with.
type PeerFailure struct {
	PublicKey Key
	Err       error
}

// Error is what the first failure says and whose it is, and how many there are
// after it.
func (e *PeersError) Error() string {
	first := e.Failed[0]
	text := fmt.Sprintf("peer %s: %v", first.PublicKey, first.Err)
	if n := len(e.Failed) - 1; n > 0 {
		return fmt.Sprintf("%s (and %d more)", text, n)
	}
	return text
}

// Unwrap returns what the first failure was.
func (e *PeersError) Unwrap() error { return e.Failed[0].Err }

// blame finds out which of the peers of a message it was that the message was
// refused for: one errno answers for all of them, so each is sent again by
// itself. What says nothing of peers is returned as it is.
func blame(peers []PeerChange, refused error, again func(DeviceChange) error) error {
	for _, other := range []error{os.ErrNotExist, os.ErrPermission, unix.ENOBUFS, unix.EOPNOTSUPP, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(refused, other) {
			return refused
		}
	}
	var errno unix.Errno
	if !errors.As(refused, &errno) {
		return refused
	}
	all := &PeersError{}
	for i, p := range peers {
		if err := again(DeviceChange{Peers: peers[i : i+1]}); err != nil {
			all.Failed = append(all.Failed, PeerFailure{p.PublicKey, err})
		}
	}
	if len(all.Failed) == 0 {
		return refused
	}
	return all
}
