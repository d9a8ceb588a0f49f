// SPDX-License-Identifier: MIT

package integration

import (
	"strings"
	"testing"
)

// The peer that a session comes through is not cut off unasked, sudo or not.
func TestReloadOfOwnSession(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	other := peerSection(newKeyPair(t), "AllowedIPs = 10.8.1.0/24")
	p.write(p.file("", "", other, other))
	wgctlOK(p.near, "up", "wg0")
	p.write(strings.Replace(p.file("", "", other), "10.8.0.1/32", "10.8.0.9/32", 1))
	session := "SSH_CONNECTION='10.8.0.1 50000 10.8.0.2 22' "
	for _, command := range []string{session + Bin(t) + " reload wg0", session + "sh -c 'env -i " + Bin(t) + " reload wg0; exit $?'"} {
		out := p.near.Run("sh", "-c", command)
		if out.Code != 1 || !strings.Contains(out.Stderr, "would cut this session off, which comes through peer "+p.farKey.public) {
			t.Errorf("%v", out)
		}
	}
	if plan := wgctlOK(p.near, "plan", "reload", "wg0"); strings.Contains(plan.Stderr, "cut this session off") {
		t.Errorf("without a session: %v", plan)
	}
	said(t, p.near.Must("sh", "-c", session+Bin(t)+" plan reload wg0").Stderr, "would cut this session off")
	// It is done if it is meant, on a terminal or without.
	p.near.Sh("mkdir /run/pts; mount -t devpts -o newinstance,ptmxmode=666 devpts /run/pts")
	command := session + Bin(t) + " reload wg0"
	out := p.near.startRole("dialogue", "/run/pts", "go on? [y/N]", "n", "sh", "-c", command).Wait(runLimit)
	if out.Code != 1 || !strings.Contains(out.Stdout, "cut this session off, which comes through peer "+p.farKey.public+": not done") {
		t.Errorf("answer no: %v", out)
	}
	p.near.MustPing("10.8.0.1")
	out = p.near.startRole("dialogue", "/run/pts", "go on? [y/N]", "y", "sh", "-c", command).Wait(runLimit)
	if out.Code != 0 || !strings.Contains(out.Stdout, "10.8.0.9/32") {
		t.Errorf("answer yes: %v", out)
	}
	p.write(p.file("", "", other, other))
	wgctlOK(p.near, "reload", "wg0")
	p.write(strings.Replace(p.file("", "", other), "10.8.0.1/32", "10.8.0.9/32", 1))
	if out := p.near.Must("sh", "-c", command+" --yes"); !strings.Contains(out.Stderr, "10.8.0.9/32") {
		t.Errorf("--yes: %v", out)
	}
}

// A session from the local network doesn't come through the peer that takes the
// default route, and isn't cut off with it; one from elsewhere is.
func TestReloadOfLocalSession(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	other := peerSection(newKeyPair(t), "AllowedIPs = 10.8.1.0/24")
	full, split := p.file("", ", 0.0.0.0/0", other), p.file("", "", other)
	for _, tt := range []struct {
		from string
		cut  bool
	}{{"192.0.2.1", false}, {"203.0.113.7", true}} {
		p.write(full)
		wgctlOK(p.near, "apply", "wg0")
		p.write(split)
		out := p.near.Run("sh", "-c", "SSH_CONNECTION='"+tt.from+" 50000 192.0.2.2 22' "+Bin(t)+" reload wg0")
		if cut := strings.Contains(out.Stderr, "would cut this session off"); cut != tt.cut || (out.Code == 0) == tt.cut {
			t.Errorf("a session from %s: %v", tt.from, out)
		}
	}
}
