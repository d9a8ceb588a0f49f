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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/wgctl/wgctl/tunnel/shell"
)

// TestMain is the embedded shell when a hook starts the test as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == embeddedRole {
		os.Exit(shell.Main(context.Background(), os.Args[2], os.Args[3]))
	}
	if len(os.Args) == 3 && os.Args[1] == killedRole {
		s := Shell{Stdout: os.Stdout, Stderr: os.Stderr}
		_ = s.Run(context.Background(), Hook{Phase: "PostUp", Interface: "wg0", Command: os.Args[2]})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const killedRole = "run-a-hook-and-be-killed"

// A hook doesn't go on when the process is killed that runs it: its next
// command would come after the down that clears up.
func TestHookEndsWithUs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], killedRole, "cd "+dir+"; touch begun; until [ -e go ]; do sleep 0.1; done; touch went-on")
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
		t.Errorf("the hook never began: %v", err)
	}
	if _, err := os.Stat(dir + "/went-on"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the hook went on: %v", err)
	}
}

const embeddedRole = "run-embedded-shell"

// inBothShells runs a test with bash, and with the embedded shell on a host
// without it.
func inBothShells(t *testing.T, test func(t *testing.T)) {
	t.Run("bash", test)
	t.Run("embedded", func(t *testing.T) {
		dir := t.TempDir()
		for _, tool := range []string{"cat", "env", "grep", "sleep", "touch", "tr", "kill", "true"} {
			p, err := exec.LookPath(tool)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(p, filepath.Join(dir, tool)); err != nil {
				t.Fatal(err)
			}
		}
		t.Setenv("PATH", dir)
		test(t)
	})
}

// An output is written to by what a hook left behind, while the test reads.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func shellTest(t *testing.T, stdin string) (*Shell, *output) {
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
	var out output
	return &Shell{Stdin: in, Stdout: &out, Stderr: &out, Embedded: []string{"/proc/self/exe", embeddedRole}}, &out
}

