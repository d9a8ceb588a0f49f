// SPDX-License-Identifier: MIT

package config

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// overAndOver is an endless file of the same text.
type overAndOver struct {
	text string
	at   int
}

func (r *overAndOver) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// Large files that no tunnel is in, or one with much around it: each is told
// about in at most as many lines as people read, and faults end the reading.
// What that costs is held in integration's TestLargeFile.
func TestHostileFiles(t *testing.T) {
	const size = 12 << 20
	peer := "[Interface]\nPrivateKey = " + keyA + "\n[Peer]\nPublicKey = " + keyB + "\n"
	for name, f := range map[string]struct {
		head, again string
		errors      int // 0: none; 1: one; 2: at most 101, by the first MiB
	}{
		"empty lines":           {"", "\n", 1},
		"empty lines of CRLF":   {"", "\r\n", 1},
		"blank lines":           {peer, " \t\n", 0},
		"comments":              {peer, "# nothing\n", 0},
		"short comments":        {peer, "#\n", 0},
		"names in comments":     {peer, "# Name = x\n", 0},
		"one line":              {"", "x", 1},
		"one comment":           {peer, "#", 1},
		"NUL":                   {"", "\x00", 1},
		"lines with NUL":        {peer, "\x00\n", 2},
		"nonsense":              {peer, "Nonsense = 1\n", 2},
		"invalid UTF-8":         {peer, "\xff\xfe\x80\n", 2},
		"invalid values":        {"[Interface]\n", "MTU = x\n", 2},
		"invalid keys":          {peer, "PresharedKey = " + keyC[1:] + "\n", 2},
		"one value again":       {"[Interface]\n", "MTU = 1400\n", 2},
		"one peer's key again":  {peer, "PublicKey = " + keyB + "\n", 2},
		"one address again":     {"[Interface]\n", "Address = 10.0.0.1/24\n", 2},
		"empty values":          {"[Interface]\n", "MTU =\n", 2},
		"sections":              {"", "[Interface]\n", 0},
		"peers":                 {"[Interface]\n", "[Peer]\n", 2},
		"unknown sections":      {"[Interface]\n", "[Pear]\n", 2},
		"before any section":    {"", "MTU = 1\n", 2},
		"headers without ends":  {"", "[\n", 2},
		"colours":               {"", "\x1b[31m\n", 2},
		"keys without a value":  {peer, "AllowedIPs\n", 2},
		"allowed IPs that lie":  {peer, "AllowedIPs = 10.0.0.0/33\n", 2},
		"one line of addresses": {"[Interface]\nAddress = ", "10.0.0.1, ", 1},
	} {
		t.Run(name, func(t *testing.T) {
			text := &io.LimitedReader{R: io.MultiReader(strings.NewReader(f.head),
				&overAndOver{text: strings.Repeat(f.again, 4096/len(f.again))}), N: size}
			_, warnings, err := Parse("t.conf", text)
			n := 0
			if list, ok := err.(Errors); ok {
				n = len(list)
			} else if err != nil {
				t.Errorf("error %v", err)
			}
			if want := []int{0, 1, maxReports + 1}[f.errors]; n > want || want > 0 && n == 0 || len(warnings) > maxReports+1 {
				t.Errorf("%d errors, %d warnings, %.300v", n, len(warnings), err)
			}
			if f.errors == 2 && text.N < size-1<<20 {
				t.Errorf("read %d bytes behind the faults", size-text.N)
			}
		})
	}
}

// More peers than a device takes are told of before they are read, in one line:
// a gigabyte of them would be read for nothing. A pipe is read as far as that.
func TestTooManyPeers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg0.conf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	w := bufio.NewWriter(f)
	_, _ = w.WriteString("[Interface]\nPrivateKey = " + keyA + "\n")
	peer := "[Peer] # x\nPublicKey = " + keyB + "\n"
	for range maxPeers {
		_, _ = w.WriteString(peer)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	count := func() error {
		s, err := open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		err = countCrowd(s.file, s)
		if at, seekErr := s.file.Seek(0, io.SeekCurrent); err == nil && (at != 0 || seekErr != nil) {
			t.Errorf("the file is at %d, %v", at, seekErr)
		}
		return err
	}
	if err := errors.Join(appendTo(path, "# [Peer]\n[Interface]\n"), count()); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
	if err := appendTo(path, " [peer]#\n"+"PublicKey = "+keyC+"\n"); err != nil {
		t.Fatal(err)
	}
	const want = "has more than 1048576 peers: no device takes so many"
	if _, _, err := Load(t.Context(), path); err == nil || err.Error() != path+": "+want {
		t.Errorf("one more: %v", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ParseWg(f); err == nil || err.Error() != "File "+want {
		t.Errorf("one more for wg: %v", err)
	}
}

// What is looked at as text is bounded by bytes and lines as well.
func TestPageLimits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "wg0.conf")
	for name, tt := range map[string]struct {
		size  int64
		lines int64 // bytes each; 0: one line
		fault string
	}{
		"a page":           {maxPage, 1 << 10, ""},
		"more than a page": {maxPage + 1, 1 << 10, "is larger than 32 MiB"},
		"a long line":      {maxLine, 0, ""},
		"too long a line":  {maxLine + 2, 0, "1: line is longer than 8 MiB"},
		"one further on":   {3*maxLine + 3, maxLine + 3, "1: line is longer than 8 MiB"},
		"long lines":       {3 * maxLine, maxLine, ""},
	} {
		text := bytes.Repeat([]byte("x"), int(tt.size))
		for i := tt.lines; tt.lines > 0 && i <= tt.size; i += tt.lines {
			text[i-1] = '\n'
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadPage(t.Context(), path)
		if tt.fault == "" && (err != nil || !bytes.Equal(got, text)) || tt.fault != "" && (err == nil || !strings.HasSuffix(err.Error(), tt.fault)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}
