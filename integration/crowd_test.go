// SPDX-License-Identifier: MIT

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// crowdFor is how long a crowd works: WGCTL_TEST_CROWD, or a moment.
func crowdFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("WGCTL_TEST_CROWD")
	if text == "" {
		return time.Duration(rounds(5, 1)) * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("WGCTL_TEST_CROWD: %v", err)
	}
	return d
}

// Thirty-two processes, in a guest eight, do whatever comes to their mind with four tunnels. At
// rest each of these is up, or not there at all; nobody waits for ever; no
// tunnel has lost anything to another; and in the end nothing is left.
func TestCrowd(t *testing.T) {
	oneGuest(t, "odd")
	Need(t, "wg", "nft")
	h := newTunnelHost(t, "h")
	names := []string{"wg0", "wg1", "wg2", "wg3"}
	var peers [4]keyPair
	for n, name := range names {
		peers[n] = newKeyPair(t)
		allowed := "AllowedIPs = 0.0.0.0/0, ::/0" // two with a default route
		if n > 1 {
			allowed = fmt.Sprintf("AllowedIPs = 10.7%d.0.0/16, fd7%d::/64", n, n)
		}
		h.WriteFile(configOf(name), interfaceSection(newKeyPair(t), fmt.Sprintf("Address = 10.8.%d.2/24, fd08:%d::2/64", n, n))+
			peerSection(peers[n], "Endpoint = 192.0.2.1:51900", "PersistentKeepalive = 100", allowed))
	}
	before := h.Snapshot()
	rnd := seeded(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[string]int{}
	end := time.Now().Add(crowdFor(t))
	for range rounds(32, 8) {
		own := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		wg.Go(func() {
			for time.Now().Before(end) {
				n := own.IntN(len(names))
				args := whim(own, Bin(t), names[n], peers[n].public)
				code, text := h.try(args)
				mu.Lock()
				codes[fmt.Sprintf("%s %d", strings.Join(args[1:2], " "), code)]++
				mu.Unlock()
				if code < 0 || code > 1 {
					t.Errorf("%v: exit %d: %s", args, code, text)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("how often: %v", codes)
	for name, s := range statuses(h) {
		// The crowd itself sets keepalives.
		for _, d := range s.Drift {
			if !strings.Contains(d.Step, "persistent-keepalive") {
				t.Errorf("%s at rest: %+v", name, d)
			}
		}
		if s.State != "up" {
			t.Errorf("%s at rest: %+v", name, s)
		}
	}
	wgctlOK(h, append([]string{"apply"}, names...)...)
	for _, name := range names[2:] {
		whole(h, name)
	}
	ownRoutes(h, names[:2])
	wgctlOK(h, "down", "--all")
	h.Unchanged(before)
}

// whim is a command that somebody in a crowd gives.
func whim(rnd *rand.Rand, bin, name, peer string) []string {
	verbs := []string{"up", "up", "down", "down", "reload", "apply", "status", "set"}
	switch verb := verbs[rnd.IntN(len(verbs))]; verb {
	case "set":
		return []string{"wg", "set", name, "peer", peer, "persistent-keepalive", fmt.Sprint(rnd.IntN(100))}
	default:
		return []string{bin, verb, name}
	}
}

// try runs a program from any goroutine. The code is -1 if it did not end.
func (h *Host) try(args []string) (code int, text string) {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout(3*runLimit)) // many wait before it
	defer cancel()
	var said bytes.Buffer
	cmd := h.command(ctx, args)
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	out := said.String()
	exit := (*exec.ExitError)(nil)
	switch {
	case err == nil:
		return 0, out
	case ctx.Err() == nil && errors.As(err, &exit):
		status, ok := exit.Sys().(syscall.WaitStatus)
		if ok && args[0] == "wg" && status.Signaled() && status.Signal() == syscall.SIGPIPE {
			return 1, out // so wg ends when the device goes that it is telling something
		}
		return exit.ExitCode(), fmt.Sprintf("%v: %s", err, out)
	}
	return -1, fmt.Sprintf("%v: %s", err, out)
}
