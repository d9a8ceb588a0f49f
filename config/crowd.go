// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// What is said of a file beyond the limits.
var (
	longLine  = fmt.Sprintf("line is longer than %d MiB", maxLine>>20)
	manyPeers = fmt.Sprintf("is one of more than %d: no device takes so many", maxPeers)
)

var errManyPeers = errors.New("has more than " + fmt.Sprint(maxPeers) + " peers: no device takes so many")

// smallestPeer is the shortest section of a peer, in bytes: a header, a key.
const smallestPeer = int64(len("[Peer]\nPublicKey=\n") + keyLen)

// countPeers returns errManyPeers if a regular file has more peers than a device
// takes: to find that out by reading them would take a gigabyte. What r reads
// is the file, which is at its start afterwards. Of a pipe nothing is said.
func countPeers(file *os.File, r io.Reader) error {
	fi, err := file.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() < maxPeers*smallestPeer {
		return nil // reading tells
	}
	n, err := countHeaders(r)
	if err == nil && n > maxPeers {
		if _, err = file.Seek(0, io.SeekStart); err == nil {
			n, err = countSections(r)
		}
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", file.Name(), err)
	}
	if n > maxPeers {
		return errManyPeers
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading %s: %w", file.Name(), err)
	}
	return nil
}

// countHeaders counts brackets, which is fast, and never less than the peers
// are.
func countHeaders(r io.Reader) (n int, err error) {
	buf := make([]byte, 1<<20)
	for {
		got, err := r.Read(buf)
		n += bytes.Count(buf[:got], []byte("["))
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// countSections counts the headers of peers, up to one too many.
func countSections(r io.Reader) (n int, err error) {
	lines := newLineReader(io.LimitReader(r, maxFile))
	for n <= maxPeers {
		line, err := lines.next()
		if err == io.EOF || errors.Is(err, errLongLine) { // which reading tells
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if line = bytes.TrimLeft(line, space); len(line) > 0 && line[0] == '[' {
			line, _, _ = bytes.Cut(line, []byte("#"))
			if strings.EqualFold(squash(string(line)), "[Peer]") {
				n++
			}
		}
	}
	return n, nil
}

// inFile says of which file a fault is.
func inFile(path string, err error) error {
	if errors.Is(err, errManyPeers) {
		return &Error{File: path, Msg: err.Error()}
	}
	return err
}
