// SPDX-License-Identifier: MIT

package dns

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A resolvFile is a resolv.conf in a folder of its own.
type resolvFile struct {
	t *testing.T
	f *file
}

func newResolvFile(t *testing.T, text string) resolvFile {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "resolv.conf"), text, 0o640)
	return resolvFile{t, &file{path: filepath.Join(dir, "resolv.conf")}}
}

func tunnelSettings(name, servers, search string) Settings {
	s := Settings{Interface: name, Backend: BackendFile, Search: strings.Fields(search)}
	for _, a := range strings.Fields(servers) {
		s.Servers = append(s.Servers, netip.MustParseAddr(a))
	}
	return s
}

func (r resolvFile) add(s Settings) {
	r.t.Helper()
	if err := r.f.add(r.t.Context(), s); err != nil {
		r.t.Fatal(err)
	}
	if got, err := r.f.installed(r.t.Context(), s.Interface); err != nil || !got.Equal(s) {
		r.t.Errorf("installed %+v, %v, want %+v", got, err, s)
	}
}

func (r resolvFile) remove(name string) {
	r.t.Helper()
	if err := r.f.remove(r.t.Context(), Settings{Interface: name}); err != nil {
		r.t.Fatal(err)
	}
	if got, err := r.f.installed(r.t.Context(), name); err != nil || !got.Empty() {
		r.t.Errorf("after removal installed is %+v, %v", got, err)
	}
}

// says compares the lines that programs go by.
func (r resolvFile) says(want string) {
	r.t.Helper()
	got := ""
	for line := range strings.Lines(read(r.t, r.f.path)) {
		if !strings.HasPrefix(line, "#") {
			got += line
		}
	}
	if got != want {
		r.t.Errorf("resolv.conf says\n%swant\n%s", got, want)
	}
}

// tree is all that is in the folder: names, modes, owners, targets, contents.
func (r resolvFile) tree() string {
	r.t.Helper()
	dir := filepath.Dir(r.f.path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			r.t.Fatal(err)
		}
		st := info.Sys().(*syscall.Stat_t)
		target, _ := os.Readlink(filepath.Join(dir, e.Name()))
		fmt.Fprintf(&b, "%s %s %d %d:%d %s %q\n", e.Name(), info.Mode(), st.Ino, st.Uid, st.Gid, target, readText(filepath.Join(dir, e.Name())))
	}
	return b.String()
}

func (r resolvFile) unchanged(before string) {
	r.t.Helper()
	if after := r.tree(); after != before {
		r.t.Errorf("the folder is\n%swas\n%s", after, before)
	}
}

const handWritten = "# by hand\nnameserver 192.0.2.53\nsearch lan\noptions edns0 trust-ad ndots:2\n"

