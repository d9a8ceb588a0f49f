// SPDX-License-Identifier: MIT

package netlinkx

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Of many peers that are sent together, those that a device refuses are told by
// their keys, in either backend.
func TestRefusedPeersAreNamed(t *testing.T) {
	k := newNamespace(t)
	realWorld{k}.device(t, "wg0")
	c := manyPeers(slices.Repeat([]int{1}, 100)...)
	var bad netip.Prefix // a device takes none of that length
	for _, i := range []int{40, 45} {
		c.Peers[i].AllowedIPs = append(c.Peers[i].AllowedIPs, bad)
	}
	err := k.Configure(t.Context(), "wg0", c)
	refused := (*PeersError)(nil)
	if !errors.As(err, &refused) || !errors.Is(err, unix.EINVAL) {
		t.Fatalf("error %v", err)
	}
	var keys []Key
	for _, f := range refused.Failed {
		keys = append(keys, f.PublicKey)
	}
	if want := []Key{c.Peers[40].PublicKey, c.Peers[45].PublicKey}; !slices.Equal(keys, want) {
		t.Errorf("%d peers are blamed: %v, want %v", len(keys), keys, want)
	}
	if want := "peer " + c.Peers[40].PublicKey.String() + ": invalid argument (and 1 more)"; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if strings.Contains(err.Error(), "AgI") { // the start of a preshared key of manyPeers
		t.Errorf("a key is told: %v", err)
	}
}

// What is no fault of a peer blames none.
func TestNobodyIsBlamed(t *testing.T) {
	peers := manyPeers(1, 1, 1).Peers
	for _, tt := range []struct {
		refused, each error
		sent          int
	}{
		{missingError{unix.ENODEV}, missingError{unix.ENODEV}, 0},
		{unix.EPERM, unix.EPERM, 0},
		{unix.ENOBUFS, unix.ENOBUFS, 0},
		{unix.EINVAL, nil, 3}, // and then all went well
	} {
		sent := 0
		err := blame(peers, tt.refused, func(DeviceChange) error { sent++; return tt.each })
		if err != tt.refused || sent != tt.sent {
			t.Errorf("%v: %v, after %d messages", tt.refused, err, sent)
		}
	}
}
