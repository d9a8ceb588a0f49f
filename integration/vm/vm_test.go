// SPDX-License-Identifier: MIT

package vm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// guestPackages have tests that need what the machine's kernel may lack. They
// are run in the guest as they are here: one list of tests, two backends.
// WGCTL_VM_PACKAGES, with spaces between, chooses others.
var guestPackages = func() []string {
	if chosen := os.Getenv("WGCTL_VM_PACKAGES"); chosen != "" {
		return strings.Fields(chosen)
	}
	return []string{"integration", "netlinkx", "firewall"}
}()

// slowness is about how much slower an emulated guest is than the machine,
// less what the tests' limits have to spare.
const slowness = "20"

// The machine itself: what it promises to the tests that run in it.
func TestMachine(t *testing.T) {
	ctx := guestContext(t)
	share := t.TempDir()
	out := Run(ctx, t, Machine{
		Kernel: "6.1",
		Env:    []string{"WORD=it's a word"},
		Dir:    "/etc",
		Share:  share,
	}, "sh", "-c", `
		echo "$WORD"; pwd; uname -r
		touch /etc/only-in-the-guest
		ip link add wg0 type wireguard && echo wireguard
		ip link add d0 type dummy && echo dummy
		nft add table inet x && echo nftables
		echo result >/results/file
		exit 7`)
	if out.Code != 7 {
		t.Errorf("exit status %d, want 7", out.Code)
	}
	want := []string{"it's a word", "/etc", "6.1.", "wireguard", "dummy", "nftables"}
	got := strings.Split(strings.TrimSpace(out.Console), "\n")
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("console:\n%s", out.Console)
	}
	if b, err := os.ReadFile(filepath.Join(share, "file")); err != nil || string(b) != "result\n" {
		t.Errorf("shared file: %q, %v", b, err)
	}
	if _, err := os.Lstat("/etc/only-in-the-guest"); err == nil {
		t.Error("the guest wrote to the machine")
	}
}

func TestMachineWithoutNftables(t *testing.T) {
	out := Run(guestContext(t), t, Machine{Kernel: "6.1", NoNftables: true}, "sh", "-c", `
		modprobe nf_tables && echo "nf_tables came"
		command -v nft
		iptables -V | cut -d' ' -f3
		iptables -A INPUT -j DROP && iptables-save | grep DROP`)
	if want := "(legacy)\n-A INPUT -j DROP\n"; !strings.HasSuffix(out.Console, want) || strings.Contains(out.Console, "came") {
		t.Errorf("want %q: %s", want, out.Console)
	}
}

func TestKernel61(t *testing.T)  { runGuestTests(t, Machine{Kernel: "6.1"}, pattern()) }
func TestKernel612(t *testing.T) { runGuestTests(t, Machine{Kernel: "6.12"}, pattern()) }

// A host whose kernel has no nf_tables is served by iptables-legacy: the tests
// that say so by their name, and of their subtests those for legacy, on the
// oldest kernel.
func TestKernel61WithoutNftables(t *testing.T) {
	runGuestTests(t, Machine{Kernel: "6.1", NoNftables: true}, "(?i)(iptables|legacy)/legacy")
}

// pattern is the guest's -test.run: all, or what the caller chose.
func pattern() string {
	if p := os.Getenv("WGCTL_VM_RUN"); p != "" {
		return p
	}
	return everything
}

// everything is the pattern of all tests.
const everything = "."

// guestContext ends a little before go test would end the process, in time to
// say what the guest was doing.
func guestContext(t *testing.T) context.Context {
	ctx := t.Context()
	if deadline, ok := t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-15*time.Second))
		t.Cleanup(cancel)
	}
	return ctx
}

