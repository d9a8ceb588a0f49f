// SPDX-License-Identifier: MIT

package dns

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// detectRest adds the facts about resolv.conf, and how names are looked up. What
// systemd-resolved and NetworkManager answer is asked for later.
func detectRest(f Facts) Facts {
	f.resolvConfFile(resolvConfPath)
	f.Hosts = hostServices(readText("/etc/nsswitch.conf"))
	return f
}

// detectTool gathers the facts about the program resolvconf.
func detectTool() (f Facts) {
	f.Path = lookPath("resolvconf")
	if f.Path == "" {
		return f
	}
	if info, err := os.Lstat(f.Path); err == nil && info.Mode()&os.ModeSymlink != 0 {
		f.Link = f.Path // a link that leads nowhere is one all the same
		if target, err := filepath.EvalSymlinks(f.Path); err == nil {
			f.Link = target
		}
	}
	f.Script = scriptText(f.Path)
	f.InterfaceOrder = readText("/etc/resolvconf/interface-order")
	f.Config = readText("/etc/resolvconf.conf")
	f.Installed = func(program string) bool { return lookPath(program) != "" }
	return f
}

// resolvConfFile gathers the facts about resolv.conf.
func (f *Facts) resolvConfFile(path string) {
	if target, err := os.Readlink(path); err == nil {
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		f.Target = filepath.Clean(target)
	}
	_, err := os.Stat(path)
	f.Missing = errors.Is(err, fs.ErrNotExist)
	f.Text = readText(path)
	f.Writable = (&file{path: path}).ready(Settings{})
}

// hostServices returns the services that names of hosts are looked up with, in
// order, without what is to be done with their answers.
func hostServices(nsswitch string) (services []string) {
	for line := range strings.Lines(nsswitch) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "hosts:")
		if !ok {
			continue
		}
		for _, word := range strings.Fields(rest) {
			if !strings.ContainsAny(word, "[]=") {
				services = append(services, word)
			}
		}
	}
	return services
}

// lookPath is exec.LookPath that also finds what the PATH of cron or of an
// unprivileged shell doesn't name.
func lookPath(name string) string {
	for _, p := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if found, err := exec.LookPath(p); err == nil {
			return found
		}
	}
	return ""
}

// scriptText returns the text of a script, or "" for any other program.
func scriptText(path string) string {
	if text := readText(path); strings.HasPrefix(text, "#!") {
		return text
	}
	return ""
}

// readText returns what a file holds, or "" if it can't be read: each file that
// is asked for here may be missing.
func readText(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(text)
}
