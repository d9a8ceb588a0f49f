// SPDX-License-Identifier: MIT

package namespace

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFind(t *testing.T) {
	self := fmt.Sprintf("/proc/%d/ns/net", os.Getpid())
	for word, want := range map[string]Place{
		self:                     {Path: self},
		fmt.Sprint(os.Getpid()):  {Path: self},
		"/var/run/netns/nowhere": {Path: "/run/netns/nowhere", Name: "nowhere"},
		"nowhere":                {Path: "/run/netns/nowhere", Name: "nowhere"},
	} {
		got, err := Find(word)
		if missing := want.Name == "nowhere"; got != want || errors.Is(err, fs.ErrNotExist) != missing || err != nil && !missing {
			t.Errorf("%s: %+v, %v", word, got, err)
		}
	}
	if _, err := Find("/etc/passwd"); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTTY) {
		t.Errorf("a file: %v", err)
	}
	for _, word := range []string{"", "..", "999999999"} {
		if _, err := Find(word); err == nil {
			t.Errorf("%q is found", word)
		}
	}
}

// What is made inside is there, and the thread comes back.
func TestInside(t *testing.T) {
	if os.Geteuid() != 0 {
		lacks(t, "making a network namespace takes root")
	}
	ns, err := New()
	if errors.Is(err, unix.EPERM) {
		lacks(t, "making a network namespace: not permitted")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	here, err := Here()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	if Same(here, ns) {
		t.Fatal("it is none of its own")
	}
	var inside, outside uint64
	err = Inside(ns, func() error {
		inside = Cookie()
		links, err := net.Interfaces()
		if len(links) != 1 {
			t.Errorf("links of a new namespace: %v", links)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	err = Inside(here, func() error {
		outside = Cookie()
		return nil
	})
	if err != nil || inside == outside && inside != 0 {
		t.Errorf("cookies %d and %d, %v", inside, outside, err)
	}
	want := errors.New("as it was")
	if err := Inside(ns, func() error { return want }); err != want {
		t.Errorf("got %v", err)
	}
}

func lacks(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("WGCTL_TEST_STRICT") == "1" {
		t.Fatal(why)
	}
	t.Skip(why)
}
