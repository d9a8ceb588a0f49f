// SPDX-License-Identifier: MIT

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func init() {
	const ctrlC = "\x03"
	show := func(code int, screen string, err error) error {
		if err != nil {
			return err
		}
		fmt.Print(screen)
		return status(code)
	}
	roles["terminal"] = func(args []string) error { return show(atTerminal(args[0], args[1], ctrlC, args[2:])) }
	roles["dialogue"] = func(args []string) error { return show(atTerminal(args[0], args[1], args[2]+"\n", args[3:])) }
}

// atTerminal runs a program as the foreground of a new pseudo-terminal of the
// devpts mounted on pts. When it has printed text, or each of several texts
// between bars, keys are typed, once. It returns the exit status and all that came
// to the screen.
func atTerminal(pts, text, keys string, args []string) (code int, screen string, err error) {
	texts := strings.Split(text, "|")
	master, slave, err := openTerminal(pts)
	if err != nil {
		return 0, "", err
	}
	defer master.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return 0, "", err
	}
	slave.Close()
	var all strings.Builder
	for buf, typed := make([]byte, 4096), false; ; {
		n, err := master.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			break // EIO: nobody has the terminal open any more
		}
		unsaid := func(text string) bool { return !strings.Contains(all.String(), text) }
		if !typed && !slices.ContainsFunc(texts, unsaid) {
			typed = true
			if _, err := master.WriteString(keys); err != nil {
				return 0, "", err
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return 0, "", err
	}
	return cmd.ProcessState.ExitCode(), all.String(), nil
}

func openTerminal(pts string) (master, slave *os.File, err error) {
	master, err = os.OpenFile(filepath.Join(pts, "ptmx"), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("opening a terminal: %w", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(filepath.Join(pts, fmt.Sprint(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		master.Close()
		return nil, nil, fmt.Errorf("opening a terminal: %w", err)
	}
	return master, slave, nil
}
