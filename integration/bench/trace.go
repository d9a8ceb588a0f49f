// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// traced runs a step under strace and waits for the command, but not for what
// it leaves behind: strace would.
func (s step) traced() error {
	done := s.Trace + ".done"
	shown := "16" // bytes of what is sent
	if s.Sent {
		shown = "16777216"
	}
	argv := []string{"-ff", "-qq", "-v", "-xx", "-s", shown, "-e", "signal=none", "-e", "trace=sendto,sendmsg,write,%process", "-o", s.Trace,
		"sh", "-c", `"$@"; echo $? >` + done + `; mv ` + done + " " + done + "2", "sh"}
	cmd := exec.Command("strace", append(argv, s.Argv...)...)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		status, err := os.ReadFile(done + "2")
		switch {
		case err == nil && strings.TrimSpace(string(status)) != "0":
			return fmt.Errorf("running %s under strace: exit status %s", strings.Join(s.Argv, " "), strings.TrimSpace(string(status)))
		case err == nil:
			return nil
		}
		select {
		case err := <-ended:
			if _, serr := os.Stat(done + "2"); serr != nil {
				return errors.Join(errors.New("strace ended before the command"), err)
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// counts is what a trace tells of a step.
type counts struct {
	Messages  int // of netlink, sent
	Writes    int // of these and of a userspace device's requests, those that change something
	Processes int // started by the first
	Peers     int // that a device was told of; only of steps with Sent
}

// count reads the files of a trace, of which there is one for each thread.
func count(trace string) (counts, error) {
	files, err := filepath.Glob(trace + ".*")
	if err != nil {
		return counts{}, err
	}
	var c counts
	for _, path := range files {
		if strings.HasSuffix(path, ".done2") {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return counts{}, err
		}
		in := bufio.NewScanner(f)
		in.Buffer(nil, 256<<20)
		for in.Scan() {
			c.line(in.Text())
		}
		_ = f.Close()
		if err := in.Err(); err != nil {
			return counts{}, err
		}
	}
	c.Processes -= 2 // which the shell starts: the command and mv
	return c, nil
}

// What strace prints, in hexadecimal: the beginning of a request to a userspace
// device, its word for a peer, and the kernel's attribute for one's key
// (WGPEER_A_PUBLIC_KEY, 36 bytes with its head).
var (
	setRequest  = hexadecimal("set=1\n")
	peerWord    = hexadecimal("public_key=")
	peerMessage = hexadecimal("\x24\x00\x01\x00")
)

func hexadecimal(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	return b.String()
}

func (c *counts) line(line string) {
	name, rest, _ := strings.Cut(line, "(")
	failed := strings.Contains(line[max(0, len(line)-200):], " = -1 ")
	switch name {
	case "sendto", "sendmsg":
		if failed {
			return
		}
		for i, message := range strings.Split(rest, "{nlmsg_len=") {
			if i > 0 {
				c.Messages++
				c.Writes += changes(message)
			}
		}
		c.Peers += strings.Count(rest, peerMessage)
	case "write":
		if strings.Contains(rest, `"`+setRequest) {
			c.Writes++
		}
		c.Peers += strings.Count(rest, peerWord)
	case "clone", "clone3", "fork", "vfork":
		if !strings.Contains(rest, "CLONE_THREAD") && !failed {
			c.Processes++
		}
	}
}

// changes returns 1 for a message that isn't a question.
func changes(message string) int {
	head, _, _ := strings.Cut(message, "}")
	// The two bits of NLM_F_DUMP stand as a number where strace doesn't know the
	// flags of a protocol: of generic netlink, and where another thread has just
	// opened the socket.
	for _, question := range []string{"RTM_GET", "NFT_MSG_GET", "nlctrl", "NLM_F_DUMP", "|0x300", "NLMSG_DONE"} {
		if strings.Contains(head, question) {
			return 0
		}
	}
	return 1
}