func TestHooksRunAsInWgQuick(t *testing.T) {
	tests := []struct {
		name, hook, stdin string
		want              string
		fails             bool
		bash              bool // only bash gets it right
	}{
		{name: "variables that wg-quick has", hook: "echo $INTERFACE ${CONFIG_FILE##*/} $LC_ALL", want: "wg0 wg0.conf C\n"},
		{name: "and their environment", hook: "env | grep -c -e ^INTERFACE= -e ^HOOK= || :", want: "0\n"},
		{name: "hash is the shell's", hook: "echo a#b # c", want: "a#b\n"},
		{name: "quotes and backquotes", hook: "echo \"a  b\" 'c  d' `echo e`", want: "a  b c  d e\n"},
		{name: "exit status", hook: "exit 7", fails: true},
		{name: "kill is the program where the shell has none", hook: "kill -0 $$ && echo there", want: "there\n"},
		{name: "umask", hook: "umask 027; umask", want: "0027\n"},
		{name: "set -e", hook: "false; echo reached", fails: true},
		{name: "pipefail", hook: "false | cat; echo reached", fails: true},
		// mvdan.cc/sh takes the shortest match here.
		{name: "extglob", hook: `x="  a"; echo "${x##*([[:space:]])}"`, want: "a\n", bash: true},
		{name: "a pattern", hook: `[[ wg0 == wg+([0-9]) ]] && echo yes`, want: "yes\n"},
		{name: "process substitution and arrays", hook: `a=(1 2); cat <(echo ${#a[@]})`, want: "2\n"},
		{name: "standard input", hook: "read -r x; echo got $x", stdin: "line\n", want: "got line\n"},
		{name: "cmd prints", hook: "cmd echo hi", want: "[#] echo hi\nhi\n"},
		{name: "descriptor 3 is closed", hook: "(: <&3) 2>/dev/null && echo open || echo closed", want: "closed\n"},
		{name: "empty", hook: "", want: ""},
	}
	inBothShells(t, func(t *testing.T) {
		for _, tt := range tests {
			if tt.bash && strings.HasSuffix(t.Name(), "/embedded") {
				continue
			}
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
	})
}

// TestHookInterrupted ends a hook that hangs, together with what it started
// and what doesn't heed the first signal.
func TestHookInterrupted(t *testing.T) {
	inBothShells(t, func(t *testing.T) {
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
		hook := `cd ` + dir + `; (trap "" TERM; until [ -e go ]; do sleep 0.1; done; touch survived) & sleep 100 & touch started; wait`
		err := s.Run(ctx, Hook{Phase: "PostUp", Command: hook, Interface: "wg0"})
		if !errors.Is(err, stopped) {
			t.Errorf("error %v", err)
		}
		if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		if _, err := os.Stat(dir + "/survived"); err == nil {
			t.Error("a child of the hook went on")
		}
	})
}

// TestHookLeavesDaemon is a hook that starts something and ends.
func TestHookLeavesDaemon(t *testing.T) {
	inBothShells(t, func(t *testing.T) {
		s, out := shellTest(t, "")
		begin := time.Now()
		if err := s.Run(t.Context(), Hook{Phase: "PostUp", Command: "sleep 30 & echo done", Interface: "wg0"}); err != nil {
			t.Fatal(err)
		}
		if out.String() != "done\n" || time.Since(begin) > 20*time.Second {
			t.Errorf("output %q after %v", out, time.Since(begin))
		}
	})
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

// A hook that takes longer than HookTimeout is ended with all that it started.
func TestHookTimeout(t *testing.T) {
	inBothShells(t, func(t *testing.T) {
		s, _ := shellTest(t, "")
		begin := time.Now()
		err := s.Run(t.Context(), Hook{Phase: "PostUp", Command: "sleep 100 | cat", Interface: "wg0", Timeout: 300 * time.Millisecond})
		if err == nil || !strings.Contains(err.Error(), "PostUp hook was interrupted: it took longer than HookTimeout, 300ms") {
			t.Errorf("error %v", err)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("it took %v", took)
		}
		if err := s.Run(t.Context(), Hook{Phase: "PostUp", Command: "true", Interface: "wg0", Timeout: time.Minute}); err != nil {
			t.Error(err)
		}
	})
}

// What a hook leaves in the background goes on when it is done, also if that
// is more than one program.
func TestHookBackground(t *testing.T) {
	inBothShells(t, func(t *testing.T) {
		dir := t.TempDir()
		mark := filepath.Join(dir, "mark")
		s, _ := shellTest(t, "")
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		s.Stdout, s.Stderr = null, null
		ctx, cancel := context.WithCancel(t.Context())
		if err := s.Run(ctx, Hook{Phase: "PostUp", Command: "(until [ -e " + dir + "/go ]; do sleep 0.02; done; touch " + mark + ") &", Interface: "wg0", Timeout: time.Minute}); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2000 {
			if _, err := os.Stat(mark); err == nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Error("what it left did not go on")
	})
}

// A hook that is no shell at all fails in either.
func TestHookSyntax(t *testing.T) {
	inBothShells(t, func(t *testing.T) {
		s, out := shellTest(t, "")
		if err := s.Run(t.Context(), Hook{Phase: "PostUp", Command: "if", Interface: "wg0"}); err == nil || out.String() == "" {
			t.Errorf("error %v, output %q", err, out)
		}
	})
}

// What a process at its end kills is what runs, though the start of another hook
// hangs in the kernel.
func TestKillHooksWhileOneStarts(t *testing.T) {
	var g hookGroups
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := g.start(cmd); err != nil {
		t.Fatal(err)
	}
	g.starting.Lock() // as by a start that never returns
	done := make(chan error, 1)
	go func() {
		g.kill()
		done <- cmd.Wait()
	}()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("the hook ended by %v", err)
		}
	case <-time.After(20 * time.Second):
		_ = cmd.Process.Kill()
		t.Fatal("it waits for the start")
	}
}
