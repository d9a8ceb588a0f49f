// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A betweenContext calls back whenever it is asked whether it has ended, which
// is before each datagram.
type betweenContext struct {
	context.Context
	between func()
}

func (c betweenContext) Err() error {
	c.between()
	return c.Context.Err()
}

// A device of many peers is removed in parts, and between them others get what
// they ask for: to change a link, and to read the very device. On the embedded
// device nothing takes long, and only the link has to be gone.
func TestLinkDelLetsOthersIn(t *testing.T) {
	k := newNamespace(t)
	realWorld{k}.device(t, "wg0")
	newTUN(t, k, "t0")
	ctx := t.Context()
	const n = 500
	if err := k.Configure(ctx, "wg0", manyPeers(slices.Repeat([]int{1}, n)...)); err != nil {
		t.Fatal(err)
	}
	d, err := k.Device(ctx, "wg0")
	if err != nil || len(d.Peers) != n {
		t.Fatalf("%d peers, %v", len(d.Peers), err)
	}
	if d.Backend == BackendKernel {
		l, err := k.Link(ctx, "wg0")
		if err != nil {
			t.Fatal(err)
		}
		counts := emptyWhileAsked(t, k, l)
		if len(counts) < n/kernelPeers || counts[0] != n || !slices.IsSortedFunc(counts, func(a, b int) int { return b - a }) {
			t.Errorf("peers seen meanwhile: %v", counts)
		}
	}
	if err := k.LinkDel(ctx, "wg0"); err != nil {
		t.Error(err)
	}
	if _, err := k.Link(ctx, "wg0"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("the link: %v", err)
	}
}

// emptyWhileAsked removes the peers of a device, sets another link and reads
// the device between any two parts, and returns how many peers it had.
func emptyWhileAsked(t *testing.T, k *Kernel, l Link) (counts []int) {
	t.Helper()
	asking := false
	err := k.removePeers(betweenContext{t.Context(), func() {
		if asking {
			return
		}
		asking = true
		defer func() { asking = false }()
		d, err := k.kernelDevice(t.Context(), l.Name)
		if err == nil {
			err = k.LinkSet(t.Context(), "t0", 1400+len(counts), true)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n := len(counts); n == 0 || counts[n-1] != len(d.Peers) {
			counts = append(counts, len(d.Peers))
		}
	}}, l)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}
