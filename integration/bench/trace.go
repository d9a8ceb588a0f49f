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
	argv := []string{"-ff", "-qq", "-v", "-s", "0", "-e", "signal=none", "-e", "trace=sendto,sendmsg,%process", "-o", s.Trace,
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
	Processes int // started by the first
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
		in.Buffer(nil, 64<<20)
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

func (c *counts) line(line string) {
	name, rest, _ := strings.Cut(line, "(")
	switch name {
	case "sendto", "sendmsg":
		if !strings.Contains(line, " = -1 ") {
			c.Messages += strings.Count(rest, "nlmsg_len=")
		}
	case "clone", "clone3", "fork", "vfork":
		if !strings.Contains(rest, "CLONE_THREAD") && !strings.Contains(line, " = -1 ") {
			c.Processes++
		}
	}
}
