// SPDX-License-Identifier: MIT

package firewall

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"
)

// killedRole is in the environment of the test that is killed.
const killedRole = "WGCTL_TEST_KILLED"

// iptables-restore doesn't go on when the process is killed that runs it: its
// rules would come after the down that clears up.
func TestProgramEndsWithUs(t *testing.T) {
	if dir := os.Getenv(killedRole); dir != "" {
		_, _ = run(context.Background(), "", "/bin/sh", "-c", "cd "+dir+"; touch begun; while ! [ -e go ]; do sleep 0.1; done; touch went-on")
		return
	}
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestProgramEndsWithUs$")
	cmd.Env = append(os.Environ(), killedRole+"="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(dir + "/begun"); err == nil {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	if _, err := os.Stat(dir + "/begun"); err != nil {
		t.Errorf("the program never began: %v", err)
	}
	if _, err := os.Stat(dir + "/went-on"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the program went on: %v", err)
	}
}
