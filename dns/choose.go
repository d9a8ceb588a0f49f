// SPDX-License-Identifier: MIT

package dns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrNoBackend is the error of a Resolver that has nobody to tell what tunnels
// want.
var ErrNoBackend = errors.New("resolvconf is not installed: install openresolv or remove DNS from the file")

// Names of the backends, as a Choice has them.
const (
	BackendResolvconf = "resolvconf"
	BackendNone       = "none"
)

// A Flavour is one of the programs that are called resolvconf.
type Flavour string

// The flavours. All are called alike; they differ in where they keep what they
// were told.
const (
	OpenResolv Flavour = "openresolv"
	Debian     Flavour = "debian"  // Debian's own, which ignores metric and exclusiveness
	Systemd    Flavour = "systemd" // resolvectl, by a symbolic link
	Unknown    Flavour = "unknown"
)

// Facts are what the choice of a backend is made from.
type Facts struct {
	Path   string // of resolvconf, "" if there is none
	Target string // what Path leads to if it is a symbolic link, else ""
	Script string // the text of resolvconf, if it is a script

	InterfaceOrder string // /etc/resolvconf/interface-order, "" if there is none
	Config         string // /etc/resolvconf.conf, "" if there is none
}

// A Choice is the backend to use.
type Choice struct {
	Name    string // BackendResolvconf or BackendNone
	Path    string
	Flavour Flavour

	// Prefix is put before the interface name, as in "tun.wg0": Debian's
	// resolvconf sorts its records by name.
	Prefix string

	// Records are the folders that may hold what resolvconf was told, one
	// file a name, the first that exists being the one in use. There are
	// none where it has to be asked.
	Records []string

	// ResolvConf is the file that resolvconf writes in place, or "" where it
	// writes none or another way.
	ResolvConf string
}

// Choose returns the backend to use and how it was found, as one line. The
// error, with the name "none", says what to install; it concerns only tunnels
// that want something.
func Choose(f Facts) (Choice, string, error) {
	if f.Path == "" {
		return Choice{Name: BackendNone}, "dns: [resolvconf=- ret=none]", ErrNoBackend
	}
	c := Choice{Name: BackendResolvconf, Path: f.Path, Flavour: f.flavour()}
	c.Prefix = f.prefix()
	c.Records = f.records(c.Flavour)
	c.ResolvConf = f.resolvConf(c.Flavour)
	trace := fmt.Sprintf("dns: [resolvconf=%s flavour=%s prefix=%q ret=%s]", c.Path, c.Flavour, c.Prefix, c.Name)
	return c, trace, nil
}

// flavour tells the programs apart by what is known without running them: old
// versions of openresolv take --version for an error.
func (f Facts) flavour() Flavour {
	switch {
	case filepath.Base(f.Target) == "resolvectl", filepath.Base(f.Target) == "systemd-resolve":
		return Systemd
	case strings.Contains(f.Script, "openresolv"):
		return OpenResolv
	case strings.Contains(f.Script, "/etc/resolvconf/update.d"):
		return Debian
	}
	return Unknown
}

var orderPattern = regexp.MustCompile(`(?m)^([A-Za-z0-9-]+)\*$`)

// prefix is what wg-quick does in resolvconf_iface_prefix: the first pattern
// "NAME*" of the interface order, unless resolvconf is a symbolic link, which
// means that the file is left over from a package that is gone.
func (f Facts) prefix() string {
	if f.Target != "" {
		return ""
	}
	if m := orderPattern.FindStringSubmatch(f.InterfaceOrder); m != nil {
		return m[1] + "."
	}
	return ""
}

var (
	varDirPattern   = regexp.MustCompile(`(?m)^VARDIR=["']?(/[^\s"'$]*)`)
	stateDirPattern = regexp.MustCompile(`(?m)^\s*state_dir=["']?(/[^\s"'$]*)`)
)

// records returns where this flavour keeps what it is told. In openresolv the
// folder is set at build time, and state_dir of its configuration overrides it.
func (f Facts) records(flavour Flavour) []string {
	switch flavour {
	case Debian:
		return []string{"/run/resolvconf/interface"}
	case OpenResolv:
		dir := ""
		for _, m := range [][]string{
			varDirPattern.FindStringSubmatch(f.Script), stateDirPattern.FindStringSubmatch(f.Config),
		} {
			if m != nil {
				dir = m[1]
			}
		}
		if dir == "" {
			return nil
		}
		// Since 3.14 there are keys; before that, interfaces.
		return []string{filepath.Join(dir, "keys"), filepath.Join(dir, "interfaces")}
	}
	return nil
}

var (
	resolvConfPattern = regexp.MustCompile(`(?m)^\s*resolv_conf=["']?(/[^\s"'$]*)`)
	switchedOff       = regexp.MustCompile(`(?mi)^\s*(?:libc|resolvconf)=["']?(?:no|false|off|0)\b`)
)

// resolvConf returns the file that openresolv's libc script writes, unless the
// configuration switches that script, or all of them, off.
func (f Facts) resolvConf(flavour Flavour) string {
	if flavour != OpenResolv || switchedOff.MatchString(f.Config) {
		return ""
	}
	if m := resolvConfPattern.FindStringSubmatch(f.Config); m != nil {
		return m[1]
	}
	return "/etc/resolv.conf"
}

// Detect gathers the facts of this host. It runs nothing and changes nothing.
func Detect(context.Context) Facts {
	var f Facts
	f.Path = lookPath("resolvconf")
	if f.Path == "" {
		return f
	}
	if info, err := os.Lstat(f.Path); err == nil && info.Mode()&os.ModeSymlink != 0 {
		f.Target = f.Path // a link that leads nowhere is one all the same
		if target, err := filepath.EvalSymlinks(f.Path); err == nil {
			f.Target = target
		}
	}
	f.Script = scriptText(f.Path)
	f.InterfaceOrder = readText("/etc/resolvconf/interface-order")
	f.Config = readText("/etc/resolvconf.conf")
	return f
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
