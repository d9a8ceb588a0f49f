// SPDX-License-Identifier: MIT

// Command boot runs a command, or without one a shell, in the test machine.
//
//	go run ./integration/vm/boot [-kernel 6.1] [-init systemd] [-no-nftables] [COMMAND...]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"

	"github.com/wgctl/wgctl/integration/vm"
)

func main() {
	os.Exit(run())
}

func run() int {
	var m vm.Machine
	flag.StringVar(&m.Kernel, "kernel", "6.1", "kernel series: 6.1 or 6.12")
	flag.StringVar(&m.Init, "init", "", "what boots the guest: systemd, or nothing")
	flag.BoolVar(&m.NoNftables, "no-nftables", false, "boot a host without nf_tables")
	flag.IntVar(&m.CPUs, "cpus", 0, "processors; 0: one where they are emulated, else two")
	flag.StringVar(&m.Share, "share", "", "folder that the guest sees, writable, as /results")
	flag.Parse()
	command := flag.Args()
	if len(command) == 0 {
		command = []string{"bash", "-l"}
		m.Stdin = os.Stdin
		defer rawTerminal()()
	}
	if dir, err := os.Getwd(); err == nil {
		m.Dir = dir
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	code, err := m.Run(ctx, os.Stdout, command...)
	if err != nil {
		fmt.Fprintf(os.Stderr, "boot: %v\n", err)
		return 1
	}
	return code
}

// rawTerminal hands every key to the guest, where a terminal is attached, and
// returns what puts that back.
func rawTerminal() (restore func()) {
	stty := func(args ...string) ([]byte, error) {
		cmd := exec.Command("stty", args...)
		cmd.Stdin = os.Stdin
		return cmd.Output()
	}
	saved, err := stty("-g")
	if err != nil {
		return func() {} // not a terminal
	}
	stty("raw", "-echo")
	return func() { stty(string(saved[:len(saved)-1])) }
}
