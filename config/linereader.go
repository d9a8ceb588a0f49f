// SPDX-License-Identifier: MIT

package config

import (
	"bytes"
	"errors"
	"io"
)

var errLongLine = errors.New("line is too long")

// A lineReader takes a file apart into lines, of which it leaves out the empty
// ones: a hundred million of them should cost no more than to read them.
type lineReader struct {
	r   io.Reader
	buf []byte // what was read and isn't taken yet begins at at
	at  int
	num int   // of the line that next returned last, from 1
	err error // of r
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: r, buf: make([]byte, 0, 64<<10)}
}

// next returns the next line that isn't empty, without its end, until the next
// call; or io.EOF, errLongLine or the error of reading.
func (l *lineReader) next() ([]byte, error) {
	searched := 0
	for {
		for searched == 0 && l.at < len(l.buf) && l.buf[l.at] == '\n' {
			l.at++
			l.num++
		}
		rest := l.buf[l.at:]
		if i := bytes.IndexByte(rest[searched:], '\n'); i >= 0 {
			l.at += searched + i + 1
			l.num++
			return withoutCR(rest[:searched+i])
		}
		searched = len(rest)
		if l.err != nil {
			return l.last(rest)
		}
		if searched > maxLine+1 {
			l.num++
			return nil, errLongLine
		}
		l.fill()
	}
}

// last returns what stands after the last end of a line.
func (l *lineReader) last(rest []byte) ([]byte, error) {
	if l.err != io.EOF || len(rest) == 0 {
		return nil, l.err
	}
	l.at = len(l.buf)
	l.num++
	return withoutCR(rest)
}

// skip goes to the line with the next "[" that may begin the header of an
// [Interface], or behind all whole lines that have been read.
func (l *lineReader) skip() {
	rest := l.buf[l.at:]
	end := len(rest)
	for i := 0; i < end; i++ {
		n := bytes.IndexByte(rest[i:], '[')
		if n < 0 {
			break
		}
		i += n
		name := bytes.TrimLeft(rest[i+1:], space)
		if len(name) > 0 && name[0]|0x20 == 'i' {
			end = i
		}
	}
	end = bytes.LastIndexByte(rest[:end], '\n') + 1
	l.num += bytes.Count(rest[:end], []byte("\n"))
	l.at += end
}

func withoutCR(line []byte) ([]byte, error) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) > maxLine {
		return nil, errLongLine
	}
	return line, nil
}

// fill reads more behind what there is.
func (l *lineReader) fill() {
	l.buf = l.buf[:copy(l.buf, l.buf[l.at:])]
	l.at = 0
	if old := l.buf; len(old) == cap(old) {
		l.buf = append(make([]byte, 0, 2*cap(old)), old...)
		clear(old)
	}
	for n := 0; n == 0 && l.err == nil; {
		n, l.err = l.r.Read(l.buf[len(l.buf):cap(l.buf)])
		l.buf = l.buf[:len(l.buf)+n]
	}
}

// forget clears what was read: there may be keys in it.
func (l *lineReader) forget() { clear(l.buf[:cap(l.buf)]) }
