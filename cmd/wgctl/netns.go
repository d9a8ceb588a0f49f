// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/wgctl/wgctl/namespace"
	"github.com/wgctl/wgctl/netlinkx"
	"golang.org/x/sys/unix"
)

// A place is the network namespace that --netns names. wgctl starts itself
// again in it, so that all it does, and all that it runs, is done there; what it
// needs of the namespace that it was called in comes along as a descriptor.
type place struct {
	namespace.Place
	outer *os.File // where the devices' sockets stay; nil: in the namespace too

	// Of a namespace that ends with this process:
	private bool   // it has folders in /run of its own
	file    string // its resolv.conf
}

// outerVariable is in the environment of a wgctl that started itself again: the
// descriptor of the namespace that it was called in, or "all" for --netns-all.
const (
	outerVariable = "WGCTL_NETNS_OUTER"
	outerNone     = "all"
)

// placeFlags adds --netns and --netns-all to verbs.
func placeFlags(cmds ...*cobra.Command) {
	for _, cmd := range cmds {
		cmd.Flags().String("netns", "", "in a `NAMESPACE` (name, path, PID) but for the UDP socket")
		cmd.Flags().String("netns-all", "", "in a `NAMESPACE`, with the UDP socket")
		_ = cmd.RegisterFlagCompletionFunc("netns", completeNamespaces)
		_ = cmd.RegisterFlagCompletionFunc("netns-all", completeNamespaces)
		placeFlags(cmd.Commands()...)
	}
}

// completeNamespaces offers the names of "ip netns".
func completeNamespaces(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	entries, _ := os.ReadDir(namespace.Dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, cobra.ShellCompDirectiveDefault
}

// goPlace is what every verb begins with: where --netns is given, in that
// namespace.
func goPlace(cmd *cobra.Command, ui *ui, args []string) error {
	netns, all := cmd.Flag("netns"), cmd.Flag("netns-all")
	switch {
	case netns == nil || all == nil || !netns.Changed && !all.Changed:
		return nil
	case netns.Changed && all.Changed:
		return usageError{fmt.Errorf("%s takes --netns or --netns-all, not both", cmd.Name())}
	}
	if err := needRoot(cmd.Name()); err != nil {
		return err
	}
	word := netns.Value.String()
	if all.Changed {
		word = all.Value.String()
	}
	return ui.goTo(cmd.Context(), cmd.Name(), word, all.Changed, args)
}

// goTo moves the program to a namespace. It returns when the program is there.
func (u *ui) goTo(ctx context.Context, verb, word string, all bool, args []string) error {
	p, err := namespace.Find(word)
	if errors.Is(err, fs.ErrNotExist) {
		return buried(ctx, u, verb, p, args, err)
	}
	if err != nil {
		return err
	}
	ns, err := p.Open()
	if err != nil {
		return err
	}
	defer ns.Close()
	here, err := namespace.Here()
	if err != nil {
		return fmt.Errorf("opening the own network namespace: %w", err)
	}
	if namespace.Same(here, ns) {
		_ = here.Close()
		u.place = &place{Place: p}
		u.place.outer, err = inherited()
		return err
	}
	return again(p, ns, here, all)
}

// inherited returns the namespace that a wgctl was called in that started itself
// again, nil if there is none. What it runs doesn't get it.
func inherited() (*os.File, error) {
	v := os.Getenv(outerVariable)
	_ = os.Unsetenv(outerVariable)
	if v == "" || v == outerNone {
		return nil, nil
	}
	fd, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %q is not a descriptor", outerVariable, v)
	}
	unix.CloseOnExec(int(fd))
	return os.NewFile(uintptr(fd), "the namespace of the caller"), nil
}

// again starts this program again in a namespace.
func again(p namespace.Place, ns, outer *os.File, all bool) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding wgctl itself: %w", err)
	}
	runtime.LockOSThread() // for good: the thread is in another namespace
	if err := namespace.Enter(ns); err != nil {
		return err
	}
	come := outerNone
	if all && p.Name != "" {
		if err := namespace.Furnish(p.Name); err != nil {
			return err
		}
	}
	if !all {
		if _, err := unix.FcntlInt(outer.Fd(), unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("handing on the network namespace: %w", err)
		}
		come = strconv.Itoa(int(outer.Fd()))
	}
	env := append(slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, outerVariable+"=") }), outerVariable+"="+come)
	// The thread that calls execve becomes the process, and its namespaces
	// are the process'.
	if err := syscall.Exec(exe, os.Args, env); err != nil {
		return fmt.Errorf("starting %s in network namespace %s: %w", exe, p.Path, err)
	}
	return nil
}

// openOuter opens the kernel of the namespace where sockets stay.
func (p *place) openOuter() (*netlinkx.Kernel, error) {
	k, err := netlinkx.NewKernelAt(fmt.Sprintf("/proc/self/fd/%d", p.outer.Fd()))
	if err != nil {
		return nil, fmt.Errorf("connecting to the kernel: %w", err)
	}
	return k, nil
}

// resolvConf is the file that programs in the namespace find their nameservers
// in, "" if there is none of their own.
func (p *place) resolvConf() string {
	if p.Name == "" {
		return p.file
	}
	return namespace.EtcDir + "/" + p.Name + "/resolv.conf"
}

// takeNetns takes --netns and --netns-all out of the words of a verb that reads
// its own, wherever they stand: none of its words begins with two dashes.
func takeNetns(verb string, args []string) (word string, all bool, rest []string, err error) {
	taken := ""
	for len(args) > 0 {
		flag, value, has := strings.Cut(args[0], "=")
		if flag != "--netns" && flag != "--netns-all" {
			rest, args = append(rest, args[0]), args[1:]
			continue
		}
		if !has {
			if len(args) < 2 {
				return "", false, nil, usageError{fmt.Errorf("%s takes a NAME, PATH or PID", flag)}
			}
			value, args = args[1], args[1:]
		}
		if taken != "" && taken != flag {
			return "", false, nil, usageError{fmt.Errorf("%s takes --netns or --netns-all, not both", verb)}
		}
		taken, word, args = flag, value, args[1:]
	}
	return word, taken == "--netns-all", rest, nil
}
