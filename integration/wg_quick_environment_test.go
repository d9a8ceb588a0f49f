// SPDX-License-Identifier: MIT

package integration

import (
	"slices"
	"strings"
	"testing"
)

// The promise: under the name of wg-quick the program that
// WG_QUICK_USERSPACE_IMPLEMENTATION names makes the device, where the kernel
// can't, and a tunnel on it is as any other. One that isn't there, or fails,
// leaves nothing. wgctl under its own name doesn't look at the variable.
func TestWgQuickImplementation(t *testing.T) {
	Only(t, Userspace)
	s := newSite(t)
	theirs, ours := WireguardGo(t), As(t, "wg-quick")
	s.hub.WriteFile(configOf("wg0"), s.hubFile())
	s.client.WriteFile(configOf("wg0"), s.clientFile(hubEndpoint4+":51820", fullAllowed))
	wgctlOK(s.hub, "up", "wg0")
	before := s.client.Snapshot()

	s.client.Setenv("WG_QUICK_USERSPACE_IMPLEMENTATION", theirs)
	out := s.client.Must(ours, "up", "wg0")
	said(t, out.Stderr, "[!] Missing WireGuard kernel module. Falling back to slow userspace implementation.\n", "[#] "+theirs+" wg0\n")
	if p := s.client.Processes(); !slices.Contains(p, theirs+" wg0") {
		t.Errorf("processes: %q", p)
	}
	s.insideAnswers()
	s.internetIsReachedThrough()
	whole(s.client, "wg0")
	s.client.Must(ours, "down", "wg0")
	s.client.Unchanged(before)

	for program, says := range map[string]string{"/nosuch": "WG_QUICK_USERSPACE_IMPLEMENTATION: ", "false": "running false: exit status 1"} {
		out := s.client.Fails(1, "env", "WG_QUICK_USERSPACE_IMPLEMENTATION="+program, ours, "up", "wg0")
		said(t, out.Stderr, "wg-quick: ", says)
		s.client.Unchanged(before)
	}

	wgctlOK(s.client, "up", "wg0")
	if p := s.client.Processes(); slices.Contains(p, theirs+" wg0") {
		t.Errorf("wgctl obeys wg-quick's variable: %q", p)
	}
	wgctlOK(s.client, "down", "wg0")
	s.client.Unchanged(before)
}

// The promise: names of endpoints that can't be looked up for the moment are
// tried again as often as WG_ENDPOINT_RESOLUTION_RETRIES says, with wg's lines
// for it, which the original wg-quick shows too; then nothing is left.
func TestWgQuickEndpointRetries(t *testing.T) {
	Only(t, Userspace) // nothing in it is the backend's
	Need(t, "wg-quick")
	h, ours := bothQuick(t, "h")
	h.WriteFile(configOf("wg0"), strings.Replace(fullTunnel(t, 1), "192.0.2.1:51901", "relay.example:51820", 1))
	before := h.Snapshot()
	lines := func(out Output) []string {
		var kept []string
		for line := range strings.Lines(out.Stderr) {
			if strings.Contains(line, "relay.example") || strings.Contains(line, "parsing error") {
				kept = append(kept, line)
			}
		}
		return kept
	}
	const again, failed = "Temporary failure in name resolution: `relay.example:51820'. Trying again in 1.00 seconds...\n", "Temporary failure in name resolution: `relay.example:51820'\n"
	for retries, want := range map[string][]string{"1": {again, failed, "Configuration parsing error\n"}, "0": {failed, "Configuration parsing error\n"}} {
		h.Setenv("WG_ENDPOINT_RESOLUTION_RETRIES", retries)
		for _, tool := range []string{ours, "wg-quick"} {
			if got := lines(h.Fails(1, tool, "up", "wg0")); !slices.Equal(got, want) {
				t.Errorf("%s with %s retries: %q, want %q", tool, retries, got, want)
			}
			if tool == ours {
				h.Unchanged(before)
			}
		}
	}
}