// runGuestTests builds the tests here, runs them in the guest, and reports
// each as a test of its own.
func runGuestTests(t *testing.T, m Machine, pattern string) {
	needGuest(t)
	t.Parallel() // a guest is busy on one processor most of the time
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	m.Env = append(m.Env, "WGCTL_TEST_BACKEND=kernel", "WGCTL_TEST_STRICT=1", "WGCTL_TEST_SLOW="+slowness)
	for _, name := range sweepVariables {
		if value, set := os.LookupEnv(name); set {
			m.Env = append(m.Env, name+"="+value)
		}
	}
	bin, packages := buildGuestTests(t, &m, root)
	m.Share = t.TempDir()
	out, err := boot(guestContext(t), t, m, "sh", "-c", guestScript(root, bin, pattern, packages))
	for _, pkg := range packages {
		log, err := os.ReadFile(filepath.Join(m.Share, fileOf(pkg)+".log"))
		if err != nil {
			t.Errorf("%s: the guest has no log of it: %v", pkg, err)
			continue
		}
		stray := report(t, pkg, log, pattern)
		status, err := os.ReadFile(filepath.Join(m.Share, fileOf(pkg)+".status"))
		if s := strings.TrimSpace(string(status)); err != nil || s != "0" {
			t.Errorf("%s: ended with status %q, %v, and said beside its tests:\n%s", pkg, s, err, stray)
		}
	}
	if err != nil || out.Code != 0 {
		t.Errorf("kernel %s: status %d, %v", m.Kernel, out.Code, err)
	}
}

// fileOf names a package's files.
func fileOf(pkg string) string { return strings.ReplaceAll(pkg, "/", "-") }

// sweepVariables choose how much of a sweep is run, here and in a guest.
var sweepVariables = []string{"WGCTL_TEST_FAULTS", "WGCTL_TEST_CALLS", "WGCTL_TEST_ROUNDS", "WGCTL_TEST_SEED", "WGCTL_TEST_CROWD", "WGCTL_FIREWALL"}

// guestTimeout bounds the tests of one package; WGCTL_VM_TIMEOUT sets it, for
// sweeps. That of go test bounds them all.
func guestTimeout() string { return cmp.Or(os.Getenv("WGCTL_VM_TIMEOUT"), "45m") }

// guestScript runs every test binary that was built, each in its package's
// folder as go test does. The log is a file, which no kernel message can break.
func guestScript(root, bin, pattern string, packages []string) string {
	var s strings.Builder
	for _, pkg := range packages {
		test := filepath.Join(bin, fileOf(pkg)+".test")
		fmt.Fprintf(&s, "cd %s\n", quote(filepath.Join(root, pkg)))
		// Tests wait more than they work: two at a time on one processor, too.
		fmt.Fprintf(&s, "{ %s -test.v=test2json -test.parallel 2 -test.timeout=%s -test.run %s 2>&1; echo $? >/results/%[4]s.status; } | tee /results/%[4]s.log\n",
			quote(test), quote(guestTimeout()), quote(pattern), fileOf(pkg))
	}
	return s.String()
}

// buildGuestTests builds what the guest runs, tells the guest's environment,
// and returns the folder and the packages that have tests.
func buildGuestTests(t *testing.T, m *Machine, root string) (bin string, packages []string) {
	t.Helper()
	bin = t.TempDir()
	for _, pkg := range guestPackages {
		test := filepath.Join(bin, fileOf(pkg)+".test")
		build(t, root, "test", "-c", "-o", test, "./"+pkg)
		if _, err := os.Stat(test); err != nil {
			t.Logf("%s has no tests", pkg)
			continue
		}
		packages = append(packages, pkg)
	}
	// The guest has no compiler, and its tests must not each look for one.
	for env, pkg := range map[string]string{"WGCTL_BIN": "./cmd/wgctl", "WGCTL_WIREGUARD_GO": "golang.zx2c4.com/wireguard"} {
		path := os.Getenv(env)
		if path == "" {
			path = filepath.Join(bin, env)
			build(t, root, "build", "-trimpath", "-o", path, pkg)
		}
		m.Env = append(m.Env, env+"="+path)
	}
	return bin, packages
}

