// SPDX-License-Identifier: MIT

package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The benchmark runs: each operation is measured with each tool, and counted,
// and the page is written. What it measures is nobody's pass or fail.
func TestBench(t *testing.T) {
	Only(t, Userspace) // it brings what it measures with it, and the guest has no compiler
	Need(t, "strace", "wg-quick", "go")
	bin := t.TempDir()
	for _, dir := range []string{"links", "upstream"} {
		if err := os.Mkdir(filepath.Join(bin, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	programs := map[string]string{"wgctl": Bin(t), "links/wg": Bin(t), "links/wg-quick": Bin(t), "links/wireguard-go": Bin(t),
		"upstream/wireguard-go": WireguardGo(t)}
	for name, pkg := range map[string]string{"bench": "./bench", "floor": "./bench/floor"} {
		path, err := build(name, pkg)
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = path
	}
	for name, path := range programs {
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	out := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(bin, "bench"), append([]string{
			"-bin", bin, "-files", filepath.Join(out, "files"), "-sizes", "1", "-verbs", "3", "-rounds", "1", "-out", out,
			"-doc", filepath.Join(out, "page.md"),
		}, args...)...)
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
	}
	run("run")
	run("render")
	text, err := os.ReadFile(filepath.Join(out, "userspace.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Results []struct {
			Operation, Tool string
			Wall, Memory    int64
			Counts          *struct{ Messages, Processes int }
		}
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	messages := map[string]int{}
	for _, r := range report.Results {
		name := r.Operation + " by " + r.Tool
		if r.Wall <= 0 || r.Memory <= 0 || r.Counts == nil {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		messages[name] = r.Counts.Messages
		if strings.HasSuffix(name, " by wg-quick") && r.Operation != "status" && !strings.HasPrefix(r.Operation, "wg show") && r.Counts.Processes < 4 {
			t.Errorf("%s starts %d processes", name, r.Counts.Processes)
		}
	}
	for name, least := range map[string]int{
		"up by wgctl": 4, "up by wg-quick": 4, "up by floor": 4, "down by wgctl": 1, "down by wg-quick": 1, "status by wgctl": 1,
		"wg show, right after up by wgctl": 0, "wg show, right after up by floor": 0, "wg show, right after up by wg-quick": 0,
		"wg show dump by wg": 0, "wg show dump by wgctl": 0, "wg setconf by wg": 0, "wg setconf by wgctl": 0,
	} {
		if n, measured := messages[name]; !measured || n < least {
			t.Errorf("%s: measured %t, with %d netlink messages", name, measured, n)
		}
	}
	page, err := os.ReadFile(filepath.Join(out, "page.md"))
	if err != nil || !strings.Contains(string(page), "| up | 1 | wgctl | ") {
		t.Errorf("the page: %v\n%s", err, page)
	}
}
