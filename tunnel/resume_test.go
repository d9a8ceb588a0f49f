// SPDX-License-Identifier: MIT

package tunnel

import (
	"errors"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/wgctl/wgctl/config"
)

var errKilled = errors.New("killed")

// bringKilled is bring by a process that dies before its kth change; died is
// false if it makes fewer.
func bringKilled(t *testing.T, h *fakeHost, k int, file string) (died bool) {
	t.Helper()
	h.killAt = h.calls + k
	defer func() {
		h.killAt = 0
		if r := recover(); r == errKilled {
			died = true
		} else if r != nil {
			panic(r)
		}
	}()
	if err := bring(t, h, "wg0", file, config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	return false
}

// A reload that is killed before any of its changes goes on with the next one,
// be it to the same file, to the one before or to a third: the tunnel is then
// what that file makes of a fresh host, and its link was never made anew.
func TestResumedReload(t *testing.T) {
	fresh := make([]string, len(files))
	for i, f := range files {
		h := newFakeHost(t)
		if err := bring(t, h, "wg0", f, config.BackendKernel); err != nil {
			t.Fatalf("file %d: %v", i, err)
		}
		fresh[i] = normal(h)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	all := os.Getenv("WGCTL_TEST_FAULTS") == "all"
	killed := 0
	for i := range files {
		one := rnd.IntN(len(files))
		for j := range files {
			if i == j || !all && (j != one || rnd.IntN(2) > 0 && killed > 0) {
				continue
			}
			for _, next := range []int{j, i, rnd.IntN(len(files))} {
				for k := 1; killAndResume(t, k, i, j, next, fresh); k++ {
					killed++
				}
			}
		}
	}
	t.Logf("killed %d times", killed)
	if killed == 0 {
		t.Error("nothing was killed")
	}
}

// killAndResume goes from one file to another, is killed before the kth change,
// and goes to the next; died is false if it makes fewer changes.
func killAndResume(t *testing.T, k, i, j, next int, fresh []string) (died bool) {
	t.Helper()
	h := newFakeHost(t)
	if err := bring(t, h, "wg0", files[i], config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	if !bringKilled(t, h, k, files[j]) {
		return false
	}
	resumes(t, h, files[next])
	if got := normal(h); got != fresh[next] {
		t.Fatalf("from file %d to %d, killed before change %d, then to %d:\n%s\nfresh it is\n%s", i, j, k, next, got, fresh[next])
	}
	return true
}

// resumes reloads a tunnel, and fails the test if its link isn't the same
// afterwards.
func resumes(t *testing.T, h *fakeHost, file string) {
	t.Helper()
	link, err := h.Link(t.Context(), "wg0")
	if err != nil {
		t.Fatal(err)
	}
	if err := bring(t, h, "wg0", file, config.BackendKernel); err != nil {
		t.Fatal(err)
	}
	if after, err := h.Link(t.Context(), "wg0"); err != nil || after.Index != link.Index {
		t.Fatalf("the link was made anew: %+v, then %+v, %v", link, after, err)
	}
}
