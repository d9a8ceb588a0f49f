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

// maxItems are how many a list may have in a whole file. Of addresses and
// forwards each is compared with all others; of networks that are kept out of a
// tunnel a large country has 50,000.
var maxItems = map[string]int{
	"AllowedIPs":  maxAllowedIPs,
	"ExcludedIPs": 1 << 17,
	"Address":     1 << 12,
	"DNS":         1 << 12,
	"Masquerade":  1 << 12,
	"PortForward": 1 << 12,
	"PreUp":       1 << 12,
	"PostUp":      1 << 12,
	"PreDown":     1 << 12,
	"PostDown":    1 << 12,
}

const manyItems = "is one of more than %d in this file, the most that are read"

// smallestPeer is the shortest section of a peer, in bytes: a header, a key.
const smallestPeer = int64(len("[Peer]\nPublicKey=\n") + keyLen)

// smallestAllowedIP is the shortest allowed IP and its comma.
const smallestAllowedIP = int64(len("::,"))

// A tooManyError is the line where a file goes beyond what is read of it.
type tooManyError struct{ line int }

// Error is in wg's manner, which says nothing of the file.
func (e tooManyError) Error() string {
	return fmt.Sprintf("Line %d: AllowedIPs "+manyItems, e.line, maxAllowedIPs)
}

// countCrowd returns an error if a regular file has more peers than a device
// takes, or more allowed IPs than are read: to find that out by reading them
// would take a gigabyte. What r reads is the file, which is at its start
// afterwards. Of a pipe nothing is said.
func countCrowd(file *os.File, r io.Reader) error {
	fi, err := file.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return nil // reading tells
	}
	err = countText(fi.Size(), r, func() error {
		_, err := file.Seek(0, io.SeekStart)
		return err
	})
	if err == nil || isCrowd(err) {
		return err
	}
	return fmt.Errorf("reading %s: %w", file.Name(), err)
}

// countText is countCrowd for what has that size and is rewound by again.
func countText(size int64, r io.Reader, again func() error) error {
	if size < min(maxPeers*smallestPeer, maxAllowedIPs*smallestAllowedIP) {
		return nil
	}
	headers, items, err := countAtMost(r)
	if err == nil {
		err = again()
	}
	if err != nil || headers <= maxPeers && items <= maxAllowedIPs {
		return err
	}
	if err = countLines(r); err == nil {
		err = again()
	}
	return err
}

// countAtMost counts brackets, commas and lines, which is fast, and never less
// than the peers and the allowed IPs are.
func countAtMost(r io.Reader) (headers, items int, err error) {
	buf := make([]byte, 1<<20)
	defer clear(buf)
	for {
		got, err := r.Read(buf)
		headers += bytes.Count(buf[:got], []byte("["))
		items += bytes.Count(buf[:got], []byte(",")) + bytes.Count(buf[:got], []byte("\n"))
		if err == io.EOF {
			return headers, items + 1, nil
		}
		if err != nil {
			return headers, items, err
		}
	}
}

// countLines counts the headers of peers, and the allowed IPs, up to one too many.
func countLines(r io.Reader) error {
	lines := newLineReader(io.LimitReader(r, maxFile))
	defer lines.forget()
	peers, allowed := 0, 0
	for {
		line, err := lines.next()
		if err == io.EOF || errors.Is(err, errLongLine) { // which reading tells
			return nil
		}
		if err != nil {
			return err
		}
		if line = bytes.TrimLeft(line, space); len(line) == 0 {
			continue
		}
		switch line[0] {
		case '[':
			line, _, _ = bytes.Cut(line, []byte("#"))
			if strings.EqualFold(squash(string(line)), "[Peer]") {
				peers++
			}
		case 'a', 'A':
			allowed += allowedIPsOn(line)
		}
		switch {
		case peers > maxPeers:
			return errManyPeers
		case allowed > maxAllowedIPs:
			return tooManyError{lines.num}
		}
	}
}

// allowedIPsOn is how many a line has.
func allowedIPsOn(line []byte) int {
	line, _, _ = bytes.Cut(line, []byte("#"))
	name, value, assigned := bytes.Cut(line, []byte("="))
	if !assigned || len(name) > 4096 || !strings.EqualFold(squash(string(name)), "AllowedIPs") {
		return 0
	}
	return 1 + bytes.Count(value, []byte(","))
}

func isCrowd(err error) bool {
	many := tooManyError{}
	return errors.Is(err, errManyPeers) || errors.As(err, &many)
}

// inFile says of which file a fault is.
func inFile(path string, err error) error {
	if many := (tooManyError{}); errors.As(err, &many) {
		return &Error{File: path, Line: many.line, Section: peerSection.String(), Key: "AllowedIPs", Msg: fmt.Sprintf(manyItems, maxAllowedIPs)}
	}
	if errors.Is(err, errManyPeers) {
		return &Error{File: path, Msg: err.Error()}
	}
	return err
}
