// SPDX-License-Identifier: MIT

package config

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// holdingRole is in the environment of the test whose memory is looked at.
const holdingRole = "WGCTL_TEST_HOLDING"

// Of the text of a key file nothing is left in the memory of the process that
// read it; of the key there is what was returned, and it is found: the look
// through the memory does see.
func TestKeyFileLeavesNoText(t *testing.T) {
	if path := os.Getenv(holdingRole); path != "" {
		k, err := readKeyFile(path, false)
		held := &k // on the heap, so that it has one place
		fmt.Println("holding", err)
		_, _ = io.Copy(io.Discard, os.Stdin)
		if *held == (Secret{}) {
			t.Error("no key")
		}
		return
	}
	key := bytes.Repeat([]byte("an unlikely key."), 2)
	text := base64.StdEncoding.EncodeToString(key)
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKeyFileLeavesNoText$")
	cmd.Env = append(os.Environ(), holdingRole+"="+path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil || line != "holding <nil>\n" {
		t.Errorf("the process says %q, %v", line, err)
	}
	memory := memoryOf(t, cmd.Process.Pid)
	_ = in.Close()
	_, _ = io.Copy(io.Discard, lines)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if n := bytes.Count(memory, []byte(text)); n != 0 {
		t.Errorf("the text of the key is in memory %d times", n)
	}
	if n := bytes.Count(memory, []byte(hex.EncodeToString(key))); n != 0 {
		t.Errorf("the key is in memory %d times as hexadecimal", n)
	}
	raw := bytes.Count(memory, key)
	t.Logf("in %d MiB of memory the key itself is %d times", len(memory)>>20, raw)
	if raw == 0 || raw > 4 { // what returns it leaves it on the stack
		t.Errorf("the key itself is in memory %d times", raw)
	}
}

// memoryOf is what a process can write to.
func memoryOf(t *testing.T, pid int) (all []byte) {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mem.Close() }()
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		var mode string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &mode); err != nil || !strings.HasPrefix(mode, "rw") || to-from > 256<<20 {
			continue
		}
		part := make([]byte, to-from)
		n, _ := mem.ReadAt(part, from) // what isn't there can't be read
		all = append(all, part[:n]...)
	}
	return all
}
