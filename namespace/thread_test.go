// SPDX-License-Identifier: MIT

package namespace

import (
	"os"
	"runtime"
	"testing"
)

// The process stays where it is, as /proc/self has it, whatever its threads do: by
// that wgctl finds its records.
func TestProcessStays(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "only root makes network namespaces")
	}
	process := func() string {
		at, err := os.Readlink("/proc/self/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	want := process()
	for range 200 {
		ns, err := New()
		if err != nil {
			t.Fatal(err)
		}
		now := process()
		err = Inside(ns, func() error {
			if at := process(); at != want {
				t.Errorf("inside, the process is in %s, and was in %s", at, want)
			}
			return nil
		})
		_ = ns.Close()
		if err != nil || now != want || t.Failed() {
			t.Fatalf("the process is in %s, and was in %s: %v", now, want, err)
		}
	}
}

// What ends a goroutine inside ends that of the caller.
func TestEndInside(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "only root makes network namespaces")
	}
	ns, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	done, went := make(chan struct{}), false
	go func() {
		defer close(done)
		_ = Inside(ns, func() error { runtime.Goexit(); return nil })
		went = true
	}()
	<-done
	if went {
		t.Error("the caller went on")
	}
}
