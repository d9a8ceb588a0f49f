// SPDX-License-Identifier: MIT

package tunnel

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func shellTest(t *testing.T, stdin string) (*Shell, *bytes.Buffer) {
	t.Helper()
	in, err := os.CreateTemp(t.TempDir(), "stdin")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.WriteString(stdin); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Seek(0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close() })
	var out bytes.Buffer
	return &Shell{Stdin: in, Stdout: &out, Stderr: &out}, &out
}

func TestHooksRunAsInWgQuick(t *testing.T) {
	tests := []struct {
		name, hook, stdin string
		want              string
		fails             bool
	}{
		{name: "variables that wg-quick has", hook: "echo $INTERFACE ${CONFIG_FILE##*/} $LC_ALL", want: "wg0 wg0.conf C\n"},
		{name: "and their environment", hook: "env | grep -c -e ^INTERFACE= -e ^HOOK= || :", want: "0\n"},
		{name: "hash is the shell's", hook: "echo a#b # c", want: "a#b\n"},
		{name: "quotes and backquotes", hook: "echo \"a  b\" 'c  d' `echo e`", want: "a  b c  d e\n"},
		{name: "set -e", hook: "false; echo reached", fails: true},
		{name: "pipefail", hook: "false | cat; echo reached", fails: true},
		{name: "extglob", hook: `x="  a"; echo "${x##*([[:space:]])}"`, want: "a\n"},
		{name: "process substitution and arrays", hook: `a=(1 2); cat <(echo ${#a[@]})`, want: "2\n"},
		{name: "standard input", hook: "read -r x; echo got $x", stdin: "line\n", want: "got line\n"},
		{name: "cmd prints", hook: "cmd echo hi", want: "[#] echo hi\nhi\n"},
		{name: "descriptor 3 is closed", hook: "(: <&3) 2>/dev/null && echo open || echo closed", want: "closed\n"},
		{name: "empty", hook: "", want: ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, out := shellTest(t, tt.stdin)
			err := s.Run(t.Context(), Hook{Phase: "PostUp", Command: tt.hook, Interface: "wg0", Config: "/etc/wireguard/wg0.conf"})
			if (err != nil) != tt.fails {
				t.Fatalf("error %v", err)
			}
			if out.String() != tt.want {
				t.Errorf("output %q, want %q", out, tt.want)
			}
		})
	}
}

// TestHookWithoutBash has only sh in PATH.
func TestHookWithoutBash(t *testing.T) {
	dir := t.TempDir()
	for _, tool := range []string{"sh", "cat"} {
		p, err := exec.LookPath(tool)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(p, filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	s, out := shellTest(t, "in\n")
	told := ""
	s.NoBash = func(sh string) { told += sh }
	for range 2 {
		if err := s.Run(t.Context(), Hook{Phase: "PreUp", Command: `read -r x && echo "$INTERFACE $x"; false || :`, Interface: "wg0"}); err != nil && told == "" {
			t.Fatal(err)
		}
	}
	if told != filepath.Join(dir, "sh") || !strings.HasPrefix(out.String(), "wg0 in\n") {
		t.Errorf("told %q, output %q", told, out)
	}
}

// TestHookInterrupted ends a hook that hangs, together with what it started
// and what doesn't heed the first signal.
func TestHookInterrupted(t *testing.T) {
	dir := t.TempDir()
	s, _ := shellTest(t, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped by the test")
	started := filepath.Join(dir, "started")
	go func() {
		for range 1000 {
			if _, err := os.Stat(started); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		cancel(stopped)
	}()
	hook := `(trap "" TERM; sleep 3; touch ` + dir + `/survived) & sleep 100 & touch ` + started + `; wait`
	begin := time.Now()
	err := s.Run(ctx, Hook{Phase: "PostUp", Command: hook, Interface: "wg0"})
	if !errors.Is(err, stopped) {
		t.Errorf("error %v", err)
	}
	time.Sleep(time.Until(begin.Add(4 * time.Second)))
	if _, err := os.Stat(dir + "/survived"); err == nil {
		t.Error("a child of the hook went on")
	}
}

// TestHookLeavesDaemon is a hook that starts something and ends.
func TestHookLeavesDaemon(t *testing.T) {
	s, out := shellTest(t, "")
	begin := time.Now()
	if err := s.Run(t.Context(), Hook{Phase: "PostUp", Command: "sleep 30 & echo done", Interface: "wg0"}); err != nil {
		t.Fatal(err)
	}
	if out.String() != "done\n" || time.Since(begin) > 20*time.Second {
		t.Errorf("output %q after %v", out, time.Since(begin))
	}
}

func TestHookTextIsNotOnTheCommandLine(t *testing.T) {
	s, out := shellTest(t, "")
	if err := s.Run(t.Context(), Hook{Phase: "PostUp", Command: "tr '\\0' ' ' </proc/$$/cmdline; : SECRET", Interface: "wg0"}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "-c") || strings.Contains(out.String(), "SECRET") {
		t.Errorf("command line %q", out)
	}
}

func TestMaskKeys(t *testing.T) {
	secret, public := key("secret"), key("public")
	tests := map[string]string{
		"":                             "",
		"echo up":                      "echo up",
		"wg set wg0 peer " + public:    "wg set wg0 peer " + public,
		"echo " + secret + " | wg":     "echo (hidden) | wg",
		"K=" + secret:                  "K=(hidden)",
		"echo '" + secret + "'" + "\n": "echo '(hidden)'\n",
		strings.Repeat("A", 60):        strings.Repeat("A", 60),
	}
	for in, want := range tests {
		if got := HideKeys(in, map[string]bool{public: true}); got != want {
			t.Errorf("HideKeys(%q) = %q, want %q", in, got, want)
		}
	}
}
