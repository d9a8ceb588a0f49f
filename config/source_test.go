// SPDX-License-Identifier: MIT

package config

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Whose hooks they are is asked of the file that was read: in a folder like /tmp
// its owner may put another in its place at any time.
func TestTrustedIsWhatWasRead(t *testing.T) {
	if os.Geteuid() != 0 {
		skip(t, "needs root, to make files of others")
	}
	for _, tt := range []struct {
		name         string
		read         int // owner of the file that is read
		swap         func(path string) error
		after, fault string
	}{
		{name: "not swapped", swap: func(string) error { return nil }},
		{name: "another's, then root's", read: 4711, fault: "belongs to user 4711",
			swap: func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) }},
		{name: "another's, then a link to root's", read: 4711, fault: "belongs to user 4711",
			swap: func(path string) error {
				return errors.Join(os.WriteFile(path+".root", nil, 0o600), os.Remove(path), os.Symlink(path+".root", path))
			}},
		{name: "root's, then root's", fault: "was replaced since it was read",
			swap: func(path string) error {
				return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
			}},
		{name: "root's, then another's", fault: "belongs to user 4711",
			swap: func(path string) error {
				return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Chown(path+".new", 4711, 0), os.Rename(path+".new", path))
			}},
		{name: "by another's link", fault: "belongs to user 4711",
			swap: func(path string) error {
				return errors.Join(os.Rename(path, path+".root"), os.Symlink(path+".root", path), os.Lchown(path, 4711, 0))
			}},
		{name: "by a link through another's folder", fault: "belongs to user 4711",
			swap: func(path string) error {
				return errors.Join(os.Mkdir(path+".d", 0o755), os.Chown(path+".d", 4711, 0), os.Rename(path, path+".root"),
					os.Symlink(path+".root", path+".d/middle"), os.Symlink(path+".d/middle", path))
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tmp")
			path := filepath.Join(dir, "wg0.conf")
			text := "[Interface]\nPostUp = touch /run/pwned\n"
			if err := errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o777|os.ModeSticky), os.WriteFile(path, []byte(text), 0o600), os.Chown(path, tt.read, 0)); err != nil {
				t.Fatal(err)
			}
			for _, load := range []func(string) (*Config, []Warning, error){
				func(path string) (*Config, []Warning, error) { return Load(t.Context(), path) },
				func(path string) (*Config, []Warning, error) { return LoadInterface(t.Context(), path) },
			} {
				c, _, err := load(path)
				if err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(path, path+".kept"); err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(os.Rename(path+".kept", path), tt.swap(path)); err != nil {
					t.Fatal(err)
				}
				err = c.Trusted()
				if fault := (*Untrusted)(nil); tt.fault == "" && err != nil || tt.fault != "" && (!errors.As(err, &fault) || !strings.Contains(err.Error(), tt.fault)) {
					t.Errorf("error %v, want %q", err, tt.fault)
				}
				for _, rest := range []string{path + ".d/middle", path + ".d", path + ".root", path} {
					_ = os.Remove(rest)
				}
				if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chown(path, tt.read, 0)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
	c, _, err := Parse("/etc/wireguard/wg0.conf", strings.NewReader("[Interface]\nPostUp = true\n"))
	if err != nil || c.Trusted() == nil {
		t.Errorf("what was read from no file is trusted: %v", err)
	}
}

// A pipe whose writer says nothing ends with the context, or after a time, with
// an error that says so.
func TestLoadSilentPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg0.conf")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	defer func(d time.Duration) { patience = d }(patience)
	readers := map[string]func(context.Context) error{
		"Load":     func(ctx context.Context) error { _, _, err := Load(ctx, path); return err },
		"ReadText": func(ctx context.Context) error { _, err := ReadText(ctx, path); return err },
	}
	for name, read := range readers {
		for _, said := range []string{"", "[Interface]\nMTU = "} {
			if _, err := io.WriteString(w, said); err != nil {
				t.Fatal(err)
			}
			patience = time.Hour
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(20*time.Millisecond, func() { cancel(errors.New("Ctrl-C")) })
			if err := read(ctx); err == nil || err.Error() != "reading "+path+": Ctrl-C" {
				t.Errorf("%s, interrupted after %q: %v", name, said, err)
			}
			patience = 20 * time.Millisecond
			if err := read(t.Context()); err == nil || err.Error() != "reading "+path+": nothing came through the pipe for 20ms" {
				t.Errorf("%s, silent after %q: %v", name, said, err)
			}
		}
	}
	// One that is only slow is read to its end.
	patience = 10 * time.Second
	go func() {
		for _, part := range []string{"[Interface]\n", "MTU = 14", "00\n"} {
			time.Sleep(20 * time.Millisecond)
			_, _ = io.WriteString(w, part)
		}
		_ = w.Close()
	}()
	if c, _, err := Load(t.Context(), path); err != nil || c.Interface.MTU != 1400 {
		t.Errorf("slow pipe: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := Load(ctx, path); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted before: %v", err)
	}
}

// A writer in the middle of a file is found out, whatever he leaves of it.
func TestLoadWhileWritten(t *testing.T) {
	const text = "[Interface]\nMTU = 1400\n"
	path := filepath.Join(t.TempDir(), "wg0.conf")
	for name, write := range map[string]func() error{
		"not":        func() error { return nil },
		"appended":   func() error { return appendTo(path, "MTU = 1300\n") },
		"cut short":  func() error { return os.Truncate(path, 5) },
		"same size":  func() error { return os.WriteFile(path, []byte(strings.Replace(text, "1400", "1300", 1)), 0o600) },
		"old again":  func() error { return errors.Join(os.Truncate(path, 5), os.WriteFile(path, []byte(text), 0o600)) },
		"back dated": func() error { return errors.Join(appendTo(path, "#"), os.Chtimes(path, time.Time{}, time.Unix(1, 0))) },
		"replaced": func() error { // what was opened is whole
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		},
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // longer than the kernel's clock for files ticks
		if _, err := s.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := write(); err != nil {
			t.Fatal(err)
		}
		err = s.changed()
		_ = s.Close()
		// A rename changes the time of the old file's inode, which loses its name.
		if want := name != "not"; (err != nil) != want || err != nil && err.Error() != path+": has changed while it was read" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
