// SPDX-License-Identifier: MIT

package userspace

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// The descriptors that a detached process starts with. Standard output is its
// log; standard error leads to the one who started it until the device is
// ready, and then to the log as well.
const (
	logFD          = 1
	wordsFD        = 2
	detachedTUNFD  = 3
	detachedUAPIFD = 4
)

const (
	processName = "wgctl"          // argv[0] if it isn't said, and the journal's identifier
	killGrace   = 10 * time.Second // for the end of a process after SIGKILL
	maxWords    = 4096             // bytes of what a process says that are read
)

// longAgo is a deadline that ends what is going on.
var longAgo = time.Unix(1, 0)

// A process is a device's process as the one who started it sees it.
type process struct {
	os    *os.Process
	name  string
	words *os.File      // what it says before it is ready
	ended chan struct{} // closed when it has been waited for
}

// spawn starts the process that serves the device, with more in its environment
// and the files from detachedTUNFD on.
func (s *Starter) spawn(args, env []string, files ...*os.File) (*process, error) {
	exe, err := s.executable()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	words, says, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer says.Close()
	name := cmp.Or(s.Name, processName)
	argv := append([]string{name}, args...)
	child, err := os.StartProcess(exe, argv, &os.ProcAttr{
		Dir:   "/",
		Env:   append(s.environ(), env...),
		Files: append([]*os.File{null, s.logTarget(null), says}, files...),
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		words.Close()
		return nil, err
	}
	p := &process{os: child, name: name, words: words, ended: make(chan struct{})}
	// A long-running process that starts devices must not collect zombies.
	go func() {
		_, _ = child.Wait()
		close(p.ended)
	}()
	return p, nil
}

// ready returns when the device says that it is, or answers, or an error with what the process
// said instead.
func (p *process) ready(ctx context.Context, path string) error {
	defer p.words.Close()
	stop := context.AfterFunc(ctx, func() { _ = p.words.SetReadDeadline(longAgo) })
	defer stop()
	said, err := io.ReadAll(io.LimitReader(p.words, maxWords))
	if err == nil && string(said) == readyWord {
		return nil
	}
	if err == nil { // it has ended, or is another program
		err = ask(ctx, path)
	}
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if first := firstLine(said, p.name); first != "" {
		return fmt.Errorf("%w (it said: %s)", err, first)
	}
	return err
}

// kill ends the process and waits for its end, with which its link is gone.
func (p *process) kill() {
	_ = p.os.Kill()
	select {
	case <-p.ended:
	case <-time.After(killGrace): // in the kernel, and out of our reach
	}
}

// firstLine returns the first line of what a process said, without the name
// that it put in front.
func firstLine(b []byte, name string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	return strings.TrimPrefix(line, name+": ")
}

// ask sends a get to a UAPI socket and returns nil if the device answers.
// https://www.wireguard.com/xplatform/#configuration-protocol
func ask(ctx context.Context, path string) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(longAgo) })
	defer stop()
	if _, err := io.WriteString(conn, "get=1\n\n"); err != nil {
		return err
	}
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		errno, ok := strings.CutPrefix(lines.Text(), "errno=")
		switch {
		case ok && errno == "0":
			return nil
		case ok:
			return fmt.Errorf("device answered errno %s", errno)
		}
	}
	return errors.New("device hung up without an answer")
}
