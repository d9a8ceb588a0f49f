// SPDX-License-Identifier: MIT

package config

import (
	"fmt"
	"strings"
	"time"
)

// A HookMode is the Hooks key: who runs the hooks. The empty string is for the
// name of the program to decide.
type HookMode string

// The modes.
const (
	HooksNative HookMode = "native" // what is understood becomes part of the tunnel, the rest is run
	HooksShell  HookMode = "shell"  // all are run, as wg-quick does
	HooksOff    HookMode = "off"    // none is run
)

// parseDuration takes a number of seconds, or a duration as Go writes it.
func parseDuration(s string) (time.Duration, bool) {
	if isDigits(s) {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d > 0
}

func formatDuration(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprint(int64(d / time.Second))
	}
	return d.String()
}

func (b *builder) hooks(value string) {
	for _, m := range []HookMode{HooksNative, HooksShell, HooksOff} {
		if strings.EqualFold(value, string(m)) {
			b.scalar()
			b.cfg.Interface.HookMode = m
			return
		}
	}
	b.fail("%s is none of native, shell and off", shown(value))
}

func (b *builder) hookTimeout(value string) {
	d, ok := parseDuration(value)
	if !ok {
		b.fail(`%s is not a time: a number of seconds from 1, or a duration such as "1m30s"`, shown(value))
		return
	}
	b.scalar()
	b.cfg.Interface.HookTimeout = d
}
