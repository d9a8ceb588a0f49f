// SPDX-License-Identifier: MIT

package integration

import (
	"debug/elf"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// arm64 is a wgctl for that processor, as a release has it: WGCTL_ARM64, else it
// is built.
func arm64(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("WGCTL_ARM64"); path != "" {
		return path
	}
	dir := t.TempDir()
	cmd := exec.Command("../scripts/release", dir, "arm64")
	cmd.Env = append(os.Environ(), "VERSION=v0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building for arm64: %v\n%s", err, out)
	}
	return filepath.Join(dir, "wgctl-linux-arm64")
}

// On another processor, emulated: words and keys, and a device of this one's by
// its socket. It can't bring one up here: qemu's emulation of a user's programs has
// no generic netlink, by which the kernel is asked for WireGuard, and says so.
func TestARM64(t *testing.T) {
	Only(t, Userspace) // the guest has no compiler
	Need(t, "qemu-aarch64-static")
	bin := arm64(t)
	h := newTunnelHost(t, "h")
	run := func(stdin string, args ...string) Output {
		t.Helper()
		out := h.RunInput(stdin, append([]string{"qemu-aarch64-static", bin}, args...)...)
		if out.Code != 0 {
			t.Errorf("%v", out)
		}
		return out
	}
	said(t, run("", "version").Stdout, "wgctl ")
	// RFC 7748, section 6.1.
	const private, public = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=", "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n"
	if got := run(private, "pubkey").Stdout; got != public {
		t.Errorf("public key: %q", got)
	}
	if got := len(strings.TrimSpace(run("", "genkey").Stdout)); got != 44 {
		t.Errorf("a key of %d characters", got)
	}
	key, peer := newKeyPair(t), newKeyPair(t)
	h.WriteFile(configOf("wg0"), interfaceSection(key, "Address = 10.8.0.1/24", "ListenPort = 51820")+
		peerSection(peer, "AllowedIPs = 10.9.0.0/16, fd09::/64", "PersistentKeepalive = 25", "Endpoint = 192.0.2.7:51820"))
	if got, want := run("", "strip", "wg0").Stdout, h.Wgctl("strip", "wg0").Stdout; got != want {
		t.Errorf("strip:\n%s\nwant:\n%s", got, want)
	}
	if out := h.Run("qemu-aarch64-static", bin, "up", "wg0"); out.Code != 1 || !strings.Contains(out.Stderr, "wgctl: asking the kernel for WireGuard: socket: protocol not supported\n") {
		t.Errorf("it may be able to bring one up by now: %v", out)
	}
	wgctlOK(h, "up", "wg0")
	if got, want := run("", "showconf", "wg0").Stdout, h.Wgctl("showconf", "wg0").Stdout; got != want || !strings.Contains(got, "10.9.0.0/16") {
		t.Errorf("showconf:\n%s\nwant:\n%s", got, want)
	}
	wgctlOK(h, "down", "wg0")
}

// A release has a program of each kind of processor that the documents name, of
// the right one and static: those that differ most from this one are built.
func TestRelease(t *testing.T) {
	t.Parallel()
	Only(t, Userspace) // the guest has no compiler
	Need(t, "git")
	machines := map[string]elf.Machine{"386": elf.EM_386, "armv7": elf.EM_ARM, "riscv64": elf.EM_RISCV, "mipsle": elf.EM_MIPS}
	dir := t.TempDir()
	cmd := exec.Command("../scripts/release", append([]string{dir}, slices.Sorted(maps.Keys(machines))...)...)
	cmd.Env = append(os.Environ(), "VERSION=v0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	for arch, machine := range machines {
		f, err := elf.Open(filepath.Join(dir, "wgctl-linux-"+arch))
		if err != nil {
			t.Errorf("%s: %v", arch, err)
			continue
		}
		libraries, _ := f.ImportedLibraries()
		if f.Machine != machine || len(libraries) > 0 || f.Section(".interp") != nil || f.Data != elf.ELFDATA2LSB {
			t.Errorf("%s: a program for %v (%v), with libraries %q", arch, f.Machine, f.Data, libraries)
		}
		f.Close()
	}
	script, err := os.ReadFile("../scripts/release")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/netns.md")
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(regexp.MustCompile(`(?m)^all="(.*)"$`).FindStringSubmatch(string(script))[1])
	for _, arch := range append([]string{"amd64", "arm64"}, slices.Sorted(maps.Keys(machines))...) {
		if !slices.Contains(all, arch) {
			t.Errorf("a release has no %s", arch)
		}
	}
	if names := strings.Join(all[:len(all)-1], ", ") + " and " + all[len(all)-1]; !strings.Contains(string(page), names) {
		t.Errorf("docs/netns.md doesn't say %q", names)
	}
}

// The mend of a module for processors of 32 bits is checked: without its line
// the release stops, and says so.
func TestReleaseMendsNothing(t *testing.T) {
	Only(t, Userspace)
	Need(t, "git")
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../scripts/release")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "scripts"), 0o755); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(dir, "scripts", "release")
	if err := os.WriteFile(stale, []byte(strings.Replace(string(script), `s/transaction"`, `s/transactions"`, 1)), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"go.mod", "go.sum"} {
		if err := os.Symlink(filepath.Join(root, f), filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command(stale, t.TempDir(), "386").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "release: google/nftables has another conn.go") {
		t.Errorf("%v: %s", err, out)
	}
}

// One source makes the same bytes, wherever it lies.
func TestReleaseIsReproducible(t *testing.T) {
	Only(t, Userspace)
	Need(t, "git")
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir()
	copying := exec.Command("sh", "-ec", `git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$1"`, "sh", copied)
	copying.Dir = root
	if out, err := copying.CombinedOutput(); err != nil {
		t.Fatalf("copying the source: %v: %s", err, out)
	}
	var digests []string
	for _, from := range []string{root, copied} {
		cmd := exec.Command(filepath.Join(from, "scripts", "release"), t.TempDir(), "amd64")
		cmd.Env = append(os.Environ(), "VERSION=v0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("building in %s: %v", from, err)
		}
		digests = append(digests, string(out))
	}
	if digests[0] != digests[1] {
		t.Errorf("in two folders: %s and %s", digests[0], digests[1])
	}
}
