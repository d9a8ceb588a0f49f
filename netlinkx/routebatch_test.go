// SPDX-License-Identifier: MIT

package netlinkx

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/wgctl/wgctl/routes"
)

// parseRoutes reads routes of the conformance table, as "10.0.0.0/8" or
// "10.0.0.0/8,51820" with a table.
func parseRoutes(t *testing.T, words []string) (out []routes.Route) {
	t.Helper()
	for _, w := range words {
		dst, table, ok := strings.Cut(w, ",")
		if ok {
			out = append(out, parseRoute(t, []string{dst, "table", table}))
		} else {
			out = append(out, parseRoute(t, []string{dst}))
		}
	}
	return out
}

// failures says a RoutesError in the words of the table.
func failures(err error) error {
	failed := (*RoutesError)(nil)
	if !errors.As(err, &failed) {
		return err
	}
	var words []string
	for _, f := range failed.Failed {
		words = append(words, fmt.Sprintf("%d: %s", f.Index, answer("", f.Err)))
	}
	return errors.New(strings.Join(words, "; "))
}

// Of thousands of routes, just those that fail are named, however many, and in
// the order of the list; the others are added.
func TestRoutesErrorNamesEachFailure(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0")
	ctx := t.Context()
	if err := k.LinkSet(ctx, "t0", 0, true); err != nil {
		t.Fatal(err)
	}
	all := manyRoutes(5_000)
	there := func(i int) bool { return i%7 == 3 || i >= 1_000 && i < 2_500 }
	var first []routes.Route
	var want []int
	for i, r := range all {
		if there(i) {
			first, want = append(first, r), append(want, i)
		}
	}
	if err := k.RoutesAdd(ctx, "t0", first); err != nil {
		t.Fatal(err)
	}
	err := k.RoutesAdd(ctx, "t0", all)
	failed := (*RoutesError)(nil)
	if !errors.As(err, &failed) {
		t.Fatalf("got %v", err)
	}
	var got []int
	for _, f := range failed.Failed {
		if f.Err != unix.EEXIST {
			t.Fatalf("route %d: %v", f.Index, f.Err)
		}
		got = append(got, f.Index)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d routes failed, want %d", len(got), len(want))
	}
	if want := fmt.Sprintf("file exists (and %d more)", len(want)-1); err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if err := k.RoutesDel(ctx, "t0", all); err != nil {
		t.Errorf("not all were added: %v", err)
	}
}

// What a cancelled batch didn't send counts as failed, and isn't there.
func TestRoutesAddIsCancelled(t *testing.T) {
	k := newNamespace(t)
	newTUN(t, k, "t0")
	if err := k.LinkSet(t.Context(), "t0", 0, true); err != nil {
		t.Fatal(err)
	}
	all := manyRoutes(1_000)
	s, err := k.batchSocket(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	index, err := k.index(ctx, "t0")
	if err != nil {
		t.Fatal(err)
	}
	var failed []int
	b := s.batch(ctx, func(i int, err error) {
		if err != context.Canceled {
			t.Errorf("route %d: %v", i, err)
		}
		failed = append(failed, i)
	})
	for i, r := range all {
		if i == 600 {
			cancel()
		}
		b.begin(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
		b.buf = appendRoute(b.buf, uint32(index), r)
		b.end()
	}
	b.close()
	list, err := k.Routes(t.Context(), "t0")
	if err != nil {
		t.Fatal(err)
	}
	added := len(slices.DeleteFunc(list, func(r InstalledRoute) bool { return r.Protocol != Protocol }))
	if added != 1_000-len(failed) || added != 600/batchRequests*batchRequests || failed[0] != added {
		t.Errorf("%d routes are there, %d failed", added, len(failed))
	}
}

// Each route of a list is a call of its own, so that each can be made to fail.
func TestFakeFailsOneOfManyRoutes(t *testing.T) {
	f := NewFake()
	f.AddLink(Link{Name: "wg0", Alias: Alias, Up: true})
	f.FailAt(2, unix.ENOMEM)
	all := manyRoutes(3)
	err := f.RoutesAdd(t.Context(), "wg0", all)
	if got := fmt.Sprint(failures(err)); got != "1: ENOMEM" {
		t.Errorf("adding: %s", got)
	}
	f.FailAt(3, unix.ENOMEM)
	err = f.RoutesDel(t.Context(), "wg0", all)
	if got := fmt.Sprint(failures(err)); got != "1: ESRCH, not there; 2: ENOMEM" {
		t.Errorf("removing: %s", got)
	}
	if f.Calls() != 6 {
		t.Errorf("%d calls", f.Calls())
	}
}
