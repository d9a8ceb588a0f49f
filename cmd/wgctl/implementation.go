// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/wgctl/wgctl/netlinkx"
	"github.com/wgctl/wgctl/netlinkx/userspace"
	"github.com/wgctl/wgctl/tunnel"
)

// implementationVariable names the program that wg-quick starts where the
// kernel has no WireGuard, as "PROGRAM IFNAME". It is obeyed under that name.
const implementationVariable = "WG_QUICK_USERSPACE_IMPLEMENTATION"

// starterFor returns what starts userspace devices: the embedded one, but
// under the name of wg-quick the program that the variable names.
func starterFor(ui *ui, kernel *netlinkx.Kernel) tunnel.Userspace {
	program := os.Getenv(implementationVariable)
	if !ui.quick || program == "" {
		return newStarter(ui)
	}
	return &implementation{Starter: newStarter(ui), program: program, kernel: kernel, ui: ui}
}

// quickStep is a step in wg-quick's words.
func quickStep(s tunnel.Step) string {
	words := tunnel.QuickWords(s)
	if program := os.Getenv(implementationVariable); program != "" {
		if ifname, ok := strings.CutPrefix(words, wireguardGoName+" "); ok {
			return program + " " + ifname
		}
	}
	return words
}

// An implementation is somebody else's program for userspace devices. How one
// ends and leaves its socket is the same for all (Starter).
type implementation struct {
	*userspace.Starter
	program string
	kernel  *netlinkx.Kernel
	ui      *ui
}

// answerTimeout is how long a program's device may take to answer once the
// program has gone to the background: some go before it does.
const answerTimeout = 30 * time.Second

// Available returns nil if the program is there.
func (i *implementation) Available(ctx context.Context) error {
	if _, err := exec.LookPath(i.program); err != nil {
		return fmt.Errorf("%s: %w", implementationVariable, err)
	}
	return ctx.Err()
}

// Prepare does nothing: another program makes its link itself.
func (i *implementation) Prepare(string) error { return nil }

// Counts returns false: other programs don't know of generations, and complain
// when they are asked.
func (i *implementation) Counts() bool { return false }

// Start runs the program, waits until its device answers, and marks the link
// as ours. On an error the link goes again.
func (i *implementation) Start(ctx context.Context, ifname string) error {
	cmd := exec.CommandContext(ctx, i.program, ifname)
	cmd.Stdout, cmd.Stderr = i.ui.out, i.ui.err
	cmd.WaitDelay = time.Second // the daemon may hold a pipe open
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return fmt.Errorf("running %s: %w", i.program, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	answer := i.answers(ctx, ifname)
	link, err := i.kernel.Link(context.WithoutCancel(ctx), ifname)
	if err == nil {
		err = i.kernel.LinkClaim(context.WithoutCancel(ctx), ifname, link.Index)
	}
	if answer != nil && err == nil {
		err = i.kernel.LinkDel(context.WithoutCancel(ctx), ifname)
	}
	if answer != nil {
		err = errors.Join(fmt.Errorf("waiting for the device of %s to answer: %w", i.program, answer), err)
	}
	return err
}

// answers waits until the device can be read.
func (i *implementation) answers(ctx context.Context, ifname string) error {
	for {
		_, err := i.kernel.Device(ctx, ifname)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
