// SPDX-License-Identifier: MIT

package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Hooks come only from a file that nobody else can write, or put another in
// the place of.
func TestTrusted(t *testing.T) {
	me := os.Geteuid()
	tests := []struct {
		name  string
		spoil func(dir, file string) error
		fault string // what the error says, after the path; "" for none
		where string // below the test's folder
	}{
		{name: "private", spoil: func(string, string) error { return nil }},
		{name: "readable", spoil: func(dir, file string) error { return errors.Join(os.Chmod(file, 0o644), os.Chmod(dir, 0o755)) }},
		{name: "file open to all", spoil: func(_, file string) error { return os.Chmod(file, 0o666) }, fault: "everybody", where: "d/wg0.conf"},
		{name: "folder open to all", spoil: func(dir, _ string) error { return os.Chmod(dir, 0o757) }, fault: "can be written by everybody", where: "d"},
		{name: "sticky folder", spoil: func(dir, _ string) error { return os.Chmod(dir, 0o777|os.ModeSticky) }},
		{name: "a link to it", spoil: func(dir, file string) error {
			if err := os.Rename(file, dir+"/real"); err != nil {
				return err
			}
			return os.Symlink(dir+"/real", file)
		}},
		{name: "a link to what is open", spoil: func(dir, file string) error {
			if err := os.WriteFile(dir+"/real", nil, 0o600); err != nil {
				return err
			}
			return errors.Join(os.Remove(file), os.Symlink(dir+"/real", file), os.Chmod(dir+"/real", 0o602))
		}, fault: "can be written by everybody", where: "d/real"},
	}
	if me == 0 {
		tests = append(tests, []struct {
			name  string
			spoil func(dir, file string) error
			fault string
			where string
		}{
			{name: "another's file", spoil: func(_, file string) error { return os.Chown(file, 4711, 0) }, fault: "belongs to user 4711", where: "d/wg0.conf"},
			{name: "another's folder", spoil: func(dir, _ string) error { return os.Chown(dir, 4711, 0) }, fault: "belongs to user 4711", where: "d"},
			{name: "one's own folder", spoil: func(dir, _ string) error { return os.Chown(dir, 4712, 0) }},
			{name: "a group's file", spoil: func(_, file string) error { return errors.Join(os.Chown(file, 0, 4711), os.Chmod(file, 0o660)) },
				fault: "can be written by its group (4711)", where: "d/wg0.conf"},
			{name: "root's group's file", spoil: func(_, file string) error { return os.Chmod(file, 0o660) }},
		}...)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			top := t.TempDir()
			dir, file := filepath.Join(top, "d"), filepath.Join(top, "d", "wg0.conf")
			if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, nil, 0o600), tt.spoil(dir, file)); err != nil {
				t.Fatal(err)
			}
			err := Trusted(file, me, 4712)
			fault := (*Untrusted)(nil)
			switch {
			case tt.fault == "" && err != nil:
				t.Errorf("error %v", err)
			case tt.fault != "" && (!errors.As(err, &fault) || fault.Path != filepath.Join(top, tt.where) || !strings.Contains(err.Error(), tt.fault)):
				t.Errorf("error %v, want %s %s", err, tt.where, tt.fault)
			}
		})
	}
	if err := Trusted(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of a file that isn't there: %v", err)
	}
}
