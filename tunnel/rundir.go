// SPDX-License-Identifier: MIT

package tunnel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// Records are the records and locks of the tunnels of one network namespace.
type Records struct {
	Dir string
	// Namespace, if not nil, is noted beside the records: how to find out
	// whose they are when the namespace is gone.
	Namespace *Namespace
}

// A Namespace is what is noted of the network namespace that records are of.
type Namespace struct {
	Path   string `json:"path"`             // where it was found
	Name   string `json:"name,omitempty"`   // of "ip netns"
	Inode  uint64 `json:"inode"`            // given out anew once it is gone
	Cookie uint64 `json:"cookie,omitempty"` // never given out anew; 0: the kernel doesn't tell
}

const (
	runDir         = "/run/wgctl"
	namespaceDir   = "netns"
	namespaceFile  = "namespace"
	socketsDir     = "wireguard"
	runtimeDirName = "XDG_RUNTIME_DIR"
	runDirName     = "WGCTL_RUNTIME_DIRECTORY"
	unitDirName    = "RUNTIME_DIRECTORY" // systemd's, for those who aren't root
)

// RunDir is where records live: /run/wgctl for the namespace that the host's
// first process is in, a folder below it, by the namespace's inode number,
// for any other. WGCTL_RUNTIME_DIRECTORY in the environment is another place;
// who isn't root has that of systemd, RUNTIME_DIRECTORY; and where root, as of a
// user namespace, can't write to /run, it is in $XDG_RUNTIME_DIR.
func RunDir() string {
	dir, known := ownRunDir()
	if known {
		return dir
	}
	// Who may not look at the first process is where it is, unless there are
	// records that say otherwise.
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	return runBase()
}

// NamespaceRunDir is RunDir for a process that went to another namespace.
func NamespaceRunDir() string {
	dir, _ := ownRunDir()
	return dir
}

// ownRunDir is the folder of the process' namespace; not known if it may be that
// of the first process all the same.
func ownRunDir() (dir string, known bool) {
	base := runBase()
	var own, first unix.Stat_t
	if unix.Stat("/proc/self/ns/net", &own) != nil {
		return base, true
	}
	err := unix.Stat("/proc/1/ns/net", &first)
	if err == nil && own.Ino == first.Ino {
		return base, true
	}
	if err != nil && os.Geteuid() != 0 && base != runDir {
		return base, true // a folder that was named for this user
	}
	return filepath.Join(base, namespaceDir, fmt.Sprint(own.Ino)), err == nil || base != runDir
}

func runBase() string {
	if named := os.Getenv(runDirName); filepath.IsAbs(named) {
		return named
	}
	if unit, _, _ := strings.Cut(os.Getenv(unitDirName), ":"); os.Geteuid() != 0 && filepath.IsAbs(unit) {
		return unit
	}
	own := os.Getenv(runtimeDirName)
	if os.Geteuid() != 0 || !filepath.IsAbs(own) || canHold(runDir) {
		return runDir
	}
	return filepath.Join(own, "wgctl")
}

// canHold reports whether files can be made in a folder, or the folder where it
// isn't there.
func canHold(dir string) bool {
	err := unix.Access(dir, unix.W_OK)
	if err == unix.ENOENT {
		err = unix.Access(filepath.Dir(dir), unix.W_OK)
	}
	return err == nil
}

// MakeRunDir makes a folder for records or sockets, for root alone, if it isn't
// there.
func MakeRunDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making %s: %w", dir, unwritable(err))
	}
	return nil
}

// unwritable says what can be done about a folder that can't be written.
func unwritable(err error) error {
	switch {
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w (give the container --tmpfs /run, or name a folder in %s)", err, runtimeDirName)
	case errors.Is(err, unix.EACCES) && os.Geteuid() == 0:
		return fmt.Errorf("%w (who is root in a user namespace alone names a folder in %s, or mounts a tmpfs on /run)", err, runtimeDirName)
	}
	return err
}

// SocketDir is where the UAPI sockets of devices are that are of the namespace of
// these records alone: /run/wireguard is shared by all of them.
func (rs *Records) SocketDir() string { return filepath.Join(rs.Dir, socketsDir) }

// SharedSocketDir reports whether sockets can be where wg(8) looks for them.
func SharedSocketDir() bool { return os.Geteuid() != 0 || canHold("/run/wireguard") }

// nameNamespace notes whose records these are.
func (rs *Records) nameNamespace() error {
	if rs.Namespace == nil {
		return nil
	}
	path := filepath.Join(rs.Dir, namespaceFile)
	b, err := json.Marshal(rs.Namespace)
	if err != nil {
		return fmt.Errorf("noting the network namespace: %w", err)
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == string(b) {
		return nil
	}
	if err := renameio.WriteFile(path, b, 0o600, renameio.WithTempDir(rs.Dir), renameio.IgnoreUmask()); err != nil {
		return fmt.Errorf("noting the network namespace: %w", err)
	}
	return nil
}

// Noted returns what was noted of the namespace of these records, nil if nothing
// was.
func (rs *Records) Noted() *Namespace {
	b, err := os.ReadFile(filepath.Join(rs.Dir, namespaceFile))
	var n Namespace
	if err != nil || json.Unmarshal(b, &n) != nil {
		return nil
	}
	return &n
}

// OfNamespaces returns the records of all namespaces but that of the host's
// first process, that of the calling process included.
func OfNamespaces() ([]*Records, error) {
	dir := filepath.Join(runBase(), namespaceDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the records of namespaces: %w", err)
	}
	var all []*Records
	for _, e := range entries {
		all = append(all, &Records{Dir: filepath.Join(dir, e.Name())})
	}
	return all, nil
}

// Forget removes all records of a namespace that is gone.
func (rs *Records) Forget() error {
	if err := os.RemoveAll(rs.Dir); err != nil {
		return fmt.Errorf("removing the records of a namespace: %w", err)
	}
	_ = os.Remove(filepath.Dir(rs.Dir)) // if it was the last
	return nil
}

// Tidy removes the folder of a namespace's records if there are none any more.
func (rs *Records) Tidy() {
	if filepath.Base(filepath.Dir(rs.Dir)) != namespaceDir {
		return
	}
	if names, err := rs.Names(); err != nil || len(names) > 0 {
		return
	}
	_ = os.Remove(filepath.Join(rs.Dir, socketsDir))
	note := filepath.Join(rs.Dir, namespaceFile)
	kept, err := os.ReadFile(note)
	if os.Remove(note) != nil && err == nil {
		return
	}
	if os.Remove(rs.Dir) != nil && err == nil { // somebody is at work there
		_ = os.WriteFile(note, kept, 0o600)
		return
	}
	_ = os.Remove(filepath.Dir(rs.Dir))
}
