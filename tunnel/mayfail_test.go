// SPDX-License-Identifier: MIT

package tunnel

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// A resolver that takes nothing keeps nothing else from being done, once, where
// the file says so; and whatever else fails then is undone as ever.
func TestDNSMayFail(t *testing.T) {
	const domains = "DNS = 10.8.0.1, corp.example\n"
	file := strings.Replace(files[1], domains, domains+"DNSFailure = warn\nPreUp = echo pre %i\nPostUp = echo post %i\n", 1)
	without := newFakeHost(t)
	if err := bring(t, without, "wg0", strings.Replace(file, domains, "", 1), ""); err != nil {
		t.Fatal(err)
	}

	h := newFakeHost(t)
	clean := h.String()
	h.noDNS = true
	if err := bring(t, h, "wg0", file, ""); err != nil {
		t.Fatal(err)
	}
	if got, want := h.String(), without.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if want := []string{"PreUp: echo pre wg0", "PostUp: echo post wg0"}; !slices.Equal(h.hooks, want) {
		t.Errorf("hooks %q, want %q", h.hooks, want)
	}

	// The next reload tries again, and a later one keeps what stands.
	h.noDNS = false
	if err := bring(t, h, "wg0", file, ""); err != nil {
		t.Fatal(err)
	}
	whole := h.String()
	h.noDNS = true
	if err := bring(t, h, "wg0", strings.Replace(file, "DNS = 10.8.0.1", "DNS = 10.8.0.9", 1), ""); err != nil {
		t.Fatal(err)
	}
	if got := h.String(); got != whole {
		t.Errorf("got\n%s\nwant\n%s", got, whole)
	}
	h.noDNS = false
	if err := takeDown(t, h, "wg0"); err != nil || h.String() != clean {
		t.Errorf("down: %v, left\n%s", err, h)
	}

	for k := 1; ; k++ {
		h := newFakeHost(t)
		h.noDNS = true
		h.failNext(k)
		err := bring(t, h, "wg0", file, "")
		if err == nil {
			break
		}
		if !errors.Is(err, errInjected) || Residue(err) || h.String() != clean {
			t.Fatalf("change %d: error %v, left\n%s", k, err, h)
		}
	}
}
