// SPDX-License-Identifier: MIT

package dns

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What changes a file, and what makes a folder that isn't there yet.
const (
	changesFile = unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ATTRIB
	makesFolder = unix.IN_CREATE | unix.IN_MOVED_TO
)

// Watch sends a value when what Installed goes by may have changed: resolv.conf,
// and the files of those who make it. All of them write files, also when they
// are restarted, so nobody has to be asked. The channel is closed when the
// context ends.
func (r *Resolver) Watch(ctx context.Context) (<-chan struct{}, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watching the resolver's files: %w", err)
	}
	f := os.NewFile(uintptr(fd), "inotify") // non-blocking: closing it ends a read
	context.AfterFunc(ctx, func() { _ = f.Close() })
	w := watch{fd: fd, folders: r.folders(), names: map[int32]string{}}
	w.add()
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		buffer := make([]byte, 64<<10)
		for {
			n, err := f.Read(buffer)
			if err != nil || ctx.Err() != nil {
				return
			}
			if !w.matters(buffer[:n]) {
				continue
			}
			w.add()
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	return changed, nil
}

// folders are those with the files that count, each with the start of their
// names.
func (r *Resolver) folders() map[string]string {
	folders := map[string]string{}
	if r.path != "" {
		folders[filepath.Dir(r.path)] = filepath.Base(r.path)
	}
	if r.alone {
		return folders
	}
	for _, dir := range []string{filepath.Dir(netifDir), netifDir, networkdDir, networkManagerDir} {
		folders[dir] = ""
	}
	for _, path := range []string{r.networkManager().conf, r.networkManager().masq} {
		folders[filepath.Dir(path)] = filepath.Base(path)
	}
	for _, dir := range r.program().Records {
		folders[dir] = ""
	}
	return folders
}

// A watch is the state of an inotify(7) descriptor.
type watch struct {
	fd      int
	folders map[string]string
	names   map[int32]string // by watch, the start of the names that count
}

// add watches the folders that are there by now, and of the others the last
// folder on the way that is.
func (w *watch) add() {
	for dir, name := range w.folders {
		mask := uint32(changesFile | unix.IN_ONLYDIR)
		for {
			wd, err := unix.InotifyAddWatch(w.fd, dir, mask|unix.IN_MASK_ADD)
			if err == nil {
				if old, ok := w.names[int32(wd)]; ok && old != name {
					name = ""
				}
				w.names[int32(wd)] = name
				break
			}
			if dir == "/" || err != unix.ENOENT {
				break // a reader that looks from time to time sees it then
			}
			dir, name, mask = filepath.Dir(dir), filepath.Base(dir), makesFolder|unix.IN_ONLYDIR
		}
	}
}

// matters reports whether one of the events is of a file that counts.
func (w *watch) matters(events []byte) bool {
	for len(events) >= unix.SizeofInotifyEvent {
		e := (*unix.InotifyEvent)(unsafe.Pointer(&events[0])) // #nosec G103 -- as inotify(7) lays it out
		rest := events[unix.SizeofInotifyEvent:]
		if int(e.Len) > len(rest) {
			return true
		}
		name := string(bytes.TrimRight(rest[:e.Len], "\x00"))
		start, known := w.names[e.Wd]
		if e.Mask&unix.IN_Q_OVERFLOW != 0 || e.Mask&unix.IN_IGNORED != 0 || known && strings.HasPrefix(name, start) {
			return true
		}
		events = rest[e.Len:]
	}
	return false
}
