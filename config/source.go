// SPDX-License-Identifier: MIT

package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// patience is how long a pipe may be silent: somebody may have to type a
// passphrase before anything comes.
var patience = 2 * time.Minute

// A source is a config file, opened once: what is asked about the file is
// asked about what was opened, which nobody can put another in the place of.
type source struct {
	path string
	file *os.File
	was  fs.FileInfo // when it was opened
	ctx  context.Context
	stop func() bool
}

// open opens a file, looks what it is, and refuses what can't be a config.
// Reading ends with the context.
func open(ctx context.Context, path string) (*source, error) {
	// A pipe that nobody writes to is empty then, instead of a wait for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("reading config: %w", err)
	}
	s := &source{path: path, file: f, ctx: ctx}
	if err := s.suitable(); err != nil {
		_ = f.Close()
		return nil, err
	}
	s.stop = context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	return s, nil
}

func (s *source) suitable() (err error) {
	if s.was, err = s.file.Stat(); err != nil {
		return fmt.Errorf("reading config: %w", err)
	}
	switch mode := s.was.Mode(); {
	case mode.IsDir():
		return &Error{File: s.path, Msg: "is a directory"}
	case !mode.IsRegular() && mode&fs.ModeNamedPipe == 0:
		return &Error{File: s.path, Msg: "is neither a regular file nor a pipe"}
	case s.was.Size() > maxFile:
		return tooLarge(s.path, maxFile)
	}
	return nil
}

func (s *source) Close() error {
	s.stop()
	return s.file.Close()
}

// Read reads from the file until the context ends. A pipe that is silent for
// too long is an error.
func (s *source) Read(p []byte) (int, error) {
	_ = s.file.SetReadDeadline(time.Now().Add(patience)) // files have none
	// Only now, as it would have been set again after the context's end.
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	n, err := s.file.Read(p)
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return n, err
	case s.ctx.Err() != nil:
		return n, context.Cause(s.ctx)
	}
	return n, fmt.Errorf("nothing came through the pipe for %v", patience)
}

// changed returns an error if somebody wrote to the file since it was opened:
// what was read may be half of one and half of another.
func (s *source) changed() error {
	if changedSince(s.file, s.was) {
		return &Error{File: s.path, Msg: "has changed while it was read"}
	}
	return nil
}

// changedSince reports whether somebody wrote to a regular file since.
func changedSince(file *os.File, then fs.FileInfo) bool {
	now, err := file.Stat()
	if err != nil || !now.Mode().IsRegular() {
		return err != nil
	}
	was, is := then.Sys().(*syscall.Stat_t), now.Sys().(*syscall.Stat_t)
	return was.Size != is.Size || was.Mtim != is.Mtim || was.Ctim != is.Ctim
}

func tooLarge(path string, most int64) error {
	return &Error{File: path, Msg: fmt.Sprintf("is larger than %d MiB", most>>20)}
}
