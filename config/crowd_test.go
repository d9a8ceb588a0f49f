// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// More allowed IPs than are read are told of before one of them is, in one line
// that says where, by whoever reads a file: of 4.2 million a gigabyte would be
// made for nothing.
func TestTooManyAllowedIPs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg0.conf")
	line := "AllowedIPs = " + strings.Repeat("10.0.0.0/8,", 1<<16-1) + "10.0.0.0/8\n"
	text := "[Interface]\nPrivateKey = " + keyA + "\n# " + line + "[Peer]\nPublicKey = " + keyB + "\n" + strings.Repeat(line, maxAllowedIPs>>16)
	where := strings.Count(text, "\n") + 1
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := func(read func(*os.File) error) error {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		return read(f)
	}
	count := func(f *os.File) error { return countCrowd(f, f) }
	write(text)
	if err := file(count); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
	write(text + " allowed ips=::/0 # x\n")
	said := fmt.Sprintf("%s:%d: [Peer] AllowedIPs: is one of more than 2097152 in this file, the most that are read", path, where)
	for name, read := range map[string]func(*os.File) error{
		said: func(*os.File) error { _, _, err := Load(t.Context(), path); return err },
		said + " ": func(*os.File) error {
			_, err := ReadPage(t.Context(), path)
			return err
		},
		fmt.Sprintf("Line %d: AllowedIPs is one of more than 2097152 in this file, the most that are read", where): func(f *os.File) error { _, _, err := ParseWg(f); return err },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := file(read)
		runtime.ReadMemStats(&after)
		if err == nil || err.Error() != strings.TrimSpace(name) {
			t.Errorf("one more: got %v, want %s", err, name)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 100<<20 {
			t.Errorf("%d MiB to say %v", took>>20, err)
		}
	}
}

// Each list has a limit, in a pipe too: behind it nothing is read.
func TestTooManyItems(t *testing.T) {
	for key, item := range map[string]func(int) string{
		"ExcludedIPs": func(i int) string { return fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255) },
		"Address":     func(i int) string { return fmt.Sprintf("10.0.%d.%d/32", i>>8, i&255) },
		"DNS":         func(i int) string { return fmt.Sprintf("10.0.%d.%d", i>>8, i&255) },
		"Masquerade":  func(i int) string { return fmt.Sprintf("eth%d", i) },
		"PortForward": func(i int) string { return fmt.Sprintf("tcp/%d -> 10.0.0.2:22", i+1) },
		"PreUp":       func(int) string { return "true" },
		"PostUp":      func(int) string { return "true" },
		"PreDown":     func(int) string { return "true" },
		"PostDown":    func(int) string { return "true" },
	} {
		var b bytes.Buffer
		b.WriteString("[Interface]\n")
		if key == "PortForward" {
			b.WriteString("Address = 10.0.0.1/24\n")
		}
		for i := range maxItems[key] {
			fmt.Fprintf(&b, "%s = %s\n", key, item(i))
		}
		if _, _, err := Parse("t.conf", bytes.NewReader(b.Bytes())); err != nil {
			t.Errorf("%s: as many as there may be: %.300v", key, err)
		}
		line := bytes.Count(b.Bytes(), []byte("\n")) + 1
		for range 1000 {
			fmt.Fprintf(&b, "%s = %s\n", key, item(maxItems[key]))
		}
		_, _, err := Parse("t.conf", &b)
		want := fmt.Sprintf("t.conf:%d: [Interface] %s: is one of more than %d in this file, the most that are read", line, key, maxItems[key])
		if err == nil || err.Error() != want {
			t.Errorf("one more: got %.300v, want %s", err, want)
		}
	}
	long := "[Interface]\nPostUp = " + strings.Repeat("x", maxHookText-100) + "\nPreDown = " + strings.Repeat("y", 101)
	_, _, err := Parse("t.conf", strings.NewReader(long))
	if list := (Errors)(nil); !errors.As(err, &list) || err.Error() != "t.conf:3: [Interface] PreDown: makes the hooks of this file longer than 8 MiB" {
		t.Errorf("hooks without end: %.200v", err)
	}
}
