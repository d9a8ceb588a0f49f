// SPDX-License-Identifier: MIT

package dns

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const (
	openresolvScript = "#!/bin/sh\nOPENRESOLV_VERSION=\"3.12.0\"\n# openresolv\nVARDIR=/run/resolvconf\n"
	debianScript     = "#!/bin/sh\n# This file is part of the resolvconf package.\nexec run-parts /etc/resolvconf/update.d\n"
	debianOrder      = "# interface-order(5)\nlo.inet6\nlo.!(pdns|pdns-recursor)\nlo\nem+([0-9])?(_+([0-9]))*\ntun*\ntap*\n*\n"
)

func TestChoose(t *testing.T) {
	for _, c := range []struct {
		name    string
		facts   Facts
		trace   string
		records []string
		err     error
	}{{
		name:  "nothing",
		facts: Facts{InterfaceOrder: debianOrder},
		trace: "dns: [resolvconf=- ret=none]",
		err:   ErrNoBackend,
	}, {
		name:    "openresolv",
		facts:   Facts{Path: "/usr/sbin/resolvconf", Script: openresolvScript},
		trace:   `dns: [resolvconf=/usr/sbin/resolvconf flavour=openresolv prefix="" ret=resolvconf]`,
		records: []string{"/run/resolvconf/keys", "/run/resolvconf/interfaces"},
	}, {
		name:    "openresolv with a folder of its own",
		facts:   Facts{Path: "/sbin/resolvconf", Script: openresolvScript, Config: "#state_dir=/no\nstate_dir=\"/var/lib/rc\"\n"},
		trace:   `dns: [resolvconf=/sbin/resolvconf flavour=openresolv prefix="" ret=resolvconf]`,
		records: []string{"/var/lib/rc/keys", "/var/lib/rc/interfaces"},
	}, {
		name:  "openresolv that doesn't say where",
		facts: Facts{Path: "/sbin/resolvconf", Script: "#!/bin/sh\n# openresolv\nVARDIR=$X\n"},
		trace: `dns: [resolvconf=/sbin/resolvconf flavour=openresolv prefix="" ret=resolvconf]`,
	}, {
		name:    "openresolv after Debian's",
		facts:   Facts{Path: "/usr/sbin/resolvconf", Script: openresolvScript, InterfaceOrder: debianOrder},
		trace:   `dns: [resolvconf=/usr/sbin/resolvconf flavour=openresolv prefix="tun." ret=resolvconf]`,
		records: []string{"/run/resolvconf/keys", "/run/resolvconf/interfaces"},
	}, {
		name:    "Debian's",
		facts:   Facts{Path: "/sbin/resolvconf", Script: debianScript, InterfaceOrder: debianOrder},
		trace:   `dns: [resolvconf=/sbin/resolvconf flavour=debian prefix="tun." ret=resolvconf]`,
		records: []string{"/run/resolvconf/interface"},
	}, {
		name:    "Debian's without a pattern that fits",
		facts:   Facts{Path: "/sbin/resolvconf", Script: debianScript, InterfaceOrder: "lo\neth?*\n*\n"},
		trace:   `dns: [resolvconf=/sbin/resolvconf flavour=debian prefix="" ret=resolvconf]`,
		records: []string{"/run/resolvconf/interface"},
	}, {
		name:  "systemd's, after Debian's",
		facts: Facts{Path: "/usr/sbin/resolvconf", Target: "/usr/bin/resolvectl", InterfaceOrder: debianOrder},
		trace: `dns: [resolvconf=/usr/sbin/resolvconf flavour=systemd prefix="" ret=resolvconf]`,
	}, {
		name:  "another's",
		facts: Facts{Path: "/opt/resolvconf", Script: "#!/usr/bin/env python\n"},
		trace: `dns: [resolvconf=/opt/resolvconf flavour=unknown prefix="" ret=resolvconf]`,
	}} {
		choice, trace, err := Choose(c.facts)
		if trace != c.trace || !slices.Equal(choice.Records, c.records) || !errors.Is(err, c.err) {
			t.Errorf("%s:\n got %s %v %v\nwant %s %v %v", c.name, trace, choice.Records, err, c.trace, c.records, c.err)
		}
	}
}

func TestResolvConf(t *testing.T) {
	for config, want := range map[string]string{
		"":                                       "/etc/resolv.conf",
		"# libc=NO\nresolv_conf=/run/r\n":        "/run/r",
		"resolv_conf=\"/run/r\"\nlibc=YES\n":     "/run/r",
		"libc=NO\n":                              "",
		"resolvconf='no'\n":                      "",
		"resolv_conf=/run/r\n  libc=\"false\"\n": "",
		"libc_restart=no\n":                      "/etc/resolv.conf",
	} {
		c, _, _ := Choose(Facts{Path: "/sbin/resolvconf", Script: openresolvScript, Config: config})
		if c.ResolvConf != want {
			t.Errorf("%q: %q, want %q", config, c.ResolvConf, want)
		}
	}
	if c, _, _ := Choose(Facts{Path: "/sbin/resolvconf", Script: debianScript}); c.ResolvConf != "" {
		t.Errorf("Debian's writes %q in place", c.ResolvConf)
	}
}

func TestDetect(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	write(t, filepath.Join(dir, "resolvconf"), openresolvScript, 0o755)
	f := Detect(t.Context())
	if f.Path != filepath.Join(dir, "resolvconf") || f.Target != "" || f.Script != openresolvScript {
		t.Errorf("facts %+v", f)
	}

	// A link to a program that isn't a script.
	write(t, filepath.Join(dir, "resolvectl"), "\x7fELF openresolv", 0o755)
	if err := os.Remove(filepath.Join(dir, "resolvconf")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("resolvectl", filepath.Join(dir, "resolvconf")); err != nil {
		t.Fatal(err)
	}
	f = Detect(t.Context())
	if c, _, err := Choose(f); err != nil || c.Flavour != Systemd || f.Script != "" {
		t.Errorf("facts %+v, choice %+v, %v", f, c, err)
	}
}
