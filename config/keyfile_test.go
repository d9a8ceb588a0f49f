// SPDX-License-Identifier: MIT

package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A key file is read if only its owner can, who is root or oneself, and it is
// the file that was looked at.
func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		if err := errors.Join(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600), os.Chmod(filepath.Join(dir, name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("good", keyA+"\n", 0o600)
	write("bare", keyA, 0o400)
	write("group", keyA+"\n", 0o640)
	write("acl", keyA+"\n", 0o440)
	write("others", keyA+"\n", 0o604)
	write("short", keyA[:43]+"\n", 0o600)
	write("long", keyA+keyA, 0o600)
	write("empty", "", 0o600)
	write("another's", keyA+"\n", 0o600)
	if err := errors.Join(os.Symlink("good", filepath.Join(dir, "link")), os.Symlink("loop", filepath.Join(dir, "loop")), os.Mkdir(filepath.Join(dir, "folder"), 0o700),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	tests := []struct{ value, fault string }{
		{"good", ""}, {dir + "/good", ""}, {"bare", ""}, {"credential:good", ""}, {"credential:acl", ""},
		{"acl", "its mode is 0440, and should be 0600"}, {"group", "its mode is 0640"}, {"others", "its mode is 0604"}, {"credential:others", "its mode is 0604"},
		{"short", "it holds no key"}, {"long", "it holds no key"}, {"empty", "it holds no key"},
		{"link", "it is a symbolic link"}, {"loop", "it is a symbolic link"}, {"folder", "it is no regular file"}, {"pipe", "it is no regular file"},
		{"/dev/zero", "it is no regular file"}, {"none", "no such file or directory"},
		{keyA, "is a key where the name of a file should be"}, {keyA[:43], "is a key where"}, {"credential:", "names no credential"}, {"credential:../good", "names no credential"},
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(filepath.Join(dir, "another's"), 4711, 0); err != nil {
			t.Fatal(err)
		}
		tests = append(tests, struct{ value, fault string }{"another's", "it belongs to another user"})
	}
	file := filepath.Join(dir, "wg0.conf")
	for _, tt := range tests {
		for _, text := range []string{
			"[Interface]\nPrivateKeyFile = " + tt.value + "\n",
			"[Interface]\n[Peer]\nPublicKey = " + keyB + "\nPresharedKeyFile = " + tt.value + "\n",
		} {
			c, _, err := Parse(file, strings.NewReader(text))
			if err == nil {
				err = c.ReadKeys()
			}
			switch {
			case tt.fault != "":
				if err == nil || !strings.HasPrefix(err.Error(), file+":") || !strings.Contains(err.Error(), tt.fault) || strings.Contains(err.Error(), keyA[:20]) || strings.Contains(err.Error(), "\n") {
					t.Errorf("%s: error %v, want %s", tt.value, err, tt.fault)
				}
			case err != nil:
				t.Error(err)
			case len(c.Peers) == 0 && *c.Interface.PrivateKey != Secret(bytesOf('A')), len(c.Peers) > 0 && *c.Peers[0].PresharedKey != Secret(bytesOf('A')):
				t.Errorf("%s gives another key", tt.value)
			case strings.Contains(strings.Join(lines(t, c), "\n"), keyA):
				t.Errorf("%s: the key is written into the file", tt.value)
			}
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	c := mustParse(t, "[Interface]\nPrivateKeyFile = credential:good\n")
	if err := c.ReadKeys(); err == nil || !strings.Contains(err.Error(), "$CREDENTIALS_DIRECTORY is not set") {
		t.Errorf("error %v", err)
	}
}

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, _, err := parseString(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What wg is to read has the keys; what is saved leaves them where they are.
func TestKeyFilesStripAndSave(t *testing.T) {
	dir := t.TempDir()
	for name, key := range map[string]string{"private": keyA, "psk": keyC} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text := "[Interface]\nPrivateKeyFile = private # ours\nMTU = 1400\n[Peer]\nPublicKey = " + keyB + "\n  PresharedKeyFile = psk\nAllowedIPs = 10.0.0.0/8\n"
	inline, err := InlineKeys(filepath.Join(dir, "wg0.conf"), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := "[Interface]\nPrivateKey = " + keyA + "\n[Peer]\nPublicKey = " + keyB + "\nPresharedKey = " + keyC + "\nAllowedIPs = 10.0.0.0/8\n"
	if got := stripped(inline); got != want {
		t.Errorf("stripped %q, want %q", got, want)
	}
	if _, err := InlineKeys("nowhere/wg0.conf", []byte(text)); err == nil {
		t.Error("a file without its keys is stripped")
	}
	private, psk := Secret(bytesOf('D')), Secret(bytesOf('E'))
	prefix := prefixes("10.0.0.0/8")
	saved, err := Update([]byte(text), Saved{PrivateKey: &private, MTU: 1400, Peers: []SavedPeer{{PublicKey: bytesOf('B'), PresharedKey: &psk, AllowedIPs: prefix}}})
	if err != nil || string(saved) != text {
		t.Errorf("saved %q, %v", saved, err)
	}
	if _, _, err := parseString("[Interface]\nPrivateKey = " + keyA + "\nPrivateKeyFile = x\n"); err == nil || !strings.Contains(err.Error(), "stands beside PrivateKey") {
		t.Errorf("error %v", err)
	}
}
