// SPDX-License-Identifier: MIT

package dns

import (
	"path/filepath"
	"regexp"
	"strings"
)

// A Flavour is one of the programs that are called resolvconf.
type Flavour string

// The flavours. They differ in where they keep what they were told.
const (
	OpenResolv Flavour = "openresolv"
	Debian     Flavour = "debian"  // Debian's own, which ignores metric and exclusiveness
	Systemd    Flavour = "systemd" // resolvectl, by a symbolic link
	Unknown    Flavour = "unknown"
)

// resolvconf returns the choice as far as it is about resolvconf.
func (f Facts) resolvconf() Choice {
	if f.Path == "" {
		return Choice{Name: BackendResolvconf}
	}
	c := Choice{Name: BackendResolvconf, Path: f.Path, Flavour: f.flavour()}
	c.Prefix = f.prefix()
	c.Records = f.records(c.Flavour)
	c.ResolvConf = f.resolvConf(c.Flavour)
	return c
}

// flavour tells the programs apart by what is known without running them: old
// versions of openresolv take --version for an error.
func (f Facts) flavour() Flavour {
	switch {
	case filepath.Base(f.Link) == "resolvectl", filepath.Base(f.Link) == "systemd-resolve":
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
	if f.Link != "" {
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
