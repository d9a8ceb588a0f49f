// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// networkdFlushes reports whether systemd-networkd runs and isn't told to leave
// the rules and routes of others alone (networkd.conf(5)).
func networkdFlushes() bool { return networkdRuns() && !networkdSpares("/") }

// networkdRuns looks for its process in this network namespace: the folder below
// /run stays when it ends. Only root sees the namespace of another's process;
// for others any will do.
func networkdRuns() bool {
	const comm = "systemd-network\n" // cut to 15 letters
	own, _ := os.Readlink("/proc/thread-self/ns/net")
	pids, _ := filepath.Glob("/proc/[0-9]*")
	return slices.ContainsFunc(pids, func(dir string) bool {
		name, err := os.ReadFile(dir + "/comm")
		if err != nil || string(name) != comm {
			return false
		}
		ns, err := os.Readlink(dir + "/ns/net")
		return ns == own || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM)
	})
}

// networkdSpares reads its configuration below a root: one main file, and
// drop-ins by their names, whatever folder they are in; of two of one name the
// one in the folder that is first here.
func networkdSpares(root string) bool {
	folders := []string{"etc", "run", "usr/local/lib", "usr/lib"}
	main, dropIns := "", map[string]string{}
	for _, dir := range folders {
		dir = filepath.Join(root, dir, "systemd")
		if _, err := os.Stat(filepath.Join(dir, "networkd.conf")); err == nil && main == "" {
			main = filepath.Join(dir, "networkd.conf")
		}
		more, _ := filepath.Glob(filepath.Join(dir, "networkd.conf.d", "*.conf"))
		for _, f := range more {
			if name := filepath.Base(f); dropIns[name] == "" {
				dropIns[name] = f
			}
		}
	}
	files := []string{main}
	for _, name := range slices.Sorted(maps.Keys(dropIns)) {
		files = append(files, dropIns[name])
	}
	spares := map[string]bool{}
	for _, file := range files {
		text, _ := os.ReadFile(file)
		section := ""
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "[") {
				section = line
			}
			key, value, ok := strings.Cut(line, "=")
			if !ok || section != "[Network]" {
				continue
			}
			value = strings.ToLower(strings.TrimSpace(value))
			spares[strings.TrimSpace(key)] = slices.Contains([]string{"no", "n", "false", "f", "off", "0"}, value)
		}
	}
	return spares["ManageForeignRoutingPolicyRules"] && spares["ManageForeignRoutes"]
}
