// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// sessionAddress returns the address that the session comes from in which this
// command was typed, or an invalid one if it is no ssh session. sudo drops the
// variable, so those of the processes above are looked at too.
func sessionAddress() netip.Addr {
	if a := fromSSH(os.Environ()); a.IsValid() {
		return a
	}
	for pid := os.Getppid(); pid > 1; pid = parentOf(pid) {
		environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		if err != nil {
			break
		}
		if a := fromSSH(strings.Split(string(environ), "\x00")); a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

// session is the session's address if it may come through the tunnel.
func (in *input) session(ctx context.Context) netip.Addr {
	return in.host.Session(ctx, in.name, sessionAddress())
}

// fromSSH reads SSH_CONNECTION, "10.8.0.7 51234 10.8.0.1 22".
func fromSSH(environ []string) netip.Addr {
	for _, e := range environ {
		if v, ok := strings.CutPrefix(e, "SSH_CONNECTION="); ok {
			from, _, _ := strings.Cut(v, " ")
			a, _ := netip.ParseAddr(from)
			return a
		}
	}
	return netip.Addr{}
}

// parentOf reads the fourth field of /proc/PID/stat; the second may hold
// anything and ends with the last ")".
func parentOf(pid int) int {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(fields[1])
	return n
}
