// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dir is where the config of an interface is looked for by its name.
const Dir = "/etc/wireguard"

// maxName is the longest name of an interface (IFNAMSIZ of Linux, less the
// final NUL).
const maxName = 15

const suffix = ".conf"

// inName reports whether wg-quick allows a character in an interface's name.
func inName(r rune) bool {
	return r < 0x80 && (isLetter(byte(r)) || isDigit(byte(r)) || strings.ContainsRune("_=+.-", r))
}

func notInName(r rune) bool { return !inName(r) }

// CheckName returns an error that says why there can't be a tunnel interface
// of that name, or nil. The names are those of wg-quick less some that are
// traps: "all" and "default" are directories of sysctls, "." and ".." are
// directories anywhere, and a leading "-" is an option.
func CheckName(ifname string) error {
	switch {
	case ifname == "":
		return fmt.Errorf("interface name is empty")
	case strings.ContainsFunc(ifname, notInName):
		return fmt.Errorf("interface name %q: only letters, digits and _=+.- are allowed", ifname)
	case len(ifname) > maxName:
		return fmt.Errorf("interface name %q has %d characters: %d is the most", ifname, len(ifname), maxName)
	case ifname == "." || ifname == ".." || ifname == "all" || ifname == "default":
		return fmt.Errorf("interface name %q is reserved", ifname)
	case ifname[0] == '-':
		return fmt.Errorf(`interface name %q: it can't start with "-"`, ifname)
	}
	return nil
}

// Locate returns the config file and the interface that a word of the command
// line means, by wg-quick's rule: a word that could be the name of an
// interface is one, with its file in Dir; any other is the path of a file that
// is named after its interface. No file is looked at.
func Locate(arg string) (path, ifname string, err error) {
	if len(arg) <= maxName && !strings.ContainsFunc(arg, notInName) {
		if err := CheckName(arg); err != nil {
			return "", "", err
		}
		return filepath.Join(Dir, arg+suffix), arg, nil
	}
	ifname, isConf := strings.CutSuffix(filepath.Base(arg), suffix)
	switch {
	case !isConf && !strings.Contains(arg, "/"):
		return "", "", CheckName(arg)
	case !isConf || ifname == "" || strings.HasSuffix(arg, "/"):
		return "", "", fmt.Errorf("config file %q: it must be named after its interface, as in wg0.conf", arg)
	}
	if err := CheckName(ifname); err != nil {
		return "", "", fmt.Errorf("config file %q is named after no interface: %w", arg, err)
	}
	return arg, ifname, nil
}

// Load reads the config in a file: a regular one, or a pipe such as the
// /dev/fd/63 that a shell makes of "<(...)", until the context ends. Beside what
// Parse warns of, it warns of a file that everybody may read or write. A missing
// file is an os.ErrNotExist; one that somebody writes to meanwhile is an error.
func Load(ctx context.Context, path string) (*Config, []Warning, error) {
	f, err := open(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	if err := countCrowd(f.file, f); err != nil {
		return nil, nil, inFile(path, err)
	}
	c, warnings, err := Parse(path, f)
	if err := f.changed(); err != nil {
		return nil, nil, err
	}
	if c != nil {
		c.origin = f.was
	}
	if w := worldAccess(path, f.was); w != nil {
		warnings = append([]Warning{*w}, warnings...)
	}
	return c, warnings, err
}

// LoadInterface reads, of a file that Load took before without an error or a
// warning, what doesn't concern peers. Only where Digest is what it was then
// does that mean something. A pipe isn't read: that can be done only once.
func LoadInterface(ctx context.Context, path string) (*Config, []Warning, error) {
	irregular := &Error{File: path, Msg: "is not a regular file"}
	if fi, err := os.Stat(path); err == nil && !fi.Mode().IsRegular() {
		return nil, nil, irregular // a pipe must not be opened: its writer would see that end
	}
	f, err := open(ctx, path)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }()
	if !f.was.Mode().IsRegular() {
		return nil, nil, irregular
	}
	n := &normaliser{report: &report{file: path}, noPeers: true}
	b, err := build(n, f)
	if err == nil {
		err = errors.Join(n.report.err(), f.changed())
	}
	if err != nil {
		return nil, nil, err
	}
	b.cfg.origin = f.was
	var warnings []Warning
	if w := worldAccess(path, f.was); w != nil {
		warnings = append(warnings, *w)
	}
	return b.cfg, warnings, nil
}

// ReadText returns the text of a config file, for Strip and Update, from what
// Load would take.
func ReadText(ctx context.Context, path string) ([]byte, error) {
	return readText(ctx, path, maxFile)
}

// ReadPage is ReadText for a text that is to be looked at line by line, of which
// there are several copies then. A larger one is refused before it is read.
func ReadPage(ctx context.Context, path string) ([]byte, error) {
	return readText(ctx, path, maxPage)
}

func readText(ctx context.Context, path string, most int64) ([]byte, error) {
	f, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	if f.was.Size() > most {
		return nil, tooLarge(path, most)
	}
	// One that is as large as it was when it was opened is read in one piece.
	text := bytes.NewBuffer(make([]byte, 0, f.was.Size()+bytes.MinRead))
	if _, err := text.ReadFrom(io.LimitReader(f, most+1)); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	if int64(text.Len()) > most {
		return nil, tooLarge(path, most)
	}
	if err := checkLines(path, text.Bytes()); err != nil {
		return nil, err
	}
	whole := bytes.NewReader(text.Bytes())
	if err := countText(int64(text.Len()), whole, func() error { whole.Reset(text.Bytes()); return nil }); err != nil {
		return nil, inFile(path, err)
	}
	return text.Bytes(), f.changed()
}

// checkLines refuses a line that Parse would refuse for its length.
func checkLines(path string, text []byte) error {
	const window = maxLine + len("\r\n")
	for num := 1; len(text) >= window; {
		end := bytes.LastIndexByte(text[:window], '\n')
		if end < 0 {
			return &Error{File: path, Line: num, Msg: longLine}
		}
		num += bytes.Count(text[:end+1], []byte("\n"))
		text = text[end+1:]
	}
	return nil
}

// worldAccess warns when others have a right to both the file and its
// directory, which is wg-quick's rule.
func worldAccess(path string, fi fs.FileInfo) *Warning {
	if !fi.Mode().IsRegular() {
		return nil
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(real))
	if err != nil || fi.Mode()&dir.Mode()&0o007 == 0 {
		return nil
	}
	return &Warning{File: path, Rule: "world-readable", Msg: fmt.Sprintf("is open to every user of this host: its mode is %04o", fi.Mode().Perm())}
}
