// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// foregroundFlag adds --foreground.
func foregroundFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().BoolP("foreground", "f", false, "stay until SIGTERM or SIGINT, then take them down")
}

// standBy waits for the signal to end, and takes tunnels down. As the first
// process of a container it also collects what others leave.
func standBy(ctx context.Context, ui *ui, args []string) error {
	if os.Getpid() == 1 {
		children := make(chan os.Signal, 1)
		signal.Notify(children, unix.SIGCHLD)
		defer signal.Stop(children)
		go collect(ctx, children)
	}
	<-ctx.Done()
	return each(context.WithoutCancel(ctx), ui, args, down)
}

// collect waits for processes that have ended, until the context ends: from then
// on there are some whose end somebody else waits for.
func collect(ctx context.Context, children <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-children:
		}
		for ctx.Err() == nil {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if pid <= 0 && err != unix.EINTR {
				break
			}
		}
	}
}
