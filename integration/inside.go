// SPDX-License-Identifier: MIT

package integration

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What of a snapshot can be read from outside, without a process in the host.

// path is where the machine sees a path of the host. An absolute symlink on
// the way would lead back to the machine; open has no such trap.
func (h *Host) path(p string) string { return fmt.Sprintf("/proc/%d/root%s", h.pid, p) }

// legacyTables names the tables of iptables-legacy that exist in the host.
func (h *Host) legacyTables(family string) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s_tables_names", h.pid, family))
	if err != nil {
		return "" // the kernel has no iptables-legacy
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// sockets lists the addresses and ports on which the host's programs take
// packets: bound UDP sockets and listening TCP sockets.
func (h *Host) sockets() []string {
	h.t.Helper()
	var lines []string
	for proto, state := range map[string]string{"udp": "07", "udp6": "07", "tcp": "0A", "tcp6": "0A"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", h.pid, proto))
		if err != nil {
			continue // no IPv6
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 3 && f[3] == state {
				lines = append(lines, proto+" "+socketAddr(f[1]))
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// socketAddr reads an address of /proc/net/udp: 32-bit words in the machine's
// order and a port, all hexadecimal.
func socketAddr(s string) string {
	words, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(words)
	n, errPort := strconv.ParseUint(port, 16, 16)
	if err != nil || errPort != nil {
		return s
	}
	for word := range slices.Chunk(raw, 4) {
		binary.BigEndian.PutUint32(word, binary.NativeEndian.Uint32(word))
	}
	addr, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(addr, uint16(n)).String()
}

// resolvConf is /etc/resolv.conf: mode, owner and group, where it links to and
// what is there, and content.
func (h *Host) resolvConf() []string {
	h.t.Helper()
	const p = "/etc/resolv.conf"
	fi, err := os.Lstat(h.path(p))
	if err != nil {
		return []string{"(none)"}
	}
	lines := []string{modeOf(fi)}
	if target, err := os.Readlink(h.path(p)); err == nil {
		lines[0] += " -> " + target
	}
	f, err := h.open(p, unix.O_RDONLY, 0)
	if err != nil {
		return lines // the link leads nowhere
	}
	defer f.Close()
	if fi, err := f.Stat(); err == nil {
		lines = append(lines, modeOf(fi))
	}
	return append(lines, strings.Split(strings.TrimSuffix(h.ReadFile(p), "\n"), "\n")...)
}

// modeOf is the mode of a file, and its owner and group unless both are root.
func modeOf(fi fs.FileInfo) string {
	mode := fi.Mode().String()
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid|st.Gid != 0 {
		mode += fmt.Sprintf(" %d:%d", st.Uid, st.Gid)
	}
	return mode
}

// tree lists what is below a folder of the host; digests are for files whose
// content matters.
func (h *Host) tree(dir string, digests bool) []string {
	h.t.Helper()
	var lines []string
	top := h.path(dir)
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(p, top)
		// iptables leaves its lock file and mount(8) its folder, whoever
		// calls them.
		if os.IsNotExist(err) || name == "" || name == "/xtables.lock" || name == "/mount" {
			return nil
		}
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return nil // gone meanwhile
		}
		line := modeOf(fi) + " " + name
		if target, err := os.Readlink(p); err == nil {
			line += " -> " + target
		}
		if digests && fi.Mode().IsRegular() {
			if b, err := os.ReadFile(p); err == nil {
				line += fmt.Sprintf(" %x", sha256.Sum256(b))
			}
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		h.t.Fatalf("%s: listing %s: %v", h.Name, dir, err)
	}
	return lines
}

// mounts lists what is mounted in the host.
func (h *Host) mounts() []string {
	h.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", h.pid))
	if err != nil {
		h.t.Fatalf("%s: listing mounts: %v", h.Name, err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		lines = append(lines, mountNumbers.ReplaceAllString(strings.TrimSpace(line), ""))
	}
	slices.Sort(lines)
	return lines
}

// mountNumbers are what proc_pid_mountinfo(5) puts first: the mount's number,
// its parent's, and the device; and the number of a namespace with a name.
var mountNumbers = regexp.MustCompile(`^\d+ \d+ \d+:\d+ (net:\[\d+\])?`)

// Processes lists the command lines of all processes in the host except its
// first, sorted.
func (h *Host) Processes() []string {
	h.t.Helper()
	dir, err := os.ReadDir(h.path("/proc"))
	if err != nil {
		h.t.Fatalf("%s: listing processes: %v", h.Name, err)
	}
	var list []string
	for _, e := range dir {
		if pid, err := strconv.Atoi(e.Name()); err != nil || pid == 1 {
			continue
		}
		b, err := os.ReadFile(h.path("/proc/" + e.Name() + "/cmdline"))
		if err != nil || len(b) == 0 { // gone meanwhile, or a zombie about to be reaped
			continue
		}
		list = append(list, strings.TrimRight(strings.ReplaceAll(string(b), "\x00", " "), " "))
	}
	slices.Sort(list)
	return list
}

// interfaceSysctls are the settings of one interface that a tunnel's owner may
// come to touch. All settings of "all", "default" and lo are in a snapshot;
// some 130 of every other interface would bury what matters in a diff.
var interfaceSysctls = regexp.MustCompile(`/conf/(all|default|lo)/|/ip_forward =` +
	`|/(forwarding|src_valid_mark|rp_filter|accept_local|route_localnet|arp_\w+|proxy_arp|send_redirects` +
	`|disable_ipv6|accept_ra|autoconf|addr_gen_mode|accept_dad|proxy_ndp) =`)

// sysctls lists the host's settings of IPv4, IPv6 and their interfaces.
func (h *Host) sysctls() []string {
	h.t.Helper()
	var lines []string
	err := h.inNet(func() error {
		all := readTree("/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf", "/proc/sys/net/ipv4/ip_forward")
		lines = slices.DeleteFunc(all, func(line string) bool { return !interfaceSysctls.MatchString(line) })
		return nil
	})
	if err != nil {
		h.t.Fatalf("%s: reading sysctls: %v", h.Name, err)
	}
	slices.Sort(lines)
	return lines
}

// inNet calls f on a thread in the host's network, which decides what
// /proc/sys/net shows.
func (h *Host) inNet(f func() error) error {
	return onThread(func() error {
		if err := enterSpace(h.pid, network); err != nil {
			return err
		}
		return f()
	})
}

// readTree prints files as "KEY = VALUE"; those that cannot be read (as
// stable_secret before it is set) are left out.
func readTree(roots ...string) []string {
	var lines []string
	for _, root := range roots {
		filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil
			}
			if b, err := os.ReadFile(p); err == nil {
				key := strings.TrimPrefix(p, "/proc/sys/")
				lines = append(lines, fmt.Sprintf("%s = %s", key, strings.TrimSpace(string(b))))
			}
			return nil
		})
	}
	return lines
}