// What was there comes back as it was: the very file, the link, or nothing.
func TestFileComesBack(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, path string){
		"file":    func(*testing.T, string) {},
		"missing": func(t *testing.T, path string) { must(t, os.Remove(path)) },
		"owner":   func(t *testing.T, path string) { must(t, os.Chown(path, 0, 4)) },
		"link": func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".target"))
			must(t, os.Symlink("resolv.conf.target", path))
		},
		"link to nothing": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.Symlink("../nowhere", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Geteuid() != 0 {
				skip(t, "chown needs root")
			}
			r := newResolvFile(t, handWritten)
			make(t, r.f.path)
			before := r.tree()
			hadOptions := readText(r.f.path) != ""
			r.add(tunnelSettings("wg0", "10.8.0.53 fd00::53", "corp.example"))
			want := "nameserver 10.8.0.53\nnameserver fd00::53\nsearch corp.example\n"
			if hadOptions {
				want += "options edns0 ndots:2\n"
			}
			r.says(want)
			if info, err := os.Lstat(r.f.path); err != nil || info.Mode() != 0o644 {
				t.Errorf("mode %v, %v", info.Mode(), err)
			}
			r.add(tunnelSettings("wg0", "10.8.0.54", "")) // as reload does
			r.remove("wg0")
			r.unchanged(before)
			r.remove("wg0")
			r.unchanged(before)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Search domains alone leave the nameservers as they were.
func TestFileSearchAlone(t *testing.T) {
	r := newResolvFile(t, handWritten)
	r.add(tunnelSettings("wg0", "", "corp.example"))
	r.says("nameserver 192.0.2.53\nsearch corp.example lan\noptions edns0 ndots:2\n")
}

// Of two tunnels the one that came up last answers; either may go first.
func TestFileTwoTunnels(t *testing.T) {
	one, two := tunnelSettings("wg0", "10.8.0.53", "one"), tunnelSettings("wg1", "10.9.0.53", "two one")
	for _, first := range []string{"wg0", "wg1"} {
		r := newResolvFile(t, handWritten)
		before := r.tree()
		r.add(one)
		r.add(two)
		r.says("nameserver 10.9.0.53\nsearch two one\noptions edns0 ndots:2\n")
		r.add(one) // a reload doesn't change places
		r.says("nameserver 10.9.0.53\nsearch two one\noptions edns0 ndots:2\n")
		r.remove(first)
		last := "wg1"
		if first == "wg1" {
			last = "wg0"
			r.says("nameserver 10.8.0.53\nsearch one\noptions edns0 ndots:2\n")
		} else {
			r.says("nameserver 10.9.0.53\nsearch two one\noptions edns0 ndots:2\n")
		}
		r.remove(last)
		r.unchanged(before)
	}
}

// What somebody else writes meanwhile stays, and nothing of ours does.
func TestFileTheirsWins(t *testing.T) {
	r := newResolvFile(t, handWritten)
	r.add(tunnelSettings("wg0", "10.8.0.53", ""))
	r.add(tunnelSettings("wg1", "10.9.0.53", ""))
	write(t, r.f.path, "nameserver 198.51.100.1\n", 0o600)
	if got, err := r.f.installed(t.Context(), "wg0"); err != nil || !got.Stale {
		t.Errorf("installed %+v, %v: what was kept for it is still there", got, err)
	}
	theirs := r.tree()
	r.remove("wg1")
	r.remove("wg0")
	if got := r.tree(); !strings.HasPrefix(theirs, got) || strings.Count(got, "\n") != 1 {
		t.Errorf("left\n%s", got)
	}
}

// Where what was kept is lost, the record's copy does; and without that the
// file is at least no longer the tunnel's.
func TestFileLost(t *testing.T) {
	r := newResolvFile(t, handWritten)
	r.add(tunnelSettings("wg0", "10.8.0.53", ""))
	if text, err := r.f.previous(); err != nil || text != handWritten {
		t.Errorf("previous %q, %v", text, err)
	}
	must(t, os.Remove(r.f.kept()[0].path))
	must(t, r.f.remove(t.Context(), Settings{Interface: "wg0", Previous: handWritten}))
	if got := read(t, r.f.path); got != handWritten {
		t.Errorf("resolv.conf is %q", got)
	}
	r.add(tunnelSettings("wg0", "10.8.0.53", ""))
	must(t, os.Remove(r.f.kept()[0].path))
	if err := r.f.remove(t.Context(), Settings{Interface: "wg0"}); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("error %v", err)
	}
	r.says("")
}