func build(t *testing.T, root string, args ...string) {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("running go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// report makes a subtest of each top-level test in the log of a test binary, and
// returns what belongs to none.
func report(t *testing.T, pkg string, log []byte, pattern string) (stray string) {
	t.Helper()
	tests, stray := parse(t, log)
	// A choice may leave a package out.
	if len(tests) == 0 && (pattern == everything || !strings.Contains(stray, "no tests to run")) {
		t.Errorf("%s: no test ran", pkg)
	}
	for _, g := range tests {
		t.Run(pkg+"/"+g.name, func(t *testing.T) {
			switch g.result {
			case "pass":
				t.Logf("%.1f s in the guest", g.seconds)
			case "skip":
				t.Skip(g.output)
			default: // "fail", or nothing at all: the binary died in it
				t.Errorf("in the guest:\n%s", g.output)
			}
		})
	}
	return stray
}

// A guestTest is a top-level test that ran in the guest.
type guestTest struct {
	name, result, output string
	seconds              float64
}

// parse reads the log of a test binary by the tool that go test itself uses.
// What belongs to no test is returned apart.
func parse(t *testing.T, log []byte) (tests []*guestTest, stray string) {
	t.Helper()
	cmd := exec.Command("go", "tool", "test2json", "-t")
	cmd.Stdin = bytes.NewReader(log)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("reading the guest's log: %v", err)
	}
	index := make(map[string]*guestTest)
	lines := json.NewDecoder(bytes.NewReader(out))
	for {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if err := lines.Decode(&e); err == io.EOF {
			return tests, stray
		} else if err != nil {
			t.Fatalf("reading the guest's log: %v", err)
		}
		if e.Test == "" {
			stray += e.Output
			continue
		}
		name, _, isSub := strings.Cut(e.Test, "/")
		g := index[name]
		if g == nil {
			g = &guestTest{name: name}
			index[name], tests = g, append(tests, g)
		}
		g.output += e.Output
		if !isSub && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip") {
			g.result, g.seconds = e.Action, e.Elapsed
		}
	}
}

func TestParse(t *testing.T) {
	log := "\x16=== RUN   TestA\nsaid\n\x16--- PASS: TestA (1.50s)\n" +
		"\x16=== RUN   TestB\n\x16=== RUN   TestB/sub\n    x_test.go:1: bad\n\x16    --- FAIL: TestB/sub (0.00s)\n\x16--- FAIL: TestB (0.00s)\n" +
		"\x16=== RUN   TestC\npanic: gone\n"
	tests, _ := parse(t, []byte(log))
	var got []string
	for _, g := range tests {
		got = append(got, fmt.Sprintf("%s %s", g.name, g.result))
	}
	if want := []string{"TestA pass", "TestB fail", "TestC "}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(tests[1].output, "bad") || !strings.Contains(tests[2].output, "panic: gone") {
		t.Errorf("outputs: %q, %q", tests[1].output, tests[2].output)
	}
}

func TestArchive(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		needed(t, "cpio is not installed")
	}
	var b bytes.Buffer
	a := archive{w: &b}
	a.add("dir", modeDir|0o755, nil)
	a.add("dir/file", modeFile|0o640, []byte("12345"))
	a.add("TRAILER!!!", 0, nil)
	if a.err != nil {
		t.Fatal(a.err)
	}
	dir := t.TempDir()
	cmd := exec.Command("cpio", "-i", "--quiet")
	cmd.Dir, cmd.Stdin = dir, &b
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cpio does not read it: %v\n%s", err, out)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "dir/file")); err != nil || string(got) != "12345" {
		t.Errorf("unpacked: %q, %v", got, err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "dir/file")); err != nil || fi.Mode() != 0o640 {
		t.Errorf("mode: %v, %v", fi, err)
	}
}

func TestQuote(t *testing.T) {
	for _, word := range []string{"", "plain", "two words", `it's`, `$HOME "x" \`, "line\nline"} {
		out, err := exec.Command("sh", "-c", "printf %s "+quote(word)).Output()
		if err != nil || string(out) != word {
			t.Errorf("%q came back as %q, %v", word, out, err)
		}
	}
}
