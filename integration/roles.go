// SPDX-License-Identifier: MIT

package integration

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
)

// roleEnv makes the test binary play a part in a host instead of running
// tests: it is the one program that is there for certain, here and in the VM.
const roleEnv = "WGCTL_TEST_ROLE"

// roles are the parts; each gets the words after the program's name.
var roles = map[string]func(args []string) error{
	"hold":       func(args []string) error { return hold(args[0]) },
	"tcp-sink":   func(args []string) error { return tcpSink(args[0]) },
	"names":      func(args []string) error { return serveNames(args[0], args[1]) },
	"notified":   func(args []string) error { return notified(args[0]) },
	"mute":       func(args []string) error { return mute(args[0]) },
	"tcp-send":   func(args []string) error { return tcpSend(args[0], args[1]) },
	"tcp-stream": func(args []string) error { return tcpStream(args[0]) },
	"udp-count":  func(args []string) error { return udpCount(args[0]) },
	"udp-send":   func(args []string) error { return udpSend(args[0], args[1], args[2], append(args, "")[3]) },
	"answer":     answer,
	"syn-ack":    func(args []string) error { return sendSynAcks(args[0], args[1]) },
	"arp":        func(args []string) error { return sendARPs(args[0], args[1], args[2]) },
	"ask":        func(args []string) error { return ask(args[0], args[1]) },
}

// The first thread keeps the first goroutine, and enters no host: /proc/self tells
// of it, and the runtime can't end it as it ends others.
func init() { runtime.LockOSThread() }

// Main is the TestMain of every test binary that makes hosts. It returns the
// exit status.
func Main(m *testing.M) int {
	if name := os.Getenv(roleEnv); name != "" {
		runtime.UnlockOSThread()
		return play(name, os.Args[1:])
	}
	dir, err := os.MkdirTemp("", "wgctl-integration-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "making a folder for built programs: %v\n", err)
		return 1
	}
	defer os.RemoveAll(dir)
	buildDir = dir
	return m.Run()
}

// A status is the exit status of the program that a role stood for, and no
// error of the role.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func play(name string, args []string) int {
	role, ok := roles[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no such role: %s\n", name)
		return 2
	}
	err := role(args)
	if code := status(0); errors.As(err, &code) {
		return int(code)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}
