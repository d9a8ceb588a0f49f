// SPDX-License-Identifier: MIT

package netlinkx

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// While a device of many peers is removed, others get their answers: reading
// it takes the locks that its removal takes, and finds it half empty. On the
// embedded device nothing takes long, and only the link has to be gone.
func TestLinkDelLetsOthersIn(t *testing.T) {
	k := newNamespace(t)
	realWorld{k}.device(t, "wg0")
	ctx := t.Context()
	const n = 500
	if err := k.Configure(ctx, "wg0", manyPeers(slices.Repeat([]int{1}, n)...)); err != nil {
		t.Fatal(err)
	}
	d, err := k.Device(ctx, "wg0")
	if err != nil || len(d.Peers) != n {
		t.Fatalf("%d peers, %v", len(d.Peers), err)
	}
	start, done := time.Now(), make(chan error)
	go func() { done <- k.LinkDel(ctx, "wg0") }()
	var between []int
	for over := false; !over; {
		switch now, err := k.Device(ctx, "wg0"); {
		case err == nil && len(now.Peers) > 0 && len(now.Peers) < n:
			between = append(between, len(now.Peers))
		case err != nil && !errors.Is(err, os.ErrNotExist):
			t.Fatal(err)
		}
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			over = true
		default:
		}
	}
	t.Logf("%s: %d answers in %v: %v", d.Backend, len(between), time.Since(start), between)
	if d.Backend == BackendKernel && len(between) == 0 {
		t.Error("nobody else was answered before all was over")
	}
	if _, err := k.Link(ctx, "wg0"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("the link: %v", err)
	}
}
