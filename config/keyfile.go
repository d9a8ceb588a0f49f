// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// credential begins the value of a key that is one of systemd's credentials:
// a file below $CREDENTIALS_DIRECTORY (systemd.exec(5)).
const credential = "credential:" // #nosec G101 -- a word, no secret

func (b *builder) privateKeyFile(value string) {
	if b.keyFile(value) {
		b.cfg.Interface.PrivateKeyFile = value
	}
}

func (b *builder) presharedKeyFile(value string) {
	if b.keyFile(value) {
		b.cfg.Peers[b.peer].PresharedKeyFile = value
	}
}

// keyFile refuses a key in the place of its file's name, and repeats nothing
// of what may be one.
func (b *builder) keyFile(value string) bool {
	name, isCredential := strings.CutPrefix(value, credential)
	_, isKey := parseKey(value)
	switch {
	case isKey || maybeKey(value) && !strings.Contains(value, "/"):
		b.fail("is a key where the name of a file should be")
		return false
	case isCredential && (name == "" || name == "." || name == ".." || strings.Contains(name, "/")):
		b.fail("names no credential: it is %sNAME, and the file is called NAME", credential)
		return false
	}
	b.scalar()
	return true
}

// checkKeyFiles finds keys that are given twice, here and in a file.
func (b *builder) checkKeyFiles() {
	const both = "stands beside %s: a key comes from one of them"
	if b.cfg.Interface.PrivateKey != nil && b.cfg.Interface.PrivateKeyFile != "" {
		b.errorf(b.cfg.Line(InInterface, "PrivateKeyFile", 0), interfaceSection, "PrivateKeyFile", both, "PrivateKey")
	}
	for i, p := range b.cfg.Peers {
		if p.PresharedKey != nil && p.PresharedKeyFile != "" {
			b.errorf(b.cfg.Line(i, "PresharedKeyFile", 0), peerSection, "PresharedKeyFile", both, "PresharedKey")
		}
	}
}

// ReadKeys reads the files that PrivateKeyFile and PresharedKeyFile name, and
// sets PrivateKey and PresharedKey. A path that isn't absolute begins at the
// folder of the config. All that is wrong is told, by place.
func (c *Config) ReadKeys() error {
	var errs []error
	read := func(peer int, key, value string, set **Secret) {
		if value == "" {
			return
		}
		k, err := c.readKey(value)
		if err != nil {
			errs = append(errs, c.Errorf(peer, key, 0, "%v", err))
			return
		}
		*set = &k
	}
	read(InInterface, "PrivateKeyFile", c.Interface.PrivateKeyFile, &c.Interface.PrivateKey)
	for i := range c.Peers {
		read(i, "PresharedKeyFile", c.Peers[i].PresharedKeyFile, &c.Peers[i].PresharedKey)
	}
	return errors.Join(errs...)
}

// KeyFaults says of each file that PrivateKeyFile and PresharedKeyFile name, as
// written there, why it can't be used; nil if it can.
func (c *Config) KeyFaults() map[string]error {
	faults := map[string]error{}
	for _, value := range append([]string{c.Interface.PrivateKeyFile}, presharedKeyFiles(c.Peers)...) {
		if _, done := faults[value]; value != "" && !done {
			_, faults[value] = c.readKey(value)
		}
	}
	return faults
}

func presharedKeyFiles(peers []Peer) (values []string) {
	for i := range peers {
		values = append(values, peers[i].PresharedKeyFile)
	}
	return values
}

func (c *Config) readKey(value string) (Secret, error) {
	path, fromSystemd := strings.CutPrefix(value, credential)
	switch dir := os.Getenv("CREDENTIALS_DIRECTORY"); {
	case fromSystemd && dir == "":
		return Secret{}, errors.New("there are no credentials: $CREDENTIALS_DIRECTORY is not set, as systemd does by LoadCredential=")
	case fromSystemd:
		path = filepath.Join(dir, path)
	case !filepath.IsAbs(path):
		path = filepath.Join(filepath.Dir(c.file), path)
	}
	k, err := readKeyFile(path, fromSystemd)
	if err != nil {
		return Secret{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return k, nil
}

// readKeyFile opens the file once, and looks at what it opened: nobody can put
// another in its place in between.
func readKeyFile(path string, fromSystemd bool) (Secret, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, syscall.ELOOP) {
			return Secret{}, errors.New("it is a symbolic link: name the file itself")
		}
		return Secret{}, withoutPath(err)
	}
	defer func() { _ = f.Close() }()
	if err := privateFile(f, fromSystemd); err != nil {
		return Secret{}, err
	}
	var text [keyLen + 8]byte // with room for the end of a line
	n, err := io.ReadFull(f, text[:])
	defer clear(text[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Secret{}, withoutPath(err)
	}
	k, ok := parseKeyText(bytes.Trim(text[:n], space))
	if !ok {
		return Secret{}, fmt.Errorf("it holds no key: %d characters of base64", keyLen)
	}
	return Secret(k), nil
}

// privateFile refuses what ssh does: a key that others than its owner can
// read, or that belongs to somebody else. A credential may have an access
// control list for the service's user, whose mask stands in the group's bits.
func privateFile(f *os.File, fromSystemd bool) error {
	fi, err := f.Stat()
	if err != nil {
		return withoutPath(err)
	}
	open := fs.FileMode(0o077)
	if fromSystemd {
		open = 0o037
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.Mode().IsRegular():
		return errors.New("it is no regular file")
	case !ok || !slices.Contains([]int{0, os.Geteuid()}, int(st.Uid)):
		return errors.New("it belongs to another user")
	case fi.Mode().Perm()&open != 0:
		return fmt.Errorf("others than its owner have a right to it: its mode is %04o, and should be 0600", fi.Mode().Perm())
	}
	return nil
}

// withoutPath leaves the path to who adds it.
func withoutPath(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// mentions reports whether a word, in small letters, is in a text, in any.
func mentions(text []byte, word string) bool {
	for line := range bytes.Lines(text) {
		if len(line) > len(word) && strings.Contains(firstWord(line), word) {
			return true
		}
	}
	return false
}

// InlineKeys returns the text of a config with the keys themselves in the
// place of the files that they are in, for Strip: what is left of it must have
// them. A text without such files isn't looked at.
func InlineKeys(path string, text []byte) ([]byte, error) {
	if !mentions(text, "keyfile") {
		return text, nil
	}
	c, _, err := Parse(path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if err := c.ReadKeys(); err != nil {
		return nil, err
	}
	lines := map[int][]string{}
	put := func(peer int, from, to string, k *Secret) {
		if line := c.Line(peer, from, 0); line > 0 && k != nil {
			lines[line] = []string{to + " = " + base64.StdEncoding.EncodeToString(k[:])}
		}
	}
	put(InInterface, "PrivateKeyFile", "PrivateKey", c.Interface.PrivateKey)
	for i, p := range c.Peers {
		put(i, "PresharedKeyFile", "PresharedKey", p.PresharedKey)
	}
	return ReplaceLines(text, lines), nil
}
