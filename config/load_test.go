// SPDX-License-Identifier: MIT

package config

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"wg0", "a", "a.b=c+d_e-f", "0123456789abcde", "...", "ALL", "wg0.conf"} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{
		"":                 "interface name is empty",
		"0123456789abcdef": `interface name "0123456789abcdef" has 16 characters: 15 is the most`,
		"wg 0":             `interface name "wg 0": only letters, digits and _=+.- are allowed`,
		"../wg0":           `interface name "../wg0": only letters, digits and _=+.- are allowed`,
		"wg%d":             `interface name "wg%d": only letters, digits and _=+.- are allowed`,
		"büro":             `interface name "büro": only letters, digits and _=+.- are allowed`,
		".":                `interface name "." is reserved`,
		"..":               `interface name ".." is reserved`,
		"all":              `interface name "all" is reserved`,
		"default":          `interface name "default" is reserved`,
		"-x":               `interface name "-x": it can't start with "-"`,
	} {
		if err := CheckName(name); err == nil || err.Error() != want {
			t.Errorf("%q: error %v, want %v", name, err, want)
		}
	}
}

func TestLocate(t *testing.T) {
	tests := []struct{ arg, path, ifname string }{
		{"wg0", "/etc/wireguard/wg0.conf", "wg0"},
		{"wg0.conf", "/etc/wireguard/wg0.conf.conf", "wg0.conf"}, // as wg-quick has it
		{"./wg0.conf", "./wg0.conf", "wg0"},
		{"/tmp/a b/wg0.conf", "/tmp/a b/wg0.conf", "wg0"},
		{"longer-than-15.conf", "longer-than-15.conf", "longer-than-15"},
		{"0123456789abcdef", "", ""}, {"./0123456789abcdef.conf", "", ""}, {"", "", ""},
		{"/etc/wireguard/wg0", "", ""}, {"/tmp/.conf", "", ""}, {"./wg 0.conf", "", ""},
		{"/tmp/wg0.conf/", "", ""}, {"all", "", ""}, {"./all.conf", "", ""}, {"-x", "", ""}, {"/dev/fd/63", "", ""},
	}
	for _, tt := range tests {
		path, ifname, err := Locate(tt.arg)
		if path != tt.path || ifname != tt.ifname || (err == nil) != (tt.path != "") {
			t.Errorf("Locate(%q) = %q, %q, %v", tt.arg, path, ifname, err)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo.conf")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir:                           "is a directory",
		"/dev/zero":                   "is neither a regular file nor a pipe",
		"/dev/null":                   "is neither a regular file nor a pipe",
		fifo:                          "is empty",
		file("empty.conf", "", 0o600): "is empty",
	} {
		c, _, err := Load(t.Context(), path)
		if c != nil || err == nil || err.Error() != path+": "+want {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if _, _, err := Load(t.Context(), filepath.Join(dir, "none.conf")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	large := file("large.conf", "", 0o600)
	if err := os.Truncate(large, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(t.Context(), large); err == nil || !strings.HasSuffix(err.Error(), "is larger than 256 MiB") {
		t.Errorf("large file: %v", err)
	}
}

func TestLoadWorldAccess(t *testing.T) {
	for _, tt := range []struct {
		dir, file os.FileMode
		warn      bool
	}{{0o755, 0o644, true}, {0o700, 0o644, false}, {0o755, 0o640, false}, {0o751, 0o644, false}, {0o755, 0o601, true}} {
		dir := filepath.Join(t.TempDir(), "conf")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "wg0.conf")
		if err := os.WriteFile(path, []byte("[Interface]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chmod(path, tt.file), os.Chmod(dir, tt.dir)); err != nil {
			t.Fatal(err)
		}
		_, warnings, err := Load(t.Context(), path)
		if err != nil || len(warnings) == 1 != tt.warn {
			t.Errorf("file %o in directory %o: warnings %v, error %v", tt.file, tt.dir, warnings, err)
		}
	}
}

// TestLoadPipe reads what a shell makes of "<(cat file)", with the writer late.
func TestLoadPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	started := make(chan struct{})
	go func() {
		<-started
		_, _ = w.WriteString("[Interface]\n")
		_, _ = w.WriteString("MTU = 1400\n")
		_ = w.Close()
	}()
	path := "/proc/self/fd/" + strconv.Itoa(int(r.Fd()))
	close(started)
	c, _, err := Load(t.Context(), path)
	if err != nil || c.Interface.MTU != 1400 || c.File() != path {
		t.Errorf("config %+v, error %v", c, err)
	}
}