// A run that is killed leaves one of these; the next down, or the next up and
// down, makes the folder what it was.
func TestFileCrash(t *testing.T) {
	s := tunnelSettings("wg0", "10.8.0.53", "")
	for name, crash := range map[string]func(r resolvFile){
		"kept": func(r resolvFile) {
			_, err := r.f.keep("wg0")
			must(t, err)
		},
		"kept, and half written": func(r resolvFile) {
			_, err := r.f.keep("wg0")
			must(t, err)
			write(t, r.f.temporary("wg0"), mark, 0o600)
		},
		"written":      func(r resolvFile) { r.add(s) },
		"half changed": func(r resolvFile) { r.add(s); write(t, r.f.temporary("wg0"), mark, 0o600) },
		"handed over": func(r resolvFile) {
			r.add(s)
			r.add(tunnelSettings("wg1", "10.9.0.53", ""))
			r.remove("wg0")
			r.add(s)
			must(t, r.f.handOver("wg0"))
			r.remove("wg1")
		},
		"copied": func(r resolvFile) {
			write(t, fmt.Sprintf("%s%s.%d-wg0", r.f.path, keptSuffix, inode(r.f.path)), handWritten, 0o644)
		},
		"half put back in place": func(r resolvFile) {
			write(t, fmt.Sprintf("%s%s.%d-wg0", r.f.path, keptSuffix, inode(r.f.path)), handWritten, 0o644)
			must(t, os.WriteFile(r.f.path, []byte(handWritten+"\n\n\n"), 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, then := range []string{"down", "up and down"} {
				r := newResolvFile(t, handWritten)
				before := r.tree()
				crash(r)
				if got, err := r.f.installed(t.Context(), "wg0"); err != nil || got.Empty() {
					t.Errorf("installed %+v, %v: down has nothing to do", got, err)
				}
				if then != "down" {
					r.add(s)
				}
				r.remove("wg0")
				r.unchanged(before)
			}
		})
	}
}

// A mount point can't be renamed over: containers.
func TestFileBindMount(t *testing.T) {
	enterHost(t, nil)
	r := newResolvFile(t, "# from outside\nnameserver 192.0.2.53\nsearch a.very.long.domain.example another.long.domain.example\n"+strings.Repeat("# long\n", 40))
	outside := filepath.Join(t.TempDir(), "outside")
	must(t, os.Rename(r.f.path, outside))
	write(t, r.f.path, "", 0o644)
	must(t, unix.Mount(outside, r.f.path, "", unix.MS_BIND, ""))
	defer func() { _ = unix.Unmount(r.f.path, 0) }()
	before := r.tree()
	r.add(tunnelSettings("wg0", "10.8.0.53", ""))
	r.says("nameserver 10.8.0.53\n")
	r.add(tunnelSettings("wg1", "10.9.0.53", ""))
	r.remove("wg0")
	r.says("nameserver 10.9.0.53\n")
	r.remove("wg1")
	r.unchanged(before)

	// The folder is read-only, and the file isn't.
	dir := filepath.Dir(r.f.path)
	must(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	must(t, unix.Mount(outside, r.f.path, "", unix.MS_BIND, ""))
	must(t, r.f.ready(Settings{}))
	before = r.tree()
	r.add(tunnelSettings("wg0", "10.8.0.53", ""))
	r.remove("wg0")
	r.unchanged(before)
	if left, err := os.ReadDir(spareDir); err != nil || len(left) > 0 {
		t.Errorf("in %s: %v, %v", spareDir, left, err)
	}

	// Now that is read-only too.
	must(t, unix.Mount("", r.f.path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	if err := r.f.ready(Settings{}); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("ready: %v", err)
	}
}

// An immutable file is found out before anything is done.
func TestFileImmutable(t *testing.T) {
	r := newResolvFile(t, handWritten)
	w, err := os.Open(r.f.path)
	must(t, err)
	defer func() { _ = w.Close() }()
	const immutable = 0x10 // FS_IMMUTABLE_FL
	if err := unix.IoctlSetPointerInt(int(w.Fd()), unix.FS_IOC_SETFLAGS, immutable); err != nil {
		skip(t, "making a file immutable: %v", err)
	}
	defer func() { must(t, unix.IoctlSetPointerInt(int(w.Fd()), unix.FS_IOC_SETFLAGS, 0)) }()
	before := r.tree()
	if err := r.f.ready(Settings{}); err == nil || !strings.Contains(err.Error(), "operation not permitted") {
		t.Errorf("ready: %v", err)
	}
	if err := r.f.add(t.Context(), tunnelSettings("wg0", "10.8.0.53", "")); err == nil {
		t.Error("written")
	}
	r.unchanged(before)
}
